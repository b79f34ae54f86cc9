"""Scikit-learn's handwritten digits in the layout of MNIST."""

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from evofool.datasets.dataset import Dataset, split
from evofool.errors import EvofoolError

DIGIT_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

# The digit fills a box of 20x20, centred in 28x28 (LeCun et al. 1998, section III.A).
_BOX = 20
_MARGIN = 4


def load_digits() -> Dataset:
    """The test set of the UCI optical recognition dataset, which scikit-learn contains.

    Alpaydin & Kaynak, "Optical recognition of handwritten digits", UCI Machine Learning Repository, 1998. The
    8x8 images are enlarged to 20x20 and framed with 4 black pixels.

    Raises:
        EvofoolError: scikit-learn is not installed.

    Example:
        >>> load_digits().train_images.shape
        (1442, 28, 28, 1)
    """
    try:
        from sklearn import datasets
    except ImportError as error:
        raise EvofoolError("digits needs scikit-learn: run `pip install scikit-learn`") from error
    bunch = datasets.load_digits()
    return split("digits", DIGIT_NAMES, _framed(bunch.images / 16), bunch.target.astype(np.int32))


def _framed(images: Float[np.ndarray, "n 8 8"]) -> UInt8[np.ndarray, "n 28 28 1"]:
    # Enlarged in floating point, because bytes are rounded before the interpolation and clipped within it.
    enlarged = [
        np.asarray(Image.fromarray(image).resize((_BOX, _BOX), Image.Resampling.BICUBIC))
        for image in images.astype(np.float32)
    ]
    pixels = np.rint(255 * np.clip(np.stack(enlarged), 0, 1)).astype(np.uint8)
    return np.pad(pixels, ((0, 0), (_MARGIN, _MARGIN), (_MARGIN, _MARGIN)))[..., None]
