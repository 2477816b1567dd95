"""Formats of image files: which files are read, and how an opened image becomes three channels of 8 bits.

Everything that a new format needs is in this file: its suffix in :data:`SUFFIXES`, and the conversion of its Pillow
mode in :data:`TO_RGB`.

Integers of n bits are scaled by their range, so that 2**n - 1 is white. Floats must lie in [0, 1], where 1 is white.
Transparency and color profiles are ignored, as torchvision's ``ImageFolder`` does. Of several frames or pages, the
first is read. An image that its camera stored turned or mirrored (EXIF orientation) is turned upright.
"""

from __future__ import annotations

import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION

from data.cache import DataError, one_line

T = TypeVar("T")

SUFFIXES = (".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""Endings of the names of image files, in lower case. The content of a file decides how the file is read."""

UNDECODABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
"""Errors that Pillow raises for files that are not images, or damaged ones."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The operation that turns an image upright, for each EXIF orientation."""


def _eight_bits(image: Image.Image) -> Image.Image:
    return image.convert("RGB")


def _gray_premultiplied(image: Image.Image) -> Image.Image:
    return image.convert("LA").convert("RGB")


def _sixteen_bits(image: Image.Image) -> Image.Image:
    # Some TIFF files have fewer bits than Pillow's mode.
    white = 2 ** _tiff_tag(image, BITSPERSAMPLE, 16) - 1
    gray = (np.asarray(image).astype(np.uint32) * 255 + white // 2) // white
    return _from_gray(image, gray)


def _thirty_two_bits(image: Image.Image) -> Image.Image:
    if image.format == "PPM":  # Pillow scales these to 16 bits
        return _sixteen_bits(image)
    raise DataError("holds integers that are signed or have 32 bits, whose white is unknown (Pillow mode I)")


def _floats(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    if not (values.min() >= 0 and values.max() <= 1):  # so that NaN is refused
        raise DataError(
            f"holds floats from {values.min():g} to {values.max():g}, which must lie in [0, 1] (Pillow mode F)"
        )
    return _from_gray(image, np.rint(values * 255))


def _from_gray(image: Image.Image, gray: np.ndarray) -> Image.Image:
    white_is_zero = _tiff_tag(image, PHOTOMETRIC_INTERPRETATION, 1) == 0  # Pillow reads the tag for 8 bits only
    return Image.fromarray((255 - gray if white_is_zero else gray).astype(np.uint8)).convert("RGB")


def _tiff_tag(image: Image.Image, tag: int, default: int) -> int:
    value = getattr(image, "tag_v2", {}).get(tag, default)
    return int(value[0] if isinstance(value, tuple) else value)


TO_RGB: dict[str, Callable[[Image.Image], Image.Image]] = {
    **dict.fromkeys(("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa"), _eight_bits),
    **dict.fromkeys(("CMYK", "YCbCr", "HSV", "LAB"), _eight_bits),
    "La": _gray_premultiplied,
    **dict.fromkeys(("I;16", "I;16L", "I;16B", "I;16N"), _sixteen_bits),
    "I": _thirty_two_bits,
    "F": _floats,
}
"""Conversion of each Pillow mode to three channels of 8 bits. Images of any other mode are refused."""


def to_rgb(image: Image.Image) -> Image.Image:
    """The first frame of an opened image, upright, in three channels of 8 bits.

    Raises:
        DataError: If the values of the image have no known range; the message names the mode, and no file.
        OSError: If the image cannot be decoded; or another error of :data:`UNDECODABLE`.

    Example:
        >>> to_rgb(Image.fromarray(np.array([[0, 0x8000, 0xFFFF]], dtype=np.uint16))).getpixel((1, 0))
        (128, 128, 128)
    """
    if image.mode not in TO_RGB:
        raise DataError(f"has an unknown Pillow mode, {image.mode}")
    rgb = TO_RGB[image.mode](image)
    turned = orientation(image)
    return rgb if turned == 1 else rgb.transpose(_TURNS[turned])


def orientation(image: Image.Image) -> int:
    """The EXIF orientation of an opened image, from 2 to 8; 1 if the image is upright, or if nothing else is known."""
    try:
        found = image.getexif().get(ExifTags.Base.Orientation)
        return found if found in _TURNS else 1
    except Exception:  # Pillow raises many types of error for damaged metadata, which do not change the pixels
        return 1


# Files --------------------------------------------------------------------------------------------
# Every image file of the project is opened here.


class Header(NamedTuple):
    """What is known of an image file without decoding it.

    Attributes:
        width: Pixels of a line of the upright image.
        height: Lines of the upright image.
        has_frames: Whether there are several frames or pages, of which the first is read.
        is_turned: Whether the image is stored turned or mirrored.
        is_transparent: Whether there is transparency, which is ignored.
    """

    width: int
    height: int
    has_frames: bool
    is_turned: bool
    is_transparent: bool


def open_image(path: str) -> Image.Image:
    """The decoded image in three channels of 8 bits.

    Raises:
        DataError: If the values of the image have no known range; the message names the file and its mode.
        OSError: If the file cannot be read or decoded; or another error of :data:`UNDECODABLE`.
    """
    with _opened(path) as image:
        return to_rgb(image)


def read_header(path: str) -> Header:
    """The header of an image file; an image whose values may have no known range is decoded.

    Raises:
        DataError: As :func:`open_image`.
        OSError: If the header cannot be read; or another error of :data:`UNDECODABLE`.
    """
    with _opened(path) as image:
        has_frames = bool(getattr(image, "is_animated", False))
        turned = orientation(image)
        is_transparent = image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info
        size = image.size
        if image.format != "TIFF" and turned >= 5:  # for a TIFF, Pillow gives the size of the upright image
            size = size[::-1]
        if image.mode not in TO_RGB or image.mode in ("I", "F"):
            to_rgb(image)
        return Header(*size, has_frames, turned != 1, is_transparent)


def decoding_fault(path: str) -> str:
    """Why an image file cannot be decoded; empty if it can.

    JPEG files are decoded at an eighth of their size, which finds the same faults in less time.

    Raises:
        DataError: As :func:`open_image`.
    """
    try:
        with _opened(path) as image:
            image.draft(None, (1, 1))
            to_rgb(image)
    except UNDECODABLE as error:
        return one_line(error)
    return ""


def in_threads(function: Callable[[str], T], paths: Sequence[str], workers: int) -> list[T]:
    """The result of a function of this module for each path, in several threads.

    Args:
        function: Called with a path.
        paths: The files.
        workers: Number of threads, at least 1.
    """
    with _quiet(), ThreadPoolExecutor(workers) as pool:
        return list(pool.map(function, paths))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings of Pillow about odd metadata, which do not change the pixels.

    The filters of warnings belong to the whole process, and only one thread at a time may change them: it is the main
    thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _opened(path: str) -> Iterator[Image.Image]:
    """The opened image; errors of :func:`to_rgb` get the path and the remedy."""
    # A stream and not a path: Pillow would map the file of a gray TIFF into memory, and misread a turned one.
    with _quiet(), open(path, "rb") as stream:
        try:
            with Image.open(stream) as image:
                yield image
        except UnidentifiedImageError:  # its message has the address of the stream
            raise UnidentifiedImageError("it is no image, or of an unknown kind") from None
        except DataError as error:
            raise DataError(f"{path} {error}: convert the file to 8 or 16 bits per channel, such as PNG.") from None
