"""The standard streams of a command, which may be closed, full, or have a reader that goes away."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TextIO

P = ParamSpec("P")

_NAMES = ("stdin", "stdout", "stderr")
"""The standard streams, by the number of their file."""
_INTERRUPTED = 130


class OutputError(Exception):
    """The standard output can't be written, for the reason in the message. What is written to it later is dropped.

    No ``OSError``, because commands answer those with advice about their files.
    """


def command(main: Callable[P, int]) -> Callable[P, int]:
    """The function of a command, whose standard streams can be used for as long as it runs.

    A stream that is closed takes the output and drops it, and so does one whose reader goes away, as after
    ``| head -1``: the command goes on, and its exit status says what became of its work. An output that can't be
    written for another reason, such as a full disk, ends the command with one line and status 2; messages on the
    standard error are dropped then. Ctrl-C ends the command without a traceback.

    Args:
        main: Returns the exit status.

    Example:
        >>> @command
        ... def main() -> int:
        ...     raise KeyboardInterrupt
        >>> main()
        130
    """

    @wraps(main)
    def run(*args: P.args, **options: P.kwargs) -> int:
        _prepare()
        try:
            status = main(*args, **options)
            sys.stdout.flush()
        except OutputError as error:
            sys.stderr.write(
                f"error: the output can't be written: {error}. Make room, or send it to another place. Files "
                "that the command has written are kept.\n"
            )
            return 2
        except KeyboardInterrupt:
            return _INTERRUPTED
        return status

    return run


def is_dropped(stream: TextIO) -> bool:
    """Whether a stream drops what is written to it, because its reader has gone away.

    Args:
        stream: A standard stream of a :func:`command`.
    """
    raw = getattr(getattr(stream, "buffer", None), "raw", getattr(stream, "buffer", None))
    return isinstance(raw, _Output) and raw.dropped


class _Output(io.FileIO):
    """The file of a standard stream, which drops what is written to it after an error."""

    dropped = False

    def write(self, data: object) -> int:
        try:
            return super().write(data)  # type: ignore[arg-type]
        except OSError as error:
            self.dropped = True
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), self.fileno())
            if error.errno != errno.EPIPE and self.fileno() == _NAMES.index("stdout"):
                raise OutputError(error.strerror) from None
            return memoryview(data).nbytes  # type: ignore[arg-type]


def _prepare() -> None:
    """Give this process standard streams that can be written."""
    for number in range(len(_NAMES)):  # all of them before another file is opened
        _keep_open(number)
    for number, name in enumerate(_NAMES):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w" if number else "r", encoding="utf-8"))  # noqa: SIM115
        elif number and stream is getattr(sys, f"__{name}__") and isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(OSError, ValueError):  # a stream without a file
                if stream.fileno() == number and not stream.isatty():
                    setattr(sys, name, _lasting(stream, number))


def _keep_open(number: int) -> None:
    """Let no other file get the number of a standard stream that is closed, here and in the processes of this one."""
    try:
        os.fstat(number)
    except OSError:
        os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # it gets the lowest number that is free


def _lasting(stream: io.TextIOWrapper, number: int) -> io.TextIOWrapper:
    """A stream like another one, with an :class:`_Output` as its file."""
    stream.flush()
    raw = _Output(number, "wb", closefd=False)
    is_buffered = isinstance(stream.buffer, io.BufferedIOBase)
    return io.TextIOWrapper(
        io.BufferedWriter(raw) if is_buffered else raw,
        encoding=stream.encoding,
        errors=stream.errors,
        newline="\n" if os.name == "posix" else None,
        line_buffering=stream.line_buffering,
        write_through=not is_buffered,
    )
