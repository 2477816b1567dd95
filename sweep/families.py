"""The families of networks: what a command and a function need to run one of them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from model.config.experiment import ExperimentConfig

if TYPE_CHECKING:
    from data.data import AnyData
    from model.experiment import Experiment

C = TypeVar("C", bound=ExperimentConfig)

_FAMILIES = {"rectangular": ("sweep.rectangular", "RECTANGULAR"), "resnet": ("sweep.resnet", "RESNET")}


@dataclass(frozen=True, kw_only=True)
class Family(Generic[C]):
    """A family of networks: what a command and a function need to run one of them.

    Attributes:
        config_class: The config whose fields are the options.
        make_data: Makes the data of a config.
        build: Makes the experiment of a config and its data.
        description: First lines of the help page.
        examples: Commands that end the help page, without ``python`` and the name of the script.
    """

    config_class: type[C]
    make_data: Callable[[C], AnyData]
    build: Callable[[C, AnyData], Experiment]
    description: str
    examples: Sequence[str]


def family_named(name: str) -> Family[ExperimentConfig]:
    """The family of a name, which is imported now.

    Args:
        name: ``rectangular`` or ``resnet``.

    Raises:
        KeyError: If there is no such family.
    """
    module, attribute = _FAMILIES[name]
    return cast("Family[ExperimentConfig]", getattr(importlib.import_module(module), attribute))
