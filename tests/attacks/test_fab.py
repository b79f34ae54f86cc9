"""The fast adaptive boundary attack: exact projections, and distances of a plane."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, linprog

from evofool import Classifier, ClassifierSpec, load_classifier
from evofool.attacks import DeepFoolOptions, FABOptions, Untargeted, deepfool, fab, predicted_classes
from evofool.attacks.fab import to_plane
from evofool.datasets import load_dataset
from evofool.errors import UsageError
from evofool.images import from_uint8


def nearest(point: np.ndarray, normal: np.ndarray, offset: float, norm: str) -> np.ndarray | None:
    """SciPy's smallest change to a plane within [0, 1]; None if the plane is beyond."""
    if norm == "linf":
        # Minimise t over (change, t) with -t <= change <= t.
        count = len(point)
        bounded = np.block([[np.eye(count), -np.ones((count, 1))], [-np.eye(count), -np.ones((count, 1))]])
        solved = linprog(
            np.append(np.zeros(count), 1),
            A_ub=bounded,
            b_ub=np.zeros(2 * count),
            A_eq=[np.append(normal, 0)],
            b_eq=[offset - normal @ point],
            bounds=[*zip(-point, 1 - point, strict=True), (0, None)],
        )
        return solved.x[:-1] if solved.success else None

    def value(multiplier: float) -> float:
        return normal @ np.clip(point - multiplier * normal, 0, 1) - offset

    if value(1e6) * value(-1e6) > 0:
        return None
    multiplier = brentq(value, -1e6, 1e6, xtol=1e-14)
    return np.clip(point - multiplier * normal, 0, 1) - point


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), norm=st.sampled_from(["linf", "l2"]), shift=st.floats(-4, 4))
def test_a_projection_on_a_plane_is_scipys(seed, norm, shift) -> None:
    random = np.random.default_rng(seed)
    point, normal = random.uniform(size=7), random.normal(size=7)
    normal[random.uniform(size=7) < 0.2] = 0
    offset = float(normal @ point + shift)
    arrays = (jnp.asarray(each, jnp.float32)[None] for each in (point, normal, offset))
    found = np.asarray(to_plane(*arrays, norm)[0], np.float64)
    assert ((point + found >= -1e-6) & (point + found <= 1 + 1e-6)).all()
    expected = nearest(point, normal, offset, norm)
    if expected is None:
        corner = np.where(normal * shift > 0, 1, np.where(normal * shift < 0, 0, point))
        np.testing.assert_allclose(normal @ (point + found), normal @ corner, atol=1e-5)
    elif np.abs(normal).max() > 1e-3:
        order = np.inf if norm == "linf" else 2
        np.testing.assert_allclose(normal @ (point + found), offset, atol=1e-4)
        np.testing.assert_allclose(np.linalg.norm(found, order), np.linalg.norm(expected, order), atol=1e-4)


@pytest.mark.parametrize(("norm", "order"), [("l2", 2), ("linf", 1)])
def test_it_ends_at_the_distance_of_a_point_from_a_plane(norm, order) -> None:
    def logits(weights, images):
        margin = images.reshape(len(images), -1) @ weights
        return jnp.stack([jnp.zeros_like(margin), margin], axis=1)

    weights = jax.random.normal(jax.random.key(3), (30,))
    classifier = Classifier(weights, logits, ClassifierSpec("binary", (6, 5, 1), ("no", "yes")))
    images = jax.random.uniform(jax.random.key(4), (8, 6, 5, 1), minval=0.4, maxval=0.6)
    goal = Untargeted(predicted_classes(classifier, images))
    result = fab(classifier, images, goal, FABOptions(norm, steps=20))
    margin = np.abs(np.asarray(images).reshape(8, -1) @ np.asarray(weights))
    distance = margin / np.linalg.norm(weights, order)
    assert result.success.all()
    found = np.asarray(result.l2 if norm == "l2" else result.linf)
    # The smallest of points that go beyond the boundary by a twentieth of a step.
    assert (found >= distance * (1 - 1e-4)).all()
    np.testing.assert_allclose(found, distance, rtol=0.051)


@pytest.mark.slow
def test_changes_are_smaller_than_deepfools() -> None:
    classifier, dataset = load_classifier("lenet-digits"), load_dataset("digits")
    images, labels = from_uint8(dataset.test_images[:20]), dataset.test_labels[:20]
    short = fab(classifier, images, Untargeted(labels), FABOptions("linf", steps=10, targets=3))
    other = deepfool(classifier, images, Untargeted(labels), DeepFoolOptions("linf"))
    assert short.success.all()
    assert short.linf.mean() < other.linf.mean()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"overshoot": 0.9}, "overshoot must be at least 1"),
        ({"overshoot": float("nan")}, "overshoot must be at least 1"),
        ({"largest_bias": 1.1}, "largest_bias must be between 0 and 1"),
        ({"shrinkage": 1.0}, "shrinkage must be above 0 and below 1"),
        ({"steps": 0}, "steps must be above zero"),
    ],
)
def test_options_out_of_range_are_refused(values, words) -> None:
    with pytest.raises(UsageError, match=words):
        FABOptions(**values)
