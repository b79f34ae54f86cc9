"""Contact sheets: the image of each class with its name and confidence."""

import math
import os
from collections.abc import Sequence
from decimal import ROUND_DOWN, Decimal
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from evofool.errors import UsageError, require_positive
from evofool.files import replacing
from evofool.images import require_drawable

# Pixels. Images are enlarged by a whole number up to the side, or shrunk to it if they are larger.
_SIDE, _SIDE_OF_MANY, _MANY = 160, 112, 200
_NARROWEST_CELL = 96  # wide enough for a confidence of eight nines
_WIDEST_HEADER = 480  # a sheet of few classes is widened up to this to fit its title
_MARGIN, _GAP, _CAPTION_GAP, _HEADER_GAP = 40, 24, 7, 20
_NAME_SIZE, _CONFIDENCE_SIZE = 13.0, 12.0
_NAME_LINE, _CONFIDENCE_LINE, _TITLE_LINE, _SUBTITLE_LINE = 17, 16, 32, 21
_DASH = 12
_PAGE_WIDTH = 1600  # title and margins grow on wider sheets

_BACKGROUND = (255, 255, 255)
_INK = (28, 28, 30)
_MUTED = (122, 122, 128)
_HAIRLINE = (214, 214, 218)
_EMPTY = (248, 248, 249)

_LANDSCAPE = 16 / 10
_NO_CONFIDENCE = "\N{EN DASH}"
_MANY_NINES = Decimal("99.999")
_ROUNDING_ERROR = 1e-3  # a softmax in half precision may exceed 1 by this much


def contact_sheet(
    images: UInt8[np.ndarray, "k h w c"],
    names: Sequence[str],
    confidences: Float[np.ndarray, " k"],
    path: str | os.PathLike[str],
    *,
    columns: int | None = None,
    title: str | None = None,
    subtitle: str | None = None,
) -> None:
    """Save one picture of all classes; see `sheet_of`.

    Args:
        images: one image per class.
        names: the class of each image.
        confidences: the confidence of each image in its class.
        path: the PNG file. An existing file is replaced atomically.
        columns: images per row.
        title: a heading above the images.
        subtitle: a smaller grey line below the title.

    Raises:
        UsageError: what `sheet_of` raises.
        OSError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> noise = np.random.default_rng(0).integers(0, 256, (10, 28, 28, 1), dtype=np.uint8)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     contact_sheet(noise, list("0123456789"), np.full(10, 0.9999), f"{folder}/sheet.png")
    """
    sheet = sheet_of(images, names, confidences, columns=columns, title=title, subtitle=subtitle)
    with replacing(path) as temporary:
        sheet.save(temporary, format="PNG")


def sheet_of(
    images: UInt8[np.ndarray, "k h w c"],
    names: Sequence[str],
    confidences: Float[np.ndarray, " k"],
    *,
    columns: int | None = None,
    title: str | None = None,
    subtitle: str | None = None,
) -> Image.Image:
    """Draw one picture of all classes, as in Figures 4 and 5 of Nguyen et al. (2015).

    Small images are enlarged by a whole number, so that every pixel stays a crisp square; large ones are
    shrunk to the cell. A class whose confidence is not finite has no image yet and is drawn as a pale frame.

    Args:
        images: one image per class, pixels in 0..255, grey (`c` = 1) or RGB (`c` = 3).
        names: the class of each image. Long names wrap to two lines; longer ones end in an ellipsis.
        confidences: the confidence of each image in its class, in 0..1; nan or -inf for a class without an
            image.
        columns: images per row; by default as many as make the sheet about 16:10.
        title: a heading above the images.
        subtitle: a smaller grey line below the title.

    Raises:
        UsageError: there are no images, they are neither grey nor RGB, the numbers of images, names and
            confidences differ, a confidence is outside 0..1, or `columns` is not positive.

    Example:
        >>> sheet_of(np.zeros((2, 28, 28, 1), np.uint8), ["one", "two"], np.array([0.5, 0.9])).mode
        'RGB'
    """
    if not len(images) == len(names) == len(confidences):
        raise UsageError(
            f"each image needs a name and a confidence: "
            f"{len(images)} images, {len(names)} names, {len(confidences)} confidences"
        )
    require_drawable(images.shape)
    require_positive(columns=columns)
    labels = [format_confidence(confidence) for confidence in confidences]
    grid = _lay_out(images.shape, names, columns)

    # A sheet of a thousand images is viewed from further away: its title and margins grow, but more slowly.
    scale = max(1.0, math.sqrt(grid.width / _PAGE_WIDTH))
    margin = round(_MARGIN * scale)
    header = _set_header(title or "", subtitle or "", grid.width, scale)
    size = max(grid.width, header.width) + 2 * margin, header.height + grid.height + 2 * margin
    sheet = Image.new("RGB", size, _BACKGROUND)
    pen = ImageDraw.Draw(sheet)
    for line_y, line, font, colour in header.lines:
        pen.text((margin, margin + line_y), line, colour, font)
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        row, column = divmod(index, grid.columns)
        corner = margin + column * grid.pitch_x, margin + header.height + row * grid.pitch_y
        filled = bool(np.isfinite(confidences[index]))
        _draw_cell(sheet, corner, grid, image if filled else None, grid.captions[index], label)
    return sheet


def format_confidence(p: float | int | np.floating) -> str:
    """Format a confidence as a percentage that never overstates it.

    Digits are truncated, not rounded, so only a confidence of 1 reads "100%". Two decimals are shown; above
    99.999%, as many as are needed to reach the first digit that is not a nine.

    Args:
        p: the confidence in 0..1, a Python or NumPy number. The digits are those of the shortest decimal that
            identifies it in its own precision. A softmax may exceed 1 by a rounding error.

    Returns:
        The percentage, or an en dash if `p` is not finite, as for an empty niche.

    Raises:
        UsageError: `p` is outside 0..1.

    Example:
        >>> format_confidence(0.2159), format_confidence(0.99993), format_confidence(0.999998)
        ('21.59%', '99.99%', '99.9998%')
        >>> format_confidence(np.float32(0.9999999)), format_confidence(1.0)
        ('99.99999%', '100%')
    """
    if not math.isfinite(p):
        return _NO_CONFIDENCE
    if not 0 <= p <= 1 + _ROUNDING_ERROR:
        raise UsageError(f"a confidence is between 0 and 1, not {p}")
    percentage = Decimal(str(p)) * 100
    if percentage >= 100:
        return "100%"
    first_not_nine = (100 - percentage).adjusted()
    last_place = first_not_nine if percentage >= _MANY_NINES else -2
    return f"{percentage.quantize(Decimal(1).scaleb(last_place), ROUND_DOWN)}%"


class _Grid(NamedTuple):
    """Where the cells of a sheet are, in pixels."""

    columns: int
    width: int
    height: int
    pitch_x: int
    pitch_y: int
    image_width: int
    image_height: int
    captions: list[list[str]]


def _lay_out(shape: tuple[int, ...], names: Sequence[str], columns: int | None) -> _Grid:
    count, height, width, _ = shape
    height, width = _thumbnail_size(height, width, _SIDE if count <= _MANY else _SIDE_OF_MANY)
    cell_width = max(width + 2, _NARROWEST_CELL)
    captions = [_wrap(name, _font(_NAME_SIZE), cell_width, most_lines=2) for name in names]
    caption_height = _CAPTION_GAP + max(map(len, captions)) * _NAME_LINE + _CONFIDENCE_LINE
    pitch_x, pitch_y = cell_width + _GAP, height + 2 + caption_height + _GAP
    columns = min(count, columns or _landscape_columns(count, pitch_x, pitch_y))
    grid_size = columns * pitch_x - _GAP, math.ceil(count / columns) * pitch_y - _GAP
    return _Grid(columns, *grid_size, pitch_x, pitch_y, width, height, captions)


def _draw_cell(
    sheet: Image.Image,
    corner: tuple[int, int],
    grid: _Grid,
    image: UInt8[np.ndarray, "h w c"] | None,
    caption: list[str],
    label: str,
) -> None:
    """Draw one class; without an image, a dash in a pale frame."""
    pen = ImageDraw.Draw(sheet)
    x, y = corner
    width, height = grid.image_width, grid.image_height
    pen.rectangle((x, y, x + width + 1, y + height + 1), fill=_EMPTY, outline=_HAIRLINE)
    if image is not None:
        sheet.paste(_thumbnail(image, height, width), (x + 1, y + 1))
    else:
        left, centre_y = x + 1 + (width - _DASH) // 2, y + 1 + height // 2
        pen.line((left, centre_y, left + _DASH, centre_y), _MUTED)
    y += height + 2 + _CAPTION_GAP
    for line in caption:
        pen.text((x, y), line, _MUTED if image is None else _INK, _font(_NAME_SIZE))
        y += _NAME_LINE
    if image is not None:
        pen.text((x, y), label, _MUTED, _font(_CONFIDENCE_SIZE))


class _Header(NamedTuple):
    lines: list[tuple[int, str, ImageFont.FreeTypeFont, tuple[int, int, int]]]  # top, text, font, colour
    width: int
    height: int


def _set_header(title: str, subtitle: str, grid_width: int, scale: float) -> _Header:
    title_font, subtitle_font = _font(22 * scale, "DejaVuSans-Bold"), _font(14 * scale)
    wanted = max(title_font.getlength(title), subtitle_font.getlength(subtitle))
    width = max(grid_width, math.ceil(min(wanted, _WIDEST_HEADER)))
    lines = []
    y = 0
    for text, font, line_height, colour in (
        (title, title_font, _TITLE_LINE, _INK),
        (subtitle, subtitle_font, _SUBTITLE_LINE, _MUTED),
    ):
        for line in _wrap(text, font, width, most_lines=3):
            lines.append((y, line, font, colour))
            y += round(line_height * scale)
    return _Header(lines, width, y + round(_HEADER_GAP * scale) if lines else 0)


@cache
def _font(size: float, name: str = "DejaVuSans") -> ImageFont.FreeTypeFont:
    import matplotlib  # for its fonts; the import takes a quarter of a second

    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", f"{name}.ttf"), size)


def _thumbnail_size(height: int, width: int, side: int) -> tuple[int, int]:
    """The height and width of a thumbnail: a whole multiple of the image's, or shrunk to fit."""
    longest = max(height, width)
    if longest <= side:
        return height * (side // longest), width * (side // longest)
    return max(1, round(height * side / longest)), max(1, round(width * side / longest))


def _thumbnail(image: UInt8[np.ndarray, "h w c"], height: int, width: int) -> Image.Image:
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).convert("RGB")
    filter_ = Image.Resampling.NEAREST if width >= picture.width else Image.Resampling.LANCZOS
    return picture.resize((width, height), filter_)


def _landscape_columns(count: int, pitch_x: int, pitch_y: int) -> int:
    """The number of columns closest to 16:10 that leaves little of the last row empty."""

    def cost(columns: int) -> float:
        rows = math.ceil(count / columns)
        shape = abs(math.log(columns * pitch_x / (rows * pitch_y) / _LANDSCAPE))
        return shape + (rows * columns - count) / columns

    return min(range(1, count + 1), key=cost)


def _wrap(text: str, font: ImageFont.FreeTypeFont, width: int, most_lines: int) -> list[str]:
    """Break a text into lines of at most `width` pixels; text that does not fit ends in an ellipsis."""
    words = text.split()
    lines: list[str] = []
    while words and len(lines) < most_lines:
        taken = len(words) if len(lines) == most_lines - 1 else 1
        while taken < len(words) and font.getlength(" ".join(words[: taken + 1])) <= width:
            taken += 1
        lines.append(_shorten(" ".join(words[:taken]), font, width))
        words = words[taken:]
    return lines


def _shorten(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}…") > width:
        text = text[:-1].rstrip()
    return f"{text}…"
