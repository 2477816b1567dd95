"""Runs in processes of their own, cheap to start and easy to kill.

A server imports everything once, without computing anything, and every process is a fork of it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from runs import ROOT, command

_context: list[ForkServerContext] = []


def begin(folder: Path, *argv: str, die_at: int | None = None) -> ForkServerProcess:
    """Start ``python run_rectangular_sweep.py ARGV``.

    Args:
        folder: Where its output goes, and where its operations on files are counted.
        *argv: Flags.
        die_at: The process kills itself just before its n-th operation on files.
    """
    if not _context:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{ROOT / 'test'}")
            context = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload(["processes", "data.data", "data.download", "sweep.run"])
            process = context.Process(target=os.getpid)
            process.start()
            process.join()
        _context.append(context)
    process = _context[0].Process(target=_work, args=(folder, argv, die_at))
    process.start()
    return process


def together(work: Callable[..., None], *args: Any) -> None:
    """Run ``work(rank, *args)`` in two processes at once, and wait until both are done.

    Args:
        work: A function of a test module.
        *args: What it gets besides.
    """
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_share, args=(work, rank, args)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
        if process.exitcode is None:
            process.kill()
    assert [process.exitcode for process in processes] == [0, 0]


def _share(work: Callable[..., None], rank: int, args: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    work(rank, *args)


def finish(process: ForkServerProcess) -> int:
    """Wait for its exit code; negative if a signal ended it."""
    process.join(120)
    assert process.exitcode is not None
    return process.exitcode


def _work(folder: Path, argv: tuple[str, ...], die_at: int | None) -> None:
    folder.mkdir(exist_ok=True)
    torch.set_num_threads(1)
    # A shell that starts the tests in the background has its children ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    output = os.open(folder / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    count = 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event not in ("open", "os.rename", "os.truncate", "os.remove", "os.mkdir"):
            return
        path, mode = arguments[0], arguments[1] if event == "open" else None
        if isinstance(mode, str) and mode.strip("b") == "r":
            return
        if isinstance(path, str | Path) and str(path).startswith(str(folder)):
            count += 1
            if count == die_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    code = command(*argv)
    (folder / "operations.txt").write_text(str(count))
    sys.exit(code)
