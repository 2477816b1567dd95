"""Decision regions of a run over the epochs, as a plot and an animation."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from jumpstart.plots.canvas import save_figure
from jumpstart.plots.loggers import log_figures
from jumpstart.plotting import animate_decision_regions, plot_decision_regions
from jumpstart.regions import DecisionRegions
from jumpstart.words import counted

logger = logging.getLogger(__name__)

MOST_CLASSES = 10
"""The most classes that the palette of decision regions has colors for."""


class DecisionFrames:
    """Records the decision regions of a network with two inputs, and plots them.

    The plot ``decision_regions.png`` shows the latest recorded epoch, the animation ``decision_regions.gif`` all of
    them. Training is the same, bit for bit, with and without this object. If the network does not have two inputs, or
    has more than ten classes, nothing is recorded.

    Args:
        frequency: Number of epochs between two frames; the last epoch is a frame too.
        folder: Receives both files.
    """

    def __init__(self, frequency: int, folder: Path) -> None:
        self.frequency, self.folder = frequency, folder
        self._regions: DecisionRegions | None = None
        self._resumed: dict[str, object] = {}
        self._written = False
        self._class_names: tuple[str, ...] | None = None

    def begin(self, x: Tensor, labels: Tensor, class_names: tuple[str, ...]) -> None:
        """Prepare the grid from the training points, and restore the frames of a checkpoint.

        Args:
            x: (N, *input_shape) training inputs.
            labels: (N,) classes.
            class_names: One name for each class.
        """
        self._regions, self._written = None, False
        if tuple(x.shape[1:]) == (2,) and len(class_names) <= MOST_CLASSES:
            self._regions = DecisionRegions(x, labels)
            self._class_names = class_names
            if self._resumed:
                self._regions.load_state_dict(self._resumed)
        self._resumed = {}

    def state_dict(self) -> dict[str, object]:
        """The frames, for a checkpoint."""
        return self._regions.state_dict() if self._regions is not None else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Store the frames of a checkpoint until training starts."""
        self._resumed = state_dict

    def end_epoch(self, epoch: int, network: nn.Module, *, last: bool, loggers: Sequence[object] = ()) -> None:
        """Record a frame every ``frequency`` epochs, and record and write after the last epoch.

        If the epoch is known to be the last, the frame is recorded before the last checkpoint is written, because a
        run that is resumed from the last checkpoint trains no further epoch.

        Args:
            epoch: The epoch, from 0.
            network: Has the weights of the epoch.
            last: Whether the epoch is known to be the last one.
            loggers: Those that accept images receive the plot.
        """
        if self._regions is None:
            return
        if last or epoch % self.frequency == 0:
            self._record(epoch, network)
        if last:
            self.write(loggers)

    def finish(self, epoch: int, network: nn.Module, loggers: Sequence[object] = ()) -> None:
        """Record the last frame and write, unless the last epoch was known to be the last.

        Args:
            epoch: The last epoch.
            network: Has the weights of that epoch.
            loggers: Those that accept images receive the plot.
        """
        regions = self._regions
        if regions is not None and regions.frames and regions.frames[-1][0] < epoch:
            self._record(epoch, network)
        self.write(loggers)

    def write(self, loggers: Sequence[object] = ()) -> None:
        """Write the frames so far, unless they are written; after an error too."""
        recorded = self._regions
        if recorded is None or not recorded.frames or self._written:
            return
        self._written = True
        epoch, regions = recorded.frames[-1]
        title = f"Epoch {epoch}, {counted(regions.count, 'linear region')}"
        figure = plot_decision_regions(regions, recorded.points, recorded.labels, self._class_names, title)
        save_figure(figure, self.folder / "decision_regions.png")
        log_figures(loggers, {"decision_regions": figure}, epoch)
        if len(recorded) > 1:
            path = self.folder / "decision_regions.gif"
            animate_decision_regions(recorded.frames, path, recorded.points, recorded.labels, self._class_names)

    def _record(self, epoch: int, network: nn.Module) -> None:
        assert self._regions is not None
        try:
            self._regions.add(epoch, network)
        except ValueError as error:  # the network has diverged; the run reports where
            logger.warning("epoch %d has no decision regions: %s", epoch, error)
