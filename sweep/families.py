"""The families of networks by name."""

from __future__ import annotations

import importlib
from typing import cast

from model.config.experiment import ExperimentConfig
from sweep.launch import Family

_FAMILIES = {"rectangular": ("sweep.rectangular", "RECTANGULAR"), "resnet": ("sweep.resnet", "RESNET")}


def family_named(name: str) -> Family[ExperimentConfig]:
    """The family of a name, which is imported now.

    Args:
        name: ``rectangular`` or ``resnet``.

    Raises:
        KeyError: If there is no such family.
    """
    module, attribute = _FAMILIES[name]
    return cast("Family[ExperimentConfig]", getattr(importlib.import_module(module), attribute))
