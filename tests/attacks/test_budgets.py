"""Every attack counts its passes as the classifier does, and ends before it would exceed `max_queries`."""

from collections import Counter
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evofool import Classifier, ClassifierSpec
from evofool.attacks import (
    ATTACKS,
    APGDOptions,
    AutoAttackOptions,
    DeepFoolOptions,
    FABOptions,
    FastGradientSignOptions,
    GradientAscentOptions,
    HopSkipJumpOptions,
    IteratedGradientSignOptions,
    LBFGSOptions,
    NESOptions,
    OnePixelOptions,
    PGDOptions,
    SquareOptions,
    Targeted,
    TemplateOptions,
    UniversalOptions,
    Untargeted,
)
from evofool.errors import UsageError

SHAPE, CLASSES = (4, 4, 1), tuple("abcde")
PASSES: Counter[str] = Counter()


@jax.custom_vjp
def counted(images: jax.Array) -> jax.Array:
    # The values are an argument, so that a batch of batches calls once for each.
    jax.debug.callback(lambda values: PASSES.update(forward=len(values)), images)
    return images


def _forward(images: jax.Array) -> tuple[jax.Array, None]:
    return counted(images), None


def _backward(_: None, cotangent: jax.Array) -> tuple[jax.Array]:
    jax.debug.callback(lambda values: PASSES.update(backward=len(values)), cotangent)
    return (cotangent,)


counted.defvjp(_forward, _backward)


def logits_of(params: jax.Array, images: jax.Array) -> jax.Array:
    return counted(images).reshape(len(images), -1) @ params


@pytest.fixture(scope="module")
def linear() -> Classifier:
    params = jax.random.normal(jax.random.key(0), (16, 5))
    return Classifier(params, logits_of, ClassifierSpec("linear", SHAPE, CLASSES))


@pytest.fixture(scope="module")
def images(linear: Classifier) -> jax.Array:
    """Images at all distances from the boundary, the hardest one first."""
    return jnp.roll(jax.random.uniform(jax.random.key(1), (6, *SHAPE)), -2, axis=0)


# Balls so small that some images are not fooled, or not at once.
FOLLOWING: list[Any] = [
    pytest.param(GradientAscentOptions(steps=20), marks=pytest.mark.slow),
    FastGradientSignOptions(epsilon=0.1),
    IteratedGradientSignOptions(steps=20, change=20.0),
    PGDOptions(0.08, steps=4, restarts=3),
    APGDOptions(0.08, steps=5, restarts=2),
    pytest.param(APGDOptions(0.08, steps=5, loss="dlr-targeted", targets=2), marks=pytest.mark.slow),
    FABOptions(steps=4, targets=2),
    pytest.param(AutoAttackOptions(0.08, steps=4, targets=2, square_queries=9), marks=pytest.mark.slow),
    LBFGSOptions(searches=3, iterations=4),
    DeepFoolOptions(steps=4, candidates=3),
    UniversalOptions(epsilon=0.1, passes=4, batch_size=4, fooling_rate=1.0),
    pytest.param(
        UniversalOptions(
            epsilon=0.1, passes=2, steps=3, candidates=3, improvement="deepfool", fooling_rate=1.0
        ),
        marks=pytest.mark.slow,
    ),
    TemplateOptions(epsilon=0.1),
]
ASKING: list[Any] = [
    SquareOptions(epsilon=0.08, max_queries=17),
    pytest.param(NESOptions(epsilon=0.08, samples=4, max_queries=17), marks=pytest.mark.slow),
    pytest.param(HopSkipJumpOptions(samples=4, max_queries=17), marks=pytest.mark.slow),
    pytest.param(OnePixelOptions(population=4, max_queries=17), marks=pytest.mark.slow),
]


def name_of(options: Any) -> str:
    return ATTACKS.name_of(options)


def attacked(options: Any, linear: Classifier, images: jax.Array) -> tuple[Any, Counter[str]]:
    """The result, and the passes that the classifier saw; the fifth image is wrong from the start."""
    labels = np.array(jnp.argmax(linear(images), axis=1))
    labels[4:5] = (labels[4:5] + 1) % 5
    goal = Untargeted(labels) if Untargeted in options.goals else Targeted((labels + 1) % 5)
    PASSES.clear()
    result = ATTACKS.named(name_of(options)).build(linear, images, goal, options)
    jax.block_until_ready(result.images)
    jax.effects_barrier()
    return result, PASSES.copy()


def assert_exact(result: Any, seen: Counter[str], options: Any) -> None:
    """What the attack counted is what the classifier saw, and it is within the budget."""
    queries, gradients, padded = (
        np.asarray(each) for each in (result.queries, result.gradient_queries, result.padded_queries)
    )
    if options.max_queries is not None:
        assert (queries + gradients <= options.max_queries).all()
    # A template is read at a black and a white image, with one gradient of each class for both.
    read = 1 if isinstance(options, TemplateOptions) and options.max_queries != 1 else 0
    assert seen["forward"] == (queries + padded).sum() + 2 * read
    wanted = gradients.sum() + 5 * read
    assert seen["backward"] >= wanted if padded.any() else seen["backward"] == wanted


def test_there_is_a_case_for_each_attack() -> None:
    cases = [getattr(each, "values", [each])[0] for each in (*FOLLOWING, *ASKING)]
    assert {name_of(options) for options in cases} == set(ATTACKS)


@pytest.mark.parametrize("options", ASKING, ids=name_of)
def test_attacks_that_ask_count_what_the_classifier_saw(
    options: Any, linear: Classifier, images: jax.Array
) -> None:
    result, seen = attacked(options, linear, images)
    assert_exact(result._replace(gradient_queries=jnp.zeros(6, int)), seen, options)
    assert result.gradient_queries is None


@pytest.mark.parametrize("options", FOLLOWING, ids=name_of)
def test_attacks_along_gradients_count_what_the_classifier_saw(
    options: Any, linear: Classifier, images: jax.Array
) -> None:
    limited = replace(options, max_queries=17)
    assert_exact(*attacked(limited, linear, images), limited)


@pytest.mark.slow
@pytest.mark.parametrize("options", FOLLOWING, ids=name_of)
def test_without_a_budget_nothing_else_is_counted(
    options: Any, linear: Classifier, images: jax.Array
) -> None:
    one = name_of(options) != "auto"  # which asks about two images at least
    result, seen = attacked(options, linear, images[: 1 if one else 2])
    assert not one or not result.padded_queries.any()
    assert_exact(result, seen, options)
    assert int(result.gradient_queries[0]) > 0 or name_of(options) == "template"


@pytest.mark.slow
@pytest.mark.parametrize("budget", [1, 6, 40])
@pytest.mark.parametrize("options", FOLLOWING, ids=name_of)
def test_a_budget_holds_for_each_image_whatever_it_is(
    options: Any, budget: int, linear: Classifier, images: jax.Array
) -> None:
    options = replace(options, max_queries=budget)
    whole, seen = attacked(options, linear, images)
    assert_exact(whole, seen, options)
    np.testing.assert_allclose(whole.confidences, linear(whole.images), atol=1e-5)
    if budget == 1:
        np.testing.assert_array_equal(whole.images, images)
    if not isinstance(options, UniversalOptions):
        alone, _ = attacked(options, linear, images[:1])
        assert int(alone.queries[0]) == int(whole.queries[0])
        assert int(alone.gradient_queries[0]) == int(whole.gradient_queries[0])


@pytest.mark.slow
def test_a_larger_budget_never_ends_further_from_the_boundary(linear: Classifier, images: jax.Array) -> None:
    sizes = []
    for budget in (12, 30, None):
        result, _ = attacked(FABOptions(steps=6, targets=2, max_queries=budget), linear, images)
        sizes.append(np.where(result.success, np.asarray(result.linf), np.inf))
    assert (np.diff(sizes, axis=0) <= 0).all()


def test_a_budget_is_a_positive_number() -> None:
    with pytest.raises(UsageError, match="max_queries must be above zero"):
        PGDOptions(max_queries=0)
