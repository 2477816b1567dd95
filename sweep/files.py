"""JSON, YAML and folders, written so that a reader finds all of them or nothing."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shutil
import sys
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from jumpstart.files import write_text

if sys.platform != "win32":
    import fcntl

_MINUTE, _HOUR = 60.0, 3600.0


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


@contextlib.contextmanager
def draft_folder(folder: Path) -> Iterator[Path]:
    """A new folder with a temporary name, which the block fills and renames; a folder not renamed is removed.

    Stale drafts of killed processes are removed too. A draft older than a minute and unlocked is stale, because a
    running process locks its own draft; where folders can't be locked, a draft older than an hour is stale.

    Args:
        folder: The parent of the new folder; made if missing.

    Yields:
        The path of the new folder.
    """
    draft = folder / f".new-{uuid.uuid4().hex}"
    try:
        draft.mkdir(parents=True)
        with _locked(draft):
            now = draft.stat().st_mtime  # the clock of the file system, which may be on another machine
            for path in folder.iterdir():
                if re.fullmatch(r"\.new-[0-9a-f]{32}", path.name) and path != draft:
                    with contextlib.suppress(OSError):
                        _remove_if_stale(path, now - path.stat().st_mtime)
            yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _remove_if_stale(path: Path, age: float) -> None:
    if age > _MINUTE:
        with _locked(path) as locked:
            if locked or (locked is None and age > _HOUR):
                shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[bool | None]:
    """Lock a folder for this block; False if another process holds the lock, None where folders can't be locked."""
    if sys.platform == "win32":
        yield None
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            locked: bool | None = True
        except BlockingIOError:
            locked = False
        except OSError:
            locked = None
        yield locked
    finally:
        os.close(descriptor)  # releases the lock, as the end of a killed process does


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
