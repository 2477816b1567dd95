"""Libraries that only some executors need, imported when they are used."""

from __future__ import annotations

import importlib
from types import ModuleType

from model.errors import ConfigError

_LEAST = {"ray": "2.60", "submitit": "1.5"}
"""The releases that were tried, as the extras of pyproject.toml have them."""


def needed(library: str, option: str) -> ModuleType:
    """A library that is no part of requirements.txt.

    Args:
        library: Its name.
        option: The option that needs it, for the message.

    Raises:
        ConfigError: If the library is not installed.
    """
    try:
        return importlib.import_module(library)
    except ImportError as error:
        if (error.name or "").partition(".")[0] != library:
            raise
        raise ConfigError(
            f"{option} needs {library}, which is not installed: pip install '{library}>={_LEAST[library]}'."
        ) from None
