"""Images that stay in their files until they are asked for."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import UInt8

from evofool.images import load_photographs


class StoredImages:
    """The images of many files as one array that is never in memory: indexing decodes what it chooses.

    Each is cropped and resized as `load_photograph` does; a file of the given height and width keeps every
    pixel.

    Args:
        paths: the files, in any format that `read_image` reads.
        image_shape: height, width and channels (1 grey, 3 RGB) of all images.

    Attributes:
        shape: of the array, `(n, h, w, c)`.
        dtype: uint8; pixels are 0 to 255.

    Example:
        >>> import tempfile
        >>> from evofool.images import write_png
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     paths = [Path(folder, f"{level}.png") for level in (10, 20, 30)]
        ...     for level, path in zip((10, 20, 30), paths):
        ...         write_png(path, np.full((4, 6, 1), level, np.uint8))
        ...     images = StoredImages(paths, (2, 2, 1))
        ...     images.shape, images[np.array([2, 0])][:, 0, 0, 0].tolist()
        ((3, 2, 2, 1), [30, 10])
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, paths: Sequence[Path], image_shape: tuple[int, int, int]) -> None:
        self._paths = list(paths)
        self.shape = (len(self._paths), *image_shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> UInt8[np.ndarray, "m h w c"]:
        """The images of a slice, an array of indices or a mask, decoded on several threads.

        Raises:
            EvofoolError: a file cannot be read as an image.
        """
        return load_photographs(self._chosen(index), self.shape[1:])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)

    @property
    def nbytes(self) -> int:
        """The memory that all images take when they are decoded, in bytes."""
        return int(np.prod(self.shape))

    def subset(self, index: Any) -> "StoredImages":
        """The images of an array of indices or a mask, still in their files."""
        return StoredImages(self._chosen(index), self.shape[1:])

    def joined(self, others: "StoredImages") -> "StoredImages":
        """These images followed by others of the same shape, still in their files."""
        return StoredImages([*self._paths, *others._paths], self.shape[1:])

    def _chosen(self, index: Any) -> list[Path]:
        return [self._paths[number] for number in np.arange(len(self))[index]]


Images: TypeAlias = np.ndarray | StoredImages
"""Images in memory or in files."""
