"""The status that a monitor has counted, as plots, images for loggers and a row of the history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from jumpstart.choices import Part
from jumpstart.history import HistoryFile
from jumpstart.plots.canvas import save_figure
from jumpstart.plots.loggers import log_figures
from jumpstart.plots.maps import plot_point_status, plot_unit_status

_PART_WORDS = {
    None: "",
    Part.TRAIN: " of the training part",
    Part.VAL: " of the validation part",
    Part.TEST: " of the test part",
}


class CountedStatus(Protocol):
    """What is drawn: the part of a :class:`~jumpstart.monitor.StatusMonitor` that holds the status."""

    @property
    def layers(self) -> list[str]:
        """The names of the layers, in call order."""

    @property
    def unit_status(self) -> Mapping[str, Tensor]:
        """The status of every unit, by layer."""

    @property
    def unit_max(self) -> Mapping[str, Tensor]:
        """The largest preactivation of every unit, by layer."""

    @property
    def unit_min(self) -> Mapping[str, Tensor]:
        """The smallest preactivation of every unit, by layer."""

    @property
    def point_status(self) -> Mapping[str, Tensor]:
        """The status of the sampled points, by layer."""

    @property
    def point_labels(self) -> Tensor | None:
        """The classes of the sampled points, or None."""


class StatusDrawer:
    """Plots and stores the status of units and points, one epoch per call of :meth:`draw`.

    Args:
        folder: Receives ``unit_status-epoch000010.png`` and ``point_status-epoch000010.png``.
        part: The part of the data, for names and titles; None for names without a part.
        module: Name of the monitored module, for the names in loggers; None for names without it.
        history: The file of the status history; None to store nothing.
    """

    def __init__(
        self, folder: Path, *, part: Part | None = None, module: str | None = None, history: HistoryFile | None = None
    ) -> None:
        self.folder, self.part, self.history = folder, part, history
        self.tag = "/".join(["status", *filter(None, (part, module))])

    def draw(
        self, monitor: CountedStatus, epoch: int, step: int, loggers: Sequence[object] = (), *, writes: bool = True
    ) -> None:
        """Plot and store an epoch.

        Args:
            monitor: Has counted the epoch.
            epoch: The epoch, from 0.
            step: The step at which loggers receive the plots.
            loggers: Those that accept images receive the plots.
            writes: Whether this process writes. In a distributed run every process calls this method, because the
                monitor is read by all processes together, and the first one writes.

        Raises:
            RuntimeError: If the monitor has counted no pass.
        """
        # Collective reads, by every process; the first process does the rest.
        tables = (monitor.unit_status, monitor.unit_max, monitor.unit_min)
        units, largest, smallest = (_arrays(table) for table in tables)
        points = torch.stack(list(monitor.point_status.values()), 1).cpu().numpy()
        classes = monitor.point_labels
        labels = None if classes is None else classes.cpu().numpy()
        if not writes:
            return
        names, words = monitor.layers, _PART_WORDS[self.part]
        figures = {
            "unit_status": plot_unit_status(units, names, f"Units{words}, epoch {epoch}"),
            "point_status": plot_point_status(points, labels, names, f"Points{words}, epoch {epoch}"),
        }
        suffix = f"-{self.part}" if self.part else ""
        for name, figure in figures.items():
            save_figure(figure, self.folder / f"{name}{suffix}-epoch{epoch:06d}.png")
        log_figures(loggers, figures, step, self.tag)
        if self.history is not None:
            self.history.append(names, epoch, largest, smallest, points, labels)


def _arrays(parts: Mapping[str, Tensor]) -> list[npt.NDArray[np.generic]]:
    return [part.cpu().numpy() for part in parts.values()]
