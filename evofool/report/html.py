"""Self-contained pages of HTML: no request leaves them, no script runs in them, all text is escaped."""

import base64
import io
import os
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from evofool.files import replacing

_SIDE = 224
"""Pixels: larger images are shrunk to it."""


def write_page(path: str | os.PathLike[str], template: str, **values: Any) -> None:
    """Write a page.

    Args:
        path: the file. An existing file is replaced atomically.
        template: the name of a file in `templates/`, which must ask for no value that is not given.
        values: what the template shows. Text is escaped: markup in it is shown and not obeyed.

    Raises:
        OSError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_page(f"{folder}/it.html", "page.html.jinja", title="<b>", kicker="a page")
        ...     "&lt;b&gt;" in Path(folder, "it.html").read_text()
        True
    """
    text = _environment().get_template(template).render(**values)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def inline_image(pixels: UInt8[np.ndarray, "h w c"]) -> str:
    """An image as the address of its own content, for `src`; one that is large is shrunk.

    Example:
        >>> inline_image(np.zeros((2, 2, 1), np.uint8))[:22]
        'data:image/png;base64,'
    """
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    picture.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.save(file, format="PNG", optimize=True)
    return _address(file.getvalue())


def inline_file(path: Path) -> str:
    """A PNG file as the address of its own content, for `src`.

    Raises:
        OSError: the file cannot be read.
    """
    return _address(path.read_bytes())


def _address(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("evofool.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
