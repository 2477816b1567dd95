"""GPUs of a sweep: which one each process sees, and how many runs share it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from model.config.rectangular import RectangularConfig
from model.errors import ConfigError
from sweep.executors import gpus, local
from sweep.executors.executor import Work
from sweep.executors.gpus import chosen_automatically, names_of_gpus, room_for, shares
from sweep.executors.local import LocalExecutor, default_workers
from sweep.grid.expand import Grid, expand
from sweep.grid.options import Keep
from sweep.ledger.ledger import Ledger


@pytest.mark.parametrize(
    ("workers", "per_run", "count", "seen"),
    [
        (None, None, 2, ["0", "1"]),
        (4, None, 1, ["0", "0", "0", "0"]),
        (4, None, 2, ["0", "1", "0", "1"]),
        (None, 0.5, 2, ["0", "1", "0", "1"]),
        (None, 0.3, 1, ["0", "0", "0"]),
        (3, 0.25, 2, ["0", "1", "0"]),
        (None, 2, 4, ["0,1", "2,3"]),
        (None, 2, 5, ["0,1", "2,3"]),
    ],
)
def test_each_process_sees_its_gpus(
    workers: int | None, per_run: float | None, count: int, seen: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "names_of_gpus", lambda: [str(number) for number in range(count)])
    executor = LocalExecutor.planned(workers, per_run, on_gpus=True)
    assert (executor.workers, list(executor.gpus)) == (len(seen), seen)


def test_without_gpus_there_is_a_process_for_each_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "names_of_gpus", list)
    for on_gpus in (True, False):
        assert LocalExecutor.planned(None, None, on_gpus=on_gpus) == LocalExecutor(default_workers(), [])
    monkeypatch.setattr(local, "names_of_gpus", lambda: ["0"])
    assert LocalExecutor.planned(2, None, on_gpus=False).gpus == []
    assert LocalExecutor.planned(2, 0, on_gpus=True).gpus == ["", ""], "no GPU is wanted, and none is seen"


@pytest.mark.parametrize(("per_run", "on_gpus", "message"), [(3, True, "at most the 2 of"), (1, False, "gpus=auto")])
def test_gpus_that_runs_cannot_have_are_refused(
    per_run: float, on_gpus: bool, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "names_of_gpus", lambda: ["0", "1"])
    with pytest.raises(ConfigError, match=message):
        LocalExecutor.planned(None, per_run, on_gpus=on_gpus)


def test_a_process_gets_its_gpus_by_the_environment(tmp_path: Path) -> None:
    code = f"import os, sys; open(sys.argv[1] + '/seen', 'a').write(os.environ['{gpus.VISIBLE}'] + ';')"
    with Ledger(tmp_path, "rectangular") as ledger:
        ledger.add(expand(RectangularConfig, [Grid({"seed": [0, 1]})]))
        executor = LocalExecutor(2, ["3", "4,5"], command=(sys.executable, "-c", code))
        executor.run(Work(ledger, 0, Keep.ALL))
    assert sorted((tmp_path / "seen").read_text().split(";")) == ["", "3", "4,5"]


def test_runs_that_name_their_gpus_keep_them() -> None:
    auto, none, two = (RectangularConfig(gpus=value) for value in ("auto", 0, "0,1"))
    assert chosen_automatically([auto, none])
    assert not chosen_automatically([none])
    assert not chosen_automatically([auto, two])


def test_gpus_are_named_as_the_environment_names_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(gpus, "_DEVICES", ((str(tmp_path), "nvidia[0-9]*"),))
    assert names_of_gpus() == []
    (tmp_path / "nvidia0").touch()
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.delenv(gpus.VISIBLE, raising=False)
    assert names_of_gpus() == ["0", "1"]
    monkeypatch.setenv(gpus.VISIBLE, "GPU-a,GPU-b")
    assert names_of_gpus() == ["GPU-a", "GPU-b"]
    assert os.environ[gpus.VISIBLE] == "GPU-a,GPU-b"


def test_no_gpu_has_more_runs_than_it_has_room_for() -> None:
    for count in range(1, 9):
        for per_run in (0.1, 0.25, 0.3, 0.5, 0.9, 1, 2, 3):
            if per_run > count:
                continue
            room = room_for(count, per_run)
            seen = shares([str(number) for number in range(count)], per_run, room)
            used = [name for group in seen for name in group.split(",")]
            assert all(used.count(name) * min(per_run, 1) <= 1 + 1e-9 for name in used)
            assert room * per_run <= count + 1e-9
