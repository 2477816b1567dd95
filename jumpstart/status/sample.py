"""A bounded sample of the points of an epoch: the same ones for the same seed, however they are cut into batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchmetrics.utilities.distributed import gather_all_tensors


class PointSample:
    """Keeps a row of numbers for each of a few points, drawn evenly from all that pass by.

    Every point draws a priority from a generator of the sample's own; those with the smallest are kept. So the choice
    hangs on the seed and on how many points there are, on nothing else: not on batches, and not on the data. Point i
    of process r among W counts as point i * W + r, which is how torch's ``DistributedSampler`` deals them.

    Args:
        num_points: How many are kept.
        seed: Of the private generator.

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
        """Forget the epoch; the next draws the same points."""
        self._generator = np.random.default_rng(self.seed)
        self._seen = self._held = 0
        self._bound = np.inf
        self._priority = np.empty(self.num_points)
        self._index = np.empty(self.num_points, dtype=np.int64)
        self._rows: Tensor | None = None

    def update(self, rows: Tensor) -> None:
        """Take in a batch: (N, F), a row for every point."""
        self.take(len(rows), lambda chosen: rows[chosen], rows.device)

    def take(self, count: int, rows_at: Callable[[Tensor], Tensor], device: torch.device) -> None:
        """The same where rows are only made of the points that are chosen.

        Args:
            count: Points in the batch.
            rows_at: Positions in the batch, (P,) on ``device``, to rows (P, F).
            device: Where the rows are.
        """
        world, rank = _processes()
        priority = self._generator.random(count * world)[rank::world]
        first = self._seen
        self._seen += count
        chosen = np.flatnonzero(priority < self._bound)
        if len(chosen) == 0:
            return
        chosen, slots = self._admit(priority, chosen)
        self._priority[slots] = priority[chosen]
        self._index[slots] = (first + chosen) * world + rank
        if self._held == self.num_points:
            self._bound = self._priority.max()
        rows = rows_at(torch.from_numpy(chosen).to(device))
        if self._rows is None or self._rows.device != device:
            with torch.inference_mode(False):
                kept = rows.new_empty(self.num_points, *rows.shape[1:])
            self._rows = kept if self._rows is None else kept.copy_(self._rows)
        self._rows[torch.from_numpy(slots).to(device)] = rows

    def _admit(self, priority: npt.NDArray[Any], chosen: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Those of the candidates that have a place, and their places."""
        held, most = self._held, self.num_points
        if held + len(chosen) <= most:
            self._held = held + len(chosen)
            return chosen, np.arange(held, self._held)
        every = np.concatenate([self._priority[:held], priority[chosen]])
        stays = np.zeros(len(every), dtype=bool)
        stays[np.argpartition(every, most - 1)[:most]] = True
        self._held = most
        return chosen[stays[held:]], np.concatenate([np.flatnonzero(~stays[:held]), np.arange(held, most)])

    @property
    def seen(self) -> int:
        """How many points have passed by in this process."""
        return self._seen

    @property
    def index(self) -> Tensor:
        """(P,) which points are kept, counted from the start of the epoch, in increasing order.

        As for ``rows``, all processes of a distributed run must read it together.
        """
        return self._result()[0]

    @property
    def rows(self) -> Tensor:
        """(P, F) their rows, in the same order.

        Raises:
            RuntimeError: Before any update.
        """
        return self._result()[1]

    def _result(self) -> tuple[Tensor, Tensor]:
        if self._rows is None:
            raise RuntimeError("there is no point yet: update() the sample first.")
        device = self._rows.device
        parts = [torch.from_numpy(kept[: self._held]).to(device) for kept in (self._priority, self._index)]
        parts.append(self._rows[: self._held])
        if _processes()[0] > 1:
            parts = [torch.cat(gather_all_tensors(part.contiguous())) for part in parts]
            kept = parts[0].argsort()[: self.num_points]
            parts = [part[kept] for part in parts]
        _, index, rows = parts
        order = index.argsort()
        return index[order], rows[order]


def _processes() -> tuple[int, int]:
    """How many processes share the epoch, and which of them this is."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_world_size(), torch.distributed.get_rank()
    return 1, 0
