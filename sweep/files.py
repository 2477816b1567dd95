"""Files that are there whole or not at all."""

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
from typing import Any

from jumpstart.files import write_text

if sys.platform != "win32":
    import fcntl

_MINUTE, _HOUR = 60.0, 3600.0


class RunDirectoryError(OSError):
    """A run directory that can't be made, read or resumed. The message is one line."""


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON as :func:`write_text` does; NaN and infinity, which JSON lacks, become null."""
    write_text(path, json.dumps(_plain(content), indent=2, allow_nan=False) + "\n")


def write_yaml(path: Path, content: Mapping[str, Any]) -> None:
    """Write YAML as :func:`write_text` does, in the order of the mapping."""
    import yaml

    write_text(path, yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True))


@contextlib.contextmanager
def draft_folder(folder: Path) -> Iterator[Path]:
    """A new folder with a temporary name, to be filled and renamed at once; what is not renamed is removed.

    Drafts that killed processes have left are removed too. Nobody writes at one for a minute, and a process holds a
    lock on its own; where folders can't be locked, only drafts of more than an hour are taken for left.

    Args:
        folder: Where; made if need be.
    """
    draft = folder / f".new-{uuid.uuid4().hex}"
    try:
        draft.mkdir(parents=True)
        with _locked(draft):
            now = draft.stat().st_mtime  # of the file system's clock, which may be another machine's
            for path in folder.iterdir():
                if re.fullmatch(r"\.new-[0-9a-f]{32}", path.name) and path != draft:
                    with contextlib.suppress(OSError):
                        _remove_if_left(path, now - path.stat().st_mtime)
            yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _remove_if_left(path: Path, age: float) -> None:
    if age > _MINUTE:
        with _locked(path) as locked:
            if locked or (locked is None and age > _HOUR):
                shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[bool | None]:
    """Whether this process has the lock on a folder now; None where folders can't be locked."""
    if sys.platform == "win32":
        yield None
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            got: bool | None = True
        except BlockingIOError:
            got = False
        except OSError:
            got = None
        yield got
    finally:
        os.close(descriptor)  # the lock goes with it, as it does with a process that is killed


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
