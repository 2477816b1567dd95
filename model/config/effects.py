"""When an option has an effect: an option that is given by hand and has none in a run is named before the run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from jumpstart.choices import Capture
from model.choices import CycleMode, LambdaSchedule, Layer, Optimizer, RectangularInit, Scheduler


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """What the effect of options depends on in a data set.

    Attributes:
        generated: Whether the rows are generated.
        from_files: Whether the data are read from files in the data folder.
        images: Whether the data can be served as images.
        augmented: Whether training images can be augmented.
        in_folders: Whether the images are files in folders.
        published_test: Whether the test part is published, and so is not split from the rows.
    """

    generated: bool
    from_files: bool
    images: bool
    augmented: bool
    in_folders: bool
    published_test: bool


NONE: Mapping[str, str] = MappingProxyType({})
"""Nothing without an effect."""
Holds = Callable[[Any, DataFacts | None], bool]


@dataclass(frozen=True)
class Need:
    """A condition without which an option has no effect.

    Attributes:
        words: The condition, such as ``scheduler=plateau``.
        holds: Whether a config, and the data set if it is known, fulfill the condition.
    """

    words: str
    holds: Holds


def _value(name: str, *values: object) -> Need:
    """One of these values of another option."""
    words = " or ".join(f"{name}={value}" for value in values)
    return Need(words, lambda config, data: getattr(config, name) in values)


def _data(words: str, holds: Callable[[DataFacts], bool]) -> Need:
    """A data set of a kind; holds if the data set is not known."""
    return Need(words, lambda config, data: data is None or holds(data))


_JUMPSTART = Need("lambda_ > 0", lambda config, data: config.lambda_ > 0)
_CONVOLUTIONS = _value("layer", Layer.CONV)
_PLOTS = _value("plot_status", True)
_WANDB = _value("wandb", True)
_SCHEDULE = Need("a scheduler", lambda config, data: config.scheduler != Scheduler.NONE)
_LAMBDA_SCHEDULE = Need("a lambda_schedule", lambda config, data: config.lambda_schedule != LambdaSchedule.CONSTANT)
_CYCLES = Need(
    "scheduler=cosine_restarts or scheduler=cyclic or lambda_schedule=cosine_restarts",
    lambda config, data: (
        config.scheduler in (Scheduler.COSINE_RESTARTS, Scheduler.CYCLIC)
        or config.lambda_schedule == LambdaSchedule.COSINE_RESTARTS
    ),
)
_CYCLIC = _value("scheduler", Scheduler.CYCLIC)
_PATIENCE = Need("patience", lambda config, data: config.patience is not None)
_GPU = Need("a GPU", lambda config, data: config.gpus != 0)
_FOLDERS = _data("images in folders", lambda data: data.in_folders)


def _has_several_processes(config: Any, data: DataFacts | None) -> bool:
    """Whether several processes can train; with ``gpus="auto"``, the machine decides."""
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", 1)) if config.gpus == 0 else config.gpus
    return processes != 1 or getattr(config, "num_nodes", 1) > 1


_ADAM = _value("optimizer", Optimizer.ADAM, Optimizer.ADAMW, Optimizer.MUON)

EFFECTS: Mapping[str, tuple[Need, ...]] = {
    "adam_betas": (_ADAM,),
    "adam_eps": (_ADAM,),
    "augment": (_data("a data set of images that is augmented", lambda data: data.augmented),),
    "corrupt": (_FOLDERS,),
    "cosine_epochs": (_value("scheduler", Scheduler.COSINE),),
    "cycle_epochs": (_CYCLES,),
    "cycle_gamma": (_CYCLIC, _value("cycle_mode", CycleMode.EXP_RANGE)),
    "cycle_growth": (
        Need(
            "scheduler=cosine_restarts or lambda_schedule=cosine_restarts",
            lambda config, data: "cosine_restarts" in (config.scheduler, config.lambda_schedule),
        ),
    ),
    "cycle_mode": (_CYCLIC,),
    "data_dir": (_data("a data set that is read from files", lambda data: data.from_files),),
    "float32_matmul_precision": (_GPU,),
    "gamma": (_value("scheduler", Scheduler.MULTISTEP, Scheduler.PLATEAU),),
    "head": (_CONVOLUTIONS,),
    "image_size": (_data("a data set of images", lambda data: data.images),),
    "init_noise": (_value("init", RectangularInit.IDENTITY),),
    "init_value": (_value("init", RectangularInit.CONSTANT),),
    "kernel_size": (_CONVOLUTIONS,),
    "lambda_clip": (_JUMPSTART,),
    "lambda_cosine_epochs": (_JUMPSTART, _value("lambda_schedule", LambdaSchedule.COSINE)),
    "lambda_min": (_JUMPSTART, _LAMBDA_SCHEDULE),
    "lambda_schedule": (_JUMPSTART,),
    "min_delta": (_PATIENCE,),
    "min_lr": (_SCHEDULE,),
    "momentum": (_value("optimizer", Optimizer.SGD, Optimizer.MUON),),
    "monitor": (_PATIENCE,),
    "noise": (_data("a generated data set", lambda data: data.generated),),
    "num_points": (_data("a generated data set", lambda data: data.generated),),
    "num_workers": (_FOLDERS,),
    "plateau_patience": (_value("scheduler", Scheduler.PLATEAU),),
    "plot_every": (_PLOTS,),
    "plot_num_points": (_PLOTS,),
    "point": (_CONVOLUTIONS,),
    "skip_kind": (Need("skip_connections", lambda config, data: config.skip_connections is not None),),
    "skip_last": (_value("capture", Capture.WEIGHTS),),
    "stem": (_CONVOLUTIONS,),
    "scaling": (_data("a table", lambda data: not data.augmented),),
    "sync": (Need("several processes", _has_several_processes),),
    "test_size": (
        _data("a data set without a published test part", lambda data: not data.published_test),
        Need("no test_dataset", lambda config, data: config.test_dataset is None),
    ),
    "ties": (_JUMPSTART,),
    "unit_dim": (_CONVOLUTIONS,),
    "val_size": (Need("no val_dataset", lambda config, data: config.val_dataset is None),),
    "wandb_charts": (_WANDB,),
    "wandb_checkpoints": (_WANDB,),
    "wandb_entity": (_WANDB,),
    "wandb_group": (_WANDB,),
    "wandb_notes": (_WANDB,),
    "wandb_project": (_WANDB,),
    "wandb_tags": (_WANDB,),
}
"""Option -> conditions that must all hold; an option that is not listed has an effect in every run."""


def without_effect(config: object, given: Iterable[str], data: DataFacts | None = None) -> dict[str, str]:
    """The options that have no effect in a run, each with the condition that is missing.

    Args:
        config: The options of the run.
        given: Names of the options that were given by hand.
        data: Facts about the data set; None if they are not known.

    Example:
        >>> from model.config.rectangular import RectangularConfig
        >>> without_effect(RectangularConfig(plateau_patience=5, lr=0.1), ["plateau_patience", "lr"])
        {'plateau_patience': 'scheduler=plateau'}
    """
    missing = {}
    for name in given:
        unmet = next((need.words for need in EFFECTS.get(name, ()) if not need.holds(config, data)), None)
        if unmet is not None:
            missing[name] = unmet
    return missing


def no_effect_message(
    config: object, given: Iterable[str], data: DataFacts | None = None, others: Mapping[str, str] = NONE
) -> str:
    """One line that names the options without an effect; empty if there are none.

    Args:
        config: The options of the run.
        given: Names of the options that were given by hand.
        data: Facts about the data set; None if they are not known.
        others: What else has no effect, as it was given, with the condition that is missing.

    Example:
        >>> from model.config.rectangular import RectangularConfig
        >>> no_effect_message(RectangularConfig(plateau_patience=5), ["plateau_patience"])
        'no effect in this run: plateau_patience=5 (needs scheduler=plateau).'
    """
    missing = without_effect(config, given, data)
    words = {f"{name}={_plain(getattr(config, name))}": need for name, need in missing.items()}
    parts = [f"{text} (needs {need})" for text, need in (words | dict(others)).items()]
    return f"no effect in this run: {', '.join(parts)}." if parts else ""


def _plain(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
