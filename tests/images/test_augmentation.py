"""Augmented images are windows of the padded image or of its mirror image, each as likely."""

import jax
import jax.numpy as jnp
import numpy as np

from evofool.images import flip_and_crop


def test_every_image_is_a_window_of_itself_or_of_its_mirror_image() -> None:
    """Against all windows that there are, found one by one."""
    original = np.random.default_rng(0).integers(256, size=(16, 24, 3), dtype=np.uint8)
    changed = np.asarray(flip_and_crop(jnp.asarray(np.tile(original, (600, 1, 1, 1))), jax.random.key(1)))
    padded = np.pad(original, ((2, 2), (3, 3), (0, 0)), mode="reflect")
    windows = {
        picture[row : row + 16, column : column + 24].tobytes(): (mirrored, row, column)
        for mirrored, picture in enumerate((padded, padded[:, ::-1]))
        for row in range(5)
        for column in range(7)
    }
    found = np.array([windows[image.tobytes()] for image in changed])
    # Within five standard deviations of what is expected of uniform choices.
    for counts, shares in ((np.bincount(found[:, axis]), share) for axis, share in enumerate((2, 5, 7))):
        expected = 600 / shares
        assert len(counts) == shares
        assert np.abs(counts - expected).max() < 5 * np.sqrt(expected * (1 - 1 / shares))


def test_small_images_are_only_mirrored() -> None:
    original = np.arange(5 * 7 * 4, dtype=np.uint8).reshape(5, 7, 4, 1)
    changed = np.asarray(flip_and_crop(jnp.asarray(original), jax.random.key(0)))
    for image, before in zip(changed, original, strict=True):
        assert image.tobytes() in (before.tobytes(), before[:, ::-1].tobytes())
