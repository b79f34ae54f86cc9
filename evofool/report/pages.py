"""Contact sheets of a run with many classes, page by page: sorted by confidence and by name."""

import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from evofool.errors import require_positive
from evofool.report.contact_sheet import contact_sheet, format_confidence

IMAGES_PER_PAGE = 100
_COLUMNS = 10


def contact_pages(
    images: UInt8[np.ndarray, "k h w c"],
    names: Sequence[str],
    confidences: Float[np.ndarray, " k"],
    folder: str | os.PathLike[str],
    *,
    title: str,
    images_per_page: int = IMAGES_PER_PAGE,
) -> list[Path]:
    """Save all classes on pages, sorted by decreasing confidence and again by name.

    Args:
        images: one image per class, pixels in 0..255, grey (`c` = 1) or RGB (`c` = 3).
        names: the class of each image.
        confidences: the confidence of each image in its class, in 0..1; nan or -inf for a class without an
            image, which comes last.
        folder: the folder of the pages; it is created if missing.
        title: a heading on each page.
        images_per_page: the number of classes on a page.

    Returns:
        The files: by_confidence_01.png, ..., then by_name_01.png, ...

    Raises:
        UsageError: `contact_sheet` rejects the arguments, or `images_per_page` is not positive.
        OSError: a file cannot be written.

    Example:
        >>> import tempfile
        >>> noise = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 1), dtype=np.uint8)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     names, confidences = [f"class {i}" for i in range(30)], np.full(30, 0.5)
        ...     pages = contact_pages(noise, names, confidences, folder, title="Noise", images_per_page=20)
        ...     [page.name for page in pages]
        ['by_confidence_01.png', 'by_confidence_02.png', 'by_name_01.png', 'by_name_02.png']
    """
    require_positive(images_per_page=images_per_page)
    Path(folder).mkdir(exist_ok=True)
    certainty = np.where(np.isfinite(confidences), confidences, -np.inf)
    orders = {
        "by_confidence": np.argsort(-certainty, kind="stable"),
        "by_name": np.array(sorted(range(len(names)), key=lambda index: (names[index].casefold(), index))),
    }
    pages = math.ceil(len(names) / images_per_page)
    files = []
    for order, indices in orders.items():
        for page in range(pages):
            shown = indices[page * images_per_page : (page + 1) * images_per_page]
            first, last = (
                names[shown[end]] if order == "by_name" else format_confidence(confidences[shown[end]])
                for end in (0, -1)
            )
            files.append(Path(folder, f"{order}_{page + 1:0{max(2, len(str(pages)))}d}.png"))
            contact_sheet(
                images[shown],
                [names[index] for index in shown],
                confidences[shown],
                files[-1],
                columns=_COLUMNS,
                title=title,
                subtitle=f"{order.replace('_', ' ')}, page {page + 1} of {pages}: {first} to {last}",
            )
    return files
