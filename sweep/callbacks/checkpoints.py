"""What a run leaves behind while it trains: rows of figures, checkpoints, a progress bar."""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from torch import Tensor
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from torch.distributed.tensor import DTensor

from jumpstart.files import atomic_path
from model.experiment import Experiment
from sweep.metrics_csv import MetricsCsv

# Lightning calls Checkpoint callbacks after the module has finished its epoch, so that both see the epoch's row.


class BestAndLast(Checkpoint):
    """Keeps the best weights in memory, and writes them and the last state every now and then.

    The best epoch has the highest validation accuracy, and of those the lowest validation loss.

    Args:
        last: File of the state to resume from: the end of an epoch, with the best weights so far.
        best: File of the best weights; ``load_from_checkpoint`` of the experiment reads it.
        seconds: Least time between two writes.
        metrics: Written out before a checkpoint, so that it never lags behind one.

    Attributes:
        best_row: The figures of the best epoch.
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
        """Keep the weights if they are the best, and write if it is time."""
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
        """Write the end."""
        assert isinstance(pl_module, Experiment)
        self._write(trainer, pl_module)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """The best weights are saved; the last state on the disk is the end of an epoch, and stays.

        Without a last state there are none: who has the best weights has a run that can go on.
        """
        if isinstance(pl_module, Experiment) and self.last.exists():
            self._write_best(trainer, pl_module)

    def load_best(self, experiment: Experiment) -> None:
        """Give the experiment the best weights."""
        set_model_state_dict(experiment.network, dict(self._weights), options=StateDictOptions(full_state_dict=True))

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint of the last state."""
        return {"best_row": self.best_row, "weights": self._weights, "elapsed": self.elapsed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.best_row, self.elapsed = state_dict["best_row"], state_dict["elapsed"]
        self._weights = state_dict["weights"]

    def _is_better(self, row: dict[str, float]) -> bool:
        if not self.best_row:
            return True

        def key(row: dict[str, float]) -> tuple[float, float]:
            return row.get("val/acc", row["train/acc"]), -row.get("val/loss", row["train/loss"])

        return key(row) > key(self.best_row)

    def _copy(self, network: torch.nn.Module) -> None:
        weights = {name: _whole(value.detach()) for name, value in network.state_dict().items()}
        if self._weights.keys() != weights.keys():
            self._weights = {name: value.clone() for name, value in weights.items()}
            return
        torch._foreach_copy_(list(self._weights.values()), list(weights.values()))

    def _write(self, trainer: pl.Trainer, experiment: pl.LightningModule) -> None:
        self.metrics.flush()
        # Every process takes part in gathering the weights; the first one writes.
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


def _whole(value: Tensor) -> Tensor:
    """A tensor that processes hold in parts, put together."""
    return value.full_tensor() if isinstance(value, DTensor) else value
