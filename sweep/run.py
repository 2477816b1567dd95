"""One run: trains, tests and fills a run directory."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from jumpstart.files import UserPath, user_path, write_text
from jumpstart.files.checksums import warn_of_changes
from jumpstart.report.write import write_report
from jumpstart.tables.data_sets import data_facts
from model.config.experiment import ExperimentConfig
from model.errors import ConfigError
from sweep.engine import Engine, Trained
from sweep.engines import choose_engine
from sweep.files import write_json
from sweep.lock import locked
from sweep.machine import is_first_process, seed_everything, set_threads
from sweep.metrics_csv import MetricsCsv
from sweep.own_data import check_data_of_sweep
from sweep.result import RunResult, Summary
from sweep.resumption import check_resumable, check_same_data, check_same_engine
from sweep.run_directory import RunDirectory
from sweep.signals import stopped_by_signals
from sweep.weights_and_biases import check_wandb, close_wandb, make_wandb_logger, upload_checkpoints

# Lightning and matplotlib are imported where they are used.
if TYPE_CHECKING:
    from pytorch_lightning.loggers import WandbLogger

    from data.data import AnyData
    from model.experiment import Experiment

logger = logging.getLogger(__name__)


def run(
    config: ExperimentConfig,
    data: AnyData,
    build: Callable[..., Experiment],
    *,
    resume: UserPath | None = None,
    on_directory: Callable[[Path], object] = lambda path: None,
    say: Callable[[str], object] = lambda line: None,
    report: bool = True,
) -> RunResult:
    """Train an experiment, test its best weights, and write every result into a run directory.

    Args:
        config: The run.
        data: The data of the run, not yet set up.
        build: Makes the experiment from the config and the data, after the seed is set, if Lightning trains the run.
        resume: A run directory to continue; see :func:`~sweep.resumption.check_resumable`.
        on_directory: Called with the path of the run directory as soon as the directory exists.
        say: Called with what the user is told before training: what was found in the data, and the engine.
        report: Whether to write ``report.html``; a run that fails has one in any case.

    Returns:
        The run directory, the summary, and the experiment with its best weights.

    Raises:
        ConfigError: If the config does not fit this machine or these data. Nothing is written in this case.
        RunDirectoryError: If the run directory can't be made, or the run can't be resumed. Nothing is written in this
            case.
        NonFiniteLossError: If training diverges; the last good checkpoint is kept.
    """
    folder = None if resume is None else RunDirectory.open(resume).path
    engine, line = choose_engine(config, data, build, folder)
    return run_by(
        engine, config, data, resume=folder, on_directory=on_directory, say=say, engine_line=line, report=report
    )


def run_by(
    engine: Engine,
    config: ExperimentConfig,
    data: AnyData,
    *,
    resume: Path | None = None,
    on_directory: Callable[[Path], object] = lambda path: None,
    say: Callable[[str], object] = lambda line: None,
    engine_line: str = "",
    report: bool = True,
) -> RunResult:
    """The same as :func:`run` by any engine.

    Args:
        engine: Builds, trains and tests the network.
        config: The run.
        data: The data of the run, not yet set up.
        resume: A run directory to continue.
        on_directory: Called with the path of the run directory as soon as the directory exists.
        say: Called with what the user is told before training.
        engine_line: The line about the engine; empty to say nothing.
        report: Whether to write ``report.html`` of a run that does not fail.
    """
    set_threads(config.threads)
    if config.wandb:
        check_wandb(config)
    with stopped_by_signals(), contextlib.ExitStack() as locks:
        directory = _begin(engine, config, data, resume, locks)
        on_directory(directory.path)
        for line in filter(None, (data.found(), engine_line)):
            if is_first_process():
                say(line)
        trained, summary = _train(engine, config, data, directory, report=report)
        return RunResult(config, directory, summary, trained.network.eval(), trained.make_experiment)


def _begin(
    engine: Engine, config: ExperimentConfig, data: AnyData, resume: Path | None, locks: contextlib.ExitStack
) -> RunDirectory:
    """The directory of the run, locked. A run that is resumed is checked before any of its files changes."""
    if resume is None:
        _build_seeded(engine, config, data)
        if is_first_process():
            check_data_of_sweep(config, data)
        directory = _make_directory(config, engine)
        locks.enter_context(_locked(directory))
        if is_first_process() and data.fingerprint():
            write_json(directory.data, {**data.describe(), "fingerprint": data.fingerprint()})
        return directory
    directory = RunDirectory.open(resume)
    locks.enter_context(_locked(directory))
    checkpoint = check_resumable(directory, config, warn=is_first_process())
    if is_first_process():
        warn_of_changes(directory.path)
    if checkpoint is not None:
        check_same_engine(directory, checkpoint, str(engine.environment["engine"]))
    _build_seeded(engine, config, data)
    check_same_data(directory, checkpoint, data)
    if checkpoint is not None:
        engine.check_fits(directory, checkpoint)
    if is_first_process():
        directory.record_resume(config)
    return directory


def _locked(directory: RunDirectory) -> contextlib.AbstractContextManager[None]:
    """The lock of a run directory, which the first of several processes holds for all."""
    return locked(directory) if is_first_process() else contextlib.nullcontext()


def _train(
    engine: Engine, config: ExperimentConfig, data: AnyData, directory: RunDirectory, *, report: bool
) -> tuple[Trained, Summary]:
    """Train and test, and write every result. Returns what was trained, and the summary."""
    metrics = MetricsCsv(directory.metrics)
    to_wandb = config.wandb and is_first_process()
    with _closed_properly(directory, metrics, wandb=to_wandb, report=report):
        wandb_logger = make_wandb_logger(config, directory) if to_wandb else None
        trained = engine.train(directory, metrics, wandb_logger)
        summary = summarize(trained, data)
        if is_first_process():
            directory.write_summary(summary)
            if config.plot_status:
                from sweep.final_plots import draw_final_plots

                draw_final_plots(config, directory, metrics)
        if wandb_logger is not None:
            _finish_wandb(wandb_logger, config, directory, summary)
    return trained, summary


def _finish_wandb(
    wandb_logger: WandbLogger, config: ExperimentConfig, directory: RunDirectory, summary: Summary
) -> None:
    """Send the summary, and the charts and checkpoints that the config names."""
    wandb_logger.experiment.summary.update(_for_wandb(summary))
    if config.wandb_charts:
        from sweep.wandb_charts import log_charts

        log_charts(wandb_logger.experiment, directory.path)
    if config.wandb_checkpoints:
        upload_checkpoints(wandb_logger, directory)


def _build_seeded(engine: Engine, config: ExperimentConfig, data: AnyData) -> None:
    """Set the seed, then load and split the data, then build the network, so that all depend on the seed alone."""
    seed_everything(config.seed)
    data.prepare()
    try:
        data.setup()
        engine.build(data)
    except ValueError as error:  # the rows don't suffice for the split, or the network can't read them
        raise ConfigError(str(error)) from error


def _make_directory(config: ExperimentConfig, engine: Engine) -> RunDirectory:
    """The directory of a new run, made by the first process; the other processes only compute its path."""
    if is_first_process():
        return RunDirectory.create(config.output_dir, config.name, config, engine.environment)
    return RunDirectory(user_path(config.output_dir, "output_dir") / (config.name or config.label))


@contextlib.contextmanager
def _closed_properly(directory: RunDirectory, metrics: MetricsCsv, *, wandb: bool, report: bool) -> Iterator[None]:
    """Flush the metrics, close W&B and write the report when the block ends, also if an error ends it."""
    failure: BaseException | None = None
    try:
        yield
    except BaseException as error:
        failure = error
        raise
    finally:
        if is_first_process():
            with contextlib.suppress(*[OSError] * (failure is not None)):  # which must not hide the failure
                metrics.sync()
        if wandb:
            close_wandb()
        if is_first_process() and (report or failure is not None):
            leave_report(directory, failure)


def leave_report(directory: RunDirectory, failure: BaseException | None = None) -> None:
    """Write ``report.html``, also for a run that failed; an error in here is logged and never raised.

    Nothing is logged if the run itself failed because files can't be written.

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
    except OSError as error:
        if not isinstance(failure, OSError):
            logger.warning("no report was written for %s: %s", directory.path, error)
    except Exception:
        logger.warning("no report was written for %s", directory.path, exc_info=True)


def summarize(trained: Trained, data: AnyData) -> Summary:
    """The result of a run.

    Args:
        trained: What an engine has trained, and tested on all three parts of the data.
        data: Its ``describe()`` enters as ``data``.

    Returns:
        The metrics of the best weights under ``train/...``, ``val/...`` and ``test/...``; ``best_epoch``, ``epochs``,
        ``seconds``, ``parameters``; the rows of the best and of the last epoch, in which the metrics of training are
        measured in training mode; the description of the data. Without a validation part,
        the best weights have no ``val/...``, so that no table chooses a run by the test part without a word.
    """
    best = trained.evaluation
    if not data.has_validation:
        best = {name: value for name, value in best.items() if not name.startswith("val/")}
    return {
        **{name: best[name] for name in sorted(best)},
        "best_epoch": int(trained.best_row["epoch"]),
        "epochs": trained.epochs,
        "seconds": trained.seconds,
        "parameters": sum(parameter.numel() for parameter in trained.network.parameters()),
        "best_row": trained.best_row,
        "last": trained.last_row,
        "data": data.describe(),
    }


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
