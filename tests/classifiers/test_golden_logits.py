"""AlexNet, CaffeNet and GoogLeNet against logits that PyTorch computed once, where it is not installed."""

import jax
import numpy as np
import pytest

from tests.classifiers.golden_networks import SIDES, golden_network


@pytest.mark.parametrize("name", SIDES)
def test_logits_are_those_that_torch_computed(name: str) -> None:
    classifier, images, expected = golden_network(name)
    found = jax.jit(lambda classifier, images: classifier.logits(images))(classifier, images)
    assert expected.std() > 0.1
    assert np.abs(np.asarray(found) - expected).max() < 2e-5 * np.abs(expected).max()
