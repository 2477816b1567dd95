"""What a run remembers of its units and points: one entry for every epoch that was drawn.

The callback writes it as ``status.npz`` while the network trains; the report reads it.
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

from jumpstart.files import atomic_path
from jumpstart.status.codes import Status, status_of_arrays

Floats: TypeAlias = npt.NDArray[np.float32]
Codes: TypeAlias = npt.NDArray[np.int8]
Labels: TypeAlias = npt.NDArray[np.int64]

logger = logging.getLogger(__name__)

_FIELDS = ("layers", "units", "epochs", "unit_max", "unit_min", "point_status")


class StatusHistory:
    """Extrema of every unit, and status of a sample of points, epoch by epoch.

    Args:
        layers: Names of the layers, in call order.
        units: Units of each.

    Attributes:
        layers: Names of the layers.
        units: Units of each.
        epochs: The epochs remembered, in increasing order.
        labels: (P,) classes of the points, or None.

    Shape:
        With E epochs, U units in all layers together, P points and L layers:

        - ``unit_max``, ``unit_min``: (E, U), layer after layer.
        - ``unit_status``: (E, U) codes of :class:`~jumpstart.status.Status`.
        - ``point_status``: (E, P, L) codes.

    Raises:
        ValueError: If there is no layer, one has no unit, or the two lists differ in length.

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
        self.units = tuple(int(count) for count in units)
        if not self.layers or len(self.layers) != len(self.units) or min(self.units) < 1:
            raise ValueError(
                f"layers and units must name at least one layer and its units, one number >= 1 for each, "
                f"got {len(self.layers)} layers and units {self.units}."
            )
        self.epochs: list[int] = []
        self.labels: Labels | None = None
        self._unit_max: list[Floats] = []
        self._unit_min: list[Floats] = []
        self._points: list[Codes] = []

    def __repr__(self) -> str:
        points = self._points[0].shape[0] if self._points else 0
        counts = ((len(self), "epoch"), (len(self.layers), "layer"), (sum(self.units), "unit"), (points, "point"))
        return f"StatusHistory({', '.join(f'{count} {noun}' + 's' * (count != 1) for count, noun in counts)})"

    def __len__(self) -> int:
        return len(self.epochs)

    def append(self, epoch: int, unit_max: Any, unit_min: Any, point_status: Any, labels: Any = None) -> None:
        """Remember one epoch. The same one and later ones, if there are any, are forgotten: a resumed run comes by
        them again.

        Args:
            epoch: From 0.
            unit_max: (U,) the largest preactivation of every unit, over the whole epoch.
            unit_min: (U,) the smallest.
            point_status: (P, L) codes; the same points every time.
            labels: (P,) classes of the points; what is given once holds for all epochs.

        Raises:
            ValueError: If a shape, a code or the epoch is wrong. Nothing is changed then.
        """
        if epoch != int(epoch) or epoch < 0:
            raise ValueError(f"epoch must be a whole number >= 0, got {epoch}.")
        largest, smallest = (
            self._floats("unit_max", unit_max, (sum(self.units),)),
            self._floats("unit_min", unit_min, (sum(self.units),)),
        )
        keep = sum(known < epoch for known in self.epochs)
        points = self._codes(point_status, self._points[0].shape[0] if keep else None)
        classes = _labels(labels, len(points))
        if keep and classes is not None and self.labels is not None and not np.array_equal(classes, self.labels):
            raise ValueError("labels must be those of the epochs before: every epoch looks at the same points.")
        for kept in (self.epochs, self._unit_max, self._unit_min, self._points):
            del kept[keep:]
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
        """(E, U) codes. NaN, of a network that has diverged, counts as dead: nothing is learned through it."""
        return status_of_arrays(self.unit_max, self.unit_min)

    @property
    def point_status(self) -> Codes:
        """(E, P, L) codes."""
        points = self._points[0].shape[0] if self._points else 0
        return np.array(self._points, dtype=np.int8).reshape(len(self), points, len(self.layers))

    def save(self, path: str | Path) -> None:
        """Write one compressed ``.npz``, whole at any moment: under a temporary name, then renamed.

        Args:
            path: The file, replaced where it exists.
        """
        path = Path(path)
        labels: dict[str, Any] = {} if self.labels is None else {"labels": self.labels}
        with atomic_path(path) as draft, draft.open("wb") as file:
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
    def load(cls, path: str | Path) -> StatusHistory:
        """Read what :meth:`save` wrote.

        Args:
            path: The file.

        Raises:
            OSError: If it can't be read.
            ValueError: If it is no history, or a damaged one.
        """
        archive = io.BytesIO(Path(path).read_bytes())
        try:
            with np.load(archive, allow_pickle=False) as stored:
                content = {name: stored[name] for name in stored.files}
        except Exception as error:  # zipfile, zlib and NumPy have many words for a damaged file
            raise ValueError(f"{path} is no status history: {error}") from None
        missing = [name for name in _FIELDS if name not in content]
        if missing:
            raise ValueError(f"{path} is no status history: it has no {', '.join(missing)}.")
        try:
            history = cls(content["layers"].tolist(), content["units"].tolist())
            epochs = content["epochs"].tolist()
            if sorted(set(epochs)) != epochs:
                raise ValueError("its epochs don't increase.")
            rows = zip(epochs, content["unit_max"], content["unit_min"], content["point_status"], strict=True)
            for row in rows:
                history.append(*row, labels=content.get("labels"))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path} is damaged: {error}") from None
        return history

    def _floats(self, name: str, values: Any, shape: tuple[int, ...]) -> Floats:
        array = np.array(_array(values), dtype=np.float32)
        if array.shape != shape:
            raise ValueError(f"{name} must have one value for each of the {shape[0]} units, got {array.shape}.")
        return array

    def _codes(self, values: Any, points: int | None) -> Codes:
        array = _array(values)
        wanted = "(points" if points is None else f"({points}"
        if array.ndim != 2 or array.shape[1] != len(self.layers) or points not in (None, array.shape[0]):
            raise ValueError(f"point_status must be {wanted}, {len(self.layers)} layers), got {array.shape}.")
        if not np.isin(array, [int(code) for code in Status]).all():
            raise ValueError("point_status must hold the codes 0, 1 and 2 alone.")
        return array.astype(np.int8)


def _labels(values: Any, points: int) -> Labels | None:
    if values is None:
        return None
    array = _array(values)
    if array.shape != (points,) or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"labels must be one whole number for each of the {points} points, got {array.shape}.")
    return array.astype(np.int64)


def _array(values: Any) -> npt.NDArray[Any]:
    """An array of anything, tensors on any device included."""
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


class HistoryFile:
    """The history of a run and its file, which is whole at any moment.

    Args:
        path: The file.
        resume: Go on with what it holds.
    """

    def __init__(self, path: Path, *, resume: bool) -> None:
        self.path = path
        self._history: StatusHistory | None = None
        self._dirty = False
        self._saved_at, self._cost = -float("inf"), 0.0
        if resume and path.is_file():
            try:
                self._history = StatusHistory.load(path)
            except ValueError as error:
                logger.warning("The status history begins anew: %s", error)

    def append(
        self,
        layers: Sequence[str],
        epoch: int,
        unit_max: Sequence[np.ndarray[Any, Any]],
        unit_min: Sequence[np.ndarray[Any, Any]],
        points: np.ndarray[Any, Any],
        labels: np.ndarray[Any, Any] | None,
    ) -> None:
        """Remember an epoch."""
        history = self._history
        sizes = tuple(len(units) for units in unit_max)
        fits = history is not None and (history.layers, history.units) == (tuple(layers), sizes)
        if history is None or not fits or history.point_status.shape[1] != len(points):
            history = StatusHistory(layers, sizes)
        if history.labels is not None and not np.array_equal(history.labels, labels if labels is not None else ()):
            # Data that are dealt anew each epoch: other points every time.
            history.labels = labels = None
        elif len(history) and history.labels is None:
            labels = None
        history.append(epoch, np.concatenate(unit_max), np.concatenate(unit_min), points, labels)
        self._history, self._dirty = history, True
        # Writing takes longer the more there is: never spend more than a twentieth of the time on it.
        if time.monotonic() - self._saved_at >= 20 * self._cost:
            self.save()

    def save(self) -> None:
        """Write what is not written yet."""
        if self._history is None or not self._dirty:
            return
        started = time.monotonic()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._history.save(self.path)
        self._saved_at = time.monotonic()
        self._cost = self._saved_at - started
        self._dirty = False
