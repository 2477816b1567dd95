"""Speed of the loaders of images: ``python -m benchmarks.loader``.

In memory: an epoch of 60,000 images of MNIST's size, shifted and normalized, by this project's loader and by a
``DataLoader`` that applies torchvision's transforms to one image at a time. Both run in this process on one thread, in
turn. The command prints the medians of the times and of the ratios, with their ranges.

From files: synthetic photographs of 500 x 375 pixels, with the usual crop for ImageNet, decoded by one core.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from data.batches import TensorBatches
from data.images.augment import Normalize, ShiftAndFlip
from data.images.decode import FolderDataset
from data.images.folders import Listing
from data.images.in_memory import ImageBatches


class PerSample(Dataset[tuple[Tensor, int]]):
    """A data set that transforms one image at a time, as in most tutorials."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels.tolist()
        self.transform = v2.Compose(
            [v2.RandomCrop(28, padding=2), v2.ToDtype(torch.float32, scale=True), v2.Normalize((0.13,), (0.31,))]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        """An image and its class."""
        return self.transform(self.images[row]), self.labels[row]


def seconds_of(epoch: Callable[[], Iterable[object]]) -> float:
    """Seconds of one pass over a loader."""
    started = time.perf_counter()
    for _ in epoch():
        pass
    return time.perf_counter() - started


def in_memory(rows: int, batch_size: int, rounds: int) -> None:
    """Compare this project's loader of images in memory with a ``DataLoader``.

    Args:
        rows: Number of images.
        batch_size: Images per batch.
        rounds: Epochs of each loader.
    """
    images = torch.randint(0, 256, (rows, 1, 28, 28), dtype=torch.uint8)
    labels = torch.randint(0, 10, (rows,))
    order = TensorBatches(torch.arange(rows), labels, batch_size, shuffle=True)
    ours = ImageBatches(images, order, Normalize((0.13,), (0.31,)), ShiftAndFlip(padding=2))
    theirs = DataLoader(PerSample(images, labels), batch_size=batch_size, shuffle=True)
    seconds_of(lambda: ours)
    times = [(seconds_of(lambda: ours), seconds_of(lambda: theirs)) for _ in range(rounds)]
    for name, column in (("our loader", 0), ("per-sample DataLoader", 1)):
        seconds = sorted(pair[column] for pair in times)
        _write(f"{name}: {_spread(seconds, '.3f')} s for an epoch of {rows} images of 28 x 28")
    _write(f"ratio: {_spread(sorted(b / a for a, b in times), '.1f')}")


def from_files(count: int, batch_size: int, rounds: int) -> None:
    """Measure how fast one core decodes photographs with the transforms of training and of evaluation.

    Args:
        count: Number of files.
        batch_size: Images per batch.
        rounds: Epochs.
    """
    from PIL import Image

    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        names, size = [], 0
        for i in range(count):
            # Coarse structure and some grain make files of about the size of those of ImageNet.
            coarse = Image.fromarray(rng.integers(0, 256, (25, 33, 3), dtype=np.uint8)).resize((500, 375))
            grain = rng.normal(0, 9, (375, 500, 3))
            path = Path(folder) / f"{i}.JPEG"
            Image.fromarray(np.clip(np.asarray(coarse) + grain, 0, 255).astype(np.uint8)).save(path, quality=90)
            names.append(path.name.encode())
            size += path.stat().st_size
        listing = Listing(Path(folder), np.array(names), np.zeros(count, dtype=np.int64))
        dataset = FolderDataset(listing, 224, seed=0)
        parts = [range(begin, min(begin + batch_size, count)) for begin in range(0, count, batch_size)]
        for augment, name in ((True, "RandomResizedCrop 224, mirror"), (False, "Resize 256, CenterCrop 224")):
            rates = []
            for epoch in range(rounds):
                # Processor time does not count other programs on the machine.
                started = time.process_time()
                for part in parts:
                    _ = dataset[epoch, augment, part]
                rates.append(count / (time.process_time() - started))
            _write(
                f"{name}: {_spread(sorted(rates), '.0f')} images per second of one core's time, "
                f"{size / count / 1000:.0f} kB each"
            )


def _spread(values: list[float], form: str) -> str:
    return f"{statistics.median(values):{form}} ({values[0]:{form}} to {values[-1]:{form}})"


def _write(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Run both benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=60000)
    parser.add_argument("--batch_size", type=int, default=256)
    parser.add_argument("--files", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    in_memory(arguments.rows, arguments.batch_size, arguments.rounds)
    from_files(arguments.files, arguments.batch_size, arguments.rounds)


if __name__ == "__main__":
    main()
