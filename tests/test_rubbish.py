"""What classifiers make of noise."""

import jax.numpy as jnp
import numpy as np
import pytest

from evofool import Classifier, ClassifierSpec, load_classifier
from evofool.datasets import load_dataset
from evofool.errors import UsageError
from evofool.pixels import from_uint8
from evofool.studies import RubbishResult, rubbish
from evofool.studies.rubbish import certainty


def brightness(params, images):
    level = params * (images.mean(axis=(1, 2, 3)) - 0.5)
    return jnp.stack([-level, level], axis=1)


@pytest.fixture
def balance() -> Classifier:
    return Classifier(jnp.float32(1000), brightness, ClassifierSpec("balance", (4, 4, 1), ("dark", "light")))


@pytest.mark.parametrize("noise", ["uniform", "gaussian"])
def test_symmetric_noise_falls_on_both_sides_of_a_symmetric_classifier(balance, noise) -> None:
    result = rubbish(balance, noise, count=5000)
    assert len(result.confidences) == 5000
    np.testing.assert_allclose(result.class_shares(2), 0.5, atol=0.03)
    assert result.share_above(0.5) == 1
    assert result.share_above(0.99) > 0.9
    assert result.mean_confidence_above(0.99) > 0.99


def test_the_same_seed_gives_the_same_noise_however_many_there_are(balance) -> None:
    few, many = rubbish(balance, count=70), rubbish(balance, count=200)
    np.testing.assert_array_equal(few.confidences, many.confidences[:70])
    assert (rubbish(balance, count=70, seed=1).confidences != few.confidences).any()


def test_shares_are_counted_by_hand() -> None:
    result = RubbishResult(np.array([0.4, 0.6, 0.8]), np.array([0, 2, 2]))
    assert result.share_above(0.5) == pytest.approx(2 / 3)
    assert result.mean_confidence_above(0.5) == pytest.approx(0.7)
    assert np.isnan(result.mean_confidence_above(0.9))
    np.testing.assert_allclose(result.class_shares(4), [1 / 3, 0, 2 / 3, 0])


def test_a_digit_classifier_is_more_certain_of_digits_than_of_noise() -> None:
    lenet = load_classifier("lenet-digits")
    digits = certainty(lenet, from_uint8(load_dataset("digits").test_images))
    assert digits.share_above(0.9) > 0.9
    assert 0 < rubbish(lenet, count=500).share_above(0.9) < digits.share_above(0.9)


def test_what_cannot_be_is_refused(balance) -> None:
    with pytest.raises(UsageError, match="count must be above zero"):
        rubbish(balance, count=0)
    with pytest.raises(UsageError, match="no images"):
        certainty(balance, jnp.zeros((0, 4, 4, 1)))
