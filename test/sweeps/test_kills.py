"""A sweep that is killed forty times and started again has the results of a sweep that nobody disturbed."""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.processes import family_of
from support.runs import ROOT, flags

KILLS, RUNS = 40, 60
UNEQUAL = ("seconds", "elapsed", "tries")
"""Columns that differ from one sweep to the next."""
SHORT = ("--depth=2,3", "--epochs=3", "--num_points=60", "--engine=lightning")
LONG = ("--depth=40,50", "--epochs=15000", "--num_points=1000", "--batch_size=256", "--engine=compiled")
"""Options of runs that take some seconds each, by Lightning and by the compiled engine."""
EXECUTORS = [
    pytest.param(("--executor=local", *SHORT), id="local"),
    pytest.param(("--executor=local", *LONG), id="compiled"),
    pytest.param(
        ("--executor=ray", *SHORT),
        id="ray",
        marks=pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed"),
    ),
]


def start(folder: Path, name: str, *words: str) -> subprocess.Popen[bytes]:
    grid = [f"--seed=0..{RUNS // 2 - 1}", "--checkpoint_seconds=0", "--workers=2"]
    tiny = flags(output_dir=folder, name=name)
    command = [
        sys.executable,
        "run_rectangular_sweep.py",
        *[word for word in tiny if "depth" not in word],
        *grid,
        *words,
    ]
    with (folder / f"{name}.log").open("ab") as log:
        return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a command with all of its processes, in any order."""
    victims = family_of(process.pid)
    random.shuffle(victims)
    for victim in victims:
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
    process.wait()


def results(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / name / "results.csv").open(encoding="utf-8") as file:
        return [{key: value for key, value in row.items() if key not in UNEQUAL} for row in csv.DictReader(file)]


def finished(folder: Path, name: str) -> int:
    return len(list((folder / name / "runs").glob("*/summary.json")))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the processes are found in /proc")
@pytest.mark.parametrize("executor", EXECUTORS)
def test_forty_kills_change_nothing(executor: tuple[str, ...], tmp_path: Path) -> None:
    begin = time.monotonic()
    calm = start(tmp_path, "calm", *executor)
    passed = []
    for count in (1, 5):
        while finished(tmp_path, "calm") < count:
            assert calm.poll() is None, (tmp_path / "calm.log").read_text()
            time.sleep(0.02)
        passed.append(time.monotonic() - begin)
    first, one_more = passed[0], (passed[1] - passed[0]) / 4
    assert calm.wait() == 0
    kills = 0
    while kills < KILLS:
        disturbed = start(tmp_path, "disturbed", *executor)
        before = finished(tmp_path, "disturbed")
        spare = RUNS - before - (KILLS - kills) - 3  # so that some runs are left to be killed
        latest = first + min(spare, 4) * one_more if spare > 0 else 0.8 * first
        end = time.monotonic() + random.uniform(0.0, latest)
        while time.monotonic() < end and finished(tmp_path, "disturbed") < before + max(spare, 1):
            time.sleep(0.02)
        assert disturbed.poll() is None, "the sweep ended too early to be killed"
        kill(disturbed)
        kills += 1
    assert start(tmp_path, "disturbed", *executor).wait() == 0, (tmp_path / "disturbed.log").read_text()
    expected = results(tmp_path, "calm")
    assert len(expected) == RUNS
    assert {row["state"] for row in expected} == {"finished"}
    assert results(tmp_path, "disturbed") == expected
    sys.stdout.write(f"{kills} kills, {first:.0f} s to the first run, {one_more:.1f} s to one more\n")
