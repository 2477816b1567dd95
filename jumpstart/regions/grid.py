"""The plane through the eyes of a network: which class it gives to every place, and where it bends.

A network of ReLUs is affine wherever the same units are positive. :func:`find_regions` asks a model for both, on a
grid; :class:`DecisionRegions` remembers it over training. Needs NumPy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from jumpstart.capture.targets import CaptureLike, find_targets
from jumpstart.choices import Capture
from jumpstart.regions.pattern import Pattern
from jumpstart.undisturbed import evaluating

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
    numbers, an attached regularizer and its loss, and a monitor are left alone.

    Args:
        model: Takes (N, 2) and gives (N, classes) logits, or (N,) or (N, 1) for two classes.
        points: (P, 2) points that the grid should cover, with a tenth of their range around them.
        limits: ((left, right), (bottom, top)) of the grid, instead of ``points``.
        resolution: Places a side.
        capture: What the hidden layers are, as for the regularizer. With ``"weights"`` the last one is left out.
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
    with evaluating(model, reference.device), pattern.attached():
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
