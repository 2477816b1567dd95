"""One run: trains, tests and fills a run directory."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from jumpstart.files import UserPath, user_path, write_text
from jumpstart.report.write import write_report
from jumpstart.tables.data_sets import data_facts
from model.config.experiment import ConfigError, ExperimentConfig
from model.experiment import Experiment
from sweep.callbacks.checkpoints import BestAndLast
from sweep.callbacks.make import make_callbacks, make_checkpoints
from sweep.files import write_json
from sweep.final_plots import draw_final_plots
from sweep.lock import locked
from sweep.machine import hardware_options, imports_uncollected, is_first_process, quiet_lightning, set_threads
from sweep.metrics_csv import MetricsCsv
from sweep.result import RunResult, Summary
from sweep.resumption import check_fits, check_resumable, check_same_data
from sweep.run_directory import RunDirectory
from sweep.wandb_charts import log_charts
from sweep.weights_and_biases import check_wandb, close_wandb, make_wandb_logger, upload_checkpoints

logger = logging.getLogger(__name__)

Build = Callable[..., Experiment]
"""Makes the experiment from a config and its data module."""


def run(
    config: ExperimentConfig,
    datamodule: pl.LightningDataModule,
    build: Build,
    *,
    resume: UserPath | None = None,
    on_directory: Callable[[Path], object] = lambda path: None,
) -> RunResult:
    """Train an experiment, test its best weights, and write every result into a run directory.

    Args:
        config: The run.
        datamodule: The data of the run, not yet set up.
        build: Makes the experiment from the config and the data module, after the seed is set.
        resume: A run directory to continue; see :func:`~sweep.resumption.check_resumable`.
        on_directory: Called with the path of the run directory as soon as the directory exists.

    Returns:
        The run directory, the summary, and the experiment with its best weights.

    Raises:
        ConfigError: If the config does not fit this machine or these data. Nothing is written in this case.
        RunDirectoryError: If the run directory can't be made, or the run can't be resumed. Nothing is written in this
            case.
        NonFiniteLossError: If training diverges; the last good checkpoint is kept.
    """
    quiet_lightning()
    hardware = hardware_options(config)
    set_threads(config.threads)
    if config.wandb:
        check_wandb(config)
    with contextlib.ExitStack() as locks:
        experiment, directory = _begin(config, datamodule, build, resume, locks)
        on_directory(directory.path)
        summary = _train(config, hardware, experiment, datamodule, directory)
        return RunResult(config, directory, summary, experiment.eval())


def _begin(
    config: ExperimentConfig,
    datamodule: pl.LightningDataModule,
    build: Build,
    resume: UserPath | None,
    locks: contextlib.ExitStack,
) -> tuple[Experiment, RunDirectory]:
    """The experiment, and its directory, locked. A run that is resumed is checked before any of its files changes."""
    if resume is None:
        experiment = _seeded_experiment(config, datamodule, build)
        directory = _make_directory(config)
        locks.enter_context(_locked(directory))
        if is_first_process() and datamodule.state_dict():
            write_json(directory.data, {**_described(datamodule), **datamodule.state_dict()})
        return experiment, directory
    directory = RunDirectory.open(resume)
    locks.enter_context(_locked(directory))
    checkpoint = check_resumable(directory, config, warn=is_first_process())
    experiment = _seeded_experiment(config, datamodule, build)
    check_same_data(directory, checkpoint, datamodule)
    if checkpoint is not None:
        check_fits(directory, checkpoint, experiment)
    if is_first_process():
        directory.record_resume(config)
    return experiment, directory


def _locked(directory: RunDirectory) -> contextlib.AbstractContextManager[None]:
    """The lock of a run directory, which the first of several processes holds for all."""
    return locked(directory) if is_first_process() else contextlib.nullcontext()


def _train(
    config: ExperimentConfig,
    hardware: dict[str, Any],
    experiment: Experiment,
    datamodule: pl.LightningDataModule,
    directory: RunDirectory,
) -> Summary:
    """Train and test, and write every result. Returns the summary."""
    metrics = MetricsCsv(directory.metrics)
    checkpoints = make_checkpoints(config, directory, metrics)
    wandb_logger = make_wandb_logger(config, directory) if config.wandb and is_first_process() else None
    trainer = pl.Trainer(
        **hardware,
        callbacks=make_callbacks(config, directory, metrics, checkpoints),
        logger=wandb_logger or False,
        default_root_dir=directory.path,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=2**31 - 1,  # EpochLog logs once an epoch instead
    )
    with _closed_properly(directory, metrics, wandb=wandb_logger is not None), imports_uncollected():
        _fit_and_test(trainer, experiment, datamodule, directory, checkpoints)
        summary = summarize(experiment, checkpoints, datamodule)
        if is_first_process():
            write_json(directory.summary, summary)
            if config.plot_status:
                draw_final_plots(config, directory, metrics)
        if wandb_logger is not None:
            wandb_logger.experiment.summary.update(_for_wandb(summary))
            if config.wandb_charts:
                log_charts(wandb_logger.experiment, directory.path)
            if config.wandb_checkpoints:
                upload_checkpoints(wandb_logger, directory)
    return summary


def _seeded_experiment(config: ExperimentConfig, datamodule: pl.LightningDataModule, build: Build) -> Experiment:
    """Set the seed, then load and split the data, then build the network, so that all depend on the seed alone."""
    pl.seed_everything(config.seed, workers=True, verbose=False)
    datamodule.prepare_data()
    try:
        datamodule.setup("fit")
        return build(config, datamodule)
    except ValueError as error:  # the rows don't suffice for the split, or the network can't read them
        raise ConfigError(str(error)) from error


def _make_directory(config: ExperimentConfig) -> RunDirectory:
    """The directory of a new run, made by the first process; the other processes only compute its path."""
    if is_first_process():
        return RunDirectory.create(config.output_dir, config.name, config)
    return RunDirectory(user_path(config.output_dir, "output_dir") / (config.name or config.label))


@contextlib.contextmanager
def _closed_properly(directory: RunDirectory, metrics: MetricsCsv, *, wandb: bool) -> Iterator[None]:
    """Flush the metrics, close W&B and write the report when the block ends, also if an error ends it."""
    failure: BaseException | None = None
    try:
        yield
    except BaseException as error:
        failure = error
        raise
    finally:
        if is_first_process():
            metrics.flush()
        if wandb:
            close_wandb()
        if is_first_process():
            leave_report(directory, failure)


def _fit_and_test(
    trainer: pl.Trainer,
    experiment: Experiment,
    datamodule: pl.LightningDataModule,
    directory: RunDirectory,
    checkpoints: BestAndLast,
) -> None:
    """Train from the last checkpoint, if there is one, and measure the best weights on all three parts of the data."""
    start = directory.last_checkpoint if directory.last_checkpoint.is_file() else None
    trainer.fit(experiment, datamodule=datamodule, ckpt_path=start, weights_only=True)
    checkpoints.load_best(experiment)
    loaders = [datamodule.train_dataloader(), datamodule.val_dataloader(), datamodule.test_dataloader()]
    trainer.test(experiment, dataloaders=loaders, verbose=False)


def leave_report(directory: RunDirectory, failure: BaseException | None = None) -> None:
    """Write ``report.html``, also for a run that failed; an error in here is logged and never raised.

    Args:
        directory: The run.
        failure: The exception that ended the run early, written to ``failure.txt``; None removes that file.
    """
    try:
        if failure is None:
            directory.failure.unlink(missing_ok=True)
        else:
            interrupted = isinstance(failure, KeyboardInterrupt | SystemExit)
            reason = "It was interrupted." if interrupted else f"{type(failure).__name__}: {failure}"
            write_text(directory.failure, reason + "\n")
        write_report(directory.path)
    except Exception:
        logger.warning("no report was written for %s", directory.path, exc_info=True)


def summarize(experiment: Experiment, checkpoints: BestAndLast, datamodule: pl.LightningDataModule) -> Summary:
    """The result of a run.

    Args:
        experiment: Just tested with the best weights on all three parts of the data.
        checkpoints: Holds the row of the best epoch and the seconds of training.
        datamodule: Its ``describe()``, if it has one, enters as ``data``.

    Returns:
        The metrics of the best weights under ``train/...``, ``val/...`` and ``test/...``; ``best_epoch``, ``epochs``,
        ``seconds``, ``parameters``; the row of the last epoch; the description of the data.
    """
    return {
        **{name: experiment.evaluation[name] for name in sorted(experiment.evaluation)},
        "best_epoch": int(checkpoints.best_row["epoch"]),
        "epochs": int(experiment.row["epoch"]) + 1 if experiment.row else experiment.current_epoch,
        "seconds": checkpoints.elapsed,
        "parameters": sum(parameter.numel() for parameter in experiment.network.parameters()),
        "last": experiment.row,
        "data": _described(datamodule),
    }


def _described(datamodule: pl.LightningDataModule) -> Mapping[str, object]:
    """The description of the data, if the data module has one."""
    describe: Callable[[], Mapping[str, object]] = getattr(datamodule, "describe", dict)
    return describe()


def headline(summary: Mapping[str, object]) -> dict[str, object]:
    """The part of a summary that is shown in the terminal at the end of a run."""
    metrics = ("acc", "loss", "unit_dead_ratio", "unit_linear_ratio", "point_dead_ratio", "point_efficiency")
    names = [f"{stage}/{metric}" for metric in metrics for stage in ("train", "val", "test")]
    names += ["best_epoch", "epochs", "seconds", "parameters"]
    return {name: summary[name] for name in names if name in summary}


def _for_wandb(summary: Mapping[str, object]) -> dict[str, object]:
    """The flat part of a summary; metrics get the prefix ``best/``, unlike those of the last epoch."""
    flat = {name: value for name, value in summary.items() if not isinstance(value, dict)}
    return {f"best/{name}" if "/" in name else name: value for name, value in flat.items()} | data_facts(summary)
