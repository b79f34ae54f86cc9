"""A network with one more output is the same network on the others."""

import jax
import numpy as np
import pytest

import evofool
from evofool.classifiers import with_extra_class
from evofool.errors import UsageError


@pytest.mark.parametrize("network", ["linear", pytest.param("squeezenet-1.0", marks=pytest.mark.slow)])
def test_the_other_logits_keep_their_values(network: str) -> None:
    """Also of a network whose last layer is a convolution."""
    shape = (32, 32, 3)
    before = evofool.create_classifier(network, shape, ("cat", "dog"), activation="sigmoid", name="pets")
    after = with_extra_class(before, "noise", seed=4)
    assert after.spec.class_names == ("cat", "dog", "noise")
    assert (after.spec.activation, after.spec.name) == ("sigmoid", "pets")
    images = jax.random.uniform(jax.random.key(0), (3, *shape))
    logits = after.logits(images)
    np.testing.assert_allclose(logits[:, :2], before.logits(images), atol=1e-5)
    other = with_extra_class(before, "noise", seed=5).logits(images)
    assert not np.array_equal(logits[:, 2], other[:, 2]) or network == "squeezenet-1.0"  # ReLU behind it


def test_a_class_that_is_there_is_refused() -> None:
    linear = evofool.create_classifier("linear", (4, 4, 1), ("cat", "dog"))
    with pytest.raises(UsageError, match="linear has a class 'dog' already"):
        with_extra_class(linear, "dog")
