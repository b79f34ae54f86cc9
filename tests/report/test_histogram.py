"""The histogram counts the classes that have an image."""

from pathlib import Path

import numpy as np
import pytest

from evofool.errors import UsageError
from evofool.images import read_png
from evofool.report import confidence_histogram


def test_classes_without_an_image_are_left_out(tmp_path: Path) -> None:
    some = np.array([0.1, 0.5, 0.50001, 1.0], np.float32)
    confidence_histogram(some, tmp_path / "some.png", title="Some")
    confidence_histogram(np.append(some, [-np.inf, np.nan]), tmp_path / "more.png", title="Some")
    np.testing.assert_array_equal(read_png(tmp_path / "some.png"), read_png(tmp_path / "more.png"))
    confidence_histogram(some[:2], tmp_path / "fewer.png", title="Some")
    assert not np.array_equal(read_png(tmp_path / "some.png"), read_png(tmp_path / "fewer.png"))
    with pytest.raises(UsageError, match="no class has an image"):
        confidence_histogram(np.array([-np.inf]), tmp_path / "none.png")
