"""The engine of runs that Lightning trains."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytorch_lightning as pl

from data.datamodules import as_datamodule
from model.config.experiment import ExperimentConfig
from model.experiment import Experiment
from sweep.callbacks.checkpoints import BestAndLast, CheckpointFiles
from sweep.callbacks.make import make_callbacks, make_checkpoints
from sweep.engine import Trained
from sweep.machine import hardware_options, imports_uncollected, quiet_lightning
from sweep.metrics_csv import MetricsCsv
from sweep.resumption import Content, check_fits
from sweep.run_directory import RunDirectory

if TYPE_CHECKING:
    from pytorch_lightning.loggers import WandbLogger

    from data.data import AnyData


class LightningEngine:
    """Trains an experiment through a Lightning trainer.

    Args:
        config: The run.
        build: Makes the experiment from the config and the data.

    Raises:
        ConfigError: If this machine lacks the GPUs, or the CPU lacks the precision.
    """

    def __init__(self, config: ExperimentConfig, build: Callable[..., Experiment]) -> None:
        quiet_lightning()
        self._hardware = hardware_options(config)
        self._config, self._build = config, build

    @property
    def environment(self) -> dict[str, object]:
        """What ``environment.json`` says of the engine."""
        return {"engine": "lightning"}

    def build(self, data: AnyData) -> None:
        """Build the experiment."""
        self._datamodule = as_datamodule(data)
        self._experiment = self._build(self._config, data)

    def check_fits(self, directory: RunDirectory, checkpoint: Content) -> None:
        """Refuse a checkpoint whose weights are not those of the experiment."""
        parts = {
            "state_dict": (self._experiment.state_dict(), checkpoint["state_dict"]),
            "best weights": (
                self._experiment.network.state_dict(),
                checkpoint["callbacks"]["BestAndLast"]["weights"],
            ),
        }
        check_fits(directory, parts)

    def train(self, directory: RunDirectory, metrics: MetricsCsv, wandb_logger: WandbLogger | None) -> Trained:
        """Train from the last checkpoint, if there is one, and test the best weights on all three parts of the data."""
        checkpoints = make_checkpoints(self._config, directory, metrics)
        trainer = pl.Trainer(
            **self._hardware,
            callbacks=make_callbacks(self._config, directory, metrics, checkpoints),
            logger=wandb_logger or False,
            plugins=[CheckpointFiles()],
            default_root_dir=directory.path,
            num_sanity_val_steps=0,
            enable_progress_bar=False,
            enable_model_summary=False,
            log_every_n_steps=2**31 - 1,  # EpochLog logs once an epoch instead
        )
        with imports_uncollected():
            self._fit_and_test(trainer, directory, checkpoints)
        experiment = self._experiment
        return Trained(
            network=experiment.network,
            evaluation=experiment.evaluation,
            best_row=checkpoints.best_row,
            last_row=experiment.row,
            epochs=int(experiment.row["epoch"]) + 1 if experiment.row else experiment.current_epoch,
            seconds=checkpoints.elapsed,
            make_experiment=experiment.eval,
        )

    def _fit_and_test(self, trainer: pl.Trainer, directory: RunDirectory, checkpoints: BestAndLast) -> None:
        data, experiment = self._datamodule, self._experiment
        start = directory.last_checkpoint if directory.last_checkpoint.is_file() else None
        trainer.fit(experiment, datamodule=data, ckpt_path=start, weights_only=True)
        if trainer.is_global_zero:  # a run may have been killed between its last two checkpoints
            checkpoints.write_best(experiment.hparams)
        checkpoints.load_best(experiment)
        loaders = [data.train_dataloader(), data.val_dataloader(), data.test_dataloader()]
        trainer.test(experiment, dataloaders=loaders, verbose=False)
