"""The pages of a run hold every class once per order, in its place."""

from pathlib import Path

import numpy as np
import pytest

from evofool.errors import UsageError
from evofool.images import read_png
from evofool.report import contact_pages, contact_sheet, format_confidence


def test_each_page_is_the_contact_sheet_of_its_classes(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (25, 9, 9, 3), dtype=np.uint8)
    names = [f"class {index * 7 % 25:02d}" for index in range(25)]
    confidences = np.linspace(0.9, 0.1, 25).astype(np.float32)
    confidences[3] = -np.inf
    files = contact_pages(images, names, confidences, tmp_path / "pages", title="Noise", images_per_page=10)
    assert [file.name for file in files] == [
        f"by_{order}_{page:02d}.png" for order in ("confidence", "name") for page in (1, 2, 3)
    ]
    by_confidence = [*range(3), *range(4, 25), 3]
    by_name = sorted(range(25), key=lambda index: names[index])
    lowest = format_confidence(confidences[by_confidence[20]])
    for order, indices, file in (
        (f"confidence, page 3 of 3: {lowest} to \N{EN DASH}", by_confidence[20:], files[2]),
        ("name, page 2 of 3: class 10 to class 19", by_name[10:20], files[4]),
    ):
        contact_sheet(
            images[indices],
            [names[index] for index in indices],
            confidences[indices],
            tmp_path / "expected.png",
            columns=10,
            title="Noise",
            subtitle=f"by {order}",
        )
        np.testing.assert_array_equal(read_png(file), read_png(tmp_path / "expected.png"))


def test_a_page_without_images_is_refused(tmp_path: Path) -> None:
    images = np.zeros((1, 9, 9, 1), np.uint8)
    with pytest.raises(UsageError, match="images_per_page must be above zero"):
        contact_pages(images, ["one"], np.ones(1), tmp_path / "pages", title="", images_per_page=0)
