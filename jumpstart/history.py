"""Extrema of every unit and status of a sample of points, one entry for each recorded epoch.

The callback writes the history as ``status.npz`` while the network trains, and the report reads it.
"""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from jumpstart.arrays import Array, to_array
from jumpstart.choices import Part
from jumpstart.files import UserPath, atomic_path, user_path
from jumpstart.status.codes import Status, status_of_arrays
from jumpstart.words import counted

Floats: TypeAlias = npt.NDArray[np.float32]
Codes: TypeAlias = npt.NDArray[np.int8]
Labels: TypeAlias = npt.NDArray[np.int64]

logger = logging.getLogger(__name__)

_FIELDS = ("layers", "units", "epochs", "unit_max", "unit_min", "point_status")
_WRITING_SHARE = 1 / 20
"""Largest share of the training time that is spent on writing the file, which takes longer as the history grows."""


def history_name(part: Part | None) -> str:
    """The name of the file with the history of a part of the data; without a part, that of the validation part.

    Example:
        >>> history_name(Part.VAL), history_name(Part.TEST)
        ('status.npz', 'status-test.npz')
    """
    return "status.npz" if part in (None, Part.VAL) else f"status-{part}.npz"


class StatusHistory:
    """Extrema of every unit, and status of a sample of points, epoch by epoch.

    Args:
        layers: Names of the layers, in call order.
        units: Number of units of each layer.

    Attributes:
        layers: Names of the layers.
        units: Number of units of each layer.
        epochs: The recorded epochs, in increasing order.
        labels: (P,) classes of the points, or None.

    Shape:
        With E epochs, U units in all layers together, P points and L layers:

        - ``unit_max``, ``unit_min``: (E, U), layer after layer.
        - ``unit_status``: (E, U) codes of :class:`~jumpstart.status.Status`.
        - ``point_status``: (E, P, L) codes.

    Raises:
        ValueError: If there is no layer, a number of units is no whole number >= 1, or the two lists differ in length.

    Example:
        >>> history = StatusHistory(["a", "b"], [2, 1])
        >>> history.append(0, [1.0, -1.0, 2.0], [-1.0, -2.0, 1.0], [[2, 1], [0, 1]])
        >>> history.unit_status
        array([[2, 0, 1]], dtype=int8)
        >>> history
        StatusHistory(1 epoch, 2 layers, 3 units, 2 points)
    """

    def __init__(self, layers: Sequence[str], units: Sequence[int]) -> None:
        self.layers = tuple(str(name) for name in layers)
        counts = list(units)
        whole = all(isinstance(count, int | np.integer) and count >= 1 for count in counts)
        if not self.layers or len(self.layers) != len(counts) or not whole:
            raise ValueError(
                f"layers and units must name at least one layer and its units, one whole number >= 1 for each, "
                f"got {len(self.layers)} layers and units {tuple(counts)}."
            )
        self.units = tuple(int(count) for count in counts)
        self.epochs: list[int] = []
        self.labels: Labels | None = None
        self._unit_max: list[Floats] = []
        self._unit_min: list[Floats] = []
        self._points: list[Codes] = []

    def __repr__(self) -> str:
        sizes = {
            "epoch": len(self),
            "layer": len(self.layers),
            "unit": sum(self.units),
            "point": self._points_per_epoch,
        }
        return f"StatusHistory({', '.join(counted(count, noun) for noun, count in sizes.items())})"

    def __len__(self) -> int:
        return len(self.epochs)

    def append(
        self,
        epoch: int,
        unit_max: npt.ArrayLike,
        unit_min: npt.ArrayLike,
        point_status: npt.ArrayLike,
        labels: npt.ArrayLike | None = None,
    ) -> None:
        """Record one epoch.

        Drops any entry of this or a later epoch first, because a resumed run repeats them.

        Args:
            epoch: From 0.
            unit_max: (U,) largest preactivation of every unit over the whole epoch.
            unit_min: (U,) smallest preactivation of every unit.
            point_status: (P, L) codes; the same points every time.
            labels: (P,) classes of the points. Labels given for one epoch hold for all epochs.

        Raises:
            ValueError: If a shape, a code or the epoch is wrong, or a maximum is smaller than its minimum. The history
                is unchanged then.
        """
        if epoch != int(epoch) or epoch < 0:
            raise ValueError(f"epoch must be a whole number >= 0, got {epoch}.")
        largest = self._one_per_unit("unit_max", unit_max)
        smallest = self._one_per_unit("unit_min", unit_min)
        if (wrong := np.flatnonzero(largest < smallest)).size:
            raise ValueError(
                f"unit_max must be >= unit_min for every unit, got {largest[wrong[0]]:g} < {smallest[wrong[0]]:g} for "
                f"unit {wrong[0]} (counted from 0 over all layers)."
            )
        keep = sum(recorded < epoch for recorded in self.epochs)
        points = self._point_codes(point_status, self._points_per_epoch if keep else None)
        classes = _checked_labels(labels, len(points))
        if keep and classes is not None and self.labels is not None and not np.array_equal(classes, self.labels):
            raise ValueError("labels must equal those of the epochs before: every epoch records the same points.")
        for entries in (self.epochs, self._unit_max, self._unit_min, self._points):
            del entries[keep:]
        self.epochs.append(int(epoch))
        self._unit_max.append(largest)
        self._unit_min.append(smallest)
        self._points.append(points)
        if classes is not None or not keep:
            self.labels = classes

    @property
    def unit_max(self) -> Floats:
        """(E, U) largest preactivations."""
        return np.array(self._unit_max, dtype=np.float32).reshape(len(self), sum(self.units))

    @property
    def unit_min(self) -> Floats:
        """(E, U) smallest preactivations."""
        return np.array(self._unit_min, dtype=np.float32).reshape(len(self), sum(self.units))

    @property
    def unit_status(self) -> Codes:
        """(E, U) codes. NaN, from a network that has diverged, counts as dead: no gradient passes through it."""
        return status_of_arrays(self.unit_max, self.unit_min)

    @property
    def point_status(self) -> Codes:
        """(E, P, L) codes."""
        return np.array(self._points, dtype=np.int8).reshape(len(self), self._points_per_epoch, len(self.layers))

    @property
    def _points_per_epoch(self) -> int:
        return self._points[0].shape[0] if self._points else 0

    def save(self, path: UserPath) -> None:
        """Write the history as one compressed ``.npz``, atomically.

        Args:
            path: The file. An existing file is replaced.

        Raises:
            OSError: If the folder is missing or not writable, or the disk is full.
            ValueError: As :func:`~jumpstart.files.user_path`.
        """
        file_path = user_path(path, "path", "file")
        labels: dict[str, Any] = {} if self.labels is None else {"labels": self.labels}
        with atomic_path(file_path) as draft, draft.open("wb") as file:
            np.savez_compressed(
                file,
                layers=np.array(self.layers),
                units=np.array(self.units, dtype=np.int64),
                epochs=np.array(self.epochs, dtype=np.int64),
                unit_max=self.unit_max,
                unit_min=self.unit_min,
                point_status=self.point_status,
                **labels,
            )

    @classmethod
    def load(cls, path: UserPath) -> StatusHistory:
        """Read a file that :meth:`save` wrote.

        Args:
            path: The file.

        Raises:
            OSError: If the file can't be read.
            ValueError: If the file is not a status history, or is damaged, and as :func:`~jumpstart.files.user_path`.
        """
        content = _read_archive(user_path(path, "path", "file"))
        try:
            history = cls(content["layers"].tolist(), content["units"].tolist())
            epochs = content["epochs"].tolist()
            if sorted(set(epochs)) != epochs:
                raise ValueError("its epochs don't increase.")
            entries = zip(epochs, content["unit_max"], content["unit_min"], content["point_status"], strict=True)
            for entry in entries:
                history.append(*entry, labels=content.get("labels"))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path} is damaged: {error}") from None
        return history

    def _one_per_unit(self, name: str, values: npt.ArrayLike) -> Floats:
        array = np.array(to_array(values), dtype=np.float32)
        units = sum(self.units)
        if array.shape != (units,):
            raise ValueError(f"{name} must have one value for each of the {units} units, got {array.shape}.")
        return array

    def _point_codes(self, values: npt.ArrayLike, points: int | None) -> Codes:
        """(points, layers) codes; any number of points if ``points`` is None."""
        array = to_array(values)
        wanted = "(points" if points is None else f"({points}"
        if array.ndim != 2 or array.shape[1] != len(self.layers) or points not in (None, array.shape[0]):
            raise ValueError(f"point_status must be {wanted}, {len(self.layers)} layers), got {array.shape}.")
        if not np.isin(array, [int(code) for code in Status]).all():
            raise ValueError("point_status must hold the codes 0, 1 and 2 alone.")
        return array.astype(np.int8)


class HistoryFile:
    """The history of a run together with its file, which is replaced atomically.

    Args:
        path: The file.
        resume: Continue the history in the file. A damaged file is replaced, with a warning.
    """

    def __init__(self, path: Path, *, resume: bool) -> None:
        self.path = path
        self._history: StatusHistory | None = None
        self._unsaved = False
        self._saved_at, self._seconds_to_save = -float("inf"), 0.0
        if resume and path.is_file():
            try:
                self._history = StatusHistory.load(path)
            except ValueError as error:
                logger.warning("The status history starts over: %s", error)

    def append(
        self,
        layers: Sequence[str],
        epoch: int,
        unit_max: Sequence[Array],
        unit_min: Sequence[Array],
        points: Array,
        labels: Array | None,
    ) -> None:
        """Record an epoch, and write the file unless it was written a moment ago.

        Begins a new history if the layers, their units or the number of points have changed.

        Args:
            layers: Names of the layers.
            epoch: From 0.
            unit_max: One array per layer, the largest preactivation of every unit.
            unit_min: One array per layer, the smallest preactivation of every unit.
            points: (P, L) codes.
            labels: (P,) classes of the points, or None. Labels that change from one epoch to the next are dropped:
                the data are shuffled anew every epoch, so that no row is the same point twice.
        """
        history = self._continued(layers, tuple(len(units) for units in unit_max), len(points))
        if history.labels is not None and not np.array_equal(history.labels, labels if labels is not None else ()):
            history.labels = labels = None
        elif len(history) and history.labels is None:
            labels = None
        history.append(epoch, np.concatenate(unit_max), np.concatenate(unit_min), points, labels)
        self._history, self._unsaved = history, True
        if time.monotonic() - self._saved_at >= self._seconds_to_save / _WRITING_SHARE:
            self.save()

    def save(self) -> None:
        """Write the file if there are entries that it does not hold yet; missing folders are made."""
        if self._history is None or not self._unsaved:
            return
        started = time.monotonic()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._history.save(self.path)
        self._saved_at = time.monotonic()
        self._seconds_to_save = self._saved_at - started
        self._unsaved = False

    def _continued(self, layers: Sequence[str], units: tuple[int, ...], points: int) -> StatusHistory:
        """The history so far if it has these layers, units and points, else a new one."""
        history = self._history
        if history is None or (history.layers, history.units) != (tuple(layers), units):
            return StatusHistory(layers, units)
        return history if history.point_status.shape[1] == points else StatusHistory(layers, units)


def _read_archive(path: Path) -> dict[str, Array]:
    """The arrays of a history's file by name; all that :meth:`StatusHistory.load` needs are there."""
    archive = io.BytesIO(path.read_bytes())
    try:
        with np.load(archive, allow_pickle=False) as stored:
            content = {name: stored[name] for name in stored.files}
    except Exception as error:  # zipfile, zlib and NumPy raise many kinds of errors for a damaged file
        raise ValueError(f"{path} is no status history: {error}") from None
    missing = [name for name in _FIELDS if name not in content]
    if missing:
        raise ValueError(f"{path} is no status history: it has no {', '.join(missing)}.")
    return content


def _checked_labels(values: npt.ArrayLike | None, points: int) -> Labels | None:
    if values is None:
        return None
    array = to_array(values)
    if array.shape != (points,) or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"labels must be one whole number for each of the {points} points, got {array.shape}.")
    return array.astype(np.int64)
