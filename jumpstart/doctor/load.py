"""What the doctor looks at: a model from an import path or a checkpoint, and a batch to run it on."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

_CHECKPOINTS = (Path("checkpoints", "best.ckpt"), Path("checkpoints", "last.ckpt"))
_WORDS = {"true": True, "false": False, "null": None, "none": None}


class DoctorError(ValueError):
    """What the user can mend. The message is one line."""


@dataclass
class Patient:
    """A model to be looked at.

    Attributes:
        model: It.
        name: What the user called it.
        input_shape: Shape of one sample, where it is known.
        capture: Options for :class:`~jumpstart.JumpstartRegularization`.
    """

    model: nn.Module
    name: str
    input_shape: tuple[int, ...] | None = None
    capture: dict[str, Any] = field(default_factory=dict)


def parse_kwargs(pairs: Sequence[str]) -> dict[str, Any]:
    """Keyword arguments from ``name=value`` texts; a value is a Python literal, or else plain text.

    Args:
        pairs: The texts.

    Raises:
        DoctorError: If one has no name or no value.

    Example:
        >>> parse_kwargs(["depth=3", "norm=true", "act=relu", "sizes=(1, 2)"])
        {'depth': 3, 'norm': True, 'act': 'relu', 'sizes': (1, 2)}
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name.isidentifier():
            raise DoctorError(f"--kwargs must be name=value, got {pair!r}.")
        if text.lower() in _WORDS:
            found[name] = _WORDS[text.lower()]
            continue
        try:
            found[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            found[name] = text
    return found


def load_patient(spec: str, kwargs: Mapping[str, Any]) -> Patient:
    """The model that a text names.

    Args:
        spec: ``package.module:name`` of a module, a class or a function, a checkpoint file, or a run directory.
        kwargs: For the class or function.

    Raises:
        DoctorError: If there is no such model, or it can't be made.
    """
    path = Path(spec)
    if path.exists():
        if kwargs:
            raise DoctorError("--kwargs is for an import path; a checkpoint knows its own options.")
        return _from_checkpoint(path)
    module_name, colon, attribute = spec.partition(":")
    if not colon or not module_name or not attribute:
        raise DoctorError(
            f"MODEL must be package.module:name, a checkpoint or a run directory, got {spec!r}, which does not exist."
        )
    return Patient(_from_import(module_name, attribute, dict(kwargs)), spec)


def _from_import(module_name: str, attribute: str, kwargs: dict[str, Any]) -> nn.Module:
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:  # whatever a module may raise while it is imported
        raise DoctorError(f"{module_name} can't be imported: {type(error).__name__}: {error}") from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise DoctorError(f"{module_name} has nothing called {attribute!r}.")
        found = getattr(found, part)
    if isinstance(found, nn.Module):
        if kwargs:
            raise DoctorError(f"{attribute} is a module already, so --kwargs has nobody to go to.")
        return found
    if not callable(found):
        raise DoctorError(f"{attribute} must be a torch.nn.Module or make one, got {type(found).__name__}.")
    try:
        model = found(**kwargs)
    except Exception as error:  # whatever its author raises
        given = ", ".join(f"{name}={value!r}" for name, value in kwargs.items())
        raise DoctorError(f"{attribute}({given}) failed: {type(error).__name__}: {error}") from error
    if not isinstance(model, nn.Module):
        raise DoctorError(f"{attribute}() must give a torch.nn.Module, got {type(model).__name__}.")
    return model


def _from_checkpoint(path: Path) -> Patient:
    file = next((path / name for name in _CHECKPOINTS if (path / name).is_file()), None) if path.is_dir() else path
    if file is None:
        raise DoctorError(f"{path} has no checkpoint: neither {_CHECKPOINTS[0]} nor {_CHECKPOINTS[1]}.")
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
        options, state = content["hyper_parameters"], content["state_dict"]
    except Exception as error:  # torch has many words for a file that is no checkpoint
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DoctorError(f"{file} is no checkpoint of an experiment: {reason}") from error
    reasons = []
    for kind in _experiments():
        try:
            experiment = kind(**options)
            experiment.load_state_dict(state)
        except (TypeError, ValueError, RuntimeError) as error:
            reasons.append(f"{kind.__name__}: {' '.join(str(error).split()):.120}")
            continue
        experiment.jumpstart.remove()
        config, shape = experiment.config, options.get("input_shape")
        capture = {name: getattr(config, name) for name in ("capture", "unit_dim") if hasattr(config, name)}
        return Patient(experiment.network.eval(), str(path), tuple(shape) if shape else None, capture)
    raise DoctorError(f"{file} fits no experiment. {'; '.join(reasons)}")


def _experiments() -> Iterator[type[Any]]:
    if importlib.util.find_spec("model") is None:
        raise DoctorError("a checkpoint needs the package model, which is not here: run this in the project's folder.")
    package = importlib.import_module("model")
    for info in pkgutil.iter_modules(package.__path__, "model."):
        if info.name.endswith("_experiment"):
            module = importlib.import_module(info.name)
            for _, kind in inspect.getmembers(module, inspect.isclass):
                if kind.__module__ == info.name and issubclass(kind, nn.Module) and hasattr(kind, "training_step"):
                    yield kind


# Data -------------------------------------------------------------------------------------------


def one_line(error: BaseException) -> str:
    """The kind and the words of an error."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ")


def dataset_batch(name: str, model: nn.Module, batch_size: int, seed: int) -> Tensor:
    """The first training batch of a data set of this project.

    Args:
        name: Of the data set.
        model: Images are served to one whose first layer is a convolution, rows to any other.
        batch_size: Samples.
        seed: Of the split and the order.

    Raises:
        DoctorError: If the package or the data set is not there.
    """
    if importlib.util.find_spec("data") is None:
        raise DoctorError(
            f"--data={name} needs the package data, which is not here: run this in the project's folder, or use "
            "--data=random."
        )
    make = importlib.import_module("data.data").make_datamodule
    first = next((m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)), None)
    try:
        extra = {"as_images": True} if isinstance(first, nn.Conv2d) else {}
        served = make(name, batch_size=batch_size, seed=seed, **extra)
        served.prepare_data()
        served.setup("fit")
        x = next(iter(served.train_dataloader()))[0]
    except (ValueError, OSError, TypeError) as error:
        raise DoctorError(f"--data={name}: {error}") from error
    return torch.as_tensor(x).to(next(model.parameters(), torch.empty(0)))


# Nothing is left behind -------------------------------------------------------------------------
