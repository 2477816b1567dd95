"""Checks of the options that depend on the number of epochs: schedules, and the end of training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model.choices import LambdaSchedule, Monitor, Scheduler
from model.errors import ConfigError

if TYPE_CHECKING:
    from model.config.experiment import ExperimentConfig

ENDLESS = -1
"""The value of ``epochs`` for training without a last epoch."""

_LENGTHS = {
    Scheduler.COSINE: "cosine_epochs",
    Scheduler.COSINE_RESTARTS: "cycle_epochs",
    Scheduler.CYCLIC: "cycle_epochs",
}


def check_epochs(config: ExperimentConfig) -> None:
    """Refuse a number of epochs that is none, and training that nothing would end.

    Raises:
        ConfigError: If ``epochs`` is wrong, or an option of early stopping contradicts another option.
    """
    if config.epochs < 1 and config.epochs != ENDLESS:
        raise ConfigError(f"epochs must be an integer >= 1, or -1, got {config.epochs}.")
    if config.is_endless and config.patience is None and not config.early_stopping:
        raise ConfigError(
            "epochs=-1 needs something that ends training: set patience, or early_stopping=True, or a number of epochs."
        )
    if config.patience is None:
        return
    if config.patience >= config.epochs and not config.is_endless:
        raise ConfigError(
            f"patience must be < epochs = {config.epochs}, got {config.patience}: it would never stop training."
        )
    same_metric = config.scheduler == Scheduler.PLATEAU and config.monitor == Monitor.VAL_LOSS
    if same_metric and config.patience <= config.plateau_patience:
        raise ConfigError(
            f"patience must be > plateau_patience = {config.plateau_patience} with scheduler='plateau', got "
            f"{config.patience}: training would stop before the learning rate falls. The patience of the scheduler is "
            "plateau_patience."
        )


def check_schedules(config: ExperimentConfig) -> None:
    """Refuse schedules that contradict the number of epochs or the ends between which they run.

    Raises:
        ConfigError: At the first option that is wrong.
    """
    if (config.scheduler == Scheduler.MULTISTEP) != bool(config.milestones):
        raise ConfigError(
            "scheduler='multistep' and milestones need each other, got "
            f"scheduler={config.scheduler!r} and milestones={list(config.milestones)}."
        )
    if config.scheduler == Scheduler.PLATEAU and config.gamma == 1:
        raise ConfigError("gamma must be < 1 with scheduler='plateau', got 1.0.")
    if config.scheduler != Scheduler.NONE and config.min_lr > config.lr:
        raise ConfigError(f"min_lr must be <= lr = {config.lr}, got {config.min_lr}.")
    if config.lambda_schedule != LambdaSchedule.CONSTANT and config.lambda_min > config.lambda_:
        raise ConfigError(f"lambda_min must be <= lambda_ = {config.lambda_}, got {config.lambda_min}.")
    if config.scheduler == Scheduler.CYCLIC and config.cycle_epochs == 1:
        raise ConfigError("cycle_epochs must be >= 2 with scheduler='cyclic', got 1: a cycle rises and falls.")
    if config.is_endless:
        _refuse_last_epoch(config)
    else:
        _check_lengths(config)


def _refuse_last_epoch(config: ExperimentConfig) -> None:
    """Refuse a schedule that depends on the last epoch, which training with ``epochs=-1`` lacks."""
    rate, weight = config.scheduler, config.lambda_schedule
    length = _LENGTHS.get(Scheduler(rate))
    if rate == Scheduler.LINEAR or (length and getattr(config, length) is None):
        remedy = f"Set {length}, or scheduler='none'." if length else "Use scheduler='none'."
        raise ConfigError(f"scheduler={rate!r} depends on the number of epochs, got epochs=-1. {remedy}")
    if weight == LambdaSchedule.LINEAR or (weight == LambdaSchedule.COSINE and config.lambda_cosine_epochs is None):
        remedy = "Use lambda_schedule='constant', or 'cosine' with lambda_cosine_epochs."
        raise ConfigError(f"lambda_schedule={weight!r} depends on the number of epochs, got epochs=-1. {remedy}")


def _check_lengths(config: ExperimentConfig) -> None:
    """Refuse a part of a schedule that is longer than the whole training."""
    lengths = {
        name: getattr(config, name)
        for name in ("warmup_epochs", "cosine_epochs", "cycle_epochs", "lambda_cosine_epochs")
    }
    if config.scheduler == Scheduler.CYCLIC:
        lengths["cycle_epochs"] = config.cycle_length
    for name, length in lengths.items():
        if length is not None and length > config.epochs:
            raise ConfigError(f"{name} must be <= epochs = {config.epochs}, got {length}.")
