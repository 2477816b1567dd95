"""Formats of image files: every mode of Pillow, any number of bits, orientation, frames, and damaged files."""

from __future__ import annotations

import struct
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from support.image_layouts import jpeg, torchvision_layout, wnid

from data.cache import DataError
from data.images import formats
from data.images.decode import FolderDataset
from data.images.folders import find_folders, list_images
from data.images.formats import (
    SUFFIXES,
    TO_RGB,
    UNDECODABLE,
    decoding_fault,
    in_threads,
    open_image,
    read_header,
    to_rgb,
)

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
COLORS = np.stack([RAMP, RAMP.T, 255 - RAMP], axis=-1)
WIDE = np.linspace(0, 65535, 24).astype(np.uint16).reshape(4, 6)
Values = npt.NDArray[np.float64]


def gray_of(path: Path) -> Values:
    """The one value of the three channels of each pixel."""
    image = open_image(str(path))
    assert image.mode == "RGB"
    pixels = np.asarray(image).astype(float)
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0]


# Modes --------------------------------------------------------------------------------------------

GRAY = {
    "1": np.where(RAMP > 127, 255, 0),
    "L": RAMP,
    "LA": RAMP,
    "P": RAMP,
    "PA": RAMP,
    "I;16": RAMP.astype(np.uint16) * 257,
    "I;16L": RAMP.astype(np.uint16) * 257,
    "I;16B": RAMP.astype(np.uint16) * 257,
    "I;16N": RAMP.astype(np.uint16) * 257,
    "F": RAMP / np.float32(255),
}
"""Values of a gray ramp in each mode."""
COLORED = {"RGB": 0, "RGBA": 0, "RGBX": 0, "CMYK": 0, "YCbCr": 3, "HSV": 5, "LAB": 12}
"""Largest error of a mode that colors are converted to and back."""
PREMULTIPLIED = ("La", "RGBa")
REFUSED = ("I",)


def test_every_mode_of_pillow_is_tested() -> None:
    assert {*GRAY, *COLORED, *PREMULTIPLIED, *REFUSED} == set(Image.MODES) == set(TO_RGB)


@pytest.mark.parametrize("mode", GRAY)
def test_a_gray_ramp_of_any_mode_is_served_from_black_to_white(mode: str) -> None:
    if mode.startswith("I;16"):
        content = GRAY[mode].astype(">u2" if mode == "I;16B" else "<u2").tobytes()
        image = Image.frombytes(mode, (16, 16), content)
    elif mode == "F":
        image = Image.fromarray(GRAY[mode])
    else:
        image = Image.fromarray(RAMP).convert("LA" if mode == "PA" else mode, dither=Image.Dither.NONE).convert(mode)
    served = np.asarray(to_rgb(image)).astype(int)
    np.testing.assert_allclose(served, np.repeat((RAMP if mode != "1" else GRAY["1"])[..., None], 3, axis=2), atol=1)


@pytest.mark.parametrize("mode", COLORED)
def test_colors_of_any_mode_are_kept(mode: str) -> None:
    image = Image.fromarray(COLORS)
    if mode == "LAB":
        cms = pytest.importorskip("PIL.ImageCms")
        profiles = cms.createProfile("sRGB"), cms.createProfile("LAB")
        image = cms.applyTransform(image, cms.buildTransform(*profiles, "RGB", "LAB"))
    served = np.asarray(to_rgb(image.convert(mode) if mode != "LAB" else image)).astype(int)
    error = np.abs(served - COLORS)
    assert np.quantile(error, 0.9) <= COLORED[mode]
    assert error.mean() <= COLORED[mode]


@pytest.mark.parametrize("mode", PREMULTIPLIED)
def test_premultiplied_colors_are_divided_by_their_opacity(mode: str) -> None:
    image = Image.new(mode, (1, 1), (50,) * (len(mode) - 1) + (128,))
    assert to_rgb(image).getpixel((0, 0)) == pytest.approx((100, 100, 100), abs=1)


@pytest.mark.parametrize("opaque", [0, 128, 255])
def test_transparency_is_ignored_and_noted(opaque: int, tmp_path: Path) -> None:
    image = Image.fromarray(np.dstack([COLORS, np.full_like(RAMP, opaque)]))
    path = str(tmp_path / "a.png")
    image.save(path)
    np.testing.assert_array_equal(open_image(path), COLORS)
    assert read_header(path).is_transparent


def test_a_palette_with_transparent_colors_is_read(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1], [2, 1]], dtype=np.uint8), "P")
    image.putpalette(bytes([200, 0, 0, 0, 100, 0, 0, 0, 50]))
    path = str(tmp_path / "a.png")
    image.save(path, transparency=bytes([0, 128, 255]))
    assert [open_image(path).getpixel(at) for at in ((0, 0), (1, 0), (0, 1))] == [(200, 0, 0), (0, 100, 0), (0, 0, 50)]
    assert read_header(path).is_transparent


def test_a_jpeg_of_printing_colors_is_not_inverted(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.new("CMYK", (8, 8), (255, 0, 0, 0)).save(path)
    assert open_image(str(path)).getpixel((4, 4)) == pytest.approx((0, 255, 255), abs=3)


# Bits ---------------------------------------------------------------------------------------------


def tiff(content: bytes, *, bits: int, kind: int = 1, white_is_zero: bool = False, order: str = "<") -> bytes:
    """An uncompressed gray TIFF file of 6 x 4 pixels.

    Args:
        content: The packed values.
        bits: Bits of a value.
        kind: 1 for unsigned integers, 2 for signed ones, 3 for floats.
        white_is_zero: Whether 0 stands for white.
        order: ``"<"`` for little-endian, ``">"`` for big-endian.
    """
    tags = {256: 6, 257: 4, 258: bits, 259: 1, 262: int(not white_is_zero), 273: 8 + 2 + 12 * 10 + 4, 277: 1, 278: 4}
    tags |= {279: len(content), 339: kind}
    entries = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in tags.items())
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HIH", 42, 8, len(tags))
    return head + entries + struct.pack(f"{order}I", 0) + content


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_sixteen_bits_are_scaled_by_their_range_whatever_the_ending(suffix: str, tmp_path: Path) -> None:
    Image.fromarray(WIDE).save(tmp_path / f"a{suffix}", "TIFF" if suffix == ".tif" else "PNG")
    np.testing.assert_allclose(gray_of(tmp_path / f"a{suffix}"), WIDE / 257, atol=0.5)
    assert decoding_fault(str(tmp_path / f"a{suffix}")) == ""


@pytest.mark.parametrize("order", ["<", ">"])
def test_both_byte_orders_are_read(order: str, tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(tiff(WIDE.astype(f"{order}u2").tobytes(), bits=16, order=order))
    np.testing.assert_allclose(gray_of(tmp_path / "a.tif"), WIDE / 257, atol=0.5)


def test_twelve_bits_are_scaled_by_their_range(tmp_path: Path) -> None:
    values = np.linspace(0, 4095, 24).astype(np.uint16)
    packed = np.packbits((values[:, None] >> np.arange(11, -1, -1)) & 1)
    (tmp_path / "a.tif").write_bytes(tiff(packed.tobytes(), bits=12))
    np.testing.assert_allclose(gray_of(tmp_path / "a.tif").ravel(), values * (255 / 4095), atol=0.5)


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_a_tiff_whose_white_is_zero_is_no_negative(bits: int, tmp_path: Path) -> None:
    content = {8: WIDE >> 8, 16: WIDE, 32: WIDE / 65535}[bits].astype({8: "u1", 16: "<u2", 32: "<f4"}[bits]).tobytes()
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(content, bits=bits, kind=3 if bits == 32 else 1, white_is_zero=True))
    np.testing.assert_allclose(gray_of(path), 255 - WIDE / 257, atol=1)


@pytest.mark.parametrize("most", [255, 1023, 65535])
def test_a_portable_graymap_is_scaled_by_its_own_white(most: int, tmp_path: Path) -> None:
    values = np.linspace(0, most, 24).astype("u1" if most < 256 else ">u2")
    (tmp_path / "a.pgm").write_bytes(f"P5 6 4 {most}\n".encode() + values.tobytes())
    np.testing.assert_allclose(gray_of(tmp_path / "a.pgm").ravel(), values * (255 / most), atol=0.6)


def test_floats_from_0_to_1_are_scaled(tmp_path: Path) -> None:
    Image.fromarray(WIDE / np.float32(65535)).save(tmp_path / "a.tif")
    np.testing.assert_allclose(gray_of(tmp_path / "a.tif"), WIDE / 257, atol=0.51)


UNKNOWN = {
    "NaN": (np.array([[0, np.nan]], dtype=np.float32), "mode F"),
    "infinite": (np.array([[0, np.inf]], dtype=np.float32), "mode F"),
    "negative": (np.array([[-0.1, 0.5]], dtype=np.float32), "floats from -0.1 to 0.5"),
    "0 to 255": (np.array([[0, 255]], dtype=np.float32), "floats from 0 to 255"),
    "32 bits": (np.array([[0, 1 << 20]], dtype=np.int32), "mode I"),
}


@pytest.mark.parametrize(("values", "message"), UNKNOWN.values(), ids=UNKNOWN)
@pytest.mark.parametrize("read", [open_image, read_header, decoding_fault])
def test_values_of_unknown_range_are_refused_by_name(
    read: Callable[[str], object], values: npt.NDArray[np.float32], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(values).save(path)
    with pytest.raises(DataError, match=message) as error:
        read(str(path))
    assert str(error.value).startswith(str(path))
    assert "convert" in str(error.value)


def test_signed_integers_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(tiff(WIDE.astype("<i2").tobytes(), bits=16, kind=2))
    with pytest.raises(DataError, match="signed"):
        open_image(str(tmp_path / "a.tif"))


def test_an_unknown_mode_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(TO_RGB, "HSV")
    with pytest.raises(DataError, match="HSV"):
        to_rgb(Image.new("HSV", (2, 2)))


def test_warnings_are_silenced_in_the_main_thread_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Two threads that change the filters of the process at once would leave all later warnings silenced.
    Image.fromarray(RAMP).save(tmp_path / "a.png")
    threads = []

    class Watched(warnings.catch_warnings):
        def __init__(self) -> None:
            threads.append(threading.current_thread())
            super().__init__(record=False)

    monkeypatch.setattr(warnings, "catch_warnings", Watched)
    for read in (open_image, read_header, decoding_fault):
        assert len(in_threads(read, [str(tmp_path / "a.png")] * 4, 2)) == 4
    assert set(threads) == {threading.main_thread()}


# Orientation, frames, endings ---------------------------------------------------------------------

TURNS: dict[int, Callable[[Values], Values]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.T,
    6: lambda a: np.rot90(a),
    7: lambda a: a[::-1, ::-1].T,
    8: lambda a: np.rot90(a, -1),
}
"""How a camera stores an upright image, for each EXIF orientation."""


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize(("suffix", "dtype"), [(".png", "u2"), (".tif", "u1")])
def test_a_turned_image_is_served_upright(orientation: int, suffix: str, dtype: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    values = (WIDE >> 8 if dtype == "u1" else WIDE).astype(dtype)
    path = tmp_path / f"a{suffix}"
    Image.fromarray(np.ascontiguousarray(TURNS[orientation](values))).save(path, exif=exif)
    np.testing.assert_allclose(gray_of(path), WIDE / 257, atol=1)
    header = read_header(str(path))
    assert (header.width, header.height, header.is_turned) == (6, 4, orientation != 1)


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x04abcd"])
def test_damaged_metadata_do_not_matter(exif: bytes, tmp_path: Path) -> None:
    path = str(tmp_path / "a.jpg")
    Image.fromarray(COLORS).save(path, exif=exif)
    assert open_image(path).size == (16, 16)
    assert read_header(path)[:2] == (16, 16)


@pytest.mark.parametrize("suffix", [".gif", ".tif", ".webp", ".png"])
def test_the_first_of_several_frames_is_read_and_noted(suffix: str, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), (value, value, value)) for value in (250, 130, 10)]
    path = tmp_path / f"a{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    np.testing.assert_allclose(gray_of(path), 250, atol=2)
    assert read_header(str(path)).has_frames


def test_a_wrong_ending_does_not_matter(tmp_path: Path) -> None:
    Image.fromarray(COLORS).save(tmp_path / "a.jpg", "PNG")
    np.testing.assert_array_equal(open_image(str(tmp_path / "a.jpg")), COLORS)


# Images in folders --------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_ending_is_read_among_others(suffix: str, tmp_path: Path) -> None:
    root = torchvision_layout(tmp_path, classes=2, per_class=2, held=1)
    path = root / "train" / wnid(0) / f"a{suffix.upper()}"
    Image.fromarray(np.full_like(WIDE, 0x8080)).save(path, "PNG")
    train, _, _ = list_images(find_folders("imagenet", tmp_path))
    (row,) = (row for row in range(len(train)) if train.path(row) == str(path))
    images, _, error = FolderDataset(train, 8, seed=0)[0, False, [row]]
    assert error == ""
    assert images.unique().tolist() == [0x80]


def test_every_ending_is_documented() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "own-data.md"
    text = page.read_text(encoding="utf-8")
    assert [suffix for suffix in SUFFIXES if f"`{suffix}`" not in text] == []


def test_files_that_are_not_read_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = torchvision_layout(tmp_path, classes=2, per_class=2, held=1)
    for name in ("a.heic", "b.heic", ".hidden"):
        (root / "train" / wnid(0) / name).write_bytes(b"")
    assert len(list_images(find_folders("imagenet", tmp_path))[0]) == 4
    (record,) = caplog.records
    assert "2 files that are not read" in record.getMessage()
    assert "a.heic" in record.getMessage()


def test_a_conversion_of_a_mode_is_used_for_images_in_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = torchvision_layout(tmp_path, classes=2, per_class=2, held=1)
    for path in (root / "train" / wnid(0)).iterdir():
        Image.fromarray(WIDE).save(path, "PNG")
    monkeypatch.setitem(formats.TO_RGB, "I;16", lambda image: Image.new("RGB", image.size, (7, 7, 7)))
    train, _, _ = list_images(find_folders("imagenet", tmp_path))
    assert FolderDataset(train, 8, seed=0)[0, False, [0]].images.unique().tolist() == [7]


def test_values_of_unknown_range_are_never_replaced_by_another_image(tmp_path: Path) -> None:
    root = torchvision_layout(tmp_path, classes=2, per_class=2, held=1)
    path = root / "train" / wnid(0) / "a.tif"
    Image.fromarray(UNKNOWN["NaN"][0]).save(path)
    train, _, _ = list_images(find_folders("imagenet", tmp_path))
    assert str(path) in FolderDataset(train, 8, seed=0)[0, False, [0]].error


@pytest.mark.parametrize("content", [b"", b"<html>", jpeg(3)[:-300]], ids=["empty", "a web page", "cut short"])
def test_a_damaged_file_has_a_fault_and_cannot_be_opened(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.jpeg"
    path.write_bytes(content)
    fault = decoding_fault(str(path))
    assert fault
    assert "\n" not in fault
    with pytest.raises(UNDECODABLE):
        open_image(str(path))
    path.write_bytes(jpeg(3))
    assert decoding_fault(str(path)) == ""
