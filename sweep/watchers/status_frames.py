"""The status plots of a run over the epochs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from jumpstart.capture.passive import find_recorder
from jumpstart.choices import Part
from jumpstart.history import HistoryFile, history_name
from jumpstart.monitor import StatusMonitor
from jumpstart.plots.status_drawer import StatusDrawer
from model.config.experiment import ExperimentConfig
from sweep.run_directory import RunDirectory


class StatusFrames:
    """Plots and stores the status of units and points every ``frequency`` epochs, and in the last one.

    The files are those of :class:`~jumpstart.status_plot.NetworkStatusPlot`. The status is counted in passes of its
    own, in evaluation mode, and nothing else counts these passes.

    Args:
        network: The network. A regularizer that is attached to it determines what is captured.
        config: Names the options of capture, the margins and the number of points.
        directory: Receives the plots and the history.
        part: The part of the data; None for the validation part, under names without a part.
        frequency: Epochs from one plot to the next.
        epoch: The first epoch that is trained; from 1 on, the history goes on.
    """

    def __init__(
        self, network: nn.Module, config: ExperimentConfig, directory: RunDirectory, part: Part | None, frequency: int,
        epoch: int = 0,
    ) -> None:  # fmt: skip
        self.network, self.frequency = network, frequency
        self._config = config
        self._history = HistoryFile(directory.path / history_name(part), resume=epoch > 0)
        self._drawer = StatusDrawer(directory.plots, part=part, history=self._history)
        self._plotted_epoch: int | None = epoch - 1 if epoch else None

    def is_due(self, epoch: int, *, last: bool) -> bool:
        """Whether an epoch is to be plotted.

        Args:
            epoch: The epoch, from 0.
            last: Whether it is known to be the last one.
        """
        before = self._plotted_epoch
        return epoch != before and (last or before is None or epoch // self.frequency > before // self.frequency)

    def draw(self, epoch: int, batches: Iterable[tuple[Tensor, Tensor]], loggers: Sequence[object] = ()) -> None:
        """Count batches, and plot and store their status.

        Args:
            epoch: The epoch, from 0. Loggers receive the plots at this step.
            batches: Inputs and classes of the part of the data, in a fixed order.
            loggers: Those that accept images receive the plots.
        """
        modes = [(module, module.training) for module in self.network.modules()]
        self.network.eval()
        try:
            with self._monitor() as monitor, torch.no_grad():
                for x, labels in batches:
                    self.network(x)
                    monitor.label(labels)
                self._drawer.draw(monitor, epoch, epoch, loggers)
        finally:
            for module, training in modes:
                module.training = training
        self._plotted_epoch = epoch

    def close(self) -> None:
        """Write what the file of the history does not hold yet, at the end of training or after an error."""
        self._history.save()

    def _monitor(self) -> StatusMonitor:
        config = self._config
        margin, negative_margin = config.margins
        if find_recorder(self.network)[1] is not None:
            return StatusMonitor(
                self.network, num_points=config.plot_num_points, margin=margin, negative_margin=negative_margin
            )
        return StatusMonitor(
            self.network,
            num_points=config.plot_num_points,
            margin=margin,
            negative_margin=negative_margin,
            capture=config.capture,
            skip_last=config.skip_last,
            unit_dim=config.unit_dim,
        )
