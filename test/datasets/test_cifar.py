"""CIFAR-10 in the form that torchvision downloads: pickles, read without running their code."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import CIFAR10

from data.cache import DataError
from data.data import make_datamodule
from data.datasets import availability, places
from data.images.catalog import IMAGE_SOURCES
from data.images.cifar import TEST, TRAIN, read_cifar10

NAMES = (*TRAIN, TEST)


class Code:
    """An object whose pickle runs a command when it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return os.mkdir, (str(self.mark),)


def batches(rows: int = 20) -> dict[str, dict[str, object]]:
    rng = np.random.default_rng(0)
    return {
        name: {
            "data": rng.integers(0, 256, (rows, 3072), dtype=np.uint8),
            "labels": [i % 10 for i in range(rows)],
            "batch_label": name,
            "filenames": [f"{i}.png" for i in range(rows)],
        }
        for name in NAMES
    }


def unpacked(root: Path, contents: Mapping[str, object]) -> list[Path]:
    """The files as torchvision unpacks them."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for name, content in contents.items():
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    return [folder / name for name in NAMES]


def packed(root: Path, contents: Mapping[str, object]) -> list[Path]:
    """The archive that torchvision downloads."""
    root.mkdir(parents=True, exist_ok=True)
    with tarfile.open(root / "cifar-10-python.tar.gz", "w:gz") as archive:
        for name, content in contents.items():
            data = pickle.dumps(content, protocol=2)
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return [root / "cifar-10-python.tar.gz"]


FORMS = pytest.mark.parametrize("form", [unpacked, packed])
Form = Callable[[Path, Mapping[str, object]], list[Path]]


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[Path]], None]:
    """A function that writes the checksums of files into the catalog."""

    def know(paths: list[Path]) -> None:
        digests = {path.name: f"md5:{hashlib.md5(path.read_bytes()).hexdigest()}" for path in paths}
        source = IMAGE_SOURCES["cifar10"]
        forms = tuple(
            tuple(replace(file, digest=digests.get(file.name, file.digest)) for file in form)
            for form in source.other_forms
        )
        monkeypatch.setitem(IMAGE_SOURCES, "cifar10", replace(source, other_forms=forms))

    return know


@FORMS
@pytest.mark.parametrize("folder", ["", "cifar10"])
def test_the_files_of_torchvision_are_read(
    form: Form, folder: str, known: Callable[[list[Path]], None], tmp_path: Path
) -> None:
    contents = batches()
    paths = form(tmp_path / folder, contents)
    known(paths)
    assert availability("cifar10", tmp_path) == "cached"
    assert places("cifar10", tmp_path) == [str(path) for path in paths]
    module = make_datamodule("cifar10", data_dir=tmp_path)
    module.prepare_data()
    module.setup()
    assert [module.num_rows(part) for part in ("train", "val", "test")] == [90, 10, 20]
    test = contents[TEST]
    np.testing.assert_array_equal(module.images("test"), test["data"].reshape(-1, 3, 32, 32))
    assert module.labels("test").tolist() == test["labels"]
    served = {image.numpy().tobytes() for part in ("train", "val") for image in module.images(part)}
    assert served == {row.tobytes() for name in TRAIN for row in contents[name]["data"]}


def test_the_folder_itself_may_be_named(known: Callable[[list[Path]], None], tmp_path: Path) -> None:
    paths = unpacked(tmp_path, batches())
    known(paths)
    assert availability("cifar10", paths[0].parent) == "cached"
    with pytest.raises(DataError, match=f"dataset=cifar10 with data_dir={tmp_path}"):
        make_datamodule(str(paths[0].parent)).setup()


def test_the_checksums_are_those_of_torchvision() -> None:
    unpacked_files, (archive,) = IMAGE_SOURCES["cifar10"].other_forms
    assert archive.digest == f"md5:{CIFAR10.tgz_md5}"
    assert [[file.name, file.digest.removeprefix("md5:")] for file in unpacked_files] == [
        *CIFAR10.train_list,
        *CIFAR10.test_list,
    ]


@FORMS
def test_a_file_with_another_checksum_is_refused_unread(form: Form, tmp_path: Path) -> None:
    contents = {**batches(), "data_batch_3": {"data": Code(tmp_path / "ran")}}
    paths = form(tmp_path, contents)
    assert availability("cifar10", tmp_path) == "damaged"
    with pytest.raises(DataError, match="damaged: its md5 is") as error:
        make_datamodule("cifar10", data_dir=tmp_path).prepare_data()
    assert str(paths[0].parent) in str(error.value)
    assert not (tmp_path / "ran").exists()


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "code": (lambda mark: Code(mark), r"calls (posix|nt).mkdir, which is refused"),
    "code in the images": (lambda mark: {"data": Code(mark), "labels": []}, "which is refused"),
    "an object array": (lambda mark: {"data": np.array([[Code(mark)]]), "labels": [1]}, "which is refused"),
    "no images": (lambda mark: {"labels": [1]}, "must hold data"),
    "floats": (lambda mark: {"data": np.zeros((1, 3072)), "labels": [1]}, "must hold data"),
    "other pixels": (lambda mark: {"data": np.zeros((1, 3), np.uint8), "labels": [1]}, "must hold data"),
    "too few classes": (lambda mark: {"data": np.zeros((2, 3072), np.uint8), "labels": [1]}, "must hold data"),
    "texts": (lambda mark: {"data": np.zeros((1, 3072), np.uint8), "labels": ["1"]}, "must hold data"),
    "a wrong class": (lambda mark: {"data": np.zeros((1, 3072), np.uint8), "labels": [10]}, "class number"),
    "a list": (lambda mark: [1], "must hold data"),
}


@pytest.mark.parametrize(("content", "message"), WRONG.values(), ids=WRONG)
def test_anything_but_images_is_refused_and_no_code_runs(
    content: Callable[[Path], object], message: str, known: Callable[[list[Path]], None], tmp_path: Path
) -> None:
    mark = tmp_path / "ran"
    paths = unpacked(tmp_path, {**batches(2), "data_batch_2": content(mark)})
    with pytest.raises(ValueError, match=message):
        read_cifar10(paths)
    known(paths)
    with pytest.raises(DataError, match=message) as error:
        make_datamodule("cifar10", data_dir=tmp_path).setup()
    assert "\n" not in str(error.value)
    assert not mark.exists()


def test_a_pickle_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    paths = unpacked(tmp_path, batches(2))
    paths[1].write_bytes(paths[1].read_bytes()[:-100])
    with pytest.raises(ValueError, match="data_batch_2 is no batch"):
        read_cifar10(paths)
