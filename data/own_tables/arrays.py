"""From arrays and data frames in memory to a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Unpack

import numpy as np
import numpy.typing as npt
import pandas as pd

from data.own_tables.build import build_table, find_classes
from data.own_tables.reading import RawTable, read_frame
from data.splitting import PARTS
from data.tables import ColumnOptions, Floats, Table, no_categories

_LARGEST = 1e100
_CHANNELS = (1, 3, 4)
"""Usual numbers of channels, by which images with their channels last are recognized."""
_SHAPES = "(rows, features) or (rows, channels, height, width)"


def table_in_memory(source: object, val: object = None, test: object = None, **options: Unpack[ColumnOptions]) -> Table:
    """The table of arrays or data frames.

    Args:
        source: A data frame, or ``(x, y)``. As x, a data frame has columns of any type; an array, a tensor or a
            nested list has numbers. As y, there may be texts, numbers or booleans.
        val: Validation part, like ``source``; ``None`` to split it from ``source``.
        test: Test part, like ``val``.
        **options: Arguments of :func:`~data.own_tables.build.build_table`, for data frames.

    Shape:
        - x: ``(rows, features)``, or ``(rows, channels, height, width)`` for images, which are scaled together.
        - y: ``(rows,)``.

    Raises:
        ValueError: If a value, a shape or a length is wrong; the message names the argument.

    Example:
        >>> table = table_in_memory(([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0], [3.0, 1.0]], ["no", "yes", "no", "yes"]))
        >>> table.class_names, table.labels.tolist()
        (('no', 'yes'), [0, 1, 0, 1])
    """
    held_out = {part: data for part, data in (("val", val), ("test", test)) if data is not None}
    given = {"train": source, **held_out}
    if isinstance(source, pd.DataFrame):
        raws = {part: read_frame(_frame(part, data), _called(part)) for part, data in given.items()}
        return build_table(raws, **options)
    if options.get("target") is not None:
        raise ValueError(f"target must be left out with a pair (x, y), got {options['target']!r}: y holds the classes.")
    pairs = {part: _pair(part, data) for part, data in given.items()}
    if isinstance(pairs["train"][0], pd.DataFrame):
        name = _label_name(pairs)
        joined = {part: read_frame(_joined(part, x, y, name), _called(part)) for part, (x, y) in pairs.items()}
        options["target"] = name
        return build_table(joined, **options)
    for option, columns in options.items():
        if columns:
            raise ValueError(f"{option} needs a data frame as x, whose columns have names, got {columns!r}.")
    return _array_table(pairs)


def _called(part: str) -> str:
    return "the data" if part == "train" else part


def _named(part: str, position: int) -> str:
    """The argument in words: ``x``, ``y``, or ``x of val``."""
    return "xy"[position] + ("" if part == "train" else f" of {part}")


def _frame(part: str, data: object) -> pd.DataFrame:
    if not isinstance(data, pd.DataFrame):
        raise ValueError(f"{part} must be a data frame like the training data, got {type(data).__name__}.")
    return data


def _pair(part: str, data: object) -> tuple[object, object]:
    name = "the data" if part == "train" else part
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        found = f"{len(data)} items" if isinstance(data, (tuple, list)) else type(data).__name__
        raise ValueError(f"{name} must be a pair (x, y) of inputs and labels, got {found}.")
    return data[0], data[1]


def _label_name(pairs: Mapping[str, tuple[object, object]]) -> str:
    """A name for the labels that no column has."""
    x, y = pairs["train"]
    assert isinstance(x, pd.DataFrame)
    name = str(getattr(y, "name", None) or "y")
    while name in map(str, x.columns):
        name += "_"
    return name


def _joined(part: str, x: object, y: object, name: str) -> pd.DataFrame:
    if not isinstance(x, pd.DataFrame):
        raise ValueError(f"{_named(part, 0)} must be a data frame like x, got {type(x).__name__}.")
    labels = _labels(part, y, len(x))
    return x.set_axis([str(column) for column in x.columns], axis=1).reset_index(drop=True).assign(**{name: labels})


# Arrays ------------------------------------------------------------------------------------------


def _array_table(pairs: Mapping[str, tuple[object, object]]) -> Table:
    inputs = {part: _inputs(part, x) for part, (x, _) in pairs.items()}
    shape = inputs["train"].shape[1:]
    for part, x in inputs.items():
        if x.shape[1:] != shape:
            raise ValueError(
                f"{_named(part, 0)} must have the shape (rows, {', '.join(map(str, shape))}) like x, got {x.shape}."
            )
    raws = {
        part: RawTable(_called(part), pd.DataFrame({"y": _labels(part, y, len(inputs[part]))}), frozenset(), _row)
        for part, (_, y) in pairs.items()
    }
    class_names, labels = find_classes(raws, "y")
    rows = sum(map(len, labels))
    return Table(
        numbers=np.concatenate([x.reshape(len(x), -1) for x in inputs.values()]).astype(np.float64),
        categories=no_categories(rows),
        labels=np.concatenate(labels),
        class_names=class_names,
        number_names=tuple(f"x{position}" for position in range(int(np.prod(shape)))),
        image_shape=shape if len(shape) > 1 else None,
        common_scale=len(shape) > 1,
        given=np.repeat([PARTS.index(part) for part in pairs], [len(part) for part in labels]).astype(np.int64)
        if len(pairs) > 1
        else None,
    )


def _row(row: int) -> str:
    return f"row {row}"


def _inputs(part: str, value: object) -> Floats:
    """The inputs as an array of finite numbers."""
    name = _named(part, 0)
    array = as_array(name, value)
    if array.dtype.kind not in "biuf":
        cast = f"give {name.split()[0]}.astype(float), or " if array.dtype == object else "give "
        raise ValueError(
            f"{name} must hold real numbers, got the type {array.dtype}: {cast}a pandas data frame for texts."
        )
    if array.ndim not in (2, 4):
        hint = {1: f" One feature: {name.split()[0]}[:, None].", 3: " Images of one channel: x[:, None]."}.get(
            array.ndim, ""
        )
        raise ValueError(f"{name} must have the shape {_SHAPES}, got {array.shape}.{hint}")
    if array.ndim == 4 and array.shape[3] in _CHANNELS and array.shape[1] not in _CHANNELS:
        raise ValueError(
            f"{name} must have the channels before height and width, got {array.shape}: give x.transpose(0, 3, 1, 2)."
        )
    if 0 in array.shape:
        raise ValueError(f"{name} must not be empty, got the shape {array.shape}.")
    numbers: Floats = array.astype(np.float64, copy=False)
    wrong = np.argwhere(~(np.abs(numbers) <= _LARGEST))
    if len(wrong):
        found, place = numbers[tuple(wrong[0])], ", ".join(map(str, wrong[0]))
        raise ValueError(
            f"{name} must hold finite numbers up to {_LARGEST:g}, got {found} at [{place}]: fill in missing values, or "
            "give a pandas data frame, in which NaN is a missing value."
        )
    return numbers


def _labels(part: str, value: object, rows: int) -> pd.Series:
    """The labels as a column."""
    name = _named(part, 1)
    if isinstance(value, pd.Series):
        column = value.reset_index(drop=True)
    else:
        array = as_array(name, value)
        if array.ndim != 1:
            hint = ""
            if array.ndim == 2:
                hint = (
                    " Give y.ravel()." if array.shape[1] == 1 else " One column for each class: give y.argmax(axis=1)."
                )
            raise ValueError(f"{name} must have the shape (rows,), got {array.shape}.{hint}")
        column = pd.Series(array)
    if len(column) != rows:
        raise ValueError(f"{name} must have as many rows as {_named(part, 0)}, {rows}, got {len(column)}.")
    return column


def as_array(name: str, value: object) -> npt.NDArray[np.generic]:
    """An array of a tensor on any device, an array, a series or a nested list.

    Args:
        name: The argument, for the message.
        value: The values.

    Raises:
        ValueError: If the rows of a nested list differ in length, or values are masked.
    """
    detach = getattr(value, "detach", None)
    if detach is not None:
        tensor = detach().cpu()
        value = (tensor.float() if tensor.is_floating_point() and tensor.element_size() < 4 else tensor).numpy()
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        count = int(np.ma.getmaskarray(value).sum())
        raise ValueError(
            f"{name} must have no masked values, got {count}: fill them in, or give a pandas data frame, in which NaN "
            "is a missing value."
        )
    if isinstance(value, list) and any(isinstance(item, str) for item in value):
        return np.array(value, dtype=object)
    try:
        return np.asarray(value)
    except ValueError:
        raise ValueError(f"{name} must have rows of one length, got a nested list of several lengths.") from None
