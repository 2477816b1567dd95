"""SIGTERM, SIGINT and SIGKILL at random moments: what goes on afterwards ends as if nothing had happened.

Moments are drawn from the time that an undisturbed process takes, or from its operations on files. Several kills hit
one run, sweep or download in a row. ``JUMPSTART_KILLS`` is the number of kills in all.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import http.server
import io
import json
import os
import random
import shutil
import signal
import socket
import sys
import tarfile
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from support.forks import fork
from support.processes import family_of, finish, quick_command, start
from support.runs import ROOT, flags
from support.server import Answer, Server, files_in

from data import fetch
from data.images.catalog import IMAGE_SOURCES
from data.images.folders import find_folders
from data.images.published import URL_VARIABLE, PublishedFile, obtain_published
from data.uci.files import DataFile, Remote, obtain
from jumpstart.files.checkpoints import load_checkpoint
from jumpstart.files.checksums import changed_files
from sweep import compiled_run
from sweep.executors import local, worker
from sweep.metrics_csv import MetricsCsv

KILLS = int(os.environ.get("JUMPSTART_KILLS", "300"))
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGKILL)
MOST_IN_A_ROW = 4
RUN = {"name": "run", "checkpoint_seconds": 0, "noise": 0.3}
RUNS: dict[str, dict[str, object]] = {
    "compiled": {"engine": "compiled", "epochs": 300},
    "compiled, plotted": {"engine": "compiled", "epochs": 15, "plot_status": True, "plot_every": 10},
    "lightning": {"engine": "lightning", "epochs": 12, "dropout": 0.1},
    "lightning, plotted": {"engine": "lightning", "epochs": 4, "plot_status": True, "plot_every": 3},
}
SWEEPS: dict[str, list[str]] = {
    "compiled": ["--engine=compiled", "--epochs=2000", "--depth=10,12"],
    "lightning": ["--engine=lightning", "--epochs=4", "--depth=2,3"],
}
UNEQUAL = ("seconds", "elapsed", "tries", "error")
"""Columns of a sweep that a kill may change."""
CONTENT = np.random.default_rng(0).bytes(200_000)


@dataclass(frozen=True)
class Attack:
    """What is killed.

    Attributes:
        work: Begins or continues the work in a process of its own, given a folder and a folder of temporary files.
        check: Asserts what must hold in the folder after a kill, before anything goes on.
        result: What the folder holds at the end, to be compared.
        share: The part of all kills.
        in_family: Whether the process has others, which are killed with it, or in its place.
    """

    work: Callable[..., int]
    check: Callable[[Path], None]
    result: Callable[[Path], dict[str, Any]]
    share: float
    in_family: bool = False
    arguments: tuple[object, ...] = ()

    def begin(self, folder: Path, **die: Any) -> Any:
        temporary, work = folder / "temporary", folder / "work"
        for place in (temporary, work):
            place.mkdir(parents=True, exist_ok=True)
        return start(folder, _in_place, temporary, self.work, work, *self.arguments, **die)


def _in_place(temporary: Path, work: Callable[..., int], folder: Path, *arguments: object) -> int:
    (temporary.parent / "begun").touch()
    os.environ["TMPDIR"] = tempfile.tempdir = str(temporary)
    try:
        return work(folder, *arguments)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # what follows is of the tests


# Runs ---------------------------------------------------------------------------------------------


def train(folder: Path, kind: str) -> int:
    """Start the run, or resume it if it exists."""
    compiled_run.SLICE_EPOCHS = 20  # or there would be one checkpoint a second
    if (folder / "run").exists():
        return quick_command(f"--resume={folder / 'run'}")
    return quick_command(*flags(**{"output_dir": folder, **RUN, **RUNS[kind]}))


def check_run(folder: Path) -> None:
    """Checkpoints are whole or absent, and so is the table but for its last line."""
    for file in folder.rglob("[!.]*.ckpt"):
        load_checkpoint(file)
    for file in folder.rglob("metrics.csv"):
        MetricsCsv(file, repair=False)


def check_sealed(run: Path) -> None:
    """A finished run has the checksums of its files."""
    assert (run / "SHA256SUMS").exists()
    assert changed_files(run) == []


def weights(file: Path) -> dict[str, bytes]:
    content: Any = load_checkpoint(file)
    return {name: value.numpy().tobytes() for name, value in content["state_dict"].items()}


def run_result(folder: Path) -> dict[str, Any]:
    """Everything in the folder but times and the environment."""
    run = folder / "run"
    check_sealed(run)
    summary = json.loads((run / "summary.json").read_text())
    assert summary.pop("seconds") > 0
    exact = ("metrics.csv", "status.npz", "data.json")
    return {
        "files": files_in(folder),
        "weights": {file.name: weights(file) for file in run.rglob("*.ckpt")},
        "summary": summary,
        **{name: (run / name).read_bytes() for name in exact if (run / name).exists()},
        **{file.name: file.read_bytes() for file in (run / "plots").iterdir()},
    }


# Sweeps -------------------------------------------------------------------------------------------


class ForkedWorker:
    """Stands in for the ``subprocess.Popen`` of a process of a sweep, whose imports would take most of the time.

    The fork is one of the process that began the command, because a fork of the command can't use SQLite.
    """

    forks: socket.socket

    def __init__(self, words: list[str], *, stdout: BinaryIO, **_: object) -> None:
        read, write = os.pipe()
        self._pid = self._ask(words[3:], [read, stdout.fileno()])
        os.close(read)
        self.stdin: BinaryIO = os.fdopen(write, "wb")
        self.returncode: int | None = None

    def _ask(self, request: object, files: Sequence[int] = ()) -> Any:
        socket.send_fds(self.forks, [json.dumps(request).encode()], list(files))
        while True:  # Ctrl-C may have left the answer to an earlier request unread
            answered, answer = json.loads(self.forks.recv(10_000))
            if answered == request:
                return answer

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._ask(self._pid)
        return self.returncode

    def wait(self, timeout: float = 0) -> None:
        until = time.monotonic() + timeout
        while self.poll() is None and time.monotonic() < until:
            time.sleep(0.01)

    def kill(self) -> None:
        os.kill(self._pid, signal.SIGKILL)


def serve_forks(requests: socket.socket) -> None:
    """Fork a process for every list of words, and tell the exit code of every number, until the command has ended."""
    ended: dict[int, int] = {}
    while True:
        message: bytes = b""
        files: list[int] = []
        with contextlib.suppress(ConnectionResetError):  # it was killed before it read an answer
            message, files, _, _ = socket.recv_fds(requests, 10_000, 2)
        if not message:
            return
        request = json.loads(message)
        if isinstance(request, list):
            answer: int | None = fork(partial(work_of_sweep, request, *files), files)
            for file in files:
                os.close(file)
        else:
            pid, status = (0, 0) if request in ended else os.waitpid(request, os.WNOHANG)
            if pid:
                ended[pid] = os.waitstatus_to_exitcode(status)
            answer = ended.get(request)
        with contextlib.suppress(BrokenPipeError):  # it was killed before it was answered
            requests.send(json.dumps([request, answer]).encode())


def work_of_sweep(words: list[str], stdin: int, log: int) -> None:
    for source, target in ((stdin, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os._exit(worker.main(words))


def in_product(error: BaseException) -> bool:
    """Whether an error comes out of the project's own code, and not only out of its tests."""
    files = [Path(frame.filename) for frame in traceback.extract_tb(error.__traceback__)]
    return any(file.is_relative_to(ROOT) and not file.is_relative_to(ROOT / "test") for file in files)


def command_of_sweep(folder: Path, engine: str) -> None:
    tiny = [word for word in flags(output_dir=folder, name="grid") if not word.startswith(("--depth", "--epochs"))]
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(local.subprocess, "Popen", ForkedWorker)
            code = quick_command(*tiny, "--seed=0..2", "--checkpoint_seconds=0", "--workers=2", *SWEEPS[engine])
    except KeyboardInterrupt as interrupt:
        if in_product(interrupt):
            raise
        code = 130
    sys.stdout.flush()
    os._exit(code)


def sweep(folder: Path, engine: str) -> int:
    """Start the sweep, or go on with it, in a process of its own."""
    ours, ForkedWorker.forks = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = fork(partial(command_of_sweep, folder, engine), [ForkedWorker.forks.fileno()])
    ForkedWorker.forks.close()
    serve_forks(ours)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with contextlib.suppress(ChildProcessError):  # those that end by themselves after the command was killed
        while True:
            os.wait()
    return code if code >= 0 else 128 - code


def sweep_result(folder: Path) -> dict[str, Any]:
    grid = folder / "grid"
    with (grid / "results.csv").open(encoding="utf-8") as file:
        rows = [{name: cell for name, cell in row.items() if name not in UNEQUAL} for row in csv.DictReader(file)]
    assert {row["state"] for row in rows} == {"finished"}
    assert len(rows) == 6
    for run in (grid / "runs").iterdir():
        check_sealed(run)
    return {
        "rows": rows,
        "files": [name for name in files_in(folder) if not name.startswith("grid/logs")],
        "weights": {str(file.relative_to(folder)): weights(file) for file in folder.rglob("*.ckpt")},
        "metrics": {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("metrics.csv")},
    }


# Downloads ----------------------------------------------------------------------------------------


def download(folder: Path, url: str, digest: str, packed: str) -> int:
    """Get a file out of an archive, a file as it is, and a set of images, given the checksums of the last two."""
    os.environ[URL_VARIABLE] = url
    fetch.BACKOFF = 0.01
    source = IMAGE_SOURCES["imagenette"]
    file = replace(source.files[0], digest=f"sha256:{packed}")
    IMAGE_SOURCES["imagenette"] = replace(source, train=(file,))
    try:
        obtain(Remote("letters", "a.zip", (DataFile("a.data", (digest,), len(CONTENT)),)), folder, url)
        obtain_published(PublishedFile("b.data", "letters", len(CONTENT), f"sha256:{digest}", ()), folder)
        find_folders("imagenette", folder, download=True)
    except KeyboardInterrupt:
        return 130
    return 0


def zipped() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.data", CONTENT)
    return stream.getvalue()


def images() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for number in range(60):
            member = tarfile.TarInfo(f"imagenette2-320/{('train', 'val')[number % 2]}/n1/{number}.JPEG")
            member.size = 3000
            archive.addfile(member, io.BytesIO(CONTENT[:3000]))
    raw = bytearray(stream.getvalue())
    raw[4:8] = bytes(4)  # the time
    return bytes(raw)


def cache_result(folder: Path) -> dict[str, Any]:
    return {name: (folder / name).read_bytes() for name in files_in(folder)}


def slowly() -> Answer:
    """The answers to all requests, in small parts."""
    contents = {"zip": zipped(), "data": CONTENT, "tgz": images()}

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        content = contents[request.path.rpartition(".")[2]]
        request.send_response(200)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        with contextlib.suppress(OSError):
            for begin in range(0, len(content), 20_000):
                request.wfile.write(content[begin : begin + 20_000])
                time.sleep(0.005)

    return answer


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    running = Server()
    running.answers = [slowly()]
    yield running
    running.close()


# Kills --------------------------------------------------------------------------------------------

ATTACKS = {
    **{f"{kind} run": Attack(train, check_run, run_result, 0.14, arguments=(kind,)) for kind in RUNS},
    **{f"{kind} sweep": Attack(sweep, check_run, sweep_result, 0.14, True, (kind,)) for kind in SWEEPS},
    "download": Attack(download, lambda folder: None, cache_result, 0.16),
}


def strike(attack: Attack, folder: Path, seconds: float, operations: int, rng: random.Random) -> str:
    """Begin or go on, and kill. Returns the signal, empty if the work ended first."""
    number = rng.choice(SIGNALS)
    if not attack.in_family and rng.random() < 0.4:
        return number.name * (finish(attack.begin(folder, die_at=rng.randint(2, operations), die_of=number)) != 0)
    (folder / "begun").unlink(missing_ok=True)
    process = attack.begin(folder)
    while process.is_alive() and not (folder / "begun").exists():
        time.sleep(0.001)
    process.join(rng.uniform(0, seconds))
    victims = [process.pid] if process.is_alive() else []
    if attack.in_family:  # the first one only starts the others
        family = family_of(process.pid)[1:]
        victims = rng.choice([family[:1], family[-1:], rng.sample(family, len(family))])
    for victim in victims:
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, number)
    finish(process)
    return number.name * bool(victims)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the processes are found in /proc")
@pytest.mark.parametrize("name", ATTACKS)
def test_what_is_killed_at_random_moments_goes_on_and_ends_alike(name: str, server: Server, tmp_path: Path) -> None:
    attack, rng, kills = ATTACKS[name], random.Random(name), Counter[str]()
    checksums = (hashlib.sha256(content).hexdigest() for content in (CONTENT, images()))
    attack = replace(attack, arguments=attack.arguments or (server.url, *checksums))
    calm = tmp_path / "calm"
    begin = time.monotonic()
    assert finish(attack.begin(calm)) == 0, (calm / "output.txt").read_text()
    seconds = time.monotonic() - begin
    operations = int((calm / "operations.txt").read_text())
    expected, chains = attack.result(calm / "work"), 0
    while kills.total() < round(KILLS * attack.share):
        folder = tmp_path / f"killed {chains}"
        for _ in range(rng.randint(1, MOST_IN_A_ROW)):
            struck = strike(attack, folder, seconds, operations, rng)
            attack.check(folder / "work")
            if not struck:
                break
            kills[struck] += 1
        output = folder / "output.txt"
        assert finish(attack.begin(folder)) == 0, output.read_text()
        assert "Traceback" not in output.read_text(), output.read_text()
        assert not list((folder / "temporary").iterdir())
        found = attack.result(folder / "work")
        different = [name for name, value in expected.items() if found.get(name) != value]
        assert found.keys() == expected.keys()
        assert not different, f"{different} in {folder}: {output.read_text()}"
        shutil.rmtree(folder)
        chains += 1
    sys.stdout.write(f"{name}: {kills.total()} kills in {chains} chains, {dict(kills)}, {seconds:.2f} s undisturbed\n")
