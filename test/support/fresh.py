"""Code in a fresh process, which has imported other packages and nothing of this project.

Before the tests import anything else, servers are forked from their process: one when torch is imported, and one when
all packages are. Each piece of code runs in a fork of a server.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import NoReturn, TextIO

from support.forks import fork

ROOT = Path(__file__).resolve().parents[2]
EXTRAS = ("torch", "pytorch_lightning", "torchmetrics", "matplotlib", "pandas", "yaml")
"""The packages that the extras of Jumpstart name, as ``python`` can have them imported."""

_servers: dict[tuple[str, ...], TextIO] = {}


def begin(*packages: str) -> None:
    """Import packages, and fork the server of :func:`python` that has them imported."""
    for name in packages:
        importlib.import_module(name)
    assert "jumpstart" not in sys.modules, "a conftest.py imports the project; its fixtures must do that"
    ours, theirs = socket.socketpair()
    with ours, theirs:
        pid = fork(lambda: _serve(theirs.makefile("rw")), [theirs.fileno()])
        _servers[packages] = ours.makefile("rw")
    atexit.register(_end, _servers[packages], pid)


def python(
    code: str, *arguments: str, packages: tuple[str, ...] = ("torch",), **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run ``python -c CODE ARGUMENTS`` in the folder of the project, where the packages are already imported."""
    server = _servers[packages]
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        variables = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
        server.write(json.dumps([code, arguments, variables, str(out), str(err)]) + "\n")
        server.flush()
        status = int(server.readline())
        return subprocess.CompletedProcess([code, *arguments], status, out.read_text(), err.read_text())


def _serve(client: TextIO) -> None:
    """Answer requests until there is no client."""
    os.chdir(ROOT)
    sys.path[:] = ["", *(path for path in sys.path if path != str(ROOT / "test"))]
    for line in client:
        child = os.fork()
        if child == 0:
            _answer(*json.loads(line))
        client.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
        client.flush()


def _answer(code: str, arguments: list[str], environment: dict[str, str], out: str, err: str) -> NoReturn:
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["-c", *arguments]
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    status = 0
    try:
        exec(compile(code, "<code>", "exec"), {"__name__": "__main__"})
    except SystemExit as stop:
        status = int(stop.code or 0)
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _end(client: TextIO, pid: int) -> None:
    """End a server and wait for it, so that its processor time is part of that of the tests."""
    client.close()
    os.waitpid(pid, 0)
