"""What several tests of attacks attack."""

import jax
import jax.numpy as jnp
import pytest

from evofool import Classifier, load_classifier
from evofool.datasets import load_dataset
from evofool.images import from_uint8


@pytest.fixture(scope="session")
def lenet() -> Classifier:
    return load_classifier("lenet-digits")


@pytest.fixture(scope="session")
def digits() -> tuple[jax.Array, jax.Array]:
    dataset = load_dataset("digits")
    return from_uint8(dataset.test_images[:60]), jnp.asarray(dataset.test_labels[:60])
