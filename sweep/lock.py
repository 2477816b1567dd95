"""The lock of a run directory: one process at a time trains in it."""

from __future__ import annotations

import contextlib
import datetime
import errno
import logging
import os
import socket
import sys
from collections.abc import Iterator

from sweep.files import RunDirectoryError
from sweep.run_directory import RunDirectory

if sys.platform != "win32":
    import fcntl

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def locked(run: RunDirectory) -> Iterator[None]:
    """Lock a run directory while the block runs.

    The lock is one of the operating system's, on the file ``run.lock``, so it ends with the process, also if the
    process is killed. The file names the process that holds the lock, and is removed with the lock. On a file system
    without locks, and on Windows, a warning says that the directory is not locked.

    Args:
        run: The run directory, which must exist.

    Raises:
        RunDirectoryError: If another process holds the lock. The message names that process.
    """
    descriptor = _acquire(run)
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, _this_process().encode())
        yield
    finally:
        with contextlib.suppress(OSError):  # a file that can't be removed must not hide an error of the block
            run.lock.unlink(missing_ok=True)
        os.close(descriptor)


def _acquire(run: RunDirectory) -> int:
    """A descriptor of the lock file, with the lock."""
    while True:
        try:
            descriptor = os.open(run.lock, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                remedy = "Make the run directory writable, or resume a copy of it"
            else:
                remedy = "Remove it, or mend it"
            raise RunDirectoryError(f"{run.lock} can't be opened: {error.strerror}. {remedy}.") from None
        try:
            _flock(descriptor, run)
            # The process that held the lock may have removed the file after it was opened here.
            if run.lock.exists() and os.path.samestat(os.fstat(descriptor), run.lock.stat()):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _flock(descriptor: int, run: RunDirectory) -> None:
    """Lock the open file, or log that this is not possible."""
    if sys.platform != "win32":
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            holder = os.read(descriptor, 500).decode(errors="replace").strip() or "another process"
            raise RunDirectoryError(
                f"{run.path} is in use by {holder}. Wait until that process ends, or stop it first."
            ) from None
        except OSError:
            pass
    logger.warning("%s can't be locked on this file system: let one process at a time train in it.", run.path)


def _this_process() -> str:
    now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    return f"process {os.getpid()} on {socket.gethostname()}, since {now}\n"
