"""Decision regions of a network over training: a bounded number of frames."""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import partial
from typing import TypedDict, cast

import numpy as np
import numpy.typing as npt
from torch import nn

from jumpstart.capture.targets import CaptureLike
from jumpstart.choices import Capture
from jumpstart.regions.grid import Limits, Logits, Regions, checked_labels, checked_points, find_regions, grid_limits


class _State(TypedDict):
    """What :meth:`DecisionRegions.state_dict` returns.

    Attributes:
        every: Only calls whose number is a multiple of this are kept.
        calls: Calls of :meth:`DecisionRegions.add` so far.
        frames: Number of the call, epoch, and compressed regions of every frame.
    """

    every: int
    calls: int
    frames: list[tuple[int, int, bytes]]


class DecisionRegions:
    """Stores the regions of a network over training, in bounded memory.

    When there are more than ``max_frames`` frames, every second frame is dropped, and from then on only every second
    call is kept, and so on. The first and the latest frame are always kept. A frame takes 5 to 8 bytes for every place
    of the grid. :func:`jumpstart.plotting.animate_decision_regions` writes the frames as an animation::

        animate_decision_regions(regions.frames, "regions.gif", regions.points, regions.labels)

    Args:
        points: (P, 2) points, which the grid covers.
        labels: (P,) classes 0, 1, ... of the points, or None.
        resolution: Places along each side of the grid.
        max_frames: The most frames that are kept, at least 2.
        limits: ((left, right), (bottom, top)) of the grid, instead of the range of the points.
        capture: What the hidden layers are, as for :func:`find_regions`.
        logits: Selects the logits from the output, as for :func:`find_regions`.

    Attributes:
        frames: (epoch, :class:`Regions`) of all frames, in order.
        points: (P, 2) points.
        labels: (P,) classes, or None.

    Raises:
        ValueError: On a wrong argument.

    Example:
        >>> import torch
        >>> points = torch.randn(20, 2)
        >>> model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2))
        >>> regions = DecisionRegions(points, labels=[0, 1] * 10, resolution=30)
        >>> for epoch in range(3):
        ...     regions.add(epoch, model)
        >>> len(regions)
        3
    """

    def __init__(
        self,
        points: npt.ArrayLike,
        labels: npt.ArrayLike | None = None,
        *,
        resolution: int = 225,
        max_frames: int = 100,
        limits: Limits | None = None,
        capture: CaptureLike = Capture.ACTIVATIONS,
        logits: Logits | None = None,
    ) -> None:
        if isinstance(max_frames, bool) or not isinstance(max_frames, int) or max_frames < 2:
            raise ValueError(f"max_frames must be a whole number >= 2, got {max_frames!r}.")
        self.points = checked_points(points)
        self.labels = None if labels is None else checked_labels(labels, len(self.points))
        self.max_frames = max_frames
        self._find = partial(
            find_regions,
            limits=grid_limits(self.points, limits),
            resolution=resolution,
            capture=capture,
            logits=logits,
        )
        self._every, self._calls = 1, 0
        self._kept: list[tuple[int, int, Regions]] = []
        self._packed: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def frames(self) -> list[tuple[int, Regions]]:
        """(epoch, regions) of all frames, in order."""
        return [(epoch, regions) for _, epoch, regions in self._kept]

    def add(self, epoch: int, model: nn.Module) -> None:
        """Store the regions of a model as it is now.

        Args:
            epoch: Larger than the epochs of all frames before.
            model: As for :func:`find_regions`.

        Raises:
            ValueError: If the epoch is not above the latest one, and as for :func:`find_regions`.
        """
        if self._kept and epoch <= self._kept[-1][1]:
            raise ValueError(f"epoch must be above the latest one ({self._kept[-1][1]}), got {epoch}.")
        regions = self._find(model)
        if self._kept and self._kept[-1][0] % self._every:
            self._kept.pop()  # it was kept as the latest frame only
        if len(self._kept) == self.max_frames:
            self._every *= 2
            self._kept = [frame for frame in self._kept if frame[0] % self._every == 0]
        self._kept.append((self._calls, epoch, regions))
        self._calls += 1

    def state_dict(self) -> dict[str, object]:
        """All frames, compressed, for a checkpoint; :meth:`load_state_dict` restores them."""
        for number, _, regions in self._kept:
            if number not in self._packed:
                self._packed[number] = _pack(regions)
        self._packed = {number: self._packed[number] for number, *_ in self._kept}
        frames = [(number, epoch, self._packed[number]) for number, epoch, _ in self._kept]
        state: _State = {"every": self._every, "calls": self._calls, "frames": frames}
        return dict(state)

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Continue from :meth:`state_dict`. Frames stored so far are dropped.

        Args:
            state: What :meth:`state_dict` returned.

        Example:
            >>> import torch
            >>> model, points = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2)), torch.randn(20, 2)
            >>> first, second = DecisionRegions(points, resolution=9), DecisionRegions(points, resolution=9)
            >>> first.add(0, model)
            >>> second.load_state_dict(first.state_dict())
            >>> second.frames[0][1].classes.tolist() == first.frames[0][1].classes.tolist()
            True
        """
        stored = cast("_State", state)
        self._every, self._calls = int(stored["every"]), int(stored["calls"])
        self._packed = {number: packed for number, _, packed in stored["frames"]}
        self._kept = [(number, epoch, _unpack(packed)) for number, epoch, packed in stored["frames"]]


def _pack(regions: Regions) -> bytes:
    memory = io.BytesIO()
    arrays = {name: value for name, value in vars(regions).items() if value is not None}
    np.savez_compressed(memory, **arrays)
    return memory.getvalue()


def _unpack(packed: bytes) -> Regions:
    with np.load(io.BytesIO(packed)) as arrays:
        return Regions(**arrays)
