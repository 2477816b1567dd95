"""One run, from its config to a whole run directory."""

from __future__ import annotations

import gc
import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from jumpstart.files import write_text
from jumpstart.history import StatusHistory
from jumpstart.report.write import write_report
from model.config.experiment import ConfigError, ExperimentConfig
from model.experiment import Experiment
from sweep.callbacks.checkpoints import BestAndLast
from sweep.callbacks.decision_film import DecisionFilm
from sweep.callbacks.epoch_log import EpochLog
from sweep.callbacks.make import StatusPlots
from sweep.callbacks.progress import ProgressLine
from sweep.files import write_json
from sweep.final_plots import draw_curves, draw_units
from sweep.machine import _sharded, devices, leads, quiet_lightning
from sweep.metrics_csv import MetricsCsv
from sweep.resumption import check_resumable
from sweep.run_directory import RunDirectory
from sweep.weights_and_biases import check_wandb, close_wandb, make_wandb_logger

logger = logging.getLogger(__name__)

PICTURES = 20
"""Epochs that are drawn when ``plot_every`` is not given."""

Build = Callable[..., Experiment]


def run(
    config: ExperimentConfig,
    datamodule: pl.LightningDataModule,
    build: Build,
    *,
    resume: Path | None = None,
    on_directory: Callable[[Path], object] = lambda path: None,
) -> tuple[RunDirectory, dict[str, Any]]:
    """Train, keep the best, test it, and leave everything in a run directory.

    Args:
        config: The run.
        datamodule: Its data, not yet set up.
        build: Makes the experiment from the config and the data, once the seed is set.
        resume: A run directory to continue; see :func:`~sweep.resumption.check_resumable`.
        on_directory: Told the path of the run directory as soon as there is one.

    Returns:
        The run directory and its summary.

    Raises:
        ConfigError: If the config can't be run on this machine or these data; nothing has been written then.
        RunDirectoryError: If there can be no such run directory, or the run can't be resumed; likewise.
        NonFiniteLossError: If training diverges; the last good checkpoint is kept.
    """
    quiet_lightning()
    options = {"max_epochs": config.epochs, **devices(config.gpus), **config.trainer_options}
    if options["accelerator"] == "cpu" and options.get("precision") == "16-mixed":
        raise ConfigError('precision must be 32 or bf16-mixed without a GPU, got "16-mixed".')
    if options.get("strategy") == "fsdp":
        options["strategy"] = _sharded(options["devices"], config.trainer_options.get("num_nodes", 1))
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    if config.wandb:
        check_wandb(config)
    if resume is not None:
        check_resumable(RunDirectory.open(resume), warn=leads())
    # Before the model is built: weights, split and order all follow from it.
    pl.seed_everything(config.seed, workers=True, verbose=False)
    datamodule.prepare_data()
    try:
        datamodule.setup("fit")
        experiment = build(config, datamodule)
    except ValueError as error:  # the data can't be split so, or the network refuses them
        raise ConfigError(str(error)) from error
    directory = _directory(config, resume)
    on_directory(directory.path)
    checkpoint = directory.last_checkpoint if directory.last_checkpoint.is_file() else None
    metrics = MetricsCsv(directory.metrics)
    keeper = BestAndLast(directory.last_checkpoint, directory.best_checkpoint, config.checkpoint_seconds, metrics)
    every = max(1, config.epochs // config.curve_points)
    callbacks: list[pl.Callback] = [EpochLog(metrics, every), keeper]
    if config.progress:
        callbacks.append(ProgressLine())
    if config.plot_status:
        frequency = config.plot_every or max(1, math.ceil(config.epochs / PICTURES))
        callbacks.append(
            # The rows of figures go to the loggers already.
            StatusPlots(frequency, directory=directory.plots, history=directory.status, scalars=False)
        )
        callbacks.append(DecisionFilm(frequency, directory.plots))
    wandb_logger = make_wandb_logger(config, directory) if config.wandb and leads() else None
    trainer = pl.Trainer(
        **options,
        callbacks=callbacks,
        logger=wandb_logger or False,
        default_root_dir=directory.path,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=2**31 - 1,  # rows are written by epoch, by the callback
    )
    # What the imports left behind never becomes garbage: keep the collector from walking through it again and again.
    gc.collect()
    gc.freeze()
    failure: BaseException | None = None
    try:
        trainer.fit(experiment, datamodule=datamodule, ckpt_path=checkpoint, weights_only=False)
        keeper.load_best(experiment)
        loaders = [
            datamodule.train_dataloader(),
            datamodule.val_dataloader(),
            datamodule.test_dataloader(),
        ]
        trainer.test(experiment, dataloaders=loaders, verbose=False)
        summary = summarize(experiment, keeper, datamodule)
        if leads():
            write_json(directory.summary, summary)
        if config.plot_status and leads():
            draw_curves(metrics, directory.plots)
            if directory.status.is_file():
                draw_units(StatusHistory.load(directory.status), config.margin, directory.plots)
        if wandb_logger is not None:
            wandb_logger.experiment.summary.update(_flat(summary))
    except BaseException as error:
        failure = error
        raise
    finally:
        gc.unfreeze()
        if leads():
            metrics.flush()
        if wandb_logger is not None:
            close_wandb()
        if leads():
            leave_report(directory, failure)
    return directory, summary


def leave_report(directory: RunDirectory, failure: BaseException | None = None) -> None:
    """Write ``report.html``, of a run that failed too; what goes wrong here is logged and hides no other error.

    Args:
        directory: The run.
        failure: What ended it early.
    """
    try:
        if failure is None:
            directory.failure.unlink(missing_ok=True)
        else:
            stopped = isinstance(failure, KeyboardInterrupt | SystemExit)
            words = "It was interrupted." if stopped else f"{type(failure).__name__}: {failure}"
            write_text(directory.failure, words + "\n")
        write_report(directory.path)
    except Exception:
        logger.warning("no report was written for %s", directory.path, exc_info=True)


def summarize(experiment: Experiment, keeper: BestAndLast, datamodule: pl.LightningDataModule) -> dict[str, Any]:
    """The result of a run: all figures of the best weights on the three parts, and what it took."""
    describe = getattr(datamodule, "describe", dict)
    return {
        **{name: experiment.evaluation[name] for name in sorted(experiment.evaluation)},
        "best_epoch": int(keeper.best_row["epoch"]),
        "epochs": int(experiment.row["epoch"]) + 1 if experiment.row else experiment.current_epoch,
        "seconds": keeper.elapsed,
        "parameters": sum(parameter.numel() for parameter in experiment.network.parameters()),
        "last": experiment.row,
        "data": describe(),
    }


def headline(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The few figures of a summary that are shown at the end of a run."""
    parts = ("acc", "loss", "unit_dead_ratio", "unit_linear_ratio", "point_dead_ratio", "point_efficiency")
    names = [f"{stage}/{part}" for part in parts for stage in ("train", "val", "test")]
    names += ["best_epoch", "epochs", "seconds", "parameters"]
    return {name: summary[name] for name in names if name in summary}


def _directory(config: ExperimentConfig, resume: Path | None) -> RunDirectory:
    """The run directory; processes besides the first only know where it would be."""
    if resume is not None:
        directory = RunDirectory.open(resume)
        if leads():
            directory.record_resume(config)
        return directory
    if leads():
        return RunDirectory.create(config.output_dir, config.name, config)
    return RunDirectory(Path(config.output_dir, config.name or config.label))


def _flat(summary: Mapping[str, Any]) -> dict[str, Any]:
    return {
        f"best/{name}" if "/" in name else name: value for name, value in summary.items() if not isinstance(value, dict)
    }
