"""Transforms of the user: called as torchvision calls them, for images in folders and in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.functional import pil_to_tensor, to_tensor

from data.cache import FOLDER_VARIABLE
from data.data import make_datamodule
from data.images.image_data import ImageDescription
from data.images.module import ImageModule
from data.images.transforms import TransformError


@pytest.fixture(params=["folder", "memory"])
def dataset(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """A small set of images of 8 x 8 pixels in three classes: files, or in memory."""
    if request.param == "memory":
        return {"name": "fake", "num_points": 30, "num_classes": 3, "image_size": 8}
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for name in "abc":
        (tmp_path / "own" / name).mkdir(parents=True)
        for i in range(10):
            pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "own" / name / f"{i}.png")
    return {"name": str(tmp_path / "own"), "num_workers": 0, "image_size": 8}


def make(dataset: dict[str, object], **options: object) -> ImageModule:
    module = make_datamodule(**{**dataset, "batch_size": 8, **options})
    module.setup()
    assert isinstance(module, ImageModule)
    return module


def collected(loader: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    x, y = zip(*loader, strict=True)
    return torch.cat(x), torch.cat(y)


def sorted_rows(x: Tensor) -> Tensor:
    return torch.tensor(sorted(x.flatten(1).tolist()))


def test_floats_are_served_as_they_are_returned(dataset: dict[str, object]) -> None:
    seen: list[Image.Image] = []

    def transform(image: Image.Image) -> Tensor:
        seen.append(image)
        return to_tensor(image)

    module = make(dataset, transform=transform)
    seen.clear()
    x, _ = collected(module.train_dataloader())
    assert {(image.mode, image.size) for image in seen} == {("RGB", (8, 8))}
    assert cast("ImageDescription", module.describe())["augment"].endswith("transform")
    assert (x.dtype, x.shape[1:]) == (torch.float32, module.input_shape)
    assert torch.equal(sorted_rows(x), sorted_rows(torch.stack([to_tensor(image) for image in seen])))


@pytest.mark.parametrize("output", [lambda image: image, pil_to_tensor], ids=["PIL", "bytes"])
def test_bytes_are_normalized(output: Callable[[Image.Image], object], dataset: dict[str, object]) -> None:
    module = make(dataset, transform=output)
    raw, _ = collected(make(dataset, transform=to_tensor).test_dataloader())
    x, _ = collected(module.test_dataloader())
    description = cast("ImageDescription", module.describe())
    mean, std = (torch.tensor(description[name]).view(3, 1, 1) for name in ("mean", "std"))
    torch.testing.assert_close(x, (raw - mean) / std, atol=1e-5, rtol=1e-5)


def test_each_kind_has_its_own_transform(dataset: dict[str, object]) -> None:
    def constant(value: float) -> Callable[[Image.Image], Tensor]:
        return lambda image: torch.full((1, 5, 6), value)

    module = make(dataset, transform=constant(1.0), train_transform=constant(2.0))
    assert module.input_shape == (1, 5, 6)
    for loader, value in ((module.train_dataloader, 2.0), (module.val_dataloader, 1.0), (module.test_dataloader, 1.0)):
        assert collected(loader())[0].unique().tolist() == [value]
    module = make(dataset, transform=constant(1.0), eval_transform=constant(3.0))
    assert collected(module.train_dataloader())[0].unique().tolist() == [1.0]
    assert collected(module.val_dataloader())[0].unique().tolist() == [3.0]


def test_one_transform_alone_leaves_the_other_kind_as_it_was(dataset: dict[str, object]) -> None:
    plain, _ = collected(make(dataset).val_dataloader())
    module = make(dataset, train_transform=lambda image: torch.zeros(3, 8, 8))
    assert torch.equal(collected(module.val_dataloader())[0], plain)
    assert collected(module.train_dataloader())[0].unique().tolist() == [0.0]


def test_random_transforms_depend_on_seed_epoch_and_image_alone(dataset: dict[str, object]) -> None:
    transform = v2.Compose([v2.RandomCrop(8, padding=2), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    state = torch.get_rng_state()
    first, other = (make(dataset, transform=transform, batch_size=size) for size in (8, 4))
    loaders = first.train_dataloader(), other.train_dataloader()
    epochs = []
    for _ in range(2):
        (x, y), (again, _) = map(collected, loaders)
        assert torch.equal(x, again)
        epochs.append(x[y.argsort()])
    assert not torch.equal(*map(sorted_rows, epochs))
    loaders[0].set_epoch(0)
    assert torch.equal(
        collected(loaders[0])[0][:8], collected(make(dataset, transform=transform).train_dataloader())[0][:8]
    )
    assert torch.equal(torch.get_rng_state(), state)


WRONG: dict[str, tuple[object, str]] = {
    "nothing": (lambda image: None, "got NoneType"),
    "an array": (lambda image: np.asarray(image), "got ndarray"),
    "no channels": (lambda image: torch.zeros(8, 8), r"got a tensor of shape \(8, 8\)"),
    "integers": (lambda image: torch.zeros(3, 8, 8, dtype=torch.int64), "type int64"),
    "a float image": (lambda image: image.convert("F"), "mode F"),
    "gray bytes": (lambda image: image.convert("L"), "keep the number of channels"),
}


@pytest.mark.parametrize(("transform", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_result_is_refused_before_training(transform: object, message: str, dataset: dict[str, object]) -> None:
    for kind in ("train_transform", "eval_transform"):
        with pytest.raises(TransformError, match=message) as error:
            make(dataset, **{kind: transform})
        assert "\n" not in str(error.value)


def test_different_shapes_of_both_kinds_are_refused(dataset: dict[str, object]) -> None:
    with pytest.raises(TransformError, match=r"one shape, got \(3, 9, 9\) and \(3, 8, 8\)"):
        make(dataset, train_transform=lambda image: torch.zeros(3, 9, 9))


@pytest.mark.parametrize("after", [2, 4], ids=["from the first batch", "in a batch"])
def test_images_that_differ_in_shape_are_refused_in_one_line(after: int, dataset: dict[str, object]) -> None:
    calls: list[int] = []

    def transform(image: Image.Image) -> Tensor:
        calls.append(1)
        return torch.zeros(3, 8, 8 + (len(calls) > after))

    with pytest.raises((TransformError, RuntimeError), match=r"of one shape, got \(3, 8, 8\) and \(3, 8, 9\)"):
        collected(make(dataset, transform=transform).train_dataloader())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"transform": "ToTensor"}, "transform must be a function"),
        ({"train_transform": 3}, "train_transform must be a function"),
        ({"train_transform": to_tensor, "augment": False}, "train_transform needs augment=True"),
    ],
)
def test_wrong_arguments_are_refused(options: dict[str, object], message: str, dataset: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=message):
        make_datamodule(**dataset, **options)


def test_a_table_has_no_transform() -> None:
    with pytest.raises(ValueError, match="a transform needs a data set of images"):
        make_datamodule("iris", transform=to_tensor)


def test_images_of_other_numbers_of_channels_have_no_transform() -> None:
    with pytest.raises(TransformError, match="1 or 3 channels, got 2"):
        make({"name": "fake", "channels": 2}, transform=to_tensor)
