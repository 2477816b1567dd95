"""Checkpoints of a run: the state to resume from, and the best weights."""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path
from typing import TypedDict

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from torch import Tensor
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from torch.distributed.tensor import DTensor

from jumpstart.files import atomic_path
from jumpstart.report.best_epoch import rank_row
from model.experiment import Experiment
from sweep.metrics_csv import MetricsCsv


class CheckpointState(TypedDict):
    """The part of ``last.ckpt`` that belongs to :class:`BestAndLast`."""

    best_row: dict[str, float]
    weights: dict[str, Tensor]
    elapsed: float


class BestAndLast(Checkpoint):
    """Stores the best weights in memory, and writes them and the last state to files at intervals.

    The best epoch is that of :mod:`jumpstart.report.best_epoch`.
    A subclass of ``Checkpoint``, because Lightning calls such callbacks after the experiment has computed the row of
    the epoch.

    Args:
        last: File of the state to resume from: the state at the end of an epoch, and the best weights so far.
        best: File of the best weights, for ``load_from_checkpoint`` of the experiment.
        seconds: Least number of seconds between two writes. The end of training is always written.
        metrics: Flushed before each write, so that the file of metrics is never older than a checkpoint.

    Attributes:
        best_row: The metrics of the best epoch.
        elapsed: Seconds of training so far, over all resumptions.
    """

    def __init__(self, last: Path, best: Path, seconds: float, metrics: MetricsCsv) -> None:
        self.last, self.best, self.seconds, self.metrics = last, best, seconds, metrics
        self.best_row: dict[str, float] = {}
        self.elapsed = 0.0
        self._weights: dict[str, Tensor] = {}
        self._clock = self._written_at = 0.0
        self._best_written = -1

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._clock = time.monotonic()
        self._written_at = -float("inf")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Copy the weights if they are the best so far, and write if the interval has passed."""
        assert isinstance(pl_module, Experiment)
        if self._is_better(pl_module.row):
            self.best_row = pl_module.row
            self._copy(pl_module.network)
        now = time.monotonic()
        self.elapsed += now - self._clock
        self._clock = now
        if now - self._written_at >= self.seconds:
            self._write(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the final state."""
        assert isinstance(pl_module, Experiment)
        self._write(trainer, pl_module)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Write the best weights, and leave ``last.ckpt``, which holds the end of an earlier epoch.

        ``best.ckpt`` is written only if ``last.ckpt`` exists, so that a run with ``best.ckpt`` can always be resumed.
        """
        if isinstance(pl_module, Experiment) and self.last.exists():
            self._write_best(trainer, pl_module)

    def load_best(self, experiment: Experiment) -> None:
        """Load the best weights into an experiment."""
        set_model_state_dict(experiment.network, dict(self._weights), options=StateDictOptions(full_state_dict=True))

    def state_dict(self) -> CheckpointState:  # type: ignore[override]
        """The best epoch and the elapsed time, which Lightning stores in ``last.ckpt``."""
        return {"best_row": self.best_row, "weights": self._weights, "elapsed": self.elapsed}

    def load_state_dict(self, state_dict: CheckpointState) -> None:  # type: ignore[override]
        """Restore :meth:`state_dict` when a run is resumed."""
        self.best_row, self.elapsed = state_dict["best_row"], state_dict["elapsed"]
        self._weights = state_dict["weights"]

    def _is_better(self, row: dict[str, float]) -> bool:
        return not self.best_row or rank_row(row) > rank_row(self.best_row)

    def _copy(self, network: torch.nn.Module) -> None:
        weights = {name: _full_tensor(value.detach()) for name, value in network.state_dict().items()}
        if self._weights.keys() != weights.keys():
            self._weights = {name: value.clone() for name, value in weights.items()}
            return
        torch._foreach_copy_(list(self._weights.values()), list(weights.values()))

    def _write(self, trainer: pl.Trainer, experiment: pl.LightningModule) -> None:
        self.metrics.flush()
        # Every process must call save_checkpoint, which gathers sharded weights; only the first one writes a file.
        with atomic_path(self.last) if trainer.is_global_zero else nullcontext(self.last) as path:
            trainer.save_checkpoint(path)
        self._write_best(trainer, experiment)
        self._written_at = time.monotonic()

    def _write_best(self, trainer: pl.Trainer, experiment: pl.LightningModule) -> None:
        epoch = int(self.best_row.get("epoch", -1))
        if epoch == self._best_written or not trainer.is_global_zero:
            return
        content = {
            "state_dict": {f"network.{name}": value for name, value in self._weights.items()},
            "hyper_parameters": dict(experiment.hparams),
            "pytorch-lightning_version": pl.__version__,
            "epoch": epoch,
            "row": self.best_row,
        }
        with atomic_path(self.best) as draft:
            torch.save(content, draft)
        self._best_written = epoch


def _full_tensor(value: Tensor) -> Tensor:
    """The tensor itself, gathered from all processes if it is sharded."""
    return value.full_tensor() if isinstance(value, DTensor) else value
