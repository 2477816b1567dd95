"""Folders of images by path: layouts, classes, parts, statistics, and what is refused."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder

from data.__main__ import main
from data.cache import FOLDER_VARIABLE, DataError
from data.data import make_datamodule
from data.images import survey
from data.images.decode import FolderDataset
from data.images.folders import list_classes
from data.images.in_own_folder import OwnFolderImages
from data.splitting import PARTS

CLASSES = ("daisy", "rose", "tulip")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def picture(seed: int, size: tuple[int, int] = (8, 8)) -> Image.Image:
    """A random image of a width and a height."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def fill(folder: Path, classes: tuple[str, ...] = CLASSES, rows: int = 10, seed: int = 0) -> Path:
    """A folder of images for each class."""
    for c, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(rows):
            picture(1000 * seed + 100 * c + i).save(folder / name / f"{i}.png")
    return folder


@pytest.fixture
def flowers(tmp_path: Path) -> Path:
    """A folder for each class."""
    return fill(tmp_path / "flowers")


@pytest.fixture
def parted(tmp_path: Path) -> Path:
    """A folder for each class, in train, val and test."""
    for seed, part in enumerate(PARTS):
        fill(tmp_path / "flowers" / part, rows=10 - 3 * seed, seed=seed)
    return tmp_path / "flowers"


def make(folder: Path, **options: object) -> OwnFolderImages:
    module = make_datamodule(str(folder), **{"num_workers": 0, **options})
    assert isinstance(module, OwnFolderImages)
    module.prepare_data()
    module.setup()
    return module


def files(module: OwnFolderImages) -> dict[str, set[str]]:
    listings = {part: module.dataset(part).listing for part in PARTS}
    return {
        part: {os.path.realpath(listing.path(row)) for row in range(len(listing))} for part, listing in listings.items()
    }


# Layouts ------------------------------------------------------------------------------------------


def test_a_folder_of_classes_is_split_and_stratified(flowers: Path) -> None:
    module = make(flowers, val_size=0.2, test_size=0.2)
    assert (module.name, module.class_names, module.input_shape) == ("flowers", CLASSES, (3, 8, 8))
    description = module.describe()
    assert [description["parts"][part]["class_counts"] for part in PARTS] == [[6] * 3, [2] * 3, [2] * 3]
    found = files(module)
    assert set.union(*found.values()) == {str(path) for path in flowers.rglob("*.png")}
    assert sum(map(len, found.values())) == 30
    assert files(make(flowers, val_size=0.2, test_size=0.2)) == found
    assert files(make(flowers, val_size=0.2, test_size=0.2, seed=1)) != found


@pytest.mark.parametrize("renamed", [{}, {"train": "Training", "val": "valid", "test": "TEST"}])
def test_given_parts_are_used_as_they_are(renamed: dict[str, str], parted: Path) -> None:
    for part, name in renamed.items():
        (parted / part).rename(parted / name)
    module = make(parted)
    for part in PARTS:
        reference = ImageFolder(str(parted / renamed.get(part, part)))
        assert reference.classes == list(module.class_names)
        assert files(module)[part] == {os.path.realpath(path) for path, _ in reference.samples}
        assert module.labels(part).tolist() == reference.targets


@pytest.mark.parametrize("missing", [("test",), ("val",), ("val", "test")])
def test_a_part_without_a_folder_is_split_from_training(missing: tuple[str, ...], parted: Path) -> None:
    for part in missing:
        shutil.rmtree(parted / part)
    module = make(parted, val_size=0.2, test_size=0.3)
    sizes = {"val": 6, "test": 9}
    for part in PARTS[1:]:
        inside = {path.startswith(str(parted / "train")) for path in files(module)[part]}
        assert inside == {part in missing}
        if part in missing:
            assert module.num_rows(part) == sizes[part]
    assert module.num_rows("train") == 30 - sum(sizes[part] for part in missing)
    assert f"{' and '.join(missing)} split from training" in module.found()


def test_a_class_may_be_missing_outside_of_training_and_keeps_the_numbers(parted: Path) -> None:
    shutil.rmtree(parted / "val" / "daisy")
    module = make(parted)
    assert set(module.labels("val").tolist()) == {1, 2}
    assert "no val image of daisy" in module.found()


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    module = make(fill(tmp_path / "vehicles", ("bus", "plane", "train")))
    assert module.class_names == ("bus", "plane", "train")
    assert not any("/train/" in path for path in files(module)["train"] if "/vehicles/train/" not in path)


def test_links_and_nested_folders_are_followed_and_hidden_files_are_not(flowers: Path, tmp_path: Path) -> None:
    (flowers / "rose" / "wild" / "red").mkdir(parents=True)
    picture(7).save(flowers / "rose" / "wild" / "red" / "a.png")
    for loop in ("self", "wild/loop"):
        (flowers / "rose" / loop).symlink_to(flowers / "rose")
    (flowers / "rose" / ".hidden.png").write_bytes(b"")
    (flowers / ".git").mkdir()
    fill(tmp_path / "elsewhere", ("lily",))
    (flowers / "lily").symlink_to(tmp_path / "elsewhere" / "lily")
    module = make(flowers)
    assert module.class_names == ("daisy", "lily", "rose", "tulip")
    assert sum(map(len, files(module).values())) == 41
    assert sum(map(module.num_rows, PARTS)) == 41


def test_equal_files_stay_in_one_part(flowers: Path) -> None:
    for name in CLASSES:
        for i in range(4):
            shutil.copy(flowers / name / "0.png", flowers / name / f"copy{i}.png")
    for seed in range(4):
        module = make(flowers, seed=seed)
        contents = [{Path(path).read_bytes() for path in paths} for paths in files(module).values()]
        assert sum(map(len, contents)) == len(set.union(*contents)) == 30
    assert "12 images equal to an earlier one" in module.found()


def test_equal_files_of_given_parts_are_noted(parted: Path) -> None:
    shutil.copy(parted / "train" / "rose" / "0.png", parted / "test" / "rose" / "copy.png")
    assert "1 image equal to one of another part" in make(parted).found()


# Pixels -------------------------------------------------------------------------------------------


def test_mean_and_std_are_those_of_the_training_images(flowers: Path) -> None:
    module = make(flowers, batch_size=None, augment=False)
    pixels = np.stack([np.asarray(Image.open(path)) / 255 for path in files(module)["train"]])
    np.testing.assert_allclose(module.describe()["mean"], pixels.mean(axis=(0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(module.describe()["std"], pixels.std(axis=(0, 1, 2)), rtol=1e-6)


def test_mean_and_std_of_sixteen_bits_are_those_of_eight(tmp_path: Path) -> None:
    found = []
    for bits in (8, 16):
        folder = fill(tmp_path / str(bits))
        for path in sorted(folder.rglob("*.png")):
            gray = np.asarray(Image.open(path).convert("L"))
            Image.fromarray(gray if bits == 8 else gray.astype(np.uint16) * 257).save(path)
        module = make(folder)
        found.append([*module.describe()["mean"], *module.describe()["std"]])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-9)


def test_the_common_size_of_small_squares_is_served_else_224(flowers: Path) -> None:
    assert make(flowers).input_shape == (3, 8, 8)
    assert make(flowers, image_size=6).input_shape == (3, 6, 6)
    picture(0, (8, 9)).save(flowers / "rose" / "0.png")
    module = make(flowers, batch_size=2)
    assert module.input_shape == (3, 224, 224)
    assert next(iter(module.test_dataloader()))[0].shape == (2, 3, 224, 224)
    assert "8x8 (29), 8x9 (1)" in module.found()


@pytest.mark.parametrize("size", [20, 160, 288])
def test_the_evaluation_crop_is_7_8_of_the_shorter_side_at_any_size(size: int, tmp_path: Path) -> None:
    image = picture(1, (30, 33)).resize((300, 330))
    (tmp_path / "rose").mkdir()
    image.save(tmp_path / "rose" / "0.png")
    served = FolderDataset(list_classes(tmp_path, ["rose"], ["rose"]), size, seed=0)[0, False, [0]].images[0]
    short = round(size * 256 / 224)
    resized = image.resize((short, int(short * 1.1)), Image.Resampling.BILINEAR)
    left, top = round((short - size) / 2), round((int(short * 1.1) - size) / 2)
    expected = np.asarray(resized.crop((left, top, left + size, top + size)))
    np.testing.assert_allclose(served.numpy().astype(int), expected.astype(int), atol=3)


def test_frames_turns_and_transparency_are_noted(flowers: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(1, (9, 8)).save(flowers / "rose" / "0.png", exif=exif)
    picture(2).convert("RGBA").save(flowers / "rose" / "1.png")
    picture(3).save(flowers / "rose" / "2.gif", save_all=True, append_images=[picture(4)])
    (flowers / "rose" / "3.png").write_bytes(b"")
    found = make(flowers).found()
    for text in (
        "8x9 (1)",
        "1 image stored turned",
        "1 image with transparency",
        "1 image with several frames",
        "1 image that cannot be read",
    ):
        assert text in found


# Records ------------------------------------------------------------------------------------------


def test_the_files_are_read_again_only_if_one_changes(
    flowers: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    read = survey.open_image

    def watched(path: str) -> Image.Image:
        opened.append(path)
        return read(path)

    monkeypatch.setattr(survey, "open_image", watched)
    first = make(flowers)
    assert len(opened) == first.num_rows("train")
    again = make(flowers)
    assert len(opened) == first.num_rows("train")
    assert again.describe() == first.describe()
    assert again.found() == first.found()
    assert again.fingerprint() == first.fingerprint()
    path = next(iter(files(first)["train"]))
    size = os.path.getsize(path)
    Image.new("RGB", (8, 8)).save(path)
    with open(path, "ab") as stream:  # of the same size
        stream.write(bytes(size - os.path.getsize(path)))
    changed = make(flowers)
    assert changed.describe()["mean"] != first.describe()["mean"]
    assert changed.fingerprint() != first.fingerprint()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: "",
        lambda text: text.replace("0.", "0.9", 1),
        lambda text: "null",
    ],
)
def test_a_damaged_record_is_made_anew(spoil: Callable[[str], str], flowers: Path, cache: Path) -> None:
    expected = make(flowers).describe()
    for record in (cache / "own").iterdir():
        record.write_text(spoil(record.read_text()))
    assert make(flowers).describe() == expected


def test_without_a_cache_everything_is_served(flowers: Path, cache: Path) -> None:
    cache.mkdir()
    (cache / "own-data").write_text("a file where the folder should be")
    assert make(flowers).num_rows("train") == 21


def test_the_fingerprint_follows_files_classes_and_split(flowers: Path) -> None:
    base = make(flowers).fingerprint()
    assert make(flowers, seed=1).fingerprint() != base
    moved = flowers.rename(flowers.parent / "moved")
    assert make(moved).fingerprint() == base
    (moved / "rose" / "0.png").rename(moved / "rose" / "x.png")
    assert make(moved).fingerprint() != base


# Refused ------------------------------------------------------------------------------------------


def only(folder: Path, *names: str) -> None:
    for path in folder.iterdir():
        if path.name not in names:
            shutil.rmtree(path)


def no_folders(root: Path) -> None:
    only(root)
    picture(0).save(root / "a.png")


def no_images(root: Path) -> None:
    (root / "lily").mkdir()
    (root / "lily" / "a.txt").write_text("")


def no_train(root: Path) -> None:
    only(root)
    for part in ("val", "test"):
        fill(root / part)


def wrapped(root: Path) -> None:
    only(root)
    fill(root / "flowers")


def kaggle(root: Path) -> None:
    only(root)
    (root / "ILSVRC" / "Data" / "CLS-LOC").mkdir(parents=True)


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "one class": (lambda root: only(root, "rose"), "one class, rose"),
    "nothing": (only, "no folders of classes"),
    "one folder too high": (wrapped, r"one folder, with daisy, rose, tulip in it: name .*flowers/flowers instead"),
    "ImageNet": (kaggle, "dataset=imagenet with data_dir="),
    "no folders": (no_folders, "images outside of folders"),
    "an empty class": (lambda root: (root / "lily").mkdir(), "lily has no images"),
    "only text": (no_images, "lily has no images"),
    "no train": (no_train, "no train folder"),
    "an unknown mode": (
        lambda root: Image.fromarray(np.ones((8, 8), np.int32)).save(root / "rose" / "a.tif"),
        "mode I",
    ),
}


@pytest.mark.parametrize(("spoil", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_folder_is_refused_in_one_line(spoil: Callable[[Path], object], message: str, flowers: Path) -> None:
    spoil(flowers)
    with pytest.raises(DataError, match=message) as error:
        make(flowers)
    assert "\n" not in str(error.value)
    assert str(flowers) in str(error.value)


def test_a_class_that_training_lacks_is_refused(parted: Path) -> None:
    fill(parted / "val", ("lily",))
    with pytest.raises(DataError, match=r"a class that .*train lacks, lily"):
        make(parted)


def test_two_folders_of_one_part_are_refused(parted: Path) -> None:
    shutil.copytree(parted / "val", parted / "valid")
    with pytest.raises(DataError, match="two folders of one part, val and valid"):
        make(parted)


def test_too_few_images_for_three_parts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="leave each part a row"):
        make(fill(tmp_path / "few", rows=1))


def test_what_is_left_out_is_said(parted: Path, caplog: pytest.LogCaptureFixture) -> None:
    (parted / "unlabeled").mkdir()
    picture(0).save(parted / "train" / "loose.png")
    with caplog.at_level(logging.WARNING):
        make(parted)
    text = " ".join(record.getMessage() for record in caplog.records)
    assert "unlabeled, left out" in text
    assert "1 image in no folder of a class" in text


# Names and paths ----------------------------------------------------------------------------------


def test_a_name_is_no_path_and_a_path_no_name(flowers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(flowers.parent)
    monkeypatch.setenv("HOME", str(flowers.parent))
    flowers.rename(flowers.parent / "moons")
    assert not isinstance(make_datamodule("moons"), OwnFolderImages)
    up = f"../{flowers.parent.name}/moons"
    for path in ("./moons", "~/moons", up, str(flowers.parent / "moons"), Path("moons")):
        module = make_datamodule(path)
        assert isinstance(module, OwnFolderImages)
        assert module.folder == flowers.parent / "moons"


def test_an_unknown_name_that_is_a_folder_gets_the_path(flowers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(flowers.parent)
    with pytest.raises(ValueError, match=r"write \./flowers"):
        make_datamodule("flowers")


def test_a_path_to_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="name a folder of images") as error:
        make_datamodule(str(tmp_path / "missing"))
    assert "\n" not in str(error.value)


def test_the_command_describes_a_folder(flowers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(flowers)]) == 0
    assert "flowers: 30 images of 3 classes: daisy 10, rose 10, tulip 10" in capsys.readouterr().out
    assert main([str(flowers), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["class_names"] == list(CLASSES)
    with pytest.raises(SystemExit):
        main([str(flowers / "missing")])
    assert "does not exist" in capsys.readouterr().err


def test_batches_are_normalized_floats(flowers: Path) -> None:
    x, y = next(iter(make(flowers, batch_size=None, augment=False).train_dataloader()))
    assert (x.shape, x.dtype, y.tolist().count(0)) == ((21, 3, 8, 8), torch.float32, 7)
    assert x.mean().abs() < 0.2
