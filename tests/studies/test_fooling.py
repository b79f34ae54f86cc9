"""How fooling is judged, by hand on a classifier that sees which of three pixels is brightest."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from evofool import Classifier, ClassifierSpec
from evofool.studies import Work
from evofool.studies.fooling import Fooling, FoolingOptions, fool, magnified, see, with_noise


def brightest(params, images):
    return params * images[:, 0, :, 0]


PIXELS = Classifier(
    jnp.float32(8), brightest, ClassifierSpec("pixels", (1, 3, 1), ("left", "middle", "right"))
)


def of(rows: list[list[int]]) -> np.ndarray:
    return np.array(rows, np.uint8).reshape(-1, 1, 3, 1)


def confidences(images: np.ndarray) -> np.ndarray:
    exponentials = np.exp(8 * (images[:, 0, :, 0] / 255))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def test_an_image_of_nothing_fools_who_has_more_than_half_in_some_class() -> None:
    images = of([[255, 0, 0], [0, 255, 0], [9, 8, 7], [0, 0, 255]])
    seen = see(PIXELS, Fooling(images, np.array([0, 0, 0, 2])))
    expected = confidences(images)
    assert seen.fooled.tolist() == [True, True, False, True]
    assert seen.same_class.tolist() == [True, False, False, True]
    np.testing.assert_allclose(seen.confidences, expected.max(axis=1), rtol=1e-5)
    np.testing.assert_allclose(seen.wanted, expected[np.arange(4), [0, 0, 0, 2]], rtol=1e-5)
    rejected = see(PIXELS, Fooling(images, np.array([0, 0, 0, 1])), classes=2)  # right rejects
    assert rejected.fooled.tolist() == [True, True, False, False]


def test_a_changed_image_fools_who_takes_it_for_anything_but_its_label() -> None:
    images, labels = of([[9, 8, 7], [9, 8, 7], [7, 8, 9]]), np.array([0, 1, 0])
    fooling = Fooling(images, np.array([1, 0, 1]), np.zeros((3, 1, 3, 1), np.float32), images, labels)
    assert see(PIXELS, fooling).fooled.tolist() == [False, True, True]
    assert see(PIXELS, fooling).same_class.tolist() == [False, True, False]
    assert see(PIXELS, fooling, classes=2).fooled.tolist() == [False, True, False]


@given(
    hnp.arrays(np.uint8, (4, 1, 3, 1)),
    hnp.arrays(np.float32, (4, 1, 3, 1), elements=st.floats(-1, 1, width=32)),
    st.sampled_from([0.5, 1.0, 2.0]),
)
def test_a_change_is_multiplied_as_far_as_pixels_allow(originals, changes, factor) -> None:
    made = Fooling(originals, np.zeros(4, np.int64), changes, originals, np.zeros(4, np.int64))
    larger = magnified(made, factor)
    exact = 255 * np.clip(originals / 255 + factor * changes.astype(np.float64), 0, 1)
    assert np.abs(larger.images - exact).max() <= 0.5 + 1e-3
    np.testing.assert_allclose(larger.changes, factor * changes)
    np.testing.assert_array_equal(larger.originals, originals)
    nothing = Fooling(originals, np.zeros(4, np.int64))
    assert magnified(nothing, factor) is nothing


def test_noise_has_the_size_of_the_change() -> None:
    originals = np.full((2, 40, 50, 1), 128, np.uint8)
    images = originals.copy()
    images[0, :, ::2] += 40
    made = Fooling(images, np.zeros(2, np.int64), None, originals, np.zeros(2, np.int64))
    noisy = with_noise(made, seed=1)
    difference = noisy.images.astype(float) - originals
    assert difference[0].std() == pytest.approx(np.sqrt(0.5) * 40, rel=0.05)
    assert abs(difference[0].mean()) < 3
    assert (difference[1] == 0).all()  # where nothing was changed
    np.testing.assert_array_equal(with_noise(made, seed=1).images, noisy.images)
    assert (with_noise(made, seed=2).images != noisy.images).any()


def test_fgsm_moves_every_pixel_along_the_sign_of_the_gradient() -> None:
    images, labels = of([[200, 100, 50], [50, 100, 200], [250, 100, 90]]), np.array([0, 2, 0])
    options = FoolingOptions(("fgsm",), epsilon=51 / 255)
    made = fool(Work(), "step", "fgsm", PIXELS, images, labels, options)
    assert made.images[:, 0, :, 0].tolist() == [[149, 151, 101], [101, 151, 149], [199, 151, 141]]
    assert see(PIXELS, made).fooled.tolist() == [True, True, False]
    assert made.classes.tolist() == [1, 1, 0]
    adaptive = fool(Work(), "step", "fgsm", PIXELS, images, labels, options, classes=2)
    # Not away from the label but towards the likeliest of the first two classes that is not the label.
    assert adaptive.images[:, 0, :, 0].tolist() == [[149, 151, 0], [0, 151, 149], [199, 151, 39]]
