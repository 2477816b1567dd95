"""Checkpoints of a run that Lightning trains: the state to resume from, and the best weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.plugins import TorchCheckpointIO
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from torch.distributed.tensor import DTensor

from jumpstart.files.checkpoints import load_checkpoint, save_checkpoint
from model.choices import BestBy
from model.experiment import Experiment
from sweep.metrics_csv import Mark, MetricsCsv
from sweep.watchers.best_weights import BestState, BestWeights


class LastState(BestState):
    """The part of ``last.ckpt`` that belongs to :class:`BestAndLast`."""

    metrics: Mark


class BestAndLast(BestWeights, Checkpoint):  # type: ignore[misc]
    """Stores the best weights in memory, and writes them and the last state to files at intervals.

    A subclass of ``Checkpoint``, because Lightning calls such callbacks after the experiment has computed the row of
    the epoch.

    Args:
        last: File of the state to resume from: the state at the end of an epoch, and the best weights so far.
        best: File of the best weights, for ``load_from_checkpoint`` of the experiment.
        seconds: Least number of seconds between two writes. The end of training is always written.
        metrics: Flushed before each write, so that the file of metrics is never older than a checkpoint.
        part: The part of the data that decides which epoch is the best: ``"val"`` or ``"train"``.
    """

    def __init__(self, last: Path, best: Path, seconds: float, metrics: MetricsCsv, part: str = "val") -> None:
        super().__init__(best, seconds, part)
        self.last, self.metrics = last, metrics

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self.begin()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: object, batch_idx: int
    ) -> None:
        """Copy the weights before the only step of an epoch, if the training part decides which epoch is the best."""
        if self._part == BestBy.TRAIN and trainer.num_training_batches == 1:
            assert isinstance(pl_module, Experiment)
            self.note_before_step(pl_module.network)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Copy the weights if they are the best so far, and write if the interval has passed."""
        assert isinstance(pl_module, Experiment)
        if self.end_epoch(pl_module.row, pl_module.network):
            self._write(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the final state."""
        self._write(trainer, pl_module)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Write the best weights, and leave ``last.ckpt``, which holds the end of an earlier epoch.

        ``best.ckpt`` is written only if ``last.ckpt`` exists, so that a run with ``best.ckpt`` can always be resumed.
        """
        if trainer.is_global_zero and self.last.exists():
            self.write_best(pl_module.hparams)

    def state_dict(self) -> LastState:  # type: ignore[override]
        """The state of :class:`BestWeights`, and what is in the file of metrics."""
        return {**super().state_dict(), "metrics": self.metrics.mark}

    def load_best(self, experiment: Experiment) -> None:
        """Load the best weights into an experiment, whose weights may be sharded."""
        set_model_state_dict(experiment.network, dict(self._weights), options=StateDictOptions(full_state_dict=True))

    def _weights_of(self, network: nn.Module) -> dict[str, Tensor]:
        return {name: _full_tensor(value) for name, value in super()._weights_of(network).items()}

    def _write(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.metrics.sync()
        # Every process must call save_checkpoint, which gathers sharded weights; only the first one writes a file.
        trainer.save_checkpoint(self.last)
        if trainer.is_global_zero:
            self.write_best(pl_module.hparams)
        self.note_written()


class CheckpointFiles(TorchCheckpointIO):
    """Writes the checkpoints of a Lightning trainer atomically, beside their place and with a checksum.

    Lightning's own writer makes them in the folder of temporary files first.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: object = None) -> None:
        """Write a checkpoint."""
        save_checkpoint(checkpoint, Path(path))

    def load_checkpoint(
        self, path: str | Path, map_location: object = "cpu", weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Read a checkpoint, which is whole, and execute nothing that it may hold."""
        content = load_checkpoint(Path(path), map_location)
        assert isinstance(content, dict)
        return content


def _full_tensor(value: Tensor) -> Tensor:
    """The tensor itself, gathered from all processes if it is sharded."""
    return value.full_tensor() if isinstance(value, DTensor) else value
