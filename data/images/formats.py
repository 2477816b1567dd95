"""Formats of image files: which files are read, and how an opened image becomes three channels of bytes.

Everything that a new format needs is in this file: its suffix in :data:`SUFFIXES`, and an entry of :data:`TO_RGB` if
Pillow's own conversion of its mode is not the right one.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Callable

from PIL import Image

from data.cache import one_line

SUFFIXES = (".jpeg", ".jpg", ".png")
"""Endings of the names of image files, in lower case."""

UNDECODABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
"""Errors that Pillow raises for files that are not images, or damaged ones."""


def _convert(image: Image.Image) -> Image.Image:
    return image.convert("RGB")


TO_RGB: dict[str, Callable[[Image.Image], Image.Image]] = dict.fromkeys(
    ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"), _convert
)
"""Conversion of each Pillow mode to three channels of 8 bits; a mode that is not listed is converted by Pillow.

Pillow clips the values of modes with more than 8 bits per channel, such as ``"I;16"``, at 255.
"""


def open_rgb(path: str) -> Image.Image:
    """The decoded image in three channels of 8 bits.

    Raises:
        OSError: If the file cannot be read or decoded; or another error of :data:`UNDECODABLE`.
    """
    with warnings.catch_warnings():
        # Pillow warns about odd metadata, which do not change the pixels.
        warnings.simplefilter("ignore")
        with Image.open(path) as image:
            return TO_RGB.get(image.mode, _convert)(image)


def decoding_fault(path: str) -> str:
    """Why an image file cannot be decoded; empty if it can.

    JPEG files are decoded at an eighth of their size, which finds the same faults in less time.
    """
    try:
        with Image.open(path) as image:
            image.draft(None, (1, 1))
            image.load()
    except UNDECODABLE as error:
        return one_line(error)
    return ""
