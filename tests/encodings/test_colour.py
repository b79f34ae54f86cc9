"""Colour is OpenCV's, to the last bit, over the whole of the 8-bit space."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evofool.encodings.colour import hls_to_rgb

cv2 = pytest.importorskip("cv2", reason="OpenCV, the reference, is not installed")


def test_every_hue_lightness_and_saturation_is_that_of_opencv() -> None:
    convert = jax.jit(hls_to_rgb)
    lightness, saturation = np.meshgrid(np.arange(256), np.arange(256), indexing="ij")
    for hue in range(256):
        hls = np.stack([np.full_like(lightness, hue), lightness, saturation], axis=-1).astype(np.uint8)
        expected = cv2.cvtColor(hls, cv2.COLOR_HLS2RGB)
        np.testing.assert_array_equal(np.asarray(convert(jnp.asarray(hls, jnp.float32))), expected)
