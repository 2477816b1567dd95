"""Code in a fresh process, which has imported other packages and nothing of this project.

A process imports the packages once, and each piece of code runs in a fork of that process.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXTRAS = ("torch", "pytorch_lightning", "torchmetrics", "matplotlib", "pandas", "yaml")
"""The packages that the extras of Jumpstart name, as ``python`` can have them imported."""

_SERVER = """
import importlib, json, os, sys, traceback

def answer(code, arguments, environment, out, err):
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

for name in sys.argv[1:]:
    importlib.import_module(name)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        answer(*json.loads(line))
    sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\\n")
    sys.stdout.flush()
"""


def python(
    code: str, *arguments: str, packages: tuple[str, ...] = ("torch",), **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run ``python -c CODE ARGUMENTS`` in the folder of the project, where the packages are already imported."""
    server = _server(packages)
    assert server.stdin is not None
    assert server.stdout is not None
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        server.stdin.write(json.dumps([code, arguments, environment, str(out), str(err)]) + "\n")
        server.stdin.flush()
        status = int(server.stdout.readline())
        return subprocess.CompletedProcess([code, *arguments], status, out.read_text(), err.read_text())


@functools.cache
def _server(packages: tuple[str, ...]) -> subprocess.Popen[str]:
    server = subprocess.Popen(
        [sys.executable, "-c", _SERVER, *packages],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(_end, server)
    return server


def _end(server: subprocess.Popen[str]) -> None:
    with server:
        if server.stdin is not None:
            server.stdin.close()
