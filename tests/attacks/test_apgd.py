"""Auto-PGD beside a literal NumPy version of its algorithm."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evofool import Classifier, ClassifierSpec
from evofool.attacks import APGDOptions, Untargeted, apgd
from evofool.attacks.apgd import start_of
from evofool.attacks.attack import image_keys
from evofool.numerics.random_numbers import fold_in_each

CLASSES, SHAPE = 5, (3, 4, 1)
STEPS = 40


def tanh_logits(params, images):
    inner, outer = params
    return jnp.tanh(images.reshape(len(images), -1) @ inner) @ outer


@pytest.fixture(scope="module")
def params() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(2)
    return random.normal(size=(12, 8)), random.normal(size=(8, CLASSES))


def dlr(logits: np.ndarray, label: int, target: int | None) -> float:
    """Croce & Hein 2020, equations 6 and 7."""
    first, _, third, fourth = sorted(logits, reverse=True)[:4]
    if target is None:
        return -(logits[label] - np.delete(logits, label).max()) / (first - third)
    return -(logits[label] - logits[target]) / (first - (third + fourth) / 2)


def cross_entropy(logits: np.ndarray, label: int, target: int | None) -> float:
    return float(np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[label])


class Literal:
    """Algorithm 1 for one image, with the loss's gradient by finite differences in the logits."""

    def __init__(self, params, loss, label, target):
        self.params, self.loss, self.label, self.target = params, loss, label, target

    def logits(self, x):
        return np.tanh(x.ravel() @ self.params[0]) @ self.params[1]

    def f(self, x):
        return self.loss(self.logits(x), self.label, self.target)

    def gradient(self, x):
        z = self.logits(x)
        step = 1e-6 * np.eye(CLASSES)
        of_logits = [
            (self.loss(z + e, self.label, self.target) - self.loss(z - e, self.label, self.target)) / 2e-6
            for e in step
        ]
        slope = 1 - np.tanh(x.ravel() @ self.params[0]) ** 2
        return (self.params[0] @ (slope * (self.params[1] @ of_logits))).reshape(x.shape)

    def run(self, x, start, epsilon, norm, steps):
        """The highest point, and the first that left the label."""

        def project(z):
            if norm == "linf":
                return np.clip(np.clip(z, x - epsilon, x + epsilon), 0, 1)
            d = z - x
            return np.clip(x + d * min(1, epsilon / np.linalg.norm(d)), 0, 1)

        def ascend(z, size):
            g = self.gradient(z)
            return project(z + size * (np.sign(g) if norm == "linf" else g / np.linalg.norm(g)))

        # The checkpoints w_j of the paper, in whole steps as in the authors' code.
        w, length = [0], int(0.22 * steps)
        while w[-1] + length <= steps:
            w.append(w[-1] + length)
            length = max(length - int(0.03 * steps), int(0.06 * steps))
        size = 2 * epsilon
        points = [start]
        values = [self.f(start)]
        best, best_value = start, values[0]
        left = None if self.logits(start).argmax() == self.label else start
        previous, current = start, start
        sizes, bests = [size], [best_value]
        for k in range(steps):
            z = ascend(current, size)
            share = 1 if k == 0 else 0.75
            new = project(current + share * (z - current) + (1 - share) * (current - previous))
            previous, current = current, new
            values.append(self.f(current))
            points.append(current)
            if values[-1] > best_value:
                best, best_value = current, values[-1]
            if left is None and self.logits(current).argmax() != self.label:
                left = current
            if k + 1 in w[1:]:
                j = w.index(k + 1)
                rises = sum(values[i + 1] > values[i] for i in range(w[j - 1], w[j]))
                first_condition = rises <= 0.75 * (w[j] - w[j - 1])
                second = j > 1 and sizes[-1] == sizes[-2] and bests[-1] == best_value
                if first_condition or second:
                    size, current = size / 2, best
                sizes.append(size)
                bests.append(best_value)
        return best, left


@pytest.mark.parametrize(
    ("norm", "epsilon", "loss"),
    [("linf", 0.02, "dlr"), ("l2", 0.05, "ce"), ("linf", 0.1, "dlr-targeted")],
)
def test_every_step_is_that_of_the_paper(params, norm, epsilon, loss) -> None:
    with jax.enable_x64(True):
        spec = ClassifierSpec("tanh", SHAPE, tuple("abcde"))
        classifier = Classifier(tuple(map(jnp.asarray, params)), tanh_logits, spec)
        images = jax.random.uniform(jax.random.key(0), (6, *SHAPE), jnp.float64)
        logits = np.asarray(classifier.logits(images))
        labels = logits.argmax(axis=1)
        options = APGDOptions(epsilon, norm, loss, steps=STEPS, targets=1, seed=5)
        result = apgd(classifier, images, Untargeted(labels), options)
        starts = start_of(fold_in_each(image_keys(5, 6), jnp.int32(0)), images, norm, epsilon)
    for image, start, label, found, before in zip(
        np.asarray(images), np.asarray(starts), labels, np.asarray(result.images), logits, strict=True
    ):
        target = int(before.argsort()[-2]) if loss == "dlr-targeted" else None
        literal = Literal(params, cross_entropy if loss == "ce" else dlr, int(label), target)
        best, left = literal.run(image, start, epsilon, norm, STEPS)
        np.testing.assert_allclose(found, best if left is None else left, atol=1e-7)
    shares = result.success.mean()
    assert shares > 0 if loss == "dlr-targeted" else shares < 1


def test_starts_are_on_the_surface_of_their_ball() -> None:
    images = jnp.full((5, *SHAPE), 0.5)
    starts = start_of(image_keys(0, 5), images, "l2", 0.3)
    np.testing.assert_allclose(jnp.sqrt(jnp.square(starts - 0.5).sum(axis=(1, 2, 3))), 0.3, rtol=1e-5)
    starts = start_of(image_keys(0, 5), images, "linf", 0.3)
    np.testing.assert_allclose(jnp.abs(starts - 0.5).max(axis=(1, 2, 3)), 0.3, rtol=1e-5)


@pytest.mark.parametrize("classes", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_few_classes_have_no_denominator(classes) -> None:
    def logits(params, images):
        score = images.mean(axis=(1, 2, 3)) - 0.45
        return params * jnp.stack([score, *[-score - 0.1 * k for k in range(classes - 1)]], axis=1)

    classifier = Classifier(jnp.float32(9), logits, ClassifierSpec("few", SHAPE, tuple("abc"[:classes])))
    for loss in ("dlr", "dlr-targeted"):
        options = APGDOptions(0.1, loss=loss, steps=10)
        result = apgd(classifier, jnp.full((2, *SHAPE), 0.5), Untargeted([0, 0]), options)
        assert result.success.all(), loss
