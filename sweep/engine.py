"""What trains a run: the interface between a run and its engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pytorch_lightning.loggers import WandbLogger
    from torch import nn

    from data.data import AnyData
    from model.experiment import Experiment
    from sweep.metrics_csv import MetricsCsv
    from sweep.resumption import Content
    from sweep.run_directory import RunDirectory


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What an engine has trained, and tested with its best weights.

    Attributes:
        network: The network with the best weights.
        evaluation: The metrics of the best weights under ``train/...``, ``val/...`` and ``test/...``.
        best_row: The metrics of the best epoch, with ``epoch``.
        last_row: The metrics of the last epoch, with ``epoch``; empty if no epoch was trained.
        epochs: Number of finished epochs.
        seconds: Seconds of training, over all resumptions.
        make_experiment: Makes the experiment of the network, in evaluation mode.
    """

    network: nn.Module
    evaluation: dict[str, float]
    best_row: dict[str, float]
    last_row: dict[str, float]
    epochs: int
    seconds: float
    make_experiment: Callable[[], Experiment]


class Engine(Protocol):
    """Trains one run. Its methods are called in this order, each at most once."""

    @property
    def environment(self) -> dict[str, object]:
        """What ``environment.json`` says of the engine: its name, and what its numbers depend on."""

    def build(self, data: AnyData) -> None:
        """Build the network for data that are set up. The seed of the run has just been set.

        Raises:
            ValueError: If the network can't read these data.
        """

    def check_fits(self, directory: RunDirectory, checkpoint: Content) -> None:
        """Refuse a checkpoint whose weights are not those of the network. Called when a run is resumed.

        Raises:
            RunDirectoryError: If a name or a shape differs.
        """

    def train(self, directory: RunDirectory, metrics: MetricsCsv, wandb_logger: WandbLogger | None) -> Trained:
        """Train from the last checkpoint, if there is one, and test the best weights on all three parts of the data.

        Args:
            directory: Receives checkpoints, plots and the status history.
            metrics: Receives a row per epoch.
            wandb_logger: The logger of Weights & Biases; None without it.

        Raises:
            NonFiniteLossError: If training diverges.
        """
