"""Batches of a data set that fits in memory: slices of whole tensors, without any work per row."""

from __future__ import annotations

import abc
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from data.checks import check_batch_size, check_integer

Batch = tuple[Tensor, Tensor]


class TensorBatches:
    """Serves two tensors in batches.

    The order of epoch ``e`` depends on ``seed`` and ``e`` alone. ``set_epoch(e)`` selects it; Lightning calls
    ``set_epoch`` before each epoch, so that a resumed run continues in the same order. Without ``set_epoch``, each
    pass over the data is the next epoch. The epoch of a pass is fixed when its first batch is drawn.

    A mean or a maximum over one batch of all rows does not depend on their order: such a batch is never shuffled, and
    consists of the tensors themselves. Batches that are not shuffled are views, so a model that writes to its input
    changes the data.

    Args:
        x: Inputs.
        y: Targets.
        batch_size: Rows of a batch over all ranks, at least 1; ``None``, or more than there are rows, for all rows.
        shuffle: Whether each epoch has a new order.
        seed: Seed of the order, at least 0.
        drop_last: Whether to leave out a last batch that is smaller than the others.
        rank: Which slice of each batch this process serves.
        world_size: Number of slices of a batch. A batch with fewer rows than slices repeats rows, so that no slice is
            empty.

    Shape:
        - x: ``(rows, ...)``; y: ``(rows, ...)``.
        - Each item: ``(x, y)`` with the rows of one batch.

    Raises:
        ValueError: If an argument is out of range, or x and y differ in length or are empty.

    Example:
        >>> batches = TensorBatches(torch.arange(5.0), torch.arange(5), batch_size=2)
        >>> len(batches), [y.tolist() for _, y in batches]
        (3, [[0, 1], [2, 3], [4]])
    """

    # Lightning calls set_epoch on the `sampler`, and on the `batch_sampler` if there is one.
    batch_sampler: None = None

    def __init__(
        self,
        x: Tensor,
        y: Tensor,
        batch_size: int | None = None,
        shuffle: bool = False,
        seed: int = 0,
        drop_last: bool = False,
        *,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if len(x) != len(y) or not len(x):
            raise ValueError(f"x and y must have as many rows, at least 1, got {len(x)} and {len(y)}.")
        check_batch_size(batch_size)
        for name, value, least in (("seed", seed, 0), ("rank", rank, 0), ("world_size", world_size, 1)):
            check_integer(name, value, least)
        if rank >= world_size:
            raise ValueError(f"rank must be < world_size, got rank {rank} of {world_size}.")
        rows = len(x)
        size = rows if batch_size is None else min(int(batch_size), rows)
        last = rows - rows % size if drop_last else rows
        self.x, self.y = x, y
        self.batch_size, self.shuffle, self.drop_last = size, shuffle and size < rows, drop_last
        self.seed, self.rank, self.world_size = int(seed), int(rank), int(world_size)
        self._slices = [_share(start, min(start + size, last), rank, world_size) for start in range(0, last, size)]
        self._epoch = 0
        self._fixed = None if self.shuffle else self._cut(x, y)

    def __len__(self) -> int:
        return len(self._slices)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({len(self.x)} rows, batch_size={self.batch_size}, "
            f"batches={len(self)}, shuffle={self.shuffle})"
        )

    @property
    def sampler(self) -> TensorBatches:
        """The object on which Lightning calls ``set_epoch``."""
        return self

    @property
    def epoch(self) -> int:
        """The epoch of the next pass."""
        return self._epoch

    def set_epoch(self, epoch: int) -> None:
        """Select the order of the next pass.

        Raises:
            ValueError: If ``epoch`` is negative.
        """
        if epoch < 0:
            raise ValueError(f"epoch must be >= 0, got {epoch}.")
        self._epoch = int(epoch)

    def to(self, device: torch.device | str) -> TensorBatches:
        """The same batches on another device; this object if the tensors are already on that device."""
        device = torch.device(device)
        if self.x.device == device and self.y.device == device:
            return self
        moved = TensorBatches(
            self.x.to(device),
            self.y.to(device),
            self.batch_size,
            self.shuffle,
            self.seed,
            self.drop_last,
            rank=self.rank,
            world_size=self.world_size,
        )
        moved.set_epoch(self._epoch)
        return moved

    def __iter__(self) -> Iterator[Batch]:
        epoch = self._epoch
        self._epoch += 1
        if self._fixed is not None:
            yield from self._fixed
            return
        order = self._order(epoch)
        sizes = [stop - start for start, stop in self._slices]
        x, y = self.x.index_select(0, order), self.y.index_select(0, order)
        yield from zip(torch.split(x, sizes), torch.split(y, sizes), strict=True)

    def _order(self, epoch: int) -> Tensor:
        """Row numbers of this rank in one epoch, drawn on the CPU so that every device has the same order."""
        order = torch.randperm(len(self.x), generator=private_generator(self.seed, epoch))
        if self.world_size > 1:
            order = torch.cat([order[start:stop] for start, stop in self._slices])
        else:
            order = order[: self._slices[-1][1]]
        return order.to(self.x.device)

    def _cut(self, x: Tensor, y: Tensor) -> list[Batch]:
        if self._slices == [(0, len(x))]:
            return [(x, y)]
        return [(x[start:stop], y[start:stop]) for start, stop in self._slices]


class OrderedBatches(abc.ABC):
    """Batches made from the row numbers that a :class:`TensorBatches` serves.

    Args:
        order: Batches of row numbers and targets; holds the seed and the epoch.
    """

    # As in TensorBatches.
    batch_sampler: None = None

    def __init__(self, order: TensorBatches) -> None:
        self.order = order

    def __len__(self) -> int:
        return len(self.order)

    @abc.abstractmethod
    def __iter__(self) -> Iterator[Batch]:
        """The batches of one pass."""

    @property
    def sampler(self) -> TensorBatches:
        """The object on which Lightning calls ``set_epoch``."""
        return self.order

    def set_epoch(self, epoch: int) -> None:
        """Select the order and the augmentation of the next pass.

        Raises:
            ValueError: If ``epoch`` is negative.
        """
        self.order.set_epoch(epoch)


def mixed_seed(*numbers: int) -> int:
    """A seed of 64 bits that depends on all of these numbers, each at least 0."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


def private_generator(*numbers: int) -> torch.Generator:
    """A generator on the CPU whose seed is :func:`mixed_seed` of these numbers.

    Example:
        >>> first, again = (torch.rand(2, generator=private_generator(42, 7)) for _ in range(2))
        >>> torch.equal(first, again)
        True
    """
    return torch.Generator().manual_seed(mixed_seed(*numbers))


def _share(start: int, stop: int, rank: int, world_size: int) -> tuple[int, int]:
    """First row, and the row after the last, of one rank's slice of a batch."""
    rows = stop - start
    if rows < world_size:
        return start + rank % rows, start + rank % rows + 1
    return start + rank * rows // world_size, start + (rank + 1) * rows // world_size
