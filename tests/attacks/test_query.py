"""Attacks that only ask: within their ball and their queries, and the same through a black box."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import evofool
from evofool import BlackBox, Classifier, ClassifierSpec
from evofool.attacks import (
    ATTACKS,
    HopSkipJumpOptions,
    NESOptions,
    OnePixelOptions,
    Targeted,
    Untargeted,
    hop_skip_jump,
    one_pixel,
)
from evofool.attacks.query.square import SquareOptions, _bump
from evofool.images import from_uint8

SHAPE, COUNT = (8, 7, 3), 6


def logits_of(params: jax.Array, images: jax.Array) -> jax.Array:
    score = images.reshape(len(images), -1) @ params
    return jnp.stack([-score, score, score - 5], axis=1)


@pytest.fixture(scope="module")
def linear() -> Classifier:
    """A class on each side of a plane, and one that never is likeliest."""
    weights = jax.random.normal(jax.random.key(3), (168,))
    weights -= weights.mean()  # grey is on the plane
    return Classifier(weights, logits_of, ClassifierSpec("plane", SHAPE, ("no", "yes", "never")))


@pytest.fixture(scope="module")
def images(linear: Classifier) -> jax.Array:
    """Images of 8 bits around grey, all of the first class, at one distance from the plane."""
    noise = jax.random.uniform(jax.random.key(4), (COUNT, *SHAPE), minval=0.3, maxval=0.7)
    flat, normal = noise.reshape(COUNT, -1), linear.params / jnp.linalg.norm(linear.params)
    flat -= jnp.outer(flat @ normal + DISTANCE, normal)
    return jnp.round(flat.reshape(noise.shape) * 255) / 255


DISTANCE = 0.5


def furthest(classifier: Classifier, norm: str, epsilon: float) -> float:
    """The most that a change in the ball can move a score."""
    weights = np.asarray(classifier.params, np.float64)
    return epsilon * (np.abs(weights).sum() if norm == "linf" else np.sqrt(np.square(weights).sum()))


def epsilon_for(classifier: Classifier, norm: str, share: float) -> float:
    """The ball whose best change is some multiple of the distance to the plane."""
    needed = DISTANCE * np.sqrt(np.square(np.asarray(classifier.params, np.float64)).sum())
    return share * needed / furthest(classifier, norm, 1.0)


def norm_of(options: Any) -> str:
    return getattr(options, "norm", "linf")


def size(result: Any, norm: str) -> np.ndarray:
    return np.asarray(getattr(result, norm))


BALLS: list[Any] = [
    *(SquareOptions(norm=norm, max_queries=300, seed=1) for norm in ("linf", "l2")),
    NESOptions(samples=20, max_queries=300, seed=1),
]
"""The options of attacks within a ball."""


def run(options: Any, classifier: Any, images: jax.Array, goal: Any) -> Any:
    return ATTACKS[ATTACKS.name_of(options)].build(classifier, images, goal, options)


@pytest.mark.parametrize("options", BALLS, ids=str)
def test_no_attack_leaves_its_ball_or_reaches_what_no_change_in_it_can(
    options: Any, linear: Classifier, images: jax.Array
) -> None:
    goal = Untargeted([0] * COUNT)
    near, far = (
        replace(options, epsilon=float(epsilon_for(linear, norm_of(options), share))) for share in (0.95, 4)
    )
    failed = run(near, linear, images, goal)
    assert not failed.success.any()
    assert failed.queries.tolist() == [options.max_queries] * COUNT
    # What it found is nearer to the plane all the same.
    assert (failed.confidences[:, 0] < failed.confidences_before[:, 0]).all()
    reached = run(far, linear, images, goal)
    assert reached.success.all()
    assert (reached.queries < options.max_queries).all()
    for result, each in ((failed, near), (reached, far)):
        assert (size(result, norm_of(options)) <= each.epsilon * (1 + 1e-4)).all()
        assert float(result.images.min()) >= 0
        assert float(result.images.max()) <= 1
    np.testing.assert_allclose(reached.confidences, linear(reached.images), atol=1e-5)
    targeted = run(far, linear, images, Targeted([1, 1, 0, 1, 1, 1]))
    assert targeted.success.all()
    assert targeted.queries[2] == 1  # it is there already
    never = run(replace(far, max_queries=37), linear, images, Targeted([2] * COUNT))
    assert (never.success.any(), never.queries.tolist()) == (False, [37] * COUNT)


def test_a_result_does_not_depend_on_the_other_images(linear: Classifier, images: jax.Array) -> None:
    options = SquareOptions(epsilon=float(epsilon_for(linear, "linf", 2)), max_queries=300)
    whole = run(options, linear, images, Untargeted([0] * COUNT))
    part = run(options, linear, images[:3], Untargeted([0] * 3))
    np.testing.assert_array_equal(whole.queries[:3], part.queries)
    np.testing.assert_allclose(whole.images[:3], part.images, atol=1e-6)
    assert len(set(np.asarray(whole.queries).tolist())) > 1


@pytest.mark.parametrize("options", BALLS, ids=str)
def test_a_black_box_is_asked_about_images_of_8_bits_in_the_ball_and_counts_them(
    options: Any, linear: Classifier, images: jax.Array
) -> None:
    epsilon = float(np.ceil(255 * epsilon_for(linear, norm_of(options), 3)) / 255)
    options = replace(options, epsilon=epsilon)
    seen: list[np.ndarray] = []

    def ask(images: np.ndarray) -> np.ndarray:
        seen.append(images)
        return np.asarray(logits_of(linear.params, images))

    box = BlackBox(ask, SHAPE, linear.spec.class_names, "logits", max_batch=4, in_flight=2)
    result = run(options, box, images, Untargeted([0] * COUNT))
    asked = np.concatenate(seen)
    np.testing.assert_array_equal(asked, from_uint8(np.rint(asked * 255).astype(np.uint8)))
    assert result.success.any()
    assert (size(result, norm_of(options)) <= epsilon * (1 + 1e-4)).all()
    assert int(result.queries.sum()) == len(asked) == box.counts.answered
    assert int(result.cached_queries.sum()) == box.counts.cached
    if isinstance(options, SquareOptions) and options.norm == "linf":  # whose changes are whole levels
        compiled = run(options, linear, images, Untargeted([0] * COUNT))
        np.testing.assert_array_equal(compiled.queries, result.queries + result.cached_queries)
        np.testing.assert_allclose(compiled.images, result.images, atol=1e-5)


def test_an_image_that_is_wrong_already_takes_one_query(linear: Classifier, images: jax.Array) -> None:
    result = run(SquareOptions(), linear, images, Untargeted([1] * COUNT))
    assert result.queries.tolist() == [1] * COUNT
    np.testing.assert_array_equal(result.images, images)


def test_labels_alone_lead_to_the_nearest_point_of_a_plane(linear: Classifier, images: jax.Array) -> None:
    options = HopSkipJumpOptions(samples=60, max_queries=2000)
    result = hop_skip_jump(linear, images, Untargeted([0] * COUNT), options)
    assert result.success.all()
    assert result.queries.tolist() == [2000] * COUNT
    assert (result.l2 >= DISTANCE - 0.02).all()  # the images were rounded
    assert float(jnp.median(result.l2)) < 1.3 * DISTANCE


def test_a_black_box_of_labels_is_enough(linear: Classifier, images: jax.Array) -> None:
    box = BlackBox(
        lambda images: np.asarray(logits_of(linear.params, images)).argmax(axis=1),
        SHAPE,
        linear.spec.class_names,
        "labels",
    )
    options = HopSkipJumpOptions(samples=20, max_queries=200)
    result = hop_skip_jump(box, images, Untargeted([0] * COUNT), options)
    assert result.success.all()
    assert box.counts.answered == int(result.queries.sum())
    assert (result.l2 < 4).all()  # uniform noise is 5 or more away


def test_one_pixel_comes_near_to_the_best_of_all_pixels(linear: Classifier, images: jax.Array) -> None:
    options = OnePixelOptions(population=50, max_queries=1000)
    result = one_pixel(linear, images, Targeted([2] * COUNT), options)  # which cannot be reached
    assert (result.l0 <= 3).all()
    assert result.queries.tolist() == [1000] * COUNT
    weights, pixels = np.asarray(linear.params).reshape(SHAPE), np.asarray(images)
    best = np.maximum(weights * (1 - pixels), -weights * pixels).sum(axis=3).max(axis=(1, 2))
    moved = (weights * np.asarray(result.images - images)).sum(axis=(1, 2, 3))
    assert (moved <= best + 1e-3).all()
    assert (moved > 0.5 * best).all()
    assert np.median(moved / best) > 0.8


def test_evolution_stays_near_an_image(linear: Classifier, images: jax.Array) -> None:
    encoding = evofool.direct(SHAPE, around=images[0], epsilon=8 / 255)
    search = evofool.map_elites(encoding, evofool.MapElitesOptions(40))
    state = evofool.run(search, linear, 30)
    elites = encoding.render(state.archive.genomes)
    assert float(jnp.abs(elites - images[0]).max()) <= 8 / 255 + 1e-6
    np.testing.assert_allclose(elites * 255, jnp.round(elites * 255), atol=1e-3)
    before = linear(images[:1])[0]
    assert (state.archive.confidences > before).all()
    np.testing.assert_allclose(state.archive.confidences, linear(elites).diagonal(), atol=1e-6)


def reference_bump(side: int) -> np.ndarray:
    """The released code of the square attack, line by line."""

    def rectangles(x: int, y: int) -> np.ndarray:
        delta = np.zeros([x, y])
        x_c, y_c = x // 2 + 1, y // 2 + 1
        counter2 = [x_c - 1, y_c - 1]
        for counter in range(0, max(x_c, y_c)):
            delta[
                max(counter2[0], 0) : min(counter2[0] + (2 * counter + 1), x),
                max(0, counter2[1]) : min(counter2[1] + (2 * counter + 1), y),
            ] += 1.0 / (counter + 1) ** 2
            counter2[0] -= 1
            counter2[1] -= 1
        return delta / np.sqrt(np.sum(delta**2))

    delta = np.zeros([side, side])
    delta[: side // 2] = rectangles(side // 2, side)
    delta[side // 2 :] = -rectangles(side - side // 2, side)
    return delta / np.sqrt(np.sum(delta**2))


@pytest.mark.parametrize("side", [2, 3, 5, 8, 25])
def test_the_bumps_of_the_square_attack_are_those_of_its_authors(side: int) -> None:
    np.testing.assert_allclose(_bump(side), reference_bump(side), atol=1e-12)
