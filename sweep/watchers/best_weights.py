"""The best weights of a run, in memory and in ``best.ckpt``, and the time of training."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

import torch
from torch import Tensor, nn

from jumpstart.files.checkpoints import save_checkpoint
from jumpstart.report.best_epoch import rank_row


class BestState(TypedDict):
    """The part of ``last.ckpt`` that belongs to :class:`BestWeights`."""

    best_row: dict[str, float]
    weights: dict[str, Tensor]
    elapsed: float


class BestWeights:
    """Stores the best weights in memory, and writes them to a file.

    The best epoch is that of :mod:`jumpstart.report.best_epoch`.

    Args:
        best: File of the best weights, for ``load_from_checkpoint`` of the experiment.
        seconds: Least number of seconds between two writes, for :meth:`end_epoch`.
        part: The part of the data that decides which epoch is the best: ``"val"`` or ``"train"``.

    Attributes:
        best_row: The metrics of the best epoch.
        elapsed: Seconds of training so far, over all resumptions.

    Example:
        >>> kept = BestWeights(Path("best.ckpt"), seconds=30)
        >>> kept.begin()
        >>> row = {"epoch": 0, "train/loss": 1.0, "train/acc": 0.5, "val/loss": 1.0, "val/acc": 0.5}
        >>> kept.end_epoch(row, nn.Linear(2, 2))
        True
        >>> kept.best_row["epoch"]
        0
    """

    def __init__(self, best: Path, seconds: float, part: str = "val") -> None:
        self.best, self.seconds, self._part = best, seconds, part
        self.best_row: dict[str, float] = {}
        self.elapsed = 0.0
        self._weights: dict[str, Tensor] = {}
        self._before: dict[str, Tensor] = {}
        self._clock = self._written_at = 0.0
        self._best_written = -1

    def begin(self) -> None:
        """Start the clock."""
        self._clock = time.monotonic()
        self._written_at = -float("inf")

    def end_epoch(self, row: Mapping[str, float], network: nn.Module) -> bool:
        """Copy the weights of an epoch if they are the best so far.

        Args:
            row: The metrics of the epoch, with ``epoch``.
            network: Has the weights of the epoch.

        Returns:
            Whether the checkpoints are to be written, because ``seconds`` have passed since :meth:`note_written`.
        """
        if self._is_better(row):
            self.take(row, network)
        return self.tick()

    def take(self, row: Mapping[str, float], network: nn.Module) -> None:
        """Copy the weights of an epoch that is known to be the best so far.

        Args:
            row: The metrics of the epoch, with ``epoch``.
            network: Has the weights of the epoch.
        """
        self.best_row = dict(row)
        self._copy(network)

    def note_before_step(self, network: nn.Module) -> None:
        """Copy the parameters before the only step of an epoch, to which the metrics of the training part belong.

        Args:
            network: Has the parameters.
        """
        parameters = {name: value.detach() for name, value in network.named_parameters()}
        if self._before.keys() == parameters.keys():
            torch._foreach_copy_(list(self._before.values()), list(parameters.values()))
        else:
            self._before = {name: value.clone() for name, value in parameters.items()}

    def tick(self) -> bool:
        """Add the time since the latest call to ``elapsed``. Returns whether the checkpoints are to be written."""
        now = time.monotonic()
        self.elapsed += now - self._clock
        self._clock = now
        return now - self._written_at >= self.seconds

    def note_written(self) -> None:
        """Note that the checkpoints have just been written."""
        self._written_at = time.monotonic()

    def write_best(self, arguments: Mapping[str, object]) -> None:
        """Write the best weights, unless the file has them.

        Args:
            arguments: Arguments that rebuild the experiment: ``config``, ``input_shape`` and ``num_classes``.
        """
        epoch = int(self.best_row.get("epoch", -1))
        if epoch == self._best_written:
            return
        content = {
            "state_dict": {f"network.{name}": value for name, value in self._weights.items()},
            "hyper_parameters": dict(arguments),
            "pytorch-lightning_version": importlib.metadata.version("pytorch-lightning"),
            "epoch": epoch,
            "row": self.best_row,
        }
        save_checkpoint(content, self.best)
        self._best_written = epoch

    def load_into(self, network: nn.Module) -> None:
        """Load the best weights into a network."""
        network.load_state_dict(self._weights)

    def state_dict(self) -> BestState:
        """The best epoch and the elapsed time, for ``last.ckpt``."""
        return {"best_row": self.best_row, "weights": self._weights, "elapsed": self.elapsed}

    def load_state_dict(self, state_dict: BestState) -> None:
        """Restore :meth:`state_dict` when a run is resumed."""
        self.best_row, self.elapsed = state_dict["best_row"], state_dict["elapsed"]
        self._weights = state_dict["weights"]

    def _is_better(self, row: Mapping[str, float]) -> bool:
        return not self.best_row or rank_row(row, self._part) > rank_row(self.best_row, self._part)

    def _copy(self, network: nn.Module) -> None:
        weights = self._weights_of(network)
        if self._weights.keys() != weights.keys():
            self._weights = {name: value.clone() for name, value in weights.items()}
            return
        torch._foreach_copy_(list(self._weights.values()), list(weights.values()))

    def _weights_of(self, network: nn.Module) -> dict[str, Tensor]:
        return {name: value.detach() for name, value in network.state_dict().items()} | self._before
