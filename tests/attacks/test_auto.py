"""AutoAttack: each attack on what the others left, within the ball, and independent of other images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evofool import Classifier, ClassifierSpec
from evofool.attacks import APGDOptions, AutoAttackOptions, Untargeted, apgd, autoattack
from evofool.errors import UsageError

SHAPE = (4, 4, 1)
OPTIONS = AutoAttackOptions(0.1, steps=8, targets=2, square_queries=40, seed=3)


def masked_logits(params, images):
    """A network of one layer, whose gradient vanishes for images that begin with a dark pixel."""
    hidden = jnp.tanh(images.reshape(len(images), -1) @ params[0])
    logits = hidden @ params[1]
    visible = images[:, 0, 0, 0] > 0.5
    return jnp.where(visible[:, None], logits, jnp.round(3 * logits))


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    random = np.random.default_rng(0)
    params = jnp.asarray(random.normal(size=(16, 12)), jnp.float32), jnp.asarray(random.normal(size=(12, 5)))
    return Classifier(params, masked_logits, ClassifierSpec("masked", SHAPE, tuple("abcde")))


@pytest.fixture(scope="module")
def images() -> jax.Array:
    return (
        jax.random.uniform(jax.random.key(1), (8, *SHAPE)).at[:, 0, 0, 0].set(jnp.arange(8) % 2 * 0.8 + 0.1)
    )


@pytest.mark.slow
def test_each_attack_gets_what_the_others_left(classifier, images) -> None:
    labels = np.array(classifier(images).argmax(axis=1))
    labels[5] = (labels[5] + 1) % 5  # wrong from the start
    result = autoattack(classifier, images, Untargeted(labels), OPTIONS)
    fooled_by, success = np.asarray(result.fooled_by), np.asarray(result.success)
    assert (fooled_by[5], bool(success[5])) == (-1, True)
    np.testing.assert_array_equal(success, (fooled_by >= 0) | (np.arange(8) == 5))
    assert result.linf.max() <= 0.1 + 1e-6
    np.testing.assert_array_equal(result.images[fooled_by < 0], images[fooled_by < 0])
    first = apgd(classifier, images, Untargeted(labels), APGDOptions(0.1, steps=8, seed=3))
    # Where there is no gradient, only the one that asks finds its way.
    dark, wrong = np.asarray(images[:, 0, 0, 0]) < 0.5, np.arange(8) == 5
    assert (fooled_by[dark] == 3).any()
    followed = ~dark & ~wrong
    assert (fooled_by[followed] == 0).any()
    np.testing.assert_array_equal(fooled_by[followed] == 0, np.asarray(first.success)[followed])
    gradient = np.asarray(result.had_gradient)
    np.testing.assert_array_equal(gradient, ~dark | wrong)


@pytest.mark.slow
def test_a_result_does_not_depend_on_other_images(classifier, images) -> None:
    labels = np.asarray(classifier(images).argmax(axis=1))
    whole = autoattack(classifier, images, Untargeted(labels), OPTIONS)
    part = autoattack(classifier, images[:6], Untargeted(labels[:6]), OPTIONS)
    np.testing.assert_array_equal(part.fooled_by, whole.fooled_by[:6])
    np.testing.assert_allclose(part.images, whole.images[:6], atol=1e-5)


def test_it_is_no_part_of_a_compiled_function(classifier, images) -> None:
    with pytest.raises(UsageError, match="cannot be part of a compiled function"):
        jax.jit(lambda images: autoattack(classifier, images, Untargeted([0] * 8)))(images)


def test_a_ball_of_l2_needs_a_size(classifier, images) -> None:
    with pytest.raises(UsageError, match="norm l2 requires epsilon"):
        autoattack(classifier, images, Untargeted([0] * 8), AutoAttackOptions(norm="l2"))
