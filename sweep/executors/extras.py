"""Libraries that only some executors need, imported when they are used."""

from __future__ import annotations

import importlib
from types import ModuleType

from model.errors import ConfigError


def needed(library: str, option: str) -> ModuleType:
    """A library that is no part of requirements.txt.

    Args:
        library: Its name, which is also that of the extra that installs it.
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
            f"{option} needs {library}, which is not installed: pip install -r requirements.txt -e '.[{library}]'."
        ) from None
