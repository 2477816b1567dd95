"""A bounded sample of the points of an epoch that depends on the seed alone, not on how the points are batched."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchmetrics.utilities.distributed import gather_all_tensors


class PointSample:
    """A uniform sample of the points of an epoch: for each sampled point a row of numbers, and its class if given.

    Every point gets a priority from a private random generator, and the points with the smallest priorities are kept.
    The sample therefore depends on the seed and on the number of points, and neither on the batches nor on the data.
    Point i of process r among W processes counts as point i * W + r, the order of torch's ``DistributedSampler``.

    Args:
        num_points: The number of points that are kept.
        seed: Seed of the private generator.

    Raises:
        ValueError: If ``num_points`` is below 1 or ``seed`` below 0.

    Example:
        >>> whole, parts = PointSample(3, seed=1), PointSample(3, seed=1)
        >>> numbers = torch.arange(100).unsqueeze(1)
        >>> whole.update(numbers)
        >>> for part in numbers.split([10, 60, 30]):
        ...     parts.update(part)
        >>> whole.rows.tolist() == parts.rows.tolist()
        True
    """

    def __init__(self, num_points: int = 500, seed: int = 0) -> None:
        for name, value, least in (("num_points", num_points, 1), ("seed", seed, 0)):
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"{name} must be >= {least}, got {value!r}.")
        self.num_points, self.seed = num_points, seed
        self.reset()

    def reset(self) -> None:
        """Start a new epoch, in which the same points are drawn."""
        self._generator = np.random.default_rng(self.seed)
        self._seen = self._held = 0
        self._bound = np.inf
        self._priority = np.empty(self.num_points)
        self._index = np.empty(self.num_points, dtype=np.int64)
        self._rows: Tensor | None = None
        self._labels: Tensor | None = None
        self._labeled = 0  # points whose classes were given
        self._early_labels: list[tuple[int, Tensor]] = []  # of points that are not drawn yet: the first one, classes
        self._has_labels = True

    def update(self, rows: Tensor) -> None:
        """Draw from the points of one batch.

        Args:
            rows: (N, F), one row per point.
        """
        self.draw(len(rows), lambda chosen: rows[chosen], rows.device)

    def draw(self, count: int, rows_at: Callable[[Tensor], Tensor], device: torch.device) -> None:
        """Draw from the points of one batch, and compute the rows of those points alone that are chosen.

        Args:
            count: Points in the batch.
            rows_at: From positions in the batch, (P,) on ``device``, to rows (P, F).
            device: The device of the rows.
        """
        world, rank = processes()
        priority = self._generator.random(count * world)[rank::world]
        first = self._seen
        self._seen += count
        chosen = np.flatnonzero(priority < self._bound)
        if len(chosen):
            chosen, slots = self._admit(priority, chosen)
            self._priority[slots] = priority[chosen]
            self._index[slots] = (first + chosen) * world + rank
            if self._held == self.num_points:
                self._bound = self._priority.max()
            rows = rows_at(torch.from_numpy(chosen).to(device))
            self._rows = self._stored(self._rows, rows, slots)
        self._store_labels()

    def label(self, labels: Tensor | None) -> None:
        """Store the classes of the next points that have none, whether or not these points have been drawn.

        Args:
            labels: (N,) integers, in the order of the points; None if some points of the epoch have no class.
        """
        if labels is None:
            self._has_labels = False
            self._early_labels = []
        elif self._has_labels:
            self._early_labels.append((self._labeled, labels))
            self._labeled += len(labels)
            self._store_labels()

    def _admit(
        self, priority: npt.NDArray[np.float64], chosen: npt.NDArray[np.intp]
    ) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """The candidates that enter the sample, and the slots they are stored in."""
        held, most = self._held, self.num_points
        if held + len(chosen) <= most:
            self._held = held + len(chosen)
            return chosen, np.arange(held, self._held)
        every = np.concatenate([self._priority[:held], priority[chosen]])
        stays = np.zeros(len(every), dtype=bool)
        stays[np.argpartition(every, most - 1)[:most]] = True
        self._held = most
        return chosen[stays[held:]], np.concatenate([np.flatnonzero(~stays[:held]), np.arange(held, most)])

    def _stored(self, kept: Tensor | None, values: Tensor, slots: npt.NDArray[np.intp]) -> Tensor:
        """The stored values of all slots with the new values in theirs, on the device of the new values."""
        if kept is None or kept.device != values.device:
            with torch.inference_mode(False):
                moved = values.new_zeros(self.num_points, *values.shape[1:])
            kept = moved if kept is None else moved.copy_(kept)
        kept[torch.from_numpy(slots).to(values.device)] = values
        return kept

    def _store_labels(self) -> None:
        """Write the classes of the sampled points, of all batches that were both labeled and drawn."""
        world, _ = processes()
        while self._early_labels:
            first, labels = self._early_labels[0]
            if first + len(labels) > self._seen:
                return
            del self._early_labels[0]
            position = self._index[: self._held] // world - first
            slots = np.flatnonzero((position >= 0) & (position < len(labels)))
            if len(slots):
                chosen = torch.from_numpy(position[slots]).to(labels.device)
                self._labels = self._stored(self._labels, labels[chosen].long(), slots)

    @property
    def seen(self) -> int:
        """The number of points of the epoch so far, in this process."""
        return self._seen

    @property
    def index(self) -> Tensor:
        """(P,) positions of the sampled points, counted from the start of the epoch, in increasing order.

        As for ``rows``, all processes of a distributed run must read it together.
        """
        return self._gathered(self._rows)[0]

    @property
    def rows(self) -> Tensor:
        """(P, F) rows of the sampled points, in the order of :attr:`index`.

        Raises:
            RuntimeError: Before any point.
        """
        return self._gathered(self._rows)[1]

    @property
    def labels(self) -> Tensor | None:
        """(P,) classes of the sampled points, in the order of :attr:`index`; None unless all points have one."""
        if not self._has_labels or self._labeled != self._seen:
            return None
        return self._gathered(self._labels)[1]

    def _gathered(self, values: Tensor | None) -> tuple[Tensor, Tensor]:
        """The positions of the sampled points of all processes in increasing order, and the values of their slots."""
        several = processes()[0] > 1
        if several:
            values = self._like_others(values)
        if values is None:
            raise RuntimeError("there is no point yet: update() the sample first.")
        slots = (torch.from_numpy(self._priority), torch.from_numpy(self._index), values)
        parts = [each.to(values.device if self._rows is None else self._rows.device)[: self._held] for each in slots]
        if several:
            parts = [torch.cat(gather_all_tensors(part.contiguous())) for part in parts]
            kept = parts[0].argsort()[: self.num_points]
            parts = [part[kept] for part in parts]
        _, index, gathered = parts
        order = index.argsort()
        return index[order], gathered[order]

    def _like_others(self, values: Tensor | None) -> Tensor | None:
        """The values, or without any, as in a process that has no batch, slots like those of another process."""
        kinds: list[tuple[torch.Size, torch.dtype, str] | None] = [None] * processes()[0]
        own = None if values is None else (values.shape[1:], values.dtype, values.device.type)
        torch.distributed.all_gather_object(kinds, own)
        other = next((kind for kind in kinds if kind is not None), None)
        if values is not None or other is None:
            return values
        shape, dtype, device = other
        return torch.zeros(self.num_points, *shape, dtype=dtype, device=device)


def processes() -> tuple[int, int]:
    """The number of processes that share the epoch, and the rank of this one."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_world_size(), torch.distributed.get_rank()
    return 1, 0
