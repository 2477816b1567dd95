"""The choice of the engine that trains a run: the compiled one where it covers the run, else Lightning."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from model.choices import EngineChoice
from model.config.experiment import ExperimentConfig
from model.config.rectangular import RectangularConfig
from model.errors import ConfigError
from sweep.engine import Engine
from sweep.files import RunDirectoryError
from sweep.machine import find_devices
from sweep.run_directory import RunDirectory

if TYPE_CHECKING:
    from data.data import AnyData
    from jumpstart.engine.build import Build
    from model.experiment import Experiment


def choose_engine(
    config: ExperimentConfig, data: AnyData, build: Callable[..., Experiment], resume: Path | None
) -> tuple[Engine, str]:
    """The engine of a run. A run that is resumed gets the engine that began it.

    Args:
        config: The run.
        data: Its data, which need not be set up.
        build: Makes the experiment that Lightning trains.
        resume: The run directory to continue, or None.

    Returns:
        The engine, and a line that says which one it is and why; empty where there is no choice.

    Raises:
        ConfigError: If the compiled engine is asked for, and does not cover the run.
        RunDirectoryError: If the compiled engine began the run, and is not installed here.
    """
    if not isinstance(config, RectangularConfig):
        return _lightning(config, build), ""
    began = _engine_of(RunDirectory.open(resume)) if resume is not None else None
    wanted = began or config.engine
    if wanted == EngineChoice.LIGHTNING:
        why = "it began the run" if began else "--engine=lightning"
        return _lightning(config, build), f"engine: Lightning ({why})"
    compiled, reason = _compiled(config, data)
    if compiled is not None:
        return compiled, f"engine: compiled ({compiled.environment['instruction_set']})"
    if began:
        raise RunDirectoryError(f"{resume} was begun by the compiled engine, which can't continue it here: {reason}.")
    if wanted == EngineChoice.COMPILED:
        raise ConfigError(f'engine must be auto or lightning here, got "compiled": {reason}.')
    return _lightning(config, build), f"engine: Lightning ({reason})"


def _compiled(config: RectangularConfig, data: AnyData) -> tuple[Engine | None, str]:
    """The compiled engine, or the reason why it does not train a run."""
    from data.tabular import TabularData
    from jumpstart.engine.build import best_build
    from model.compiled import not_covered

    option = not_covered(config)
    if option is not None:
        return None, f"the compiled engine does not cover {option}"
    if not isinstance(data, TabularData):
        return None, f"the compiled engine does not cover images, such as {config.dataset_name}"
    if find_devices(config.gpus)[0] == "gpu":
        return None, "the compiled engine does not use a GPU; --gpus=0 is the CPU"
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return None, "the compiled engine does not train in several processes"
    functions = best_build()
    if functions is None:
        return None, "the compiled engine is not installed, which needs a C++ compiler"
    return _make(config, functions), ""


def _lightning(config: ExperimentConfig, build: Callable[..., Experiment]) -> Engine:
    from sweep.lightning_run import LightningEngine  # which imports Lightning

    return LightningEngine(config, build)


def _make(config: RectangularConfig, functions: Build) -> Engine:
    from sweep.compiled_run import CompiledEngine

    return CompiledEngine(config, functions)


def _engine_of(run: RunDirectory) -> EngineChoice | None:
    """The engine that began a run, as ``environment.json`` says; None if the file does not say it."""
    try:
        return EngineChoice(str(run.read_environment().get("engine")))
    except ValueError:
        return None
