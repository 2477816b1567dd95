"""Decision regions and linear regions on a grid: the class of every place, and where the network bends.

A network of ReLUs is affine wherever the same units are positive. :func:`find_regions` runs a model on a grid and reads
both; :class:`DecisionRegions` stores the result over training. Needs NumPy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from jumpstart.arrays import Array, to_array
from jumpstart.capture.targets import CaptureLike, find_targets
from jumpstart.capture.undisturbed import evaluating
from jumpstart.choices import Capture
from jumpstart.regions.pattern import Pattern
from jumpstart.words import counted

Limits: TypeAlias = tuple[tuple[float, float], tuple[float, float]]
"""((left, right), (bottom, top)) of a grid."""

Logits: TypeAlias = Callable[[Any], Tensor]
"""Selects the logits from the output of a model, of whatever type that is."""

_BATCH = 8192
"""Places per forward pass."""
_LARGEST = 1e300
"""Largest coordinate: sums of a few of them are finite."""


@dataclass(frozen=True, eq=False)
class Regions:
    """Class and activation pattern of a network at every place of a grid. Rows run upwards, columns to the right.

    Attributes:
        x: (W,) increasing first coordinates of the places.
        y: (H,) increasing second coordinates.
        classes: (H, W) the class of every place, a whole number >= 0.
        patterns: (H, W) whole numbers, equal where the same hidden units are positive.
        confidence: (H, W) probability of the class, or None.

    Raises:
        ValueError: If shapes do not fit together, or a value is out of range.

    Example:
        >>> Regions(x=[0.0, 1.0], y=[0.0, 1.0], classes=[[0, 1], [0, 1]], patterns=[[0, 0], [0, 3]])
        Regions(2 x 2 places, 2 classes, 2 linear regions)
    """

    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    classes: Array
    patterns: Array
    confidence: npt.NDArray[np.float16] | None = None

    def __post_init__(self) -> None:
        x, y = _axis("x", self.x), _axis("y", self.y)
        shape = (len(y), len(x))
        classes, patterns = (_integers(name, getattr(self, name), shape) for name in ("classes", "patterns"))
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
        """Number of linear regions that have a place of the grid; smaller regions between the places are missed."""
        return len(np.unique(self.patterns))

    def __repr__(self) -> str:
        height, width = self.classes.shape
        classes = len(np.unique(self.classes))
        return (
            f"Regions({width} x {height} places, {classes} class{'es' * (classes != 1)}, "
            f"{counted(self.count, 'linear region')})"
        )


def find_regions(
    model: nn.Module,
    points: npt.ArrayLike | None = None,
    *,
    limits: Limits | None = None,
    resolution: int = 450,
    capture: CaptureLike = Capture.ACTIVATIONS,
    logits: Logits | None = None,
) -> Regions:
    """Run a model on a grid, and read the class and the activation pattern of every place.

    The model runs in evaluation mode, without a graph, on its own device. Afterwards the modes of its modules and the
    random generators are restored. An attached regularizer, its loss and a monitor are not affected.

    Args:
        model: Takes (N, 2) and returns (N, classes) logits, or (N,) or (N, 1) for two classes.
        points: (P, 2) points that the grid covers, with a margin of a tenth of their range on every side.
        limits: ((left, right), (bottom, top)) of the grid, instead of ``points``.
        resolution: Places along each side of the grid, at least 2.
        capture: What the hidden layers are, as for the regularizer. With ``"weights"`` the last one is left out.
        logits: Selects the logits from the output of a model that returns more than logits.

    Returns:
        The regions, of shape (resolution, resolution).

    Raises:
        TypeError: If ``model`` is not a module.
        ValueError: If an argument is wrong, there is nothing to capture, or the model's output has another shape or is
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
    (left, right), (bottom, top) = grid_limits(points, limits)
    model = getattr(model, "_orig_mod", model)  # hooks attached now are not in a graph compiled before
    pattern = Pattern(find_targets(model, capture), drop_last=isinstance(capture, str) and capture == Capture.WEIGHTS)
    x, y = np.linspace(left, right, resolution), np.linspace(bottom, top, resolution)
    places = torch.from_numpy(np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2))
    shape = (resolution, resolution)
    classes, confidence, codes = (values.numpy().reshape(shape) for values in _run(model, pattern, places, logits))
    numbers = np.unique(codes, return_inverse=True)[1].reshape(shape)
    return Regions(x, y, classes.astype(np.uint16), numbers.astype(np.min_scalar_type(int(numbers.max()))), confidence)


def _run(model: nn.Module, pattern: Pattern, places: Tensor, logits: Logits | None) -> tuple[Tensor, Tensor, Tensor]:
    """Class, confidence and code of the activation pattern of (N, 2) places, each (N,) on the CPU."""
    reference = next((p for p in (*model.parameters(), *model.buffers()) if p.is_floating_point()), torch.zeros(0))
    classes, confidence, codes = [], [], []
    with evaluating(model, reference.device), pattern.attached():
        for batch in places.to(reference.dtype).split(_BATCH):
            output = model(batch.to(reference.device))
            scores = _scores(output if logits is None else logits(output), len(batch))
            codes.append(pattern.pop_codes(len(batch)))
            best = scores.softmax(1).max(1)
            confidence.append(best.values.cpu())
            classes.append(best.indices.cpu())
    return torch.cat(classes), torch.cat(confidence), torch.cat(codes)


def _scores(output: object, samples: int) -> Tensor:
    """(N, classes) logits, at least two classes."""
    if not isinstance(output, Tensor) or output.shape[:1] != (samples,) or output.dim() > 2 or not output.numel():
        got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(
            f"the model must give ({samples}, classes) logits for ({samples}, 2) places, got {got}. Give logits=, a "
            "function that takes them from its output."
        )
    if not output.isfinite().all():
        raise ValueError("the model's output must be finite, got NaN or infinity: the network has diverged.")
    output = output.reshape(samples, -1).float()
    return torch.cat([torch.zeros_like(output), output], 1) if output.shape[1] == 1 else output


def grid_limits(points: npt.ArrayLike | None, limits: Limits | None) -> Limits:
    """Limits of a grid: those given, else the range of the points and a tenth of it on every side.

    Raises:
        ValueError: If neither points nor limits are given, or a pair of limits is not finite and increasing.
    """
    if limits is None:
        if points is None:
            raise ValueError("points or limits must be given: they say which part of the plane the grid covers.")
        places = checked_points(points)
        low, high = places.min(axis=0), places.max(axis=0)
        apart = high - low > 1e-9 * np.abs(high)
        padding = np.where(apart, 0.1 * (high - low), np.maximum(1.0, 0.1 * np.abs(high)))
        (left, bottom), (right, top) = (low - padding).tolist(), (high + padding).tolist()
    else:
        (left, right), (bottom, top) = limits
    if not (np.isfinite([left, right, bottom, top]).all() and left < right and bottom < top):
        raise ValueError(f"limits must be ((left, right), (bottom, top)), each pair increasing, got {limits}.")
    return (float(left), float(right)), (float(bottom), float(top))


def checked_points(points: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """(P, 2) coordinates of at least one point.

    Raises:
        ValueError: If the shape is wrong, or a number is not finite or beyond 1e300.
    """
    values = to_array(points).astype(np.float64)
    if values.ndim != 2 or values.shape[1] != 2 or not len(values) or not (np.abs(values) <= _LARGEST).all():
        raise ValueError(
            f"points must be (P, 2) finite numbers of at most 1e300, at least one point, got {values.shape}."
        )
    return values


def checked_labels(labels: npt.ArrayLike, points: int) -> npt.NDArray[np.int64]:
    """(P,) classes 0, 1, ... of the points.

    Raises:
        ValueError: If there is not one whole number >= 0 per point.
    """
    values = to_array(labels)
    if values.shape != (points,) or not np.issubdtype(values.dtype, np.integer) or values.min() < 0:
        raise ValueError(f"labels must be one whole number >= 0 for each of {points} points, got {values.shape}.")
    return values.astype(np.int64)


def _axis(name: str, values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    axis = np.asarray(values, dtype=np.float64)
    if axis.ndim != 1 or len(axis) < 2 or not (np.abs(axis) <= _LARGEST).all() or (np.diff(axis) <= 0).any():
        raise ValueError(f"{name} must hold at least two numbers, in increasing order.")
    return axis


def _integers(name: str, values: npt.ArrayLike, shape: tuple[int, int]) -> Array:
    array = np.asarray(values)
    if array.shape != shape or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{name} must be {shape} whole numbers, for y and x, got {array.shape} of {array.dtype}.")
    return array
