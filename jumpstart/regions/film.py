"""Decision regions of a network, epoch by epoch."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from jumpstart.capture.targets import CaptureLike
from jumpstart.choices import Capture
from jumpstart.regions.grid import Limits, Regions, _labels, _limits, _points, find_regions


class DecisionRegions:
    """Remembers the regions of a network over training, in bounded memory, and makes an animation of them.

    With more than ``max_frames``, every second one is forgotten, and from then on only every second call is kept, and
    so on; the first and the latest stay always. A frame takes 5 to 8 bytes for every place of the grid.

    Args:
        points: (P, 2) points, drawn into each picture; the grid covers them.
        labels: (P,) classes 0, 1, ... of the points, or None.
        resolution: Places a side.
        max_frames: The most frames that are kept.
        limits: ((left, right), (bottom, top)) of the grid, instead of those of the points.
        capture: As for :func:`find_regions`.
        logits: As for :func:`find_regions`.

    Attributes:
        frames: (epoch, :class:`Regions`) of all that is kept.

    Raises:
        ValueError: On a wrong argument.

    Example:
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
        points: Any,
        labels: Any = None,
        *,
        resolution: int = 225,
        max_frames: int = 100,
        limits: Limits | None = None,
        capture: CaptureLike = Capture.ACTIVATIONS,
        logits: Callable[[Any], Tensor] | None = None,
    ) -> None:
        if isinstance(max_frames, bool) or not isinstance(max_frames, int) or max_frames < 2:
            raise ValueError(f"max_frames must be a whole number >= 2, got {max_frames!r}.")
        self.points = _points(points)
        self.labels = None if labels is None else _labels(labels, len(self.points))
        self.max_frames = max_frames
        self._options: dict[str, Any] = {
            "limits": _limits(self.points, limits),
            "resolution": resolution,
            "capture": capture,
            "logits": logits,
        }
        self._every, self._calls = 1, 0
        self._kept: list[tuple[int, int, Regions]] = []
        self._packed: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def frames(self) -> list[tuple[int, Regions]]:
        """All that is kept, in order."""
        return [(epoch, regions) for _, epoch, regions in self._kept]

    def add(self, epoch: int, model: nn.Module) -> None:
        """Remember a model as it is now.

        Args:
            epoch: Above all epochs before.
            model: As for :func:`find_regions`.

        Raises:
            ValueError: If the epoch is not above the latest one, and as for :func:`find_regions`.
        """
        if self._kept and epoch <= self._kept[-1][1]:
            raise ValueError(f"epoch must be above the latest one ({self._kept[-1][1]}), got {epoch}.")
        regions = find_regions(model, **self._options)
        if self._kept and self._kept[-1][0] % self._every:
            self._kept.pop()  # it was there as the latest only
        if len(self._kept) == self.max_frames:
            self._every *= 2
            self._kept = [frame for frame in self._kept if frame[0] % self._every == 0]
        self._kept.append((self._calls, epoch, regions))
        self._calls += 1

    def state_dict(self) -> dict[str, Any]:
        """All that is kept, as compressed bytes: for a checkpoint, from which :meth:`load_state_dict` goes on."""
        for entry in self._kept:
            if entry[0] not in self._packed:
                self._packed[entry[0]] = _pack(entry[2])
        self._packed = {number: self._packed[number] for number, *_ in self._kept}
        frames = [(number, epoch, self._packed[number]) for number, epoch, _ in self._kept]
        return {"every": self._every, "calls": self._calls, "frames": frames}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict`; what is kept so far is forgotten.

        Example:
            >>> model, points = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2)), torch.randn(20, 2)
            >>> first, second = DecisionRegions(points, resolution=9), DecisionRegions(points, resolution=9)
            >>> first.add(0, model)
            >>> second.load_state_dict(first.state_dict())
            >>> second.frames[0][1].classes.tolist() == first.frames[0][1].classes.tolist()
            True
        """
        self._every, self._calls = int(state["every"]), int(state["calls"])
        self._packed = {number: packed for number, _, packed in state["frames"]}
        self._kept = [(number, epoch, _unpack(packed)) for number, epoch, packed in state["frames"]]

    def save(self, path: str | os.PathLike[str], fps: float = 8.0) -> Path:
        """Write the animation, as :func:`jumpstart.plotting.animate_decision_regions` does."""
        from jumpstart.plots.regions import animate_decision_regions

        return animate_decision_regions(self.frames, path, self.points, self.labels, fps=fps)


def _pack(regions: Regions) -> bytes:
    memory = io.BytesIO()
    arrays = {name: value for name, value in vars(regions).items() if value is not None}
    np.savez_compressed(memory, **arrays)
    return memory.getvalue()


def _unpack(packed: bytes) -> Regions:
    with np.load(io.BytesIO(packed)) as arrays:
        return Regions(**arrays)
