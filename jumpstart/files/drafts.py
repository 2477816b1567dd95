"""Temporary files and folders that never stay for good, whichever process is killed.

A draft is new, and locked by the process that fills it for as long as that process lives. A later process removes the
drafts whose lock is free. The name of a draft tells the machine that made it, because not every network drive shows
the locks of another machine: a draft of another machine must also be a day old.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import secrets
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform != "win32":
    import fcntl

DRAFT_PREFIX = ".new-"
"""The first characters of the name of a draft that is a folder."""
_FILE = r"\..{0,40}\.([0-9a-f]{8})[0-9a-f]{16}\.tmp(?:\..{0,11})?"
_DRAFT = re.compile(rf"{_FILE}|{re.escape(DRAFT_PREFIX)}([0-9a-f]{{8}})[0-9a-f]{{24}}", re.DOTALL)
"""The names of drafts; a group is the machine."""
_DAY = 86_400.0
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)


@contextmanager
def draft_file(path: Path) -> Iterator[Path]:
    """A new file beside ``path`` with the same suffix and a name that can't be guessed; a file not renamed is removed.

    The first draft of a process in a folder also removes those that killed processes left there.

    Args:
        path: The file that the draft is to replace.

    Raises:
        OSError: If the folder is missing or not writable.
    """

    def make() -> Path:
        # A name has at most 255 bytes on most systems, and a character up to 4 of them in UTF-8.
        draft = path.with_name(f".{path.stem[:40]}.{_machine()}{secrets.token_hex(8)}.tmp{path.suffix[-12:]}")
        os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        return draft

    _remove_at_first(os.path.abspath(path.parent))
    with _held(make) as draft:
        yield draft


@contextmanager
def draft_folder(folder: Path, mode: int = 0o777) -> Iterator[Path]:
    """A new folder with a temporary name, which the block fills and renames; a folder not renamed is removed.

    The drafts that killed processes left in the same place are removed too.

    Args:
        folder: The parent of the new folder; made if missing.
        mode: The permissions of the new folder, as of ``os.mkdir``.

    Yields:
        The path of the new folder.
    """

    def make() -> Path:
        draft = folder / f"{DRAFT_PREFIX}{_machine()}{secrets.token_hex(12)}"
        draft.mkdir(mode)
        return draft

    folder.mkdir(parents=True, exist_ok=True)
    remove_drafts(folder)
    with _held(make) as draft:
        yield draft


@functools.lru_cache(maxsize=64)
def _remove_at_first(folder: str) -> None:
    """Remove the drafts of a folder once, and again after drafts in many other folders."""
    remove_drafts(Path(folder))


def remove_drafts(folder: Path) -> None:
    """Remove the drafts that killed processes left in a folder; those of running processes stay.

    Args:
        folder: The folder; nothing happens if it does not exist or can't be changed.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        found = [(Path(entry.path), match) for entry in entries if (match := _DRAFT.fullmatch(entry.name))]
        for path, match in found:
            with suppress(OSError):
                _remove_if_left(path, of_this_machine=_machine() in match.groups())


def _remove_if_left(path: Path, *, of_this_machine: bool) -> None:
    old = time.time() - path.lstat().st_mtime > _DAY
    with _locked(path) as locked:
        if locked is not False and (old or (locked and of_this_machine)):
            _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def _held(make: Callable[[], Path]) -> Iterator[Path]:
    """A new draft, locked while the block runs, and removed at its end unless it was renamed."""
    while True:
        draft = make()
        try:
            with _locked(draft) as locked:
                # Before it was locked, another process may have taken it for one that was left.
                if locked is not False and draft.exists():
                    yield draft
                    return
        finally:
            _remove(draft)


@contextmanager
def _locked(path: Path) -> Iterator[bool | None]:
    """Lock a draft for this block; False if another process holds the lock or removed it, None without locks."""
    if sys.platform == "win32":
        yield None
        return
    try:  # a network drive locks a file only if it is open for writing
        descriptor = os.open(path, (os.O_RDONLY if path.is_dir() else os.O_RDWR) | _NO_LINK)
    except FileNotFoundError:
        yield False
        return
    try:
        yield _try_lock(descriptor)
    finally:
        os.close(descriptor)  # releases the lock, as the end of a killed process does


def _try_lock(descriptor: int) -> bool | None:
    if sys.platform != "win32":
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            return False
        except OSError:
            pass
    return None


@functools.cache
def _machine() -> str:
    """This machine, as 8 digits."""
    return hashlib.sha256(socket.gethostname().encode(errors="replace")).hexdigest()[:8]
