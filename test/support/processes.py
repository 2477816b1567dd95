"""Runs in separate processes, which start quickly and can be killed.

A server is forked from the process of the tests before the first test, when every module is imported. Each process is a
fork of that server.
"""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import torch
from support.forks import fork
from support.images import draw_data_alone
from support.runs import ROOT, command

PRELOADED = (
    "support.resnet_runs",
    "data.data",
    "data.uci.files",
    "jumpstart.table",
    "sweep.compiled_run",
    "sweep.executors.worker",
    "sweep.final_plots",
    "sweep.lightning_run",
    "sweep.run",
    "sklearn.datasets",
    "PIL.GifImagePlugin",
)
"""The modules that are imported before the server is forked."""

_context: list[ForkServerContext] = []


def begin(folder: Path, *argv: str, die_at: int | None = None) -> ForkServerProcess:
    """Start ``python run_rectangular_sweep.py ARGV``, whose figures have no axes and texts.

    Args:
        folder: Receives ``output.txt``; operations on files in this folder are counted.
        *argv: Flags.
        die_at: The process kills itself just before this operation on files, counted from 1.
    """
    return start(folder, quick_command, *argv, die_at=die_at)


def quick_command(*argv: str) -> int:
    """The exit code of the same command, run in this process."""
    with pytest.MonkeyPatch.context() as patch:
        draw_data_alone(patch)
        return command(*argv)


def start(
    folder: Path,
    work: Callable[..., int],
    *args: object,
    die_at: int | None = None,
    die_of: int = signal.SIGKILL,
    at: Path | None = None,
) -> ForkServerProcess:
    """Start a process whose exit code is the result of ``work(*args)``.

    Args:
        folder: Receives ``output.txt``, with everything that the process prints; operations on files in this folder are
            counted.
        work: A function of a module.
        *args: Arguments of ``work``.
        die_at: The process kills itself just before this operation on files, counted from 1.
        die_of: The signal by which it does so.
        at: The working directory of the process.
    """
    process = _context[0].Process(target=_work, args=(folder, work, args, die_at, die_of, at))
    process.start()
    return process


def start_server() -> None:
    """Fork the server."""
    for name in PRELOADED:
        importlib.import_module(name)
    resource_tracker.ensure_running()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{ROOT / 'test'}")
        patch.setattr(
            "multiprocessing.util.spawnv_passfds", lambda path, words, files: fork(lambda: exec(words[-1]), files)
        )
        forkserver.ensure_running()
    _context.append(multiprocessing.get_context("forkserver"))


def stop_server() -> None:
    """End the server and wait for it, so that its processor time is part of that of the tests."""
    if _context:
        _context.clear()
        forkserver._forkserver._stop()  # type: ignore[attr-defined]


def together(work: Callable[..., None], *args: object) -> None:
    """Run ``work(rank, *args)`` in two processes at once, and wait for both.

    Args:
        work: A function of a test module.
        *args: Further arguments of ``work``.
    """
    context = _context[0]
    processes = [context.Process(target=_share, args=(work, rank, args)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
        if process.exitcode is None:
            process.kill()
    assert [process.exitcode for process in processes] == [0, 0]


def _share(work: Callable[..., None], rank: int, args: tuple[object, ...]) -> None:
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    work(rank, *args)


class Forked:
    """Stands in for a ``subprocess.Popen`` of Python whose imports would take most of the time."""

    def __init__(self, words: list[str], *, stdout: BinaryIO, **options: object) -> None:
        theirs, self.stdin = _context[0].Pipe(duplex=False)
        self._process = _context[0].Process(target=_python, args=(theirs, stdout.name, words[1:]))
        self._process.start()
        theirs.close()

    def poll(self) -> int | None:
        return self._process.exitcode

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> None:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("a fork", timeout or 0)

    def kill(self) -> None:
        self._process.kill()


def _python(stdin: Connection, output: Path, words: list[str]) -> None:
    """Run ``python -c CODE ARGUMENTS``, or the function ``main`` of ``python -m MODULE ARGUMENTS``."""
    os.dup2(stdin.fileno(), 0)
    for stream in (1, 2):
        os.dup2(os.open(output, os.O_WRONLY | os.O_APPEND), stream)
    if words[0] == "-m":
        sys.exit(importlib.import_module(words[1]).main(words[2:]))
    sys.argv = ["-c", *words[2:]]
    exec(words[1], {"__name__": "__main__"})


def finish(process: ForkServerProcess) -> int:
    """Wait for a process, and return its exit code, which is negative after a signal."""
    process.join(120)
    assert process.exitcode is not None
    return process.exitcode


def family_of(process: int) -> list[int]:
    """A process and all that descend from it."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    found = [process]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def _work(
    folder: Path, work: Callable[..., int], args: tuple[object, ...], die_at: int | None, die_of: int, at: Path | None
) -> None:
    folder.mkdir(exist_ok=True)
    if at is not None:
        os.chdir(at)
    torch.set_num_threads(1)
    # A shell that starts the tests in the background has its children ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    output = os.open(folder / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    count = 0

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal count
        if event not in ("open", "os.rename", "os.truncate", "os.remove", "os.mkdir"):
            return
        path, mode = arguments[0], arguments[1] if event == "open" else None
        if isinstance(mode, str) and mode.strip("b") == "r":
            return
        if isinstance(path, str | Path) and str(path).startswith(str(folder)):
            count += 1
            if count == die_at:
                os.kill(os.getpid(), die_of)

    sys.addaudithook(watch)
    code = work(*args)
    sys.stdout.flush()
    (folder / "operations.txt").write_text(str(count))
    sys.exit(code)


def in_ranks(work: Callable[..., object], *args: object, timeout: float = 120, count: int = 2) -> list[Any]:
    """Run ``work(*args)`` in processes that share a gloo process group, one per rank.

    Args:
        work: A function of a test module; its rank is ``torch.distributed.get_rank()``.
        *args: Arguments of ``work``, the same in every process.
        timeout: Seconds after which the processes are killed.
        count: Number of processes.

    Returns:
        The results of ``work``, by rank.

    Raises:
        AssertionError: With the traceback of the process that failed first, or if time ran out.
    """
    context = _context[0]
    results: dict[int, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        ranks: dict[Any, int] = {}
        processes = []
        for rank in range(count):
            receive, send = context.Pipe(duplex=False)
            processes.append(context.Process(target=_take_part, args=(send, folder, rank, count, timeout, work, args)))
            processes[-1].start()
            send.close()
            ranks[receive] = rank
        end = time.monotonic() + timeout
        try:
            while ranks:
                ready: list[Any] = wait(list(ranks), max(0.0, end - time.monotonic()))
                assert ready, f"ranks {sorted(ranks.values())} were not done after {timeout} seconds"
                for receive in ready:
                    rank = ranks.pop(receive)
                    try:
                        done, value = pickle.loads(receive.recv_bytes())
                    except EOFError:
                        raise AssertionError(f"rank {rank} ended without a result") from None
                    assert done, f"rank {rank} failed:\n{value}"
                    results[rank] = value
        finally:
            for process in processes:
                process.join(5 if len(results) == count else 0)
                if process.is_alive():
                    process.kill()
                process.join()
    return [results[rank] for rank in range(count)]


def _take_part(
    send: object,
    folder: str,
    rank: int,
    count: int,
    timeout: float,
    work: Callable[..., object],
    args: tuple[object, ...],
) -> None:
    torch.set_num_threads(1)
    if sys.platform in ("linux", "darwin"):
        os.environ["GLOO_SOCKET_IFNAME"] = "lo" if sys.platform == "linux" else "lo0"
    try:
        torch.distributed.init_process_group(
            "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=count, timeout=timedelta(seconds=timeout)
        )
        torch.manual_seed(0)
        result = pickle.dumps((True, work(*args)))
        torch.distributed.destroy_process_group()
    except BaseException:
        result = pickle.dumps((False, traceback.format_exc()))
    send.send_bytes(result)
