"""JSON and YAML, written so that a reader finds all of it or nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

from jumpstart.files import write_text


class RunDirectoryError(OSError):
    """A run directory can't be made, read or resumed. The message is one line."""


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write a mapping as JSON, atomically.

    Args:
        path: The file.
        content: Strings, numbers, scalar tensors, paths, and lists and mappings of them. NaN and infinity, which JSON
            lacks, become null.
    """
    write_text(path, json.dumps(_json_value(content), indent=2, allow_nan=False) + "\n")


def write_yaml(path: Path, content: Mapping[str, object]) -> None:
    """Write a mapping as YAML in its own order, atomically."""
    import yaml

    write_text(path, yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True))


def _json_value(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
