"""A ledger on a network drive: in memory, written as a whole, by one command at a time.

SQLite can't keep two machines apart on a network drive. So the command that writes such a ledger takes the folder for
itself, keeps the tables in memory, and replaces the file atomically. Everybody else reads the file.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from jumpstart.files import atomic_path
from sweep.files import RunDirectoryError
from sweep.ledger.alive import try_lock

OWNER = "ledger.owner"
"""The file that names the command that writes the ledger."""
_LEAST_SECONDS = 2.0
_SHARE = 0.05
"""Largest share of the time that is spent on writing the file, while changes come without end."""


class Copy:
    """The file of a ledger whose tables are in memory.

    Args:
        path: The file; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._next = path, 0.0
        self.database = sqlite3.connect(":memory:", isolation_level=None)
        if path.is_file():
            content = bytearray(path.read_bytes())
            if content[18:20] == b"\x02\x02":  # a file with a log beside it, which a database in memory has not
                content[18:20] = b"\x01\x01"
            self.database.deserialize(bytes(content))

    def save(self, *, now: bool) -> None:
        """Replace the file.

        Args:
            now: False leaves it as it is for a while after the last time.
        """
        begin = time.monotonic()
        if not now and begin < self._next:
            return
        with atomic_path(self._path) as draft:
            draft.write_bytes(self.database.serialize())
        self._next = time.monotonic() + max(_LEAST_SECONDS, (time.monotonic() - begin) / _SHARE)


def read_only(path: Path) -> sqlite3.Connection:
    """The tables of a ledger in a folder that can't be written, in memory.

    Args:
        path: The file.
    """
    has_log = path.with_name(f"{path.name}-wal").exists()
    address = f"{path.absolute().as_uri()}?{'mode=ro' if has_log else 'immutable=1'}"
    with contextlib.closing(sqlite3.connect(address, uri=True)) as source:
        memory = sqlite3.connect(":memory:", isolation_level=None)
        source.backup(memory)
    return memory


@contextlib.contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Be the one command, on all machines, that writes the ledger of a folder while the block runs.

    Args:
        folder: The folder of the sweep.

    Raises:
        RunDirectoryError: If another command has the folder, or had it on another machine and was killed there.
    """
    path, host = folder / OWNER, socket.gethostname()
    try:
        descriptor, new = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666), True
    except FileExistsError:
        descriptor, new = os.open(path, os.O_RDWR), False
    try:
        _take(descriptor, path, host, new=new)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _take(descriptor: int, path: Path, host: str, *, new: bool) -> None:
    owner = os.read(descriptor, 500).decode(errors="replace").strip()
    try:
        free = try_lock(descriptor, shared=False)  # which other machines need not see
    except OSError:  # no locks at all: the file alone counts
        free = new
    if not free or not (new or owner.endswith(f" on {host}")):
        raise RunDirectoryError(
            f"{path.parent} is in use by {owner or 'another command'}. Wait until it ends; if it was killed, remove "
            f"{path}."
        )
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"process {os.getpid()} on {host}".encode(), 0)
    os.fsync(descriptor)
