"""The plane through the eyes of a network: which class it gives to every place, and where it bends.

A network of ReLUs is affine wherever the same units are positive. :func:`find_regions` asks a model for both, on a
grid; :class:`DecisionRegions` remembers it over training. Needs NumPy.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from jumpstart.capture import Capture, CaptureLike, find_targets
from jumpstart.patterns import Pattern, undisturbed

Limits: TypeAlias = tuple[tuple[float, float], tuple[float, float]]
_BATCH = 8192


@dataclass(frozen=True, eq=False)
class Regions:
    """What a network does with a grid of places. Rows go upwards, columns to the right.

    Attributes:
        x: (W,) increasing first coordinates of the places.
        y: (H,) increasing second coordinates.
        classes: (H, W) the class of every place, a whole number >= 0.
        patterns: (H, W) whole numbers; the same one where the same hidden units are positive.
        confidence: (H, W) probability of the class, or None.

    Raises:
        ValueError: If shapes do not fit together, or a value is out of range.

    Example:
        >>> Regions(x=[0.0, 1.0], y=[0.0, 1.0], classes=[[0, 1], [0, 1]], patterns=[[0, 0], [0, 3]])
        Regions(2 x 2 places, 2 classes, 2 linear regions)
    """

    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    classes: npt.NDArray[Any]
    patterns: npt.NDArray[Any]
    confidence: npt.NDArray[np.float16] | None = None

    def __post_init__(self) -> None:
        x, y = _axis("x", self.x), _axis("y", self.y)
        shape = (len(y), len(x))
        classes, patterns = (_whole(name, getattr(self, name), shape) for name in ("classes", "patterns"))
        if classes.min() < 0:
            raise ValueError(f"classes must be >= 0, got {classes.min()}.")
        confidence = self.confidence
        if confidence is not None:
            confidence = np.asarray(confidence, dtype=np.float16)
            if confidence.shape != shape or not ((confidence >= 0) & (confidence <= 1)).all():
                raise ValueError(f"confidence must be {shape} probabilities in [0, 1], got {confidence.shape}.")
        for name, value in (("x", x), ("y", y), ("classes", classes), ("patterns", patterns)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "confidence", confidence)

    @property
    def count(self) -> int:
        """Linear regions that the grid has met; those between its places are not seen."""
        return len(np.unique(self.patterns))

    def __repr__(self) -> str:
        height, width = self.classes.shape
        classes, regions = len(np.unique(self.classes)), self.count
        return (
            f"Regions({width} x {height} places, {classes} class{'es' * (classes != 1)}, "
            f"{regions} linear region{'s' * (regions != 1)})"
        )


def find_regions(
    model: nn.Module,
    points: Any = None,
    *,
    limits: Limits | None = None,
    resolution: int = 450,
    capture: CaptureLike = Capture.ACTIVATIONS,
    logits: Callable[[Any], Tensor] | None = None,
) -> Regions:
    """Ask a model for the class and the activation pattern of every place of a grid.

    The model runs in evaluation mode, without a graph, on its own device. Then its modes are as they were; random
    numbers, an attached regulariser and its loss, and a monitor are left alone.

    Args:
        model: Takes (N, 2) and gives (N, classes) logits, or (N,) or (N, 1) for two classes.
        points: (P, 2) points that the grid should cover, with a tenth of their range around them.
        limits: ((left, right), (bottom, top)) of the grid, instead of ``points``.
        resolution: Places a side.
        capture: What the hidden layers are, as for the regulariser. With ``"weights"`` the last one is left out.
        logits: Takes these from what the model returns, where it returns more.

    Returns:
        A :class:`Regions`.

    Raises:
        TypeError: If ``model`` is not a module.
        ValueError: On a wrong argument, if there is nothing to capture, or the model's output has another shape or is
            not finite.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 1), nn.ReLU(), nn.Linear(1, 3))
        >>> find_regions(model, limits=((-9, 9), (-9, 9)), resolution=20).classes.shape
        (20, 20)
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}: {model!r:.60}.")
    if isinstance(resolution, bool) or not isinstance(resolution, int) or resolution < 2:
        raise ValueError(f"resolution must be a whole number >= 2, got {resolution!r}.")
    (left, right), (bottom, top) = _limits(points, limits)
    model = getattr(model, "_orig_mod", model)  # hooks of today are not in a graph compiled yesterday
    pattern = Pattern(find_targets(model, capture), drop_last=isinstance(capture, str) and capture == Capture.WEIGHTS)
    x, y = np.linspace(left, right, resolution), np.linspace(bottom, top, resolution)
    reference = next((p for p in (*model.parameters(), *model.buffers()) if p.is_floating_point()), torch.zeros(0))
    places = torch.from_numpy(np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2))
    places = places.to(reference.dtype)
    classes, confidence, keys = [], [], []
    with undisturbed(model, reference.device), pattern.attached():
        for batch in places.split(_BATCH):
            output = model(batch.to(reference.device))
            scores = _scores(output if logits is None else logits(output), len(batch))
            keys.append(pattern.take(len(batch)))
            best = scores.softmax(1).max(1)
            confidence.append(best.values.cpu())
            classes.append(best.indices.cpu())
    grid = (resolution, resolution)
    named = np.unique(torch.cat(keys).numpy(), return_inverse=True)[1].reshape(grid)
    kind = np.min_scalar_type(int(named.max()))
    return Regions(
        x,
        y,
        torch.cat(classes).numpy().astype(np.uint16).reshape(grid),
        named.astype(kind),
        torch.cat(confidence).numpy().reshape(grid),
    )


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
        from jumpstart.plotting_regions import animate_decision_regions

        return animate_decision_regions(self.frames, path, self.points, self.labels, fps=fps)


def _pack(regions: Regions) -> bytes:
    memory = io.BytesIO()
    arrays = {name: value for name, value in vars(regions).items() if value is not None}
    np.savez_compressed(memory, **arrays)
    return memory.getvalue()


def _unpack(packed: bytes) -> Regions:
    with np.load(io.BytesIO(packed)) as arrays:
        return Regions(**arrays)


def _scores(output: Any, samples: int) -> Tensor:
    """(N, classes) logits."""
    if not isinstance(output, Tensor) or output.shape[:1] != (samples,) or output.dim() > 2 or not output.numel():
        found = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(
            f"the model must give ({samples}, classes) logits for ({samples}, 2) places, got {found}. Give logits=, a "
            "function that takes them from its output."
        )
    if not output.isfinite().all():
        raise ValueError("the model's output must be finite, got NaN or infinity: the network has diverged.")
    output = output.reshape(samples, -1).float()
    return torch.cat([torch.zeros_like(output), output], 1) if output.shape[1] == 1 else output


def _limits(points: Any, limits: Limits | None) -> Limits:
    if limits is None:
        if points is None:
            raise ValueError("points or limits must be given: they say which part of the plane the grid covers.")
        points = _points(points)
        low, high = points.min(axis=0), points.max(axis=0)
        room = np.where(high > low, 0.1 * (high - low), 1.0)
        (left, bottom), (right, top) = (low - room).tolist(), (high + room).tolist()
    else:
        (left, right), (bottom, top) = limits
    if not (np.isfinite([left, right, bottom, top]).all() and left < right and bottom < top):
        raise ValueError(f"limits must be ((left, right), (bottom, top)), each pair increasing, got {limits}.")
    return (float(left), float(right)), (float(bottom), float(top))


def _points(points: Any) -> npt.NDArray[np.float64]:
    values = np.asarray(points.detach().cpu() if hasattr(points, "detach") else points, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != 2 or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"points must be (P, 2) finite numbers, at least one point, got {values.shape}.")
    return values


def _labels(labels: Any, points: int) -> npt.NDArray[np.int64]:
    values = np.asarray(labels.detach().cpu() if hasattr(labels, "detach") else labels)
    if values.shape != (points,) or not np.issubdtype(values.dtype, np.integer) or values.min() < 0:
        raise ValueError(f"labels must be one whole number >= 0 for each of {points} points, got {values.shape}.")
    return values.astype(np.int64)


def _axis(name: str, values: Any) -> npt.NDArray[np.float64]:
    axis = np.asarray(values, dtype=np.float64)
    if axis.ndim != 1 or len(axis) < 2 or not np.isfinite(axis).all() or (np.diff(axis) <= 0).any():
        raise ValueError(f"{name} must hold at least two numbers, in increasing order.")
    return axis


def _whole(name: str, values: Any, shape: tuple[int, int]) -> npt.NDArray[Any]:
    array = np.asarray(values)
    if array.shape != shape or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{name} must be {shape} whole numbers, for y and x, got {array.shape} of {array.dtype}.")
    return array
