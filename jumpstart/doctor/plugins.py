"""Plugins of the doctor: modules of a project that read the project's own checkpoints and data sets.

The library reads models from import paths only. A project whose models live in files names a module in its
``pyproject.toml``, and ``python -m jumpstart doctor`` imports that module when it is run in the project's folder::

    [tool.jumpstart]
    plugins = ["sweep.doctor"]

A plugin defines one or both functions of :class:`Plugin`. Each returns None for what another plugin has to read.
"""

from __future__ import annotations

import importlib
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, cast

from torch import Tensor, nn

from jumpstart.doctor.load import DoctorError, LoadedModel
from jumpstart.doctor.weights import description


class Plugin(Protocol):
    """The functions of a plugin module. Both raise :class:`DoctorError` with a message for the user."""

    def load_model(self, path: Path) -> LoadedModel | None:
        """The model in a file or folder.

        Args:
            path: A checkpoint, or a folder that holds one.
        """

    def load_batch(self, name: str, model: nn.Module, batch_size: int, seed: int, target: str | None) -> Tensor | None:
        """A batch of a data set.

        Args:
            name: The name of the data set.
            model: The model that the batch is for.
            batch_size: Samples in the batch.
            seed: The seed of the split and of the order.
            target: The column of the classes, if the data set is a table of the user.
        """


def load_file(path: Path) -> LoadedModel:
    """The model in a checkpoint or a run directory, read by a plugin.

    Args:
        path: The file or folder.

    Raises:
        DoctorError: If no plugin can read it.
    """
    for plugin in _plugins():
        model = plugin.load_model(path) if hasattr(plugin, "load_model") else None
        if model is not None:
            return model
    raise DoctorError(
        f"{path} is {description(path)}. A checkpoint or run directory of a project is read in the folder of that "
        "project, where pyproject.toml names a plugin under [tool.jumpstart]."
    )


def load_batch(name: str, model: nn.Module, batch_size: int, seed: int, target: str | None = None) -> Tensor:
    """The first training batch of a data set, read by a plugin.

    Args:
        name: The name of the data set.
        model: The model that the batch is for.
        batch_size: Samples in the batch.
        seed: The seed of the split and of the order.
        target: The column of the classes, if the data set is a table of the user.

    Raises:
        DoctorError: If no plugin can read the data set.
    """
    for plugin in _plugins():
        batch = plugin.load_batch(name, model, batch_size, seed, target) if hasattr(plugin, "load_batch") else None
        if batch is not None:
            return batch
    raise DoctorError(
        f"--data={name} needs a project with data sets: run this in the project's folder, where pyproject.toml names a "
        "plugin under [tool.jumpstart], or use --data=random."
    )


def _plugins() -> Iterator[Plugin]:
    """The plugins that ``pyproject.toml`` in the current folder names, imported one by one."""
    for name in _plugin_names(Path("pyproject.toml")):
        try:
            module = importlib.import_module(name)
        except Exception as error:  # a module may raise anything while it is imported
            raise DoctorError(f"plugin {name} can't be imported: {type(error).__name__}: {error}") from error
        yield cast(Plugin, module)


def _plugin_names(path: Path) -> list[str]:
    if not path.is_file():
        return []
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DoctorError(f"{path} can't be read: {' '.join(str(error).split())}") from error
    table = content.get("tool", {})
    table = table.get("jumpstart", {}) if isinstance(table, dict) else {}
    if not isinstance(table, dict):
        raise DoctorError(f'[tool.jumpstart] in {path} must be a table with plugins = ["module"], got {table!r}.')
    names = table.get("plugins", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DoctorError(f"plugins under [tool.jumpstart] in {path} must be a list of module names, got {names!r}.")
    return names
