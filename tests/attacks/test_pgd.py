"""Projected gradient descent beside NumPy and Foolbox, and its restarts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evofool import Classifier, ClassifierSpec
from evofool.attacks import PGDOptions, Untargeted, pgd
from evofool.attacks.attack import image_keys
from evofool.attacks.balls import lengths, random_changes
from evofool.numerics.random_numbers import fold_in_each

LABELS = [0, 1, 2, 1, 0, 2]


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.2), ("l2", 0.8)])
def test_steps_are_those_of_numpy(norm, epsilon) -> None:
    """Softmax regression, whose gradient is W (onehot - p), with images at the edge of the valid range."""
    random = np.random.default_rng(0)
    kernel = random.normal(size=(16, 3))
    images = random.choice([0.0, 0.05, 0.5, 0.97], (6, 4, 4, 1)).astype(np.float32)
    classifier = Classifier(
        jnp.asarray(kernel, jnp.float32),
        lambda kernel, images: images.reshape(len(images), -1) @ kernel,
        ClassifierSpec("linear", (4, 4, 1), ("a", "b", "c")),
    )
    drawn = random_changes(fold_in_each(image_keys(3, 6), jnp.int32(0)), (4, 4, 1), norm, epsilon)
    original, start = (np.asarray(each, np.float64).reshape(6, 16) for each in (images, drawn))
    x = np.clip(original + start, 0, 1)
    for _ in range(6):
        odds = np.exp(x @ kernel)
        uphill = (odds / odds.sum(axis=1, keepdims=True) - np.eye(3)[LABELS]) @ kernel.T
        if norm == "linf":
            change = np.clip(x + 0.3 * epsilon * np.sign(uphill) - original, -epsilon, epsilon)
        else:
            step = uphill / np.linalg.norm(uphill, axis=1, keepdims=True)
            change = x + 0.3 * epsilon * step - original
            change *= np.minimum(1, epsilon / np.linalg.norm(change, axis=1, keepdims=True))
        x = np.clip(original + change, 0, 1)
    options = PGDOptions(epsilon, norm, steps=6, step_size=0.3 * epsilon, seed=3)
    result = pgd(classifier, jnp.asarray(images), Untargeted(LABELS), options)
    np.testing.assert_allclose(np.asarray(result.images).reshape(6, 16), x, atol=1e-5)
    np.testing.assert_array_equal(result.success, (x @ kernel).argmax(axis=1) != LABELS)
    assert ((x == 0) | (x == 1)).any()


@pytest.mark.slow
@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.1), ("l2", 1.5)])
def test_steps_from_the_same_start_are_foolboxs(lenet, digits, norm, epsilon) -> None:
    foolbox = pytest.importorskip("foolbox")
    with jax.enable_x64(True):
        classifier = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), lenet)
        images, labels = digits[0][:20].astype(jnp.float64), digits[1][:20]
        name = {"linf": "LinfProjectedGradientDescentAttack", "l2": "L2ProjectedGradientDescentAttack"}[norm]
        start = random_changes(fold_in_each(image_keys(3, 20), jnp.int32(0)), images.shape[1:], norm, epsilon)

        class FromOurStart(getattr(foolbox.attacks, name)):
            def get_random_start(self, x0, size):
                return x0 + start

        model = foolbox.JAXModel(jax.jit(classifier.logits), bounds=(0, 1), data_format="channels_last")
        attack = FromOurStart(steps=6, abs_stepsize=0.3 * epsilon)
        _, expected, success = attack(model, images, labels, epsilons=epsilon)
        options = PGDOptions(epsilon, norm, steps=6, step_size=0.3 * epsilon, seed=3)
        result = pgd(classifier, images, Untargeted(labels), options)
        np.testing.assert_allclose(result.images, expected, atol=1e-9)
        np.testing.assert_array_equal(result.success, success)


def pit_logits(params, images):
    """The second class wins where the first pixel is above a half, and no gradient leads there."""
    first = images[:, 0, 0, 0]
    height = jnp.where(first > 0.5, 1 + first, -1 - first)
    return jnp.stack([params * jnp.zeros_like(first), params * height], axis=1)


def test_an_image_is_started_again_until_it_is_fooled() -> None:
    classifier = Classifier(jnp.float32(1), pit_logits, ClassifierSpec("pit", (2, 2, 1), ("low", "high")))
    images = jnp.full((200, 2, 2, 1), 0.5)
    goal = Untargeted([0] * 200)
    shares = []
    for restarts in (1, 2, 5):
        result = pgd(classifier, images, goal, PGDOptions(0.2, steps=1, step_size=0.0, restarts=restarts))
        shares.append(float(result.success.mean()))
        assert result.linf.max() <= 0.2 + 1e-6
    # Every start is above a half by chance of one half.
    np.testing.assert_allclose(shares, [1 / 2, 3 / 4, 31 / 32], atol=0.1)
    first = pgd(classifier, images, goal, PGDOptions(0.2, steps=1, step_size=0.0))
    again = pgd(classifier, images, goal, PGDOptions(0.2, steps=1, step_size=0.0, restarts=5))
    np.testing.assert_array_equal(again.images[first.success], first.images[first.success])


@pytest.mark.parametrize(("norm", "epsilon"), [("l2", 2.0), ("l1", 20.0)])
def test_other_norms_keep_their_ball_and_fool(lenet, digits, norm, epsilon) -> None:
    images, labels = digits
    result = pgd(lenet, images, Untargeted(labels), PGDOptions(epsilon, norm, steps=20))
    assert (lengths(result.images - images, norm) <= epsilon * (1 + 1e-5)).all()
    assert result.success.mean() > 0.6


def test_what_it_saw_with_8_bits_survives_saving(lenet, digits) -> None:
    images, labels = digits
    # 15.3 levels: rounded to the nearest level, changes of 15.3 stay within the ball, of 15.6 would not.
    result = pgd(lenet, images, Untargeted(labels), PGDOptions(15.6 / 255, steps=10, eight_bit=True))
    np.testing.assert_array_equal(result.success, result.quantised.success)
    np.testing.assert_array_equal(result.images, result.quantised.images)
    assert np.rint(255 * float(result.linf.max())) == 15
    assert result.success.any()
