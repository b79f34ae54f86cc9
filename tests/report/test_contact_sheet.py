"""Contact sheets show every image, name and confidence in its place, and confidences are never overstated."""

import re
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from evofool.errors import UsageError
from evofool.images import read_png, write_png
from evofool.report import contact_sheet, format_confidence

WHITE = 255
LONG_NAMES = ("Staffordshire bullterrier", "a class with a name of some forty letters", "M" * 40, "i " * 30)


def random_images(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def sheet_of(images, folder, names=None, confidences=None, **options):
    names = [f"class {i}" for i in range(len(images))] if names is None else names
    confidences = np.full(len(images), 0.9999, np.float32) if confidences is None else confidences
    contact_sheet(images, names, confidences, folder / "sheet.png", **options)
    return read_png(folder / "sheet.png")


def enlarged(image, factor):
    return np.broadcast_to(
        image.repeat(factor, 0).repeat(factor, 1), (*(factor * np.array(image.shape[:2])), 3)
    )


def locate(sheet, block, from_row=0):
    """The row and column of the sheet at which the block's exact pixels begin, or None."""
    pixels, pattern = memoryview(sheet.reshape(-1)), np.ascontiguousarray(block[0]).tobytes()
    for first in range(from_row, len(sheet), 64):  # a strip at a time: a sheet of a thousand is large
        strip = bytes(pixels[first * sheet.shape[1] * 3 : (first + 64) * sheet.shape[1] * 3])
        start = strip.find(pattern)
        while start >= 0:
            row, column = divmod(start // 3, sheet.shape[1])
            row += first
            found = sheet[row : row + block.shape[0], column : column + block.shape[1]]
            if np.array_equal(found, block):
                return row, column
            start = strip.find(pattern, start + 1)
    return None


def locate_all(sheet, images, factor):
    """Where each image lies, which must be in reading order."""
    places = []
    for image in images:
        place = locate(sheet, enlarged(image, factor), places[-1][0] if places else 0)
        assert place is not None
        places.append(place)
    assert places == sorted(places)
    return places


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("count", [1, 2, 10, 37])
def test_every_image_is_shown_pixel_by_pixel(tmp_path, count, channels):
    images = random_images((count, 28, 28, channels))
    sheet = sheet_of(images, tmp_path, title="A title", subtitle="and what it is about")
    places = locate_all(sheet, images, factor=5)
    assert len(set(places)) == count


def test_a_thousand_classes_fit_a_landscape_sheet(tmp_path):
    images = random_images((1000, 28, 28, 3))
    sheet = sheet_of(images, tmp_path, names=[LONG_NAMES[i % 4] for i in range(1000)])
    places = locate_all(sheet, images, factor=4)
    assert len(set(places)) == 1000
    assert 1.3 < sheet.shape[1] / sheet.shape[0] < 1.9


def test_ten_classes_make_a_landscape_of_two_rows(tmp_path):
    images = random_images((10, 28, 28, 1))
    sheet = sheet_of(images, tmp_path, title="Digits", subtitle="direct encoding")
    rows = [row for row, _ in locate_all(sheet, images, factor=5)]
    assert len(set(rows[:5])) == len(set(rows[5:])) == 1
    assert rows[0] < rows[5]
    assert 1.4 < sheet.shape[1] / sheet.shape[0] < 1.8


@pytest.mark.parametrize("columns", [1, 3, 50])
def test_columns_can_be_chosen(tmp_path, columns):
    images = random_images((7, 16, 16, 1))
    places = locate_all(sheet_of(images, tmp_path, columns=columns), images, factor=10)
    assert len({column for _, column in places}) == min(columns, 7)


@pytest.mark.parametrize("size", [12, 28, 96])
def test_captions_stay_inside_their_cells(tmp_path, size):
    images = random_images((12, size, size, 3))
    factor = 160 // size
    sheet = sheet_of(
        images, tmp_path, names=LONG_NAMES * 3, confidences=np.full(12, 0.99999994, np.float32), columns=4
    )
    places = locate_all(sheet, images, factor)
    lefts = sorted({column for _, column in places})
    for left in lefts[1:]:
        assert (sheet[:, left - 15 : left - 1] == WHITE).all()
    for top in sorted({row for row, _ in places})[1:]:
        assert (sheet[top - 15 : top - 1] == WHITE).all()
        caption = sheet[top - 70 : top - 15, lefts[0] : lefts[0] + 90]
        assert caption.min() < 128
    assert (sheet[:, : lefts[0] - 1] == WHITE).all()
    assert (sheet[:, -30:] == WHITE).all()
    assert (sheet[-30:] == WHITE).all()


def test_a_long_title_wraps_above_a_single_image(tmp_path):
    sheet = sheet_of(
        random_images((1, 28, 28, 1)), tmp_path, title="A title of many words " * 3, subtitle="s" * 500
    )
    assert (sheet[:, -30:] == WHITE).all()
    assert sheet.shape[1] < 700


@pytest.mark.parametrize("missing", [np.nan, -np.inf])
def test_a_class_without_an_image_is_an_empty_frame(tmp_path, missing):
    images = random_images((4, 28, 28, 1))
    confidences = np.array([0.5, 0.5, missing, 0.5], np.float32)
    sheet = sheet_of(images, tmp_path, confidences=confidences, columns=4)
    top, left = locate(sheet, enlarged(images[1], 5))
    pitch = left - locate(sheet, enlarged(images[0], 5))[1]
    assert locate(sheet, enlarged(images[2], 5)) is None
    assert locate(sheet, enlarged(images[3], 5)) == (top, left + 2 * pitch)
    frame = sheet[top : top + 140, left + pitch : left + pitch + 140]
    assert np.median(frame) > 240
    assert frame.min() < 200


def test_large_images_are_shrunk_and_keep_their_aspect(tmp_path):
    images = np.full((2, 224, 448, 3), (10, 200, 30), np.uint8)
    sheet = sheet_of(images, tmp_path, columns=1)
    rows, columns = np.nonzero((sheet == (10, 200, 30)).all(-1))
    assert np.ptp(columns) + 1 == 160
    assert len(rows) == 2 * 80 * 160


def test_inconsistent_arguments_are_refused(tmp_path):
    images, names, confidences = random_images((3, 8, 8, 1)), ["a", "b", "c"], np.ones(3)
    with pytest.raises(UsageError, match="3 images, 2 names"):
        contact_sheet(images, names[:2], confidences, tmp_path / "sheet.png")
    with pytest.raises(UsageError, match="channels"):
        contact_sheet(images.repeat(2, -1), names, confidences, tmp_path / "sheet.png")
    with pytest.raises(UsageError, match="shape"):
        contact_sheet(images[:0], [], confidences[:0], tmp_path / "sheet.png")
    with pytest.raises(UsageError, match="columns"):
        contact_sheet(images, names, confidences, tmp_path / "sheet.png", columns=0)
    with pytest.raises(UsageError, match="between 0 and 1"):
        contact_sheet(images, names, 100 * confidences, tmp_path / "sheet.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (0, "0.00%"),
        (0.2159, "21.59%"),
        (0.98765, "98.76%"),
        (0.9999, "99.99%"),
        (0.99993, "99.99%"),
        (0.99999, "99.999%"),
        (0.999998, "99.9998%"),
        (np.float32(0.9999999), "99.99999%"),
        (np.float32(0.1), "10.00%"),
        (1.0, "100%"),
        (np.float32(1.0000001), "100%"),
        (float("nan"), "\N{EN DASH}"),
        (-np.inf, "\N{EN DASH}"),
    ],
)
def test_confidences_are_formatted_as_percentages(p, text):
    assert format_confidence(p) == text


@given(
    st.floats(0, 1)
    | st.floats(0, 1, width=32).map(np.float32)
    | st.floats(1, 16).map(lambda nines: 1 - 10**-nines)
    | st.floats(1, 8).map(lambda nines: np.float32(1 - 10**-nines))
)
@example(float(np.nextafter(1, 0)))
@example(np.nextafter(np.float32(1), np.float32(0)))
@example(5e-324)
def test_a_confidence_is_truncated_never_rounded_up(p):
    text = format_confidence(p)
    assert re.fullmatch(r"100%|\d{1,2}\.\d{2,}%", text)
    shown, exact = Decimal(text.removesuffix("%")), Decimal(str(p)) * 100
    last_digit = Decimal(1).scaleb(shown.as_tuple().exponent)
    assert shown <= exact < shown + last_digit
    assert (shown == 100) == (p == 1)


@pytest.mark.parametrize("p", [-0.1, 1.1, 99.99])
def test_numbers_outside_0_and_1_are_no_confidence(p):
    with pytest.raises(UsageError, match="between 0 and 1"):
        format_confidence(p)


def test_a_failed_write_keeps_the_old_picture(tmp_path, monkeypatch):
    file, old = tmp_path / "image.png", random_images((8, 8, 1))
    write_png(file, old)

    def full_disk(picture, path, **options):
        path.write_bytes(b"half a pict")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_png(file, 255 - old)
    with pytest.raises(OSError, match="No space left"):
        contact_sheet(old[None], ["a"], np.ones(1), file)
    np.testing.assert_array_equal(read_png(file), old)
    assert list(tmp_path.iterdir()) == [file]
