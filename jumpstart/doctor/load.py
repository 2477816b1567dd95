"""The model that a text names: a module, or a class or function that makes one, by its import path."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypedDict

from torch import nn

from jumpstart.choices import Capture

_WORDS = {"true": True, "false": False, "null": None, "none": None}


class DoctorError(ValueError):
    """A mistake that the user can correct. The message is one line."""


class CaptureOptions(TypedDict, total=False):
    """Options of :class:`~jumpstart.JumpstartRegularization` that decide what is captured."""

    capture: Capture | str | Sequence[str] | Callable[[str, nn.Module], bool]
    skip_last: bool
    unit_dim: int | None
    batch_first: bool | None


@dataclass
class LoadedModel:
    """A model to examine.

    Attributes:
        model: The module to examine.
        name: The text that the user gave for it.
        input_shape: Shape of one sample, if known.
        capture: Options for :class:`~jumpstart.JumpstartRegularization`.
    """

    model: nn.Module
    name: str
    input_shape: tuple[int, ...] | None = None
    capture: CaptureOptions = field(default_factory=CaptureOptions)


def parse_kwargs(pairs: Sequence[str]) -> dict[str, object]:
    """Keyword arguments from ``name=value`` texts. A value is a Python literal, or else plain text.

    Args:
        pairs: The texts.

    Raises:
        DoctorError: If a text has no name or no value.

    Example:
        >>> parse_kwargs(["depth=3", "norm=true", "act=relu", "sizes=(1, 2)"])
        {'depth': 3, 'norm': True, 'act': 'relu', 'sizes': (1, 2)}
    """
    arguments: dict[str, object] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name.isidentifier():
            raise DoctorError(f"--kwargs must be name=value, got {pair!r}.")
        if text.lower() in _WORDS:
            arguments[name] = _WORDS[text.lower()]
            continue
        try:
            arguments[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            arguments[name] = text
    return arguments


def load_import(spec: str, kwargs: Mapping[str, object]) -> LoadedModel:
    """The model at an import path.

    Args:
        spec: ``package.module:name`` of a module, or of a class or function that makes one.
        kwargs: Arguments for the class or function.

    Raises:
        DoctorError: If there is no such model, or it can't be made.
    """
    module_name, colon, attribute = spec.partition(":")
    if not colon or not module_name or not attribute:
        raise DoctorError(
            f"MODEL must be package.module:name, a checkpoint or a run directory, got {spec!r}, which does not exist."
        )
    named = _import(module_name, attribute)
    if isinstance(named, nn.Module):
        if kwargs:
            raise DoctorError(f"--kwargs is for a class or function; {attribute} is a module already.")
        return LoadedModel(named, spec)
    if not callable(named):
        raise DoctorError(f"{attribute} must be a torch.nn.Module or make one, got {type(named).__name__}.")
    return LoadedModel(_make(attribute, named, kwargs), spec)


def _import(module_name: str, attribute: str) -> object:
    try:
        named: object = importlib.import_module(module_name)
    except Exception as error:  # a module may raise anything while it is imported
        raise DoctorError(f"{module_name} can't be imported: {type(error).__name__}: {error}") from error
    for part in attribute.split("."):
        if not hasattr(named, part):
            raise DoctorError(f"{module_name} has no attribute {attribute!r}.")
        named = getattr(named, part)
    return named


def _make(attribute: str, factory: Callable[..., object], kwargs: Mapping[str, object]) -> nn.Module:
    try:
        model = factory(**kwargs)
    except Exception as error:  # a class or function may raise anything
        given = ", ".join(f"{name}={value!r}" for name, value in kwargs.items())
        raise DoctorError(f"{attribute}({given}) failed: {type(error).__name__}: {error}") from error
    if not isinstance(model, nn.Module):
        raise DoctorError(f"{attribute}() must return a torch.nn.Module, got {type(model).__name__}.")
    return model


def one_line(error: BaseException) -> str:
    """The class and the message of an error on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ")
