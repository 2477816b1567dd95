"""Arguments of the plots, checked and turned into arrays."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from jumpstart.status.codes import Status

Codes = npt.NDArray[np.int8]


Floats = npt.NDArray[np.float64]


def array(values: Any) -> npt.NDArray[Any]:
    """An array of anything, tensors on any device included."""
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


def status_table(status: Any, shape: str = "(rows, layers)") -> Codes:
    """Checked codes of two dimensions."""
    codes = array(status)
    if codes.ndim != 2 or codes.size == 0:
        raise ValueError(f"status must be {shape} with at least one code, got {codes.shape}.")
    return _checked(codes)


def status_per_layer(status: Any) -> list[Codes]:
    """Checked codes of every layer, from a (units, layers) array or a list of layers."""
    if not isinstance(status, list | tuple):
        return list(status_table(status).T)
    layers = [array(layer) for layer in status]
    if not layers:
        raise ValueError("status must hold at least one layer, got none.")
    for counted, codes in enumerate(layers, 1):
        if codes.ndim != 1 or codes.size == 0:
            raise ValueError(
                f"status must hold a row of at least one code per layer, got {codes.shape} for layer {counted}."
            )
    return [_checked(codes) for codes in layers]


def _checked(codes: npt.NDArray[Any]) -> Codes:
    if np.issubdtype(codes.dtype, np.integer):
        known = (codes >= min(Status)) & (codes <= max(Status))  # the general case takes ten times the memory
    else:
        known = np.isin(codes, [int(code) for code in Status])
    if not known.all():
        raise ValueError(f"status must hold the codes 0, 1 and 2, got {codes[~known][0]}.")
    return codes.astype(np.int8, copy=False)


def classes_of(labels: Any, points: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.intp]]:
    """The classes in order, and the counted of its class for every point."""
    values = np.zeros(points, dtype=np.int8) if labels is None else array(labels)
    if values.shape != (points,):
        raise ValueError(f"labels must hold one class per point ({points}), got {values.shape}.")
    return np.unique(values, return_inverse=True)


def epoch_axis(epochs: Any) -> Floats:
    """Checked epochs."""
    x = array(epochs).astype(np.float64)
    if x.ndim != 1 or x.size == 0 or not np.isfinite(x).all() or (np.diff(x) <= 0).any():
        raise ValueError("epochs must hold at least one counted, in increasing order.")
    return x


def series(name: str, values: Any, x: Floats) -> Floats:
    """Values checked to be one per epoch."""
    y = array(values).astype(np.float64)
    if y.shape != x.shape:
        raise ValueError(f"{name} must have one value per epoch ({len(x)}), got {y.shape}.")
    return y


def count_status(layers: Iterable[Codes]) -> npt.NDArray[np.int64]:
    """How often each code occurs."""
    counts = np.zeros(len(Status), dtype=np.int64)
    for codes in layers:
        counts += np.bincount(codes, minlength=len(Status))
    return counts


def share_column(codes: Codes, lines: int) -> Codes:
    """A column of so many lines, divided by the shares of each status, dead last; what occurs gets at least one."""
    return stacked_shares(count_status([codes])[:, None], lines)[:, 0]


def stacked_shares(counts: npt.NDArray[np.int64], lines: int) -> Codes:
    """The same for many columns at once: (codes, columns) counts to (lines, columns) codes."""
    shares = np.maximum(np.round(counts * lines / counts.sum(axis=0)).astype(int), counts > 0)
    columns = np.arange(counts.shape[1])
    shares[shares.argmax(axis=0), columns] += lines - shares.sum(axis=0)
    ends = np.cumsum(shares[::-1], axis=0)
    codes: Codes = (len(Status) - 1 - (np.arange(lines)[:, None, None] >= ends).sum(axis=1)).astype(np.int8)
    return codes


def point_order(status: npt.ArrayLike, labels: npt.ArrayLike | None = None) -> npt.NDArray[np.intp]:
    """The order of points in which structure shows.

    Points of a class stand together; within it, those that die in the earliest layer come first and
    those that never die last; within these, points of like status in layer after layer.

    Args:
        status: (points, layers) codes of :class:`Status`.
        labels: The class of every point.

    Returns:
        (points,) indices; points that are alike in everything keep their order.

    Example:
        >>> point_order([[2, 2], [2, 0], [0, 2]])
        array([2, 1, 0])
    """
    codes = status_table(status)
    points, layers = codes.shape
    dead = codes == Status.DEAD
    first = np.where(dead.any(axis=1), dead.argmax(axis=1), layers)
    of_class = classes_of(labels, points)[1]
    # One string a row, compared byte by byte: far faster than a key per layer.
    rows = np.ascontiguousarray(codes).view(f"S{layers}").ravel()
    return np.lexsort((rows, first, of_class))
