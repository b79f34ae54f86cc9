"""What the pictures of a run show, and that they are saved whole or not at all."""

import re
import subprocess
import sys
import warnings
from decimal import Decimal

import matplotlib
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from PIL import Image

from evofool.errors import EvofoolError, UsageError
from evofool.images import read_png, write_png
from evofool.report import (
    ReportedMedian,
    contact_sheet,
    convergence_plot,
    format_confidence,
    reward_plot,
)
from evofool.report.figure import figure

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
def test_contact_sheet_shows_every_image_exactly(tmp_path, count, channels):
    images = random_images((count, 28, 28, channels))
    sheet = sheet_of(images, tmp_path, title="A title", subtitle="and what it is about")
    places = locate_all(sheet, images, factor=5)
    assert len(set(places)) == count


def test_contact_sheet_of_a_thousand_classes(tmp_path):
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
def test_captions_stay_in_their_cells(tmp_path, size):
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


def test_one_class_leaves_room_for_a_long_title(tmp_path):
    sheet = sheet_of(
        random_images((1, 28, 28, 1)), tmp_path, title="A title of many words " * 3, subtitle="s" * 500
    )
    assert (sheet[:, -30:] == WHITE).all()
    assert sheet.shape[1] < 700


@pytest.mark.parametrize("missing", [np.nan, -np.inf])
def test_a_class_without_confidence_is_an_empty_frame(tmp_path, missing):
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


def test_images_larger_than_a_cell_are_shrunk_and_their_aspect_kept(tmp_path):
    images = np.full((2, 224, 448, 3), (10, 200, 30), np.uint8)
    sheet = sheet_of(images, tmp_path, columns=1)
    rows, columns = np.nonzero((sheet == (10, 200, 30)).all(-1))
    assert np.ptp(columns) + 1 == 160
    assert len(rows) == 2 * 80 * 160


def test_contact_sheet_refuses_what_does_not_fit_together(tmp_path):
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
def test_format_confidence(p, text):
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
def test_format_confidence_never_claims_more_than_there_is(p):
    text = format_confidence(p)
    assert re.fullmatch(r"100%|\d{1,2}\.\d{2,}%", text)
    shown, exact = Decimal(text.removesuffix("%")), Decimal(str(p)) * 100
    last_digit = Decimal(1).scaleb(shown.as_tuple().exponent)
    assert shown <= exact < shown + last_digit
    assert (shown == 100) == (p == 1)


@pytest.mark.parametrize("p", [-0.1, 1.1, 99.99])
def test_format_confidence_refuses_what_is_none(p):
    with pytest.raises(UsageError, match="between 0 and 1"):
        format_confidence(p)


def records_of(confidences):
    """Records of a run, from an array of generations by classes."""
    quantiles = np.quantile(confidences, [0, 0.25, 0.5, 0.75, 1], axis=1)
    names = [f"{name}_confidence" for name in ("min", "lower_quartile", "median", "upper_quartile", "max")]
    return [
        {"generation": g + 1, "evaluations": 200 * (g + 1), **dict(zip(names, map(float, row), strict=True))}
        for g, row in enumerate(quantiles.T)
    ]


def rising(generations, classes=10):
    speed = np.linspace(0.5, 2, classes)
    return 1 - 0.9 * np.exp(-np.arange(generations)[:, None] * speed * 12 / generations)


NONE_YET = [dict.fromkeys(records_of(rising(1))[0], -np.inf) | {"generation": g} for g in range(5)]


@pytest.mark.parametrize(
    "records",
    [
        records_of(rising(1)),
        records_of(rising(2)),
        records_of(rising(5000)),
        records_of(np.ones((50, 10))),
        records_of(np.zeros((5, 10))),
        NONE_YET,
        NONE_YET + [record | {"generation": record["generation"] + 5} for record in records_of(rising(20))],
    ],
    ids=["one", "two", "thousands", "certain", "hopeless", "none yet", "none at first"],
)
def test_convergence_plot_is_drawn(tmp_path, records):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        convergence_plot(records, tmp_path / "curve.png", title="LeNet for $5, or $6")
    picture = read_png(tmp_path / "curve.png")
    assert picture.shape == (660, 1500, 3)
    assert picture.std() > 10


def test_convergence_plot_shows_how_the_confidence_rose(tmp_path):
    for name, confidences in (("high", np.full((9, 10), 0.99)), ("low", np.full((9, 10), 0.1))):
        convergence_plot(records_of(confidences), tmp_path / f"{name}.png")
    differing = np.nonzero((read_png(tmp_path / "high.png") != read_png(tmp_path / "low.png")).any(-1))
    assert np.ptp(differing[1]) > 1000
    assert np.ptp(differing[0]) > 200


def test_convergence_plot_marks_what_is_reported_of_such_a_run(tmp_path):
    pictures = {}
    for name, reported in (
        ("none", None),
        ("low", ReportedMedian(0.2159, "somebody")),
        ("high", ReportedMedian(0.8811, "somebody")),
    ):
        convergence_plot(records_of(np.full((9, 10), 0.5)), tmp_path / f"{name}.png", reported=reported)
        pictures[name] = read_png(tmp_path / f"{name}.png")
    # Above the legend, which is under the panels.
    rows = {
        name: np.nonzero((pictures[name] != pictures["none"])[:500].any(axis=(1, 2)))[0]
        for name in ("low", "high")
    }
    assert 0 < len(rows["high"]) < 20
    assert 0 < len(rows["low"]) < 20
    assert rows["high"].min() < rows["low"].min()
    assert rows["high"].max() < rows["low"].max()


def test_convergence_plot_leaves_the_style_of_others_alone(tmp_path):
    before = dict(matplotlib.rcParams)
    convergence_plot(records_of(rising(20)), tmp_path / "curve.png")
    assert dict(matplotlib.rcParams) == before


def test_convergence_plot_refuses_what_cannot_be_drawn(tmp_path):
    with pytest.raises(UsageError, match="no records"):
        convergence_plot([], tmp_path / "curve.png")
    with pytest.raises(UsageError, match="'median_confidence'"):
        convergence_plot([{"generation": 1}], tmp_path / "curve.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("count", [1, 10, 30])
def test_reward_plot_tells_all_classes_apart(tmp_path, monkeypatch, count):
    drawn = []
    plot = Axes.plot

    def noting(axes, *args, **options):
        (line,) = plot(axes, *args, **options)
        drawn.append((axes.get_title("left"), line.get_label(), line.get_color(), line.get_linestyle()))
        return [line]

    monkeypatch.setattr(Axes, "plot", noting)
    rewards = np.linspace(0, 1, 5 * count).reshape(5, count)
    records = [
        {"generation": g, "mean_rewards": row.tolist(), "max_rewards": row.tolist()}
        for g, row in enumerate(rewards)
    ]
    reward_plot(records, [f"a class of a long name, {i}" for i in range(count)], tmp_path / "rewards.png")
    assert read_png(tmp_path / "rewards.png").shape == (660, 1500, 3)
    first, second = drawn[:count], drawn[count:]
    assert [line[1:] for line in first] == [line[1:] for line in second]
    assert len({line[2:] for line in first}) == len({line[1] for line in first}) == count


def test_a_figure_wraps_its_title_and_is_saved_only_if_it_was_drawn(tmp_path):
    file = tmp_path / "figure.png"
    title = "Images evolved for a classifier of a very long name " * 3
    with figure(file, title, size=(6, 3)) as drawn:
        drawn.subplots().plot([0, 1])
    whole = file.read_bytes()
    ink = np.nonzero((read_png(file) < 100).all(-1))[1]
    assert ink.max() < 6 * 150 - 5
    with pytest.raises(RuntimeError), figure(file, size=(6, 3)) as drawn:
        raise RuntimeError("while it was drawn")
    assert file.read_bytes() == whole
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("shape", [(1, 1, 1), (28, 28, 1), (3, 5, 3), (64, 32, 3)])
def test_png_round_trip_is_exact(tmp_path, shape):
    image = random_images(shape)
    write_png(tmp_path / "image.png", image)
    np.testing.assert_array_equal(read_png(tmp_path / "image.png"), image)


def test_read_png_resolves_palettes(tmp_path):
    Image.fromarray(np.full((4, 4, 3), (255, 0, 0), np.uint8)).quantize(2).save(tmp_path / "palette.png")
    np.testing.assert_array_equal(read_png(tmp_path / "palette.png"), np.full((4, 4, 3), (255, 0, 0)))


def test_read_png_tells_of_a_damaged_file_in_one_line(tmp_path):
    file = tmp_path / "image.png"
    write_png(file, random_images((64, 64, 3)))
    whole = file.read_bytes()
    for damaged in (
        b"",
        b"not a picture",
        whole[:40],
        whole[: len(whole) // 2],
        whole[:60] + bytes(40) + whole[100:],
    ):
        file.write_bytes(damaged)
        with pytest.raises(EvofoolError, match=r"image\.png") as caught:
            read_png(file)
        assert "\n" not in str(caught.value)


def test_read_png_leaves_a_missing_file_to_the_caller(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_png(tmp_path / "none.png")


def test_write_png_refuses_two_channels(tmp_path):
    with pytest.raises(UsageError, match="channels"):
        write_png(tmp_path / "image.png", random_images((4, 4, 2)))


def test_a_picture_that_cannot_be_finished_leaves_the_old_one(tmp_path, monkeypatch):
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


def test_importing_the_reports_does_not_import_matplotlib():
    code = "import sys, evofool.report; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
