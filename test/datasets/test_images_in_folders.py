"""Images in folders: layouts, decoding and crops, images that cannot be decoded."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.image_layouts import jpeg, kaggle_layout, torchvision_layout, wnid, write
from torch import Tensor
from torchvision.transforms import v2

from data.batches import private_generator
from data.cache import DataError
from data.data import make_datamodule
from data.datasets import availability
from data.images.catalog import IMAGENET_MEAN, IMAGENET_STD
from data.images.decode import FolderDataset
from data.images.folders import find_folders, list_images
from data.images.in_folders import FolderImages

SIZE = 32


def kaggle_annotations(cache: Path, classes: int = 4, per_class: int = 6, held: int = 2) -> Path:
    return kaggle_layout(cache, classes, per_class, held, csv=False)


every_layout = pytest.mark.parametrize("layout", [torchvision_layout, kaggle_layout, kaggle_annotations])


def make(cache: Path, **options: object) -> FolderImages:
    chosen = {"batch_size": 5, "image_size": SIZE, "num_workers": 0, "val_size": 0.2, "data_dir": cache, **options}
    module = make_datamodule("imagenet", **chosen)
    assert isinstance(module, FolderImages)
    module.prepare_data()
    module.setup()
    return module


def batches(loader: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    x, y = zip(*loader, strict=True)
    return torch.cat(x), torch.cat(y)


# Layouts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layout", "classes"), [(torchvision_layout, 1000), (kaggle_layout, 110), (kaggle_annotations, 110)]
)
def test_a_thousand_classes_are_served(layout: Callable[..., Path], classes: int, tmp_path: Path) -> None:
    layout(tmp_path, classes=classes, per_class=2, held=1)
    module = make(tmp_path, batch_size=100, val_size=0.1)
    assert (module.num_classes, module.input_shape) == (classes, (3, SIZE, SIZE))
    rows = [module.num_rows(part) for part in ("train", "val", "test")]
    assert rows == [classes * 2 * 9 // 10, classes // 5, classes]
    x, y = batches(module.test_dataloader())
    assert x.shape == (classes, 3, SIZE, SIZE)
    assert x.dtype == torch.float32
    assert sorted(y.tolist()) == list(range(classes))
    x, y = next(iter(module.train_dataloader()))
    assert x.isfinite().all()
    assert module.describe()["parts"]["test"]["class_counts"] == [1] * classes


@every_layout
def test_every_file_has_the_class_of_its_folder(layout: Callable[..., Path], tmp_path: Path) -> None:
    layout(tmp_path)
    train, test, classes = list_images(find_folders("imagenet", tmp_path))
    assert classes == tuple(wnid(c) for c in range(4))
    assert [train.path(row).split("/")[-2] for row in range(len(train))] == [classes[c] for c in train.labels]
    # The layouts number the test images class by class.
    numbers = [int(Path(test.path(row)).stem.rpartition("_")[2]) for row in range(len(test))]
    assert test.labels.tolist() == [(number - 1) // 2 for number in numbers]
    assert sorted(numbers) == list(range(1, 9))


def test_data_dir_may_be_the_folder_of_the_set(tmp_path: Path) -> None:
    root = torchvision_layout(tmp_path)
    assert find_folders("imagenet", root).train == root / "train"
    assert availability("imagenet", root) == "cached"


def test_a_missing_folder_is_reported_in_one_line_with_place_and_source(tmp_path: Path) -> None:
    assert availability("imagenet", tmp_path) == "not cached"
    with pytest.raises(DataError) as error:
        make(tmp_path)
    text = str(error.value)
    assert "\n" not in text
    for part in (
        str(tmp_path / "imagenet"),
        "train/<wnid>",
        "kaggle competitions",
        "image-net.org",
        "set data_dir to",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: (root / "train" / "n9").mkdir(), "n9 has no images"),
        (lambda root: (root / "val" / "n9").mkdir(), "a class that"),
        (lambda root: [path.unlink() for path in (root / "val").glob("*/*")], "has no images"),
    ],
    ids=["empty class", "unknown class", "no test images"],
)
def test_a_wrong_layout_is_refused(spoil: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    spoil(torchvision_layout(tmp_path))
    with pytest.raises(DataError, match=message) as error:
        make(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (None, "put Kaggle's LOC_val_solution.csv"),
        ("ImageId,PredictionString\n", "has no class"),
        ("ImageId,PredictionString\nILSVRC2012_val_00000001,n9 1 2 3 4\n", "the class n9, which training lacks"),
        ("a,b\nc,d\n", "cannot be read"),
    ],
    ids=["none", "empty", "unknown class", "another table"],
)
def test_wrong_answers_are_refused(answers: str | None, message: str, tmp_path: Path) -> None:
    path = kaggle_layout(tmp_path) / "LOC_val_solution.csv"
    path.unlink()
    if answers is not None:
        path.write_text(answers)
    with pytest.raises(DataError, match=message):
        make(tmp_path)


# Decoding and crops -------------------------------------------------------------------------------


def normalized(image: Image.Image) -> Tensor:
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (pixels - mean) / std


def test_held_out_images_are_center_crops(tmp_path: Path) -> None:
    torchvision_layout(tmp_path)
    module = make(tmp_path)
    _, test, _ = list_images(find_folders("imagenet", tmp_path))
    x, y = batches(module.test_dataloader())
    for row in range(len(test)):
        image: Image.Image = Image.open(test.path(row))
        short = round(SIZE * 256 / 224)
        width, height = (round(side * short / min(image.size)) for side in image.size)
        left, top = round((width - SIZE) / 2), round((height - SIZE) / 2)
        image = image.resize((width, height), Image.Resampling.BILINEAR).crop((left, top, left + SIZE, top + SIZE))
        torch.testing.assert_close(x[row], normalized(image), atol=1e-5, rtol=1e-5)
    assert y.tolist() == test.labels.tolist()


def test_training_images_are_random_crops_by_seed_epoch_and_row(tmp_path: Path) -> None:
    torchvision_layout(tmp_path)
    module = make(tmp_path)
    loader = module.train_dataloader()
    loader.set_epoch(3)
    x, y = batches(loader)
    order = module.order(torch.arange(19), torch.from_numpy(module.labels("train")), shuffle=True)
    order.set_epoch(3)
    rows = torch.cat([rows for rows, _ in order]).tolist()
    listing = module.dataset("train").listing
    crop = v2.Compose([v2.RandomResizedCrop(SIZE, antialias=True), v2.RandomHorizontalFlip()])
    for i, row in enumerate(rows):
        torch.default_generator.set_state(private_generator(module.seed, 3, row).get_state())
        expected = crop(Image.open(listing.path(row)).convert("RGB"))
        torch.testing.assert_close(x[i], normalized(expected), atol=1e-5, rtol=1e-5)
    assert y.tolist() == listing.labels[rows].tolist()


def test_batches_do_not_depend_on_workers_or_on_the_global_generator(tmp_path: Path) -> None:
    torchvision_layout(tmp_path)
    loaders = [make(tmp_path, num_workers=workers).train_dataloader() for workers in (0, 2)]
    assert [loader.num_workers for loader in loaders] == [0, 2]
    state = torch.get_rng_state()
    for epoch in range(2):
        (x, y), (other, labels) = (batches(loader) for loader in loaders)
        assert torch.equal(x, other)
        assert torch.equal(y, labels)
        loaders[0].set_epoch(epoch + 1)
        loaders[1].set_epoch(epoch + 1)
    assert torch.equal(torch.get_rng_state(), state)


def test_training_images_without_augmentation_are_center_crops(tmp_path: Path) -> None:
    torchvision_layout(tmp_path)
    module = make(tmp_path, augment=False, batch_size=None)
    x, y = batches(module.train_dataloader())
    dataset = module.dataset("train")
    images, labels, _ = dataset[0, False, range(len(dataset))]
    expected = torch.stack([normalized(Image.fromarray(image.numpy())) for image in images])
    torch.testing.assert_close(x, expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(y, labels)


def test_gray_and_four_channel_images_become_three(tmp_path: Path) -> None:
    root = torchvision_layout(tmp_path)
    write(root / "val" / wnid(0) / "ILSVRC2012_val_00000001.JPEG", jpeg(0, mode="L"))
    write(root / "val" / wnid(0) / "ILSVRC2012_val_00000002.JPEG", jpeg(0, mode="CMYK"))
    module = make(tmp_path)
    x, _ = batches(module.test_dataloader())
    assert x.shape == (8, 3, SIZE, SIZE)
    assert module.describe()["unreadable"]["test"] == 0


# Images that cannot be decoded --------------------------------------------------------------------

BROKEN = {"empty": b"", "text": b"<html>", "cut short": jpeg(3)[:-300], "head alone": jpeg(3)[:30]}


@pytest.mark.parametrize("workers", [0, 2])
def test_skipped_images_are_replaced_by_others_of_their_class(
    workers: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = torchvision_layout(tmp_path, held=5)
    for path, content in zip(sorted((root / "val" / wnid(1)).iterdir()), BROKEN.values(), strict=False):
        path.write_bytes(content)
    module = make(tmp_path, num_workers=workers, batch_size=3)
    loader = module.test_dataloader()
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="data.images.in_folders"):
            x, y = batches(loader)
        (record,) = caplog.records
        assert "4 of 20 images of the test part cannot be decoded" in record.getMessage()
        assert wnid(1) in record.getMessage()
        assert y.tolist() == [c for c in range(4) for _ in range(5)]
        one = x[y == 1]
        assert all(torch.equal(image, one[4]) for image in one)
    assert module.describe()["unreadable"] == {"train": 0, "val": 0, "test": 4}


def test_a_class_without_a_decodable_image_is_reported_in_one_line(tmp_path: Path) -> None:
    root = torchvision_layout(tmp_path)
    for path in (root / "val" / wnid(2)).iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="no image of its class can be decoded, ") as error:
        batches(make(tmp_path, num_workers=1).test_dataloader())
    assert str(error.value).endswith(": replace the files, or leave the class out.")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_undecodable_images_are_refused_before_training(content: bytes, tmp_path: Path) -> None:
    root = torchvision_layout(tmp_path)
    path = root / "val" / wnid(1) / "ILSVRC2012_val_00000003.JPEG"
    path.write_bytes(content)
    with pytest.raises(DataError, match="1 of 32 images cannot be decoded") as error:
        make(tmp_path, corrupt="refuse")
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    path.write_bytes(jpeg(0))
    assert make(tmp_path, corrupt="refuse").num_rows("test") == 8


def test_a_set_that_passed_the_check_is_not_decoded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = torchvision_layout(tmp_path)
    make(tmp_path, corrupt="refuse")
    opened: list[str] = []
    original = Image.open

    def watched(path: str) -> Image.Image:
        opened.append(path)
        return original(path)

    monkeypatch.setattr(Image, "open", watched)
    make(tmp_path, corrupt="refuse")
    assert opened == []
    write(root / "train" / wnid(0) / "more.JPEG", jpeg(1))
    make(tmp_path, corrupt="refuse")
    assert len(opened) == 33


def test_a_file_damaged_after_the_check_is_refused_when_it_is_read(tmp_path: Path) -> None:
    root = torchvision_layout(tmp_path)
    module = make(tmp_path, corrupt="refuse", num_workers=1)
    path = root / "val" / wnid(1) / "ILSVRC2012_val_00000003.JPEG"
    path.write_bytes(b"")
    with pytest.raises(DataError) as error:
        batches(module.test_dataloader())
    assert str(error.value).startswith(str(path))


def test_the_slices_of_two_processes_make_up_the_batch_of_one(tmp_path: Path) -> None:
    torchvision_layout(tmp_path)
    train, _, _ = list_images(find_folders("imagenet", tmp_path))
    dataset = FolderDataset(train, SIZE, seed=1)
    whole = dataset[2, True, [4, 9, 1]][0]
    parts = [dataset[2, True, rows][0] for rows in ([4], [9, 1])]
    assert torch.equal(whole, torch.cat(parts))


def test_file_names_that_are_not_unicode_are_read(tmp_path: Path) -> None:
    root = torchvision_layout(tmp_path)
    odd = os.fsencode(str(root / "train" / wnid(0))) + b"/\xff.JPEG"
    with open(odd, "wb") as stream:
        stream.write(jpeg(0))
    train, _, _ = list_images(find_folders("imagenet", tmp_path))
    assert len(train) == 25
    assert len(batches(make(tmp_path).train_dataloader())[1]) == 20
