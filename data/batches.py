"""Batches of a data set that fits in memory: slices of whole tensors, no work for each row."""

from __future__ import annotations

import operator
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

Batch = tuple[Tensor, Tensor]


class TensorBatches:
    """Serves two tensors in batches.

    The order of epoch ``e`` depends on ``seed`` and ``e`` alone. ``set_epoch(e)`` chooses it
    (Lightning calls it before each epoch, so a resumed run goes on in the same order); without it,
    each pass through the data is the next epoch. A pass takes its epoch when its first batch is
    drawn.

    With one batch of all rows, order means nothing to a mean or a maximum: shuffling is left out
    and the tensors themselves are handed out. Unshuffled batches are views: a model that writes to
    its input writes to the data.

    Args:
        x: Inputs.
        y: Targets.
        batch_size: Rows of a batch over all ranks, at least 1; ``None``, or more than there are,
            for all of them.
        shuffle: A new order each epoch.
        seed: Of the order; 0 or more.
        drop_last: Leave out a last batch that is not full, unless it is the only one.
        rank: Which slice of each batch this process is given.
        world_size: Slices that a batch is cut into. A batch with fewer rows than that repeats rows,
            so that every process is given one.

    Shape:
        - x: ``(rows, ...)``; y: ``(rows, ...)``.
        - Each item: ``(x, y)`` with the rows of one batch.

    Raises:
        ValueError: If an argument is out of range, or x and y differ in length, or are empty.

    Example:
        >>> batches = TensorBatches(torch.arange(5.0), torch.arange(5), batch_size=2)
        >>> len(batches), [y.tolist() for _, y in batches]
        (3, [[0, 1], [2, 3], [4]])
    """

    # Lightning looks for a sampler, or a batch sampler, to call set_epoch on.
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
        for name, value, least in (
            ("seed", seed, 0),
            ("rank", rank, 0),
            ("world_size", world_size, 1),
        ):
            if not _is_integer(value) or value < least:
                raise ValueError(f"{name} must be an integer >= {least}, got {value!r}.")
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
        """Where Lightning looks for ``set_epoch``."""
        return self

    @property
    def epoch(self) -> int:
        """The epoch of the next pass."""
        return self._epoch

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next pass.

        Raises:
            ValueError: If ``epoch`` is negative.
        """
        if epoch < 0:
            raise ValueError(f"epoch must be >= 0, got {epoch}.")
        self._epoch = int(epoch)

    def to(self, device: torch.device | str) -> TensorBatches:
        """The same batches on another device; itself if they are there already."""
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
        """Rows of this rank in one epoch; drawn on the CPU, so that every device has the same."""
        state = np.random.SeedSequence((self.seed, epoch)).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(state[0]))
        order = torch.randperm(len(self.x), generator=generator)
        if self.world_size > 1:
            order = torch.cat([order[start:stop] for start, stop in self._slices])
        else:
            order = order[: self._slices[-1][1]]
        return order.to(self.x.device)

    def _cut(self, x: Tensor, y: Tensor) -> list[Batch]:
        if self._slices == [(0, len(x))]:
            return [(x, y)]
        return [(x[start:stop], y[start:stop]) for start, stop in self._slices]


def check_batch_size(batch_size: int | None) -> None:
    """Refuse a batch size that is neither ``None`` nor a positive integer.

    Raises:
        ValueError: With what was found.
    """
    if batch_size is not None and (not _is_integer(batch_size) or batch_size < 1):
        raise ValueError(f"batch_size must be an integer >= 1, or None for one batch of all rows, got {batch_size!r}.")


def _is_integer(value: object) -> bool:
    if isinstance(value, bool):
        return False
    try:
        operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return False
    return True


def _share(start: int, stop: int, rank: int, world_size: int) -> tuple[int, int]:
    rows = stop - start
    if rows < world_size:
        return start + rank % rows, start + rank % rows + 1
    return start + rank * rows // world_size, start + (rank + 1) * rows // world_size
