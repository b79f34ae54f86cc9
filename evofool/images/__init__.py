"""Images as arrays: 8-bit levels, photographs of any size, reading and writing files."""

from evofool.images.augmentation import flip_and_crop
from evofool.images.files import image_files, read_image, read_png, read_shape, require_drawable, write_png
from evofool.images.photographs import alteration, fit_photograph, load_photograph, load_photographs
from evofool.images.pixels import from_uint8, round_to_8_bits, to_uint8

__all__ = [
    "alteration",
    "fit_photograph",
    "flip_and_crop",
    "from_uint8",
    "image_files",
    "load_photograph",
    "load_photographs",
    "read_image",
    "read_png",
    "read_shape",
    "require_drawable",
    "round_to_8_bits",
    "to_uint8",
    "write_png",
]
