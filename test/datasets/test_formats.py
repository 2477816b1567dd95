"""Formats of image files: suffixes, conversions to three channels, and damaged files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.image_layouts import jpeg, torchvision_layout, wnid

from data.images import formats
from data.images.decode import FolderDataset
from data.images.folders import find_folders, list_images
from data.images.formats import UNDECODABLE, decoding_fault, open_rgb


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_mode_becomes_three_channels_of_bytes(mode: str, tmp_path: Path) -> None:
    image = Image.fromarray(np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)).convert(mode)
    image.save(tmp_path / "a.png")
    opened = open_rgb(str(tmp_path / "a.png"))
    assert (opened.mode, opened.size) == ("RGB", (6, 4))
    assert np.asarray(opened).dtype == np.uint8


@pytest.fixture
def sixteen_bits(tmp_path: Path) -> Callable[[str], Path]:
    """A function that adds an image with 16 bits per pixel, and the given suffix, to a set in folders."""

    def add(suffix: str) -> Path:
        root = torchvision_layout(tmp_path, classes=2, per_class=2, held=1)
        path = root / "train" / wnid(0) / f"a{suffix}"
        Image.fromarray(np.full((8, 8), 0x8000, dtype=np.uint16)).save(path, "PNG")
        return path

    return add


def test_a_conversion_of_a_mode_is_used_for_images_in_folders(
    sixteen_bits: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = sixteen_bits(".png")

    def upper_byte(image: Image.Image) -> Image.Image:
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")

    monkeypatch.setitem(formats.TO_RGB, "I;16", upper_byte)
    train, _, _ = list_images(find_folders("imagenet", tmp_path))
    (row,) = (row for row in range(len(train)) if train.path(row) == str(path))
    images, _, error = FolderDataset(train, 8, seed=0)[0, False, [row]]
    assert error == ""
    assert images.unique().tolist() == [0x80]


def test_files_with_other_suffixes_are_ignored(sixteen_bits: Callable[[str], Path], tmp_path: Path) -> None:
    sixteen_bits(".pgm")
    assert len(list_images(find_folders("imagenet", tmp_path))[0]) == 4


@pytest.mark.parametrize("content", [b"", b"<html>", jpeg(3)[:-300]], ids=["empty", "a web page", "cut short"])
def test_a_damaged_file_has_a_fault_and_cannot_be_opened(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.jpeg"
    path.write_bytes(content)
    fault = decoding_fault(str(path))
    assert fault
    assert "\n" not in fault
    with pytest.raises(UNDECODABLE):
        open_rgb(str(path))
    path.write_bytes(jpeg(3))
    assert decoding_fault(str(path)) == ""
