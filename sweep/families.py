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

OF_DATA = (
    "batch_size",
    "seed",
    "split_seed",
    "val_size",
    "test_size",
    "num_points",
    "noise",
    "scaling",
    "data_dir",
    "target",
)
"""Options that are arguments of the same name of :func:`data.data.make_data`."""

_DECIDES_DATA = (
    *("dataset", "layer", *(name for name in OF_DATA if name not in ("batch_size", "seed", "split_seed"))),
    *("drop_columns", "category_columns", "val_dataset", "test_dataset"),
    *("image_size", "augment", "num_workers", "corrupt"),
)
"""Options of which any can decide whether there are data; every batch size and every seed is possible with all data."""


@dataclass(frozen=True, kw_only=True)
class Family(Generic[C]):
    """A family of networks: what a command and a function need to run one of them.

    Attributes:
        config_class: The config whose fields are the options.
        check_data: Raises what ``make_data`` raises for a config, as quickly as possible.
        make_data: Makes the data of a config.
        build: Makes the experiment of a config and its data.
        description: First lines of the help page.
        examples: Commands that end the help page, without ``python`` and the name of the script.
    """

    config_class: type[C]
    check_data: Callable[[C], object]
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


def data_key(config: ExperimentConfig) -> tuple[object, ...]:
    """What is equal for two runs of which either both have data, or neither has.

    Args:
        config: The options of the run, of any family.
    """
    return tuple(getattr(config, name, None) for name in _DECIDES_DATA)
