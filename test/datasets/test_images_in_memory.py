"""Images in memory: files, split, batches and augmentation."""

from __future__ import annotations

import gzip
import hashlib
import io
import struct
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import pytorch_lightning as pl
import torch
from support.augmentation import reference_augmentation
from torch import Tensor, nn

from data.batches import TensorBatches
from data.cache import FOLDER_VARIABLE, DataError
from data.data import make_datamodule
from data.datamodules import MemoryImages
from data.images.arrays import load_arrays, make_fake, read_idx
from data.images.augment import Normalize, ShiftAndFlip, channel_statistics
from data.images.catalog import IMAGE_SOURCES
from data.images.in_memory import ImageBatches, equal_images
from data.images.published import PublishedFile

Integers = npt.NDArray[np.int64]

# Files --------------------------------------------------------------------------------------------


def idx(array: Integers) -> bytes:
    head = b"\0\0\x08" + bytes([array.ndim]) + b"".join(struct.pack(">I", size) for size in array.shape)
    return gzip.compress(head + array.astype(np.uint8).tobytes(), mtime=0)


def put(folder: Path, files: dict[str, bytes], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write small files into the cache, and their checksums into the catalog."""
    source = IMAGE_SOURCES[name]

    def known(file: PublishedFile) -> PublishedFile:
        path = folder / file.folder / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(files[file.name])
        return replace(file, digest=f"sha256:{hashlib.sha256(files[file.name]).hexdigest()}")

    train, test = (tuple(map(known, part)) for part in (source.train, source.test))
    monkeypatch.setitem(IMAGE_SOURCES, name, replace(source, train=train, test=test))
    monkeypatch.setenv(FOLDER_VARIABLE, str(folder))


def small_mnist(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str = "mnist") -> dict[str, Integers]:
    rng = np.random.default_rng(0)
    arrays = {}
    for part, rows in (("train", 200), ("t10k", 100)):
        arrays[f"{part}-images-idx3-ubyte.gz"] = rng.integers(0, 256, (rows, 28, 28))
        arrays[f"{part}-labels-idx1-ubyte.gz"] = np.arange(rows) % 10
    put(folder, {file: idx(array) for file, array in arrays.items()}, name, monkeypatch)
    return arrays


def test_mnist_is_tested_on_the_published_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = small_mnist(tmp_path, monkeypatch)
    module = make_datamodule("mnist", batch_size=16)
    module.prepare_data()
    module.setup()
    assert [module.num_rows(part) for part in ("train", "val", "test")] == [180, 20, 100]
    np.testing.assert_array_equal(module.images("test")[:, 0], arrays["t10k-images-idx3-ubyte.gz"])
    np.testing.assert_array_equal(module.labels("test"), arrays["t10k-labels-idx1-ubyte.gz"])
    both = torch.cat([module.images("train"), module.images("val")])[:, 0].numpy()
    assert sorted(image.tobytes() for image in both) == sorted(
        image.astype(np.uint8).tobytes() for image in arrays["train-images-idx3-ubyte.gz"]
    )
    assert module.describe()["parts"]["val"]["class_counts"] == [2] * 10


def test_mnist10k_is_split_three_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_mnist(tmp_path, monkeypatch, "mnist10k")
    module = make_datamodule("mnist10k", val_size=0.2, test_size=0.3)
    module.setup()
    assert [module.num_rows(part) for part in ("train", "val", "test")] == [50, 20, 30]
    seen = [image.numpy().tobytes() for part in ("train", "val", "test") for image in module.images(part)]
    assert len(set(seen)) == 100
    assert (module.input_shape, module.num_classes, module.class_names[9]) == ((1, 28, 28), 10, "9")


def test_cifar10_is_read_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    records = {
        name: rng.integers(0, 256, (20, 3073), dtype=np.uint8) for name in [f"data_batch_{i}" for i in range(1, 6)]
    }
    records["test_batch"] = rng.integers(0, 256, (30, 3073), dtype=np.uint8)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, record in records.items():
            record[:, 0] = np.arange(len(record)) % 10
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}.bin")
            member.size = record.nbytes
            archive.addfile(member, io.BytesIO(record.tobytes()))
    put(tmp_path, {"cifar-10-binary.tar.gz": stream.getvalue()}, "cifar10", monkeypatch)
    train, test = load_arrays("cifar10")
    assert test is not None
    assert (train.images.shape, test.images.shape) == ((100, 3, 32, 32), (30, 3, 32, 32))
    np.testing.assert_array_equal(test.images[4, 1, 2, 3], records["test_batch"][4, 1 + 1024 + 2 * 32 + 3])
    np.testing.assert_array_equal(train.images[20], records["data_batch_2"][0, 1:].reshape(3, 32, 32))
    np.testing.assert_array_equal(train.labels, np.tile(np.arange(20) % 10, 5))


@pytest.mark.parametrize(
    "content",
    [
        b"no gzip",
        gzip.compress(b""),
        gzip.compress(b"\0\0\x0d\x01\0\0\0\x01x"),
        gzip.compress(b"\0\0\x08\x01\0\0\0\x05abc"),
    ],
    ids=["not packed", "empty", "floats", "cut short"],
)
def test_a_file_that_is_not_idx_is_refused(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.gz").write_bytes(content)
    with pytest.raises((ValueError, OSError)):
        read_idx(tmp_path / "a.gz")
    small_mnist(tmp_path, monkeypatch)
    files = {file.name: content for file in IMAGE_SOURCES["mnist"].files}
    put(tmp_path, files, "mnist", monkeypatch)
    with pytest.raises(DataError, match="mnist cannot be read") as error:
        load_arrays("mnist")
    assert "\n" not in str(error.value)


# Fake ---------------------------------------------------------------------------------------------


def fake(**options: object) -> MemoryImages:
    chosen = {"num_points": 400, "num_classes": 4, "image_size": 8, "channels": 1, "batch_size": 32, **options}
    module = make_datamodule("fake", **chosen)
    assert isinstance(module, MemoryImages)
    module.setup()
    return module


def test_fake_images_follow_their_options() -> None:
    module = fake(num_points=300, num_classes=7, image_size=12, channels=2)
    assert (module.input_shape, module.num_classes) == ((2, 12, 12), 7)
    assert sum(module.num_rows(part) for part in ("train", "val", "test")) == 300
    assert torch.equal(fake(seed=3).images("train"), fake(seed=3).images("train"))
    assert not torch.equal(fake(seed=3).images("train"), fake(seed=4).images("train"))


def test_fake_classes_can_be_told_apart() -> None:
    arrays = make_fake(1000, 20, (3, 16, 16), noise=0.2)
    means = np.stack([arrays.images[arrays.labels == c][:25].mean(axis=0) for c in range(20)])
    rest = np.concatenate([np.flatnonzero(arrays.labels == c)[25:] for c in range(20)])
    distances = ((arrays.images[rest][:, None] - means) ** 2).sum(axis=(2, 3, 4))
    assert (distances.argmin(axis=1) == arrays.labels[rest]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 3}, "image_size must be an integer >= 4, got 3"),
        ({"num_classes": 1}, "num_classes must be an integer >= 2, got 1"),
        ({"channels": 0}, "channels must be an integer >= 1, got 0"),
        ({"num_workers": -1}, "num_workers must be an integer >= 0, got -1"),
        ({"num_workers": True}, "num_workers must be an integer"),
        ({"corrupt": "ignore"}, "corrupt must be one of skip, refuse, got 'ignore'"),
        ({"num_points": 10}, "num_points must be >= 67"),
        ({"val_size": 0.5, "test_size": 0.5}, "must be < 1"),
        ({"seed": -1}, "seed must be an integer"),
    ],
)
def test_bad_options_are_refused_at_construction(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_datamodule("fake", **options)


def test_loaders_before_setup_are_an_error() -> None:
    with pytest.raises(RuntimeError, match=r"call setup\(\) first"):
        make_datamodule("fake").train_dataloader()  # type: ignore[union-attr]


def test_equal_images_are_never_in_two_parts() -> None:
    arrays = make_fake(60, 3, (1, 4, 4), noise=0.1)
    doubled = replace(arrays, images=np.tile(arrays.images, (2, 1, 1, 1)), labels=np.tile(arrays.labels, 2))
    module = MemoryImages(lambda: (doubled, None), class_names=tuple("abc"), name="doubled")
    module.setup()
    seen = [{image.numpy().tobytes() for image in module.images(part)} for part in ("train", "val", "test")]
    assert not seen[0] & seen[1]
    assert not seen[0] & seen[2]
    assert not seen[1] & seen[2]
    assert len(equal_images(doubled.images)) == 120


# Batches ------------------------------------------------------------------------------------------


def test_images_are_resized() -> None:
    module = make_datamodule("fake", image_size=8, num_points=100)
    assert isinstance(module, MemoryImages)
    module.image_size = 16
    module.setup()
    assert module.input_shape == (3, 16, 16)


def test_a_training_pass_serves_every_image_once_augmented_and_normalized() -> None:
    module = fake()
    loader = module.train_dataloader()
    loader.set_epoch(5)
    x, y = (torch.cat(parts) for parts in zip(*loader, strict=True))
    order = torch.cat([rows for rows, _ in _order_of(module, 5)])
    assert sorted(order.tolist()) == list(range(module.num_rows()))
    crops = ShiftAndFlip(2).draw(len(order), module.seed, 5)[order]
    expected = reference_augmentation(module.images("train")[order], crops, 2)
    mean, std = channel_statistics(module.images("train"))
    torch.testing.assert_close(x, (expected / 255 - mean[0]) / std[0], atol=1e-5, rtol=1e-5)
    np.testing.assert_array_equal(y, module.labels("train")[order])


def _order_of(module: MemoryImages, epoch: int) -> list[tuple[Tensor, Tensor]]:
    labels = torch.from_numpy(module.labels("train"))
    batches = module.order(torch.arange(len(labels)), labels, shuffle=True)
    batches.set_epoch(epoch)
    return list(batches)


def test_an_epoch_is_the_same_when_repeated_or_resumed() -> None:
    passes = list(fake().train_dataloader()), list(fake().train_dataloader())
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(*passes, strict=True))
    loader = fake().train_dataloader()
    list(loader)
    second = list(loader)
    resumed = fake().train_dataloader()
    resumed.set_epoch(1)
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(second, resumed, strict=True))
    assert not torch.equal(second[0][0], passes[0][0][0])


def test_held_out_parts_and_unaugmented_training_are_the_images_themselves() -> None:
    module = fake(augment=False)
    mean, std = channel_statistics(module.images("train"))
    for part, loader in (("val", module.val_dataloader()), ("test", module.test_dataloader())):
        x = torch.cat([x for x, _ in loader])
        torch.testing.assert_close(x, (module.images(part) / 255 - mean[0]) / std[0], atol=1e-5, rtol=1e-5)
    x = torch.cat([x for x, _ in module.train_dataloader()])
    order = torch.cat([rows for rows, _ in _order_of(module, 0)])
    expected = (module.images("train")[order] / 255 - mean[0]) / std[0]
    torch.testing.assert_close(x, expected, atol=1e-5, rtol=1e-5)


class BatchRecorder(pl.LightningModule):
    """A linear model that records the inputs of each part."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 4)
        self.seen: dict[str, list[Tensor]] = {"train": [], "val": [], "test": []}

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        self.seen["train"].append(batch[0])
        return nn.functional.cross_entropy(self.layer(batch[0].flatten(1)), batch[1])

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.seen["val"].append(batch[0])

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.seen["test"].append(batch[0])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*treespec, LeafSpec.*:FutureWarning")
def test_images_are_augmented_only_while_lightning_trains(tmp_path: Path) -> None:
    trainer = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=tmp_path,
        log_every_n_steps=1,
    )
    module, recorder = fake(), BatchRecorder()
    trainer.fit(recorder, datamodule=module)
    plain = fake()
    expected = []
    loader = plain.train_dataloader()
    for epoch in range(2):
        loader.set_epoch(epoch)
        expected += [x for x, _ in loader]
    assert all(torch.equal(a, b) for a, b in zip(recorder.seen["train"], expected, strict=True))
    trainer.test(recorder, dataloaders=module.train_dataloader(), verbose=False)
    bare = sorted(image.numpy().tobytes() for x, _ in fake(augment=False).train_dataloader() for image in x)
    assert sorted(image.numpy().tobytes() for x in recorder.seen["test"] for image in x) == bare


def test_the_slices_of_two_processes_make_up_the_batches_of_one() -> None:
    module = fake()
    images, labels = module.images("train"), torch.from_numpy(module.labels("train"))
    normalize, augment = Normalize((0.5,), (0.5,)), ShiftAndFlip(2, True)

    def batches(rank: int, world: int) -> list[Tensor]:
        order = TensorBatches(torch.arange(len(labels)), labels, 32, True, 1, rank=rank, world_size=world)
        return [x for x, _ in ImageBatches(images, order, normalize, augment)]

    for whole, first, second in zip(batches(0, 1), batches(0, 2), batches(1, 2), strict=True):
        assert torch.equal(whole, torch.cat([first, second]))
