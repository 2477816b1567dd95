"""What every test can rely on: no network, no account, no settings of the user's, fixed seeds."""

from __future__ import annotations

import functools
import gc
import os
import random
import shutil
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import pytest
from support import fresh, repeated
from support.browser import Browser, browser

if TYPE_CHECKING:
    from sweep.run_directory import RunDirectory

# Before torch is imported, and for child processes too: on tensors this small, threads only wait
# for one another, and the tests may share the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

# What a developer's own settings would change in a test.
UNSET = (
    "JUMPSTART_DATA_DIR",
    "JUMPSTART_IMAGES_URL",
    "JUMPSTART_UCI_URL",
    "PL_GLOBAL_SEED",
    "SLURM_JOB_ID",
    "WANDB_API_KEY",
    "WANDB_BASE_URL",
    "WANDB_DIR",
    "WANDB_MODE",
)


@pytest.fixture(scope="session", autouse=True)
def _no_settings_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in UNSET:
            patch.delenv(name, raising=False)
        patch.setenv("NETRC", str(home / "netrc"))
        patch.setenv("XDG_CACHE_HOME", str(home / "cache"))
        for name in ("CACHE", "CONFIG", "DATA"):
            patch.setenv(f"WANDB_{name}_DIR", str(_new(home / name.lower())))
        yield


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Run the whole suite on all cores, each module in one process; a part of the suite in this process."""
    option = config.option
    whole = Path(__file__).parent in {Path(argument).resolve() for argument in config.args}
    watched = option.usepdb or option.capture == "no" or option.collectonly
    part = option.keyword or option.markexpr not in config.getini("addopts") or watched or not whole
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    in_charge = not hasattr(config, "workerinput") and config.pluginmanager.hasplugin("xdist")
    if in_charge and option.numprocesses is None and not part and cores > 1:
        option.numprocesses, option.dist = min(cores, 8), "loadfile"


def pytest_configure(config: pytest.Config) -> None:
    """Take the usual signals, and fork the servers for code in fresh processes, which must not import this project."""
    # A process in the background, or under nohup, ignores them. The tests send them, as a user would.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if config.getoption("dist", "no") == "no":  # with pytest-xdist, in the processes that run tests
        fresh.begin("torch")
        fresh.begin(*fresh.EXTRAS)


@pytest.fixture(scope="session", autouse=True)
def _nothing_repeated() -> Iterator[None]:
    with repeated.spared():
        yield


@pytest.fixture(scope="session", autouse=True)
def _imports_frozen(_nothing_repeated: None) -> Iterator[None]:
    """Keep the garbage collector from scanning what the imports left: each full collection would take 0.24 s.

    A run asks whether objects are frozen, and Python would count all of them each time: 0.04 s.
    """
    gc.collect()
    gc.freeze()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gc, "get_freeze_count", functools.wraps(gc.get_freeze_count)(lambda: 1))
        yield


@pytest.fixture(scope="module", autouse=True)
def _earlier_modules_frozen() -> None:
    """The same for what earlier tests left, such as compilers: every run begins with a full collection."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _no_network() -> Iterator[None]:
    """Connections to this machine alone; anything else fails the test, whatever it catches."""
    connect, lookup = socket.socket.connect, socket.getaddrinfo

    def refuse(host: object) -> NoReturn:
        pytest.fail(f"A test tried to reach {host!r}: tests have no network.")

    def guarded_connect(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _local(address[0]):
            refuse(address[0])
        connect(self, address)

    def guarded_lookup(host: Any, *args: Any, **kwargs: Any) -> Any:
        return lookup(host, *args, **kwargs) if _local(host) else refuse(host)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded_connect)
        patch.setattr(socket, "getaddrinfo", guarded_lookup)
        yield


@pytest.fixture(scope="session", autouse=True)
def _server_of_processes(_no_settings_of_the_user: None, _imports_frozen: None) -> Iterator[None]:
    processes = sys.modules.get("support.processes")
    if processes is None:
        yield
        return
    processes.start_server()
    yield
    processes.stop_server()


@pytest.fixture(autouse=True)
def _seeds() -> None:
    import torch

    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture
def data_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures without axes and texts, for tests that read neither."""
    from support.images import draw_data_alone

    draw_data_alone(monkeypatch)


@pytest.fixture(scope="session")
def shared_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser with one page, which all tests of pages share."""
    with browser(tmp_path_factory.mktemp("browser")) as chromium:
        yield chromium


@pytest.fixture
def window(shared_browser: Browser) -> Iterator[Browser]:
    """The browser; at the end its page is empty, because a page of a sweep loads itself anew for ever."""
    yield shared_browser
    shared_browser.leave()


PATHS = ["waiting", "tapped", "waiting-kernel", "tapped-kernel"]


@pytest.fixture(params=PATHS)
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """All ways to a record: as if every preactivation were small, or large; in PyTorch, or by the compiled kernel."""
    from jumpstart.extrema import kernel

    way, _, compiled = request.param.partition("-")
    monkeypatch.setattr("jumpstart.capture.recorder.SMALL", 10**9 if way == "waiting" else 0)
    if compiled and not kernel.available():
        pytest.skip(f"no kernel here; {kernel.description()}")
    monkeypatch.setattr("jumpstart.extrema.kernel._off", not compiled)
    return way


def _local(host: object) -> bool:
    name = host.decode() if isinstance(host, bytes) else str(host or "localhost")
    return name in ("localhost", "::1", "0.0.0.0") or name.startswith("127.")


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.fixture(scope="session", params=["compiled", "lightning"])
def whole_run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A finished run of each engine, which no test may change."""
    from support.runs import run_tiny

    folder = tmp_path_factory.mktemp(request.param)
    directory, _ = run_tiny(folder, engine=request.param, epochs=4, depth=2, num_points=40)
    return directory


@pytest.fixture
def finished(whole_run: RunDirectory, tmp_path: Path) -> RunDirectory:
    """A copy of the finished run."""
    from sweep.run_directory import RunDirectory

    return RunDirectory(shutil.copytree(whole_run.path, tmp_path / "a run"))
