"""How many processes run the tests."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.runs import ROOT

TESTS = ROOT / "test"


@pytest.fixture
def processes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The processes and the order in which they share the tests, of a command on a machine with so many cores."""
    getini = request.config.getini
    usual = getini("addopts")[-1]
    conftest: Any = request.config.pluginmanager.get_plugin(str(TESTS / "conftest.py"))

    def count(*args: object, cores: int = 4, xdist: bool = True, **options: object) -> tuple[int | None, str]:
        defaults = {"keyword": "", "markexpr": usual, "usepdb": False, "capture": "fd", "collectonly": False}
        option = SimpleNamespace(**{**defaults, "numprocesses": None, "dist": "no", **options})
        plugins = SimpleNamespace(hasplugin=lambda name: xdist and name == "xdist")
        config = SimpleNamespace(option=option, args=list(map(str, args)), pluginmanager=plugins, getini=getini)
        monkeypatch.setattr(conftest.os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
        conftest.pytest_cmdline_main(config)
        return option.numprocesses, option.dist

    return count


def test_the_whole_suite_takes_all_cores(processes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert processes(TESTS) == processes(ROOT / "model", TESTS) == (4, "loadfile")
    assert processes(TESTS, cores=64) == (8, "loadfile")
    monkeypatch.chdir(ROOT)
    assert processes("test/") == processes("test") == (4, "loadfile")


@pytest.mark.parametrize(
    "option",
    [
        {"keyword": "plots"},
        {"markexpr": "slow"},
        {"usepdb": True},
        {"capture": "no"},
        {"collectonly": True},
        {"cores": 1},
    ],
)
def test_what_is_watched_and_what_is_short_takes_one_process(processes: Any, option: dict[str, Any]) -> None:
    assert processes(TESTS, **option) == (None, "no")


def test_a_part_of_the_suite_takes_one_process(processes: Any) -> None:
    parts: list[Path | str] = [TESTS / "runs", TESTS / "loss" / "test_kernel.py", f"{TESTS}::x", ROOT / "model"]
    assert {processes(part) for part in parts} == {(None, "no")}


@pytest.mark.parametrize("numprocesses", [0, 3])
def test_a_given_number_is_kept(processes: Any, numprocesses: int) -> None:
    assert processes(TESTS, numprocesses=numprocesses) == (numprocesses, "no")


def test_without_the_plugin_there_is_one_process(processes: Any) -> None:
    assert processes(TESTS, xdist=False) == (None, "no")
