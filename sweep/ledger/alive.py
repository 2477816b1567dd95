"""Whether a process that trains runs is still alive, on this machine."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sweep.files import RunDirectoryError

if sys.platform != "win32":
    import fcntl

_FOLDER = "workers"


@dataclass(frozen=True)
class Life:
    """A process that holds the lock of a file of its own, alone or together with the process that trains for it.

    Attributes:
        name: The name of the file, which no other process has ever had.
    """

    name: str


@contextlib.contextmanager
def living(folder: Path, name: str) -> Iterator[Life]:
    """Hold a lock while the block runs. The operating system ends the lock with the process, however that ends.

    Args:
        folder: The folder of the sweep.
        name: A name that no other process of the sweep has or had.

    Raises:
        FileExistsError: If another process has this name.
    """
    path = folder / _FOLDER / name
    path.parent.mkdir(exist_ok=True)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            # Before it was locked, another command may have taken the file for one that was left.
            if try_lock(descriptor, shared=True) and path.exists():
                yield Life(name)
                return
        finally:
            path.unlink(missing_ok=True)
            os.close(descriptor)


@contextlib.contextmanager
def joined(folder: Path, name: str) -> Iterator[None]:
    """Hold the lock of another process too while the block runs, so that the name is alive until both have ended.

    Args:
        folder: The folder of the sweep.
        name: The name of the :class:`Life` of the other process.

    Raises:
        FileNotFoundError: If the other process has ended.
    """
    descriptor = os.open(folder / _FOLDER / name, os.O_RDWR)
    try:
        try_lock(descriptor, shared=True)
        yield
    finally:
        os.close(descriptor)


def is_alive(folder: Path, name: str) -> bool:
    """Whether the process of this name still holds its lock.

    Args:
        folder: The folder of the sweep.
        name: The name of its :class:`Life`.
    """
    path = folder / _FOLDER / name
    try:
        # Some network drives lock only files that are opened for writing.
        descriptor = os.open(path, os.O_RDWR if os.access(path, os.W_OK) else os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return not try_lock(descriptor, shared=False)
    finally:
        os.close(descriptor)


def was_killed(folder: Path, name: str) -> bool:
    """Whether the process of this name has ended without giving its lock back.

    Args:
        folder: The folder of the sweep.
        name: The name of its :class:`Life`.
    """
    return (folder / _FOLDER / name).exists() and not is_alive(folder, name)


def remove_dead(folder: Path) -> None:
    """Remove the files of processes that were killed.

    Args:
        folder: The folder of the sweep, whose ledger has no run of such a process any more.
    """
    for path in (folder / _FOLDER).glob("*"):
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(path, os.O_RDWR)
            try:
                if try_lock(descriptor, shared=False):
                    path.unlink(missing_ok=True)
            finally:
                os.close(descriptor)


def check_locks() -> None:
    """Refuse a system without locks of files, before a sweep writes anything.

    Raises:
        RunDirectoryError: On Windows.
    """
    if sys.platform == "win32":
        raise RunDirectoryError(
            "a sweep needs locks of files, which Windows does not have: run it on Linux or macOS, or give each flag "
            "one value."
        )


def try_lock(descriptor: int, *, shared: bool) -> bool:
    """Whether the lock of an open file was free, for this process alone or together with others; it is held then."""
    check_locks()
    if sys.platform == "win32":  # for the type checker
        return False
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
