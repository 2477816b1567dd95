"""Arguments of the plots, checked and converted to NumPy arrays.

Imports no matplotlib, so that the report can order its points without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from jumpstart.arrays import Array, to_array
from jumpstart.status.codes import Status

Codes: TypeAlias = npt.NDArray[np.int8]
"""Codes of :class:`Status`."""

Floats: TypeAlias = npt.NDArray[np.float64]

Layers: TypeAlias = npt.ArrayLike | Sequence[npt.ArrayLike] | Mapping[str, npt.ArrayLike]
"""One (units, layers) array, a sequence with one array per layer, or a mapping of such arrays by the layer's name."""


_LARGEST, _SMALLEST = 1e300, 1e-300
_LAST_EPOCH = 2.0**50
"""Beyond this number, an epoch and its half-way neighbors may be the same float."""


def named_layers(
    values: Layers, names: Sequence[str] | None
) -> tuple[npt.ArrayLike | Sequence[npt.ArrayLike], Sequence[str] | None]:
    """The arrays of a mapping, such as ``StatusMonitor.unit_status``, and its names unless others are given.

    Args:
        values: A mapping, or anything else, which is returned as it is.
        names: One name per layer, or None.
    """
    if not isinstance(values, Mapping):
        return values, names
    return list(values.values()), list(values) if names is None else names


def status_table(status: Layers, shape: str = "(rows, layers)") -> Codes:
    """Check a two-dimensional array of codes.

    Args:
        status: Codes of :class:`Status`.
        shape: The shape in words, for the message.

    Raises:
        ValueError: If there are not two dimensions, no code, or a number that is not a code.
    """
    codes = to_array(status)
    if codes.ndim != 2 or codes.size == 0:
        raise ValueError(f"status must be {shape} with at least one code, got {codes.shape}.")
    return _checked_codes(codes)


def status_per_layer(status: Layers) -> list[Codes]:
    """Check the codes of the units, one array per layer.

    Args:
        status: A (units, layers) array, or a list with one array of codes per layer.

    Raises:
        ValueError: If there is no layer, a layer has no unit, or a number is not a code.
    """
    if not isinstance(status, list | tuple):
        return list(status_table(status).T)
    layers = [to_array(layer) for layer in status]
    if not layers:
        raise ValueError("status must hold at least one layer, got none.")
    for number, codes in enumerate(layers, 1):
        if codes.ndim != 1 or codes.size == 0:
            raise ValueError(
                f"status must hold a row of at least one code per layer, got {codes.shape} for layer {number}."
            )
    return [_checked_codes(codes) for codes in layers]


def _checked_codes(codes: Array) -> Codes:
    if np.issubdtype(codes.dtype, np.integer):
        known = (codes >= min(Status)) & (codes <= max(Status))  # np.isin takes ten times the memory
    else:
        known = np.isin(codes, [int(code) for code in Status])
    if not known.all():
        raise ValueError(f"status must hold the codes 0, 1 and 2, got {codes[~known][0]}.")
    return codes.astype(np.int8, copy=False)


def drawable(values: Floats, *, positive: bool = False) -> Floats:
    """The values, with those beyond 1e300 (and, if only positive ones can be drawn, below 1e-300) moved to that bound.

    The sums and powers with which axes are scaled are then finite.

    Example:
        >>> drawable(np.array([1.7e308, 0.5]))
        array([1.e+300, 5.e-001])
    """
    return np.clip(values, _SMALLEST if positive else -_LARGEST, _LARGEST)


def classes_of(labels: npt.ArrayLike | None, points: int) -> tuple[Array, npt.NDArray[np.intp]]:
    """The sorted classes, and for each point the index of its class; a single class without labels.

    Raises:
        ValueError: If there is not one label per point, or if they cannot be sorted.

    Example:
        >>> classes_of(["ham", "eggs", "ham"], 3)
        (array(['eggs', 'ham'], dtype=object), array([1, 0, 1]))
    """
    values = np.zeros(points, dtype=np.int8) if labels is None else to_array(labels)
    if isinstance(labels, list | tuple) and values.dtype.kind == "U":
        values = np.array(labels, dtype=object)  # an array of texts drops NULs at their ends
    if values.shape != (points,):
        raise ValueError(f"labels must hold one class per point ({points}), got {values.shape}.")
    try:
        return np.unique(values, return_inverse=True)
    except TypeError:
        kinds = sorted({type(value).__name__ for value in values.tolist()})
        raise ValueError(
            f"labels must be all numbers or all texts, got {' and '.join(kinds)}. Name the points without a class too, "
            "for example 'unknown'."
        ) from None


def epoch_axis(epochs: npt.ArrayLike) -> Floats:
    """Check epochs: at least one, finite and increasing.

    Raises:
        ValueError: If there is no epoch, or if epochs are not increasing numbers of at most 2 to the power of 50.
    """
    x = numbers("epochs", epochs)
    if x.size and (np.abs(x) > _LAST_EPOCH).any() and np.isfinite(x).all():
        raise ValueError(f"epochs must be <= 2**50, got {x[np.abs(x) > _LAST_EPOCH][0]:g}.")
    if x.ndim != 1 or x.size == 0 or not np.isfinite(x).all() or (np.diff(x) <= 0).any():
        raise ValueError("epochs must hold at least one number, in increasing order.")
    return x


def series(name: str, values: npt.ArrayLike, x: Floats) -> Floats:
    """Check that there is one value per epoch.

    Args:
        name: The parameter, for the message.
        values: The values.
        x: The epochs.

    Raises:
        ValueError: If the number of values is not the number of epochs, or one is no number.
    """
    y = numbers(name, values)
    if y.shape != x.shape:
        raise ValueError(f"{name} must have one value per epoch ({len(x)}), got {y.shape}.")
    return y


def numbers(name: str, values: npt.ArrayLike) -> Floats:
    """The values as numbers in double precision.

    Args:
        name: The parameter, for the message.
        values: The values.

    Raises:
        ValueError: If one is no number.
    """
    try:
        return to_array(values).astype(np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must hold numbers, got {values!r:.60}.") from None


def count_status(layers: Iterable[Codes]) -> npt.NDArray[np.int64]:
    """How often each code occurs in all layers together, indexed by :class:`Status`."""
    counts = np.zeros(len(Status), dtype=np.int64)
    for codes in layers:
        counts += np.bincount(codes, minlength=len(Status))
    return counts


def share_column(codes: Codes, lines: int) -> Codes:
    """One column of an image, divided by the shares of each status.

    Args:
        codes: The units of a layer.
        lines: Pixels of the column.

    Returns:
        (lines,) codes, dead last. A status that occurs gets at least one line.

    Example:
        >>> share_column(np.array([0, 2, 2, 2], dtype=np.int8), 8).tolist()
        [2, 2, 2, 2, 2, 2, 0, 0]
    """
    return stacked_shares(count_status([codes])[:, None], lines)[:, 0]


def stacked_shares(counts: npt.NDArray[np.int64], lines: int) -> Codes:
    """:func:`share_column` for many columns at once.

    Args:
        counts: (codes, columns) how often each code occurs in each column.
        lines: Pixels of each column.

    Returns:
        (lines, columns) codes.
    """
    shares = np.maximum(np.round(counts * lines / counts.sum(axis=0)).astype(int), counts > 0)
    columns = np.arange(counts.shape[1])
    shares[shares.argmax(axis=0), columns] += lines - shares.sum(axis=0)
    ends = np.cumsum(shares[::-1], axis=0)
    codes: Codes = (len(Status) - 1 - (np.arange(lines)[:, None, None] >= ends).sum(axis=1)).astype(np.int8)
    return codes


def point_order(status: npt.ArrayLike, labels: npt.ArrayLike | None = None) -> npt.NDArray[np.intp]:
    """The order of points in a map: by class, by the first layer in which a point is dead, then by status.

    Within a class, the points that die in the earliest layer are first and those that never die are last. Points that
    die in the same layer are sorted by their status, layer after layer.

    Args:
        status: (points, layers) codes of :class:`Status`.
        labels: (points,) classes, numbers or names.

    Returns:
        (points,) indices. Points that are equal in class and status keep their order.

    Raises:
        ValueError: If there is no point or layer, a code is not a status, or there is not one label per point.

    Example:
        >>> point_order([[2, 2], [2, 0], [0, 2]])
        array([2, 1, 0])
    """
    codes = status_table(status)
    points, layers = codes.shape
    dead = codes == Status.DEAD
    first = np.where(dead.any(axis=1), dead.argmax(axis=1), layers)
    of_class = classes_of(labels, points)[1]
    # One string per row, compared byte by byte, sorts far faster than one key per layer.
    rows = np.ascontiguousarray(codes).view(f"S{layers}").ravel()
    return np.lexsort((rows, first, of_class))
