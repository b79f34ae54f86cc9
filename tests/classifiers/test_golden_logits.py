"""The networks of Caffe and torchvision against logits that PyTorch computed, where it is not installed."""

import jax
import numpy as np
import pytest

from tests.classifiers.golden_networks import SIDES, golden_network


@pytest.mark.parametrize(
    # VGG-19 is VGG-16 with three more layers, and its half a gigabyte of weights takes as long.
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name.startswith("vgg") else ()) for name in SIDES],
)
def test_logits_are_those_that_torch_computed(name: str) -> None:
    classifier, images, expected = golden_network(name)
    found = jax.jit(lambda classifier, images: classifier.logits(images))(classifier, images)
    assert expected.std() > 0.1
    assert np.abs(np.asarray(found) - expected).max() < 2e-5 * np.abs(expected).max()
