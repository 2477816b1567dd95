"""Folders of small images in the layouts of torchvision and Kaggle."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
from PIL import Image


def jpeg(seed: int, size: tuple[int, int] = (40, 36), mode: str = "RGB") -> bytes:
    """A random image as a JPEG file.

    Args:
        seed: Seed of the pixels.
        size: Width and height.
        mode: Mode of Pillow.
    """
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(coarse).resize(size).convert(mode).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def wnid(c: int) -> str:
    """The name of a class, as in ImageNet."""
    return f"n{c:08d}"


def write(path: Path, content: bytes) -> None:
    """Write a file, and make its folder if it does not exist."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def kaggle_layout(cache: Path, classes: int = 4, per_class: int = 6, held: int = 2, *, csv: bool = True) -> Path:
    """ImageNet as in Kaggle's archive, with the images of :func:`torchvision_layout`.

    Args:
        cache: Cache folder.
        classes: Number of classes.
        per_class: Training images of each class.
        held: Test images of each class.
        csv: Whether the classes of test images are in a CSV file; otherwise in annotations.

    Returns:
        The folder of the set.
    """
    root = torchvision_layout(cache, classes, per_class, held)
    base = root / "ILSVRC" / "Data" / "CLS-LOC"
    (base / "val").mkdir(parents=True)
    shutil.move(root / "train", base / "train")
    lines = ["ImageId,PredictionString"]
    for path in sorted((root / "val").glob("*/*")):
        lines.append(f"{path.stem},{path.parent.name} 1 2 3 4 {path.parent.name} 5 6 7 8 ")
        if not csv:
            xml = f"<annotation><object>\n\t<name>{path.parent.name}</name></object></annotation>"
            write(root / "ILSVRC" / "Annotations" / "CLS-LOC" / "val" / f"{path.stem}.xml", xml.encode())
        shutil.move(path, base / "val" / path.name)
    shutil.rmtree(root / "val")
    if csv:
        (root / "LOC_val_solution.csv").write_text("\n".join(lines) + "\n")
    return root


def torchvision_layout(cache: Path, classes: int = 4, per_class: int = 6, held: int = 2) -> Path:
    """ImageNet as torchvision expects it: ``train/<wnid>/`` and ``val/<wnid>/``.

    Args:
        cache: Cache folder.
        classes: Number of classes.
        per_class: Training images of each class.
        held: Test images of each class.

    Returns:
        The folder of the set.
    """
    root = cache / "imagenet"
    # Eight different images are enough: the tests are about places and classes.
    contents = [jpeg(seed) for seed in range(8)]
    for c in range(classes):
        for i in range(per_class):
            write(root / "train" / wnid(c) / f"{wnid(c)}_{i}.JPEG", contents[(c + i) % 8])
        for i in range(held):
            number = (c * held + i) % (classes * held) + 1
            write(root / "val" / wnid(c) / f"ILSVRC2012_val_{number:08d}.JPEG", contents[(c * i) % 8])
    return root
