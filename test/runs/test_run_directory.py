"""Run directories: written atomically, never overwritten, exact to the last digit."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import struct
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from jumpstart.extrema import kernel
from jumpstart.files import write_text
from model.config.options import Config, option
from model.config.rectangular import RectangularConfig
from sweep import run_directory
from sweep.files import write_json, write_yaml
from sweep.grid.expand import Member
from sweep.ledger.entry import label_of
from sweep.metrics_csv import MetricsCsv
from sweep.run_directory import RunDirectory, RunDirectoryError, describe_environment

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, kw_only=True)
class Tiny(Config):
    """A config whose label is no good folder name."""

    lr: float = option(1e-5, "Rate.")
    sizes: tuple[int, ...] = option((1, 2), "Sizes.")
    name: str | None = option(None, "Name.")

    @property
    def label(self) -> str:
        """A label with a separator in it."""
        return "a/b c"


def test_a_new_run_holds_its_config_and_environment(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "deep" / "runs", "first", Tiny())
    assert run.path == tmp_path / "deep" / "runs" / "first"
    assert os.listdir(run.path.parent) == ["first"]
    assert sorted(os.listdir(run.path)) == [
        "checkpoints",
        "config.yaml",
        "environment.json",
        "plots",
    ]
    assert run.read_config() == {"lr": 1e-5, "sizes": [1, 2], "name": None}
    assert Tiny.from_dict(run.read_config()) == Tiny()
    assert json.loads(run.environment.read_text())["versions"]["torch"]
    assert json.loads(run.environment.read_text())["jumpstart"] == kernel.description()


def test_generated_names_are_readable_and_unique(tmp_path: Path) -> None:
    runs = [RunDirectory.create(tmp_path, None, Tiny()).path.name for _ in range(5)]
    assert len(set(runs)) == 5
    assert all(name.startswith(f"a_b_c-{time.strftime('%Y')}") for name in runs)
    assert sorted(os.listdir(tmp_path)) == sorted(runs)


@pytest.mark.parametrize("letter", ["a", "ü", "数", "𠀀"])
def test_a_generated_name_fits_a_file_system(letter: str, tmp_path: Path) -> None:
    config = RectangularConfig(dataset=f"/{letter * (250 // len(letter.encode()))}.csv", target="y")
    label = RunDirectory.create(tmp_path, None, config).path.name
    assert len(label.encode()) <= 150
    name = label_of(7, Member(config, None, {"dataset": config.dataset}, ""))
    assert RectangularConfig(name=name).name == name
    assert name.startswith("00007-dataset=")


def test_a_taken_name_is_refused_and_its_folder_kept(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, "a", Tiny())
    before = run.environment.read_bytes()
    with pytest.raises(RunDirectoryError, match=r"exists already\..*--name, or continue it with --resume="):
        RunDirectory.create(tmp_path, "a", Tiny(lr=1))
    assert run.environment.read_bytes() == before
    (tmp_path / "empty").mkdir()
    assert RunDirectory.create(tmp_path, "empty", Tiny()).config.is_file()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "mine").touch()
    (tmp_path / "c").touch()
    for name in "bc":
        with pytest.raises(RunDirectoryError, match=r"exists already\. Choose another --name\.$"):
            RunDirectory.create(tmp_path, name, Tiny())
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "c", "empty"]


def test_a_name_taken_at_the_last_moment_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow() -> dict[str, object]:
        RunDirectory(tmp_path / "a").plots.mkdir(parents=True)
        return {}

    monkeypatch.setattr(run_directory, "describe_environment", slow)
    with pytest.raises(RunDirectoryError, match="exists already"):
        RunDirectory.create(tmp_path, "a", Tiny())
    assert os.listdir(tmp_path) == ["a"]


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunDirectoryError, match=r"output_dir .*/file/runs can't be written: .* is a file"):
        RunDirectory.create(tmp_path / "file" / "runs", None, Tiny())
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(RunDirectoryError, match="no permission to write in"):
        RunDirectory.create(tmp_path / "runs", None, Tiny())
    assert os.listdir(tmp_path) == ["file"]


def test_a_failed_creation_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> dict[str, object]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run_directory, "describe_environment", full)
    with pytest.raises(RunDirectoryError, match="can't be written: No space left on device"):
        RunDirectory.create(tmp_path, "a", Tiny())
    assert os.listdir(tmp_path) == []


def test_a_folder_without_a_run_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="does not exist"):
        RunDirectory.open(tmp_path / "none")
    with pytest.raises(RunDirectoryError, match=r"it has no config.yaml"):
        RunDirectory.open(tmp_path)
    run = RunDirectory.create(tmp_path, "a", Tiny())
    assert RunDirectory.open(run.path).path == run.path


@pytest.mark.parametrize("text", ["", "- 1", "a: [", "\0"])
def test_a_damaged_config_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    run = RunDirectory.create(tmp_path, "a", Tiny())
    run.config.write_text(text)
    with pytest.raises(RunDirectoryError) as caught:
        run.read_config()
    assert str(run.config) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_resumption_is_recorded_with_the_new_options(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, "a", Tiny())
    started = json.loads(run.environment.read_text())["started"]
    for lr in (2.0, 3.0):
        run.failure.write_text("It was interrupted.\n")
        run.record_resume(Tiny(lr=lr))
        assert not run.failure.exists()
    environment = json.loads(run.environment.read_text())
    assert run.read_config()["lr"] == 3.0
    assert environment["started"] == started
    assert len(environment["resumed"]) == 2


def test_the_environment_names_versions_commit_and_command() -> None:
    found = json.loads(json.dumps(describe_environment()))
    assert found["versions"]["numpy"] == np.__version__
    assert set(found["versions"]) >= {"torch", "pytorch-lightning", "scikit-learn", "wandb"}
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["cpus"] == os.cpu_count()
    assert {"started", "command", "platform", "gpus", "git"} <= found.keys()


def test_the_environment_has_the_commit_and_whether_files_differ(tmp_path: Path) -> None:
    assert run_directory._git_state(tmp_path) is None

    def git(*words: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        command = ["git", "-C", str(tmp_path), *identity, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    assert run_directory._git_state(tmp_path) is None
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-qm", "a")
    clean = {"commit": git("rev-parse", "HEAD"), "dirty": False}
    assert run_directory._git_state(tmp_path) == clean
    (tmp_path / "untracked").touch()
    assert run_directory._git_state(tmp_path) == clean
    (tmp_path / "a").write_text("2")
    assert run_directory._git_state(tmp_path) == clean | {"dirty": True}


def test_writers_replace_files_atomically_and_leave_no_draft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    write_text(path, "new\n")
    assert path.read_bytes() == b"new\n"

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_text(path, "half")
    assert path.read_bytes() == b"new\n"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_json_and_yaml_are_strict_and_keep_the_order(tmp_path: Path) -> None:
    values = {
        "z": 0.1 + 0.2,
        "a": (1, 2),
        "scalar": torch.tensor(0.5),
        "number": np.float64(0.25),
        "path": Path("x"),
        "nan": math.nan,
        "inside": {"inf": [math.inf]},
    }
    write_json(tmp_path / "a.json", values)
    assert json.loads((tmp_path / "a.json").read_text(), parse_constant=pytest.fail) == {
        "z": 0.1 + 0.2,
        "a": [1, 2],
        "scalar": 0.5,
        "number": 0.25,
        "path": "x",
        "nan": None,
        "inside": {"inf": [None]},
    }
    plain = {"z": 1e-05, "a": "1e-5", "name": "null", "none": None, "text": "ü"}
    write_yaml(tmp_path / "a.yaml", plain)
    back = yaml.safe_load((tmp_path / "a.yaml").read_text(encoding="utf-8"))
    assert list(back.items()) == list(plain.items())


def awkward_number(rng: random.Random) -> float | int | None:
    wide = rng.gauss(0, 1) * 10 ** rng.randint(-300, 300)
    (any_bits,) = struct.unpack("d", rng.randbytes(8))
    choices: list[float | int | None]
    choices = [rng.random(), wide, float(any_bits), math.nan, None, rng.randint(-(2**53), 2**53)]
    return rng.choice(choices)


def frame_of(rows: dict[int, dict[str, object]], columns: list[str]) -> pd.DataFrame:
    table = {name: [row.get(name) for row in rows.values()] for name in columns}
    return pd.DataFrame({"epoch": list(rows), **table}).astype(float)


@pytest.mark.parametrize("seed", range(20))
def test_any_history_reads_back_exactly(tmp_path: Path, seed: int) -> None:
    """Random appends, merges, flushes, new columns, crashes and cuts against a dictionary."""
    rng = random.Random(seed)
    path = tmp_path / "metrics.csv"
    table = MetricsCsv(path, buffer_rows=rng.randint(1, 5))
    expected: dict[int, dict[str, object]] = {}
    columns: list[str] = []
    epoch = 0
    for _ in range(200):
        action = rng.random()
        if action < 0.8:
            epoch += rng.randint(0, 2)
            values = {f"val/{rng.choice('abcdefgh')}": awkward_number(rng) for _ in range(3)}
            columns += [name for name in values if name not in columns]
            table.append(epoch, values)
            expected.setdefault(epoch, {}).update(values)
        elif action < 0.9:
            table.flush()
        elif action < 0.95:
            expected = dict(list(expected.items())[: max(1, len(expected) - rng.randint(0, 3))])
            epoch = max(expected, default=0)
            table.keep(len(expected))
        else:
            table.flush()
            with path.open("ab") as file:
                file.write(rng.choice([b"", b"7", f"{epoch + 1},0.1".encode(), b"\0\0\n", b"1,2\n"]))
            table = MetricsCsv(path, buffer_rows=3)
    found = table.read()
    assert set(columns) == set(found.columns) - {"epoch"}
    pd.testing.assert_frame_equal(found.astype(float), frame_of(expected, list(found.columns)[1:]), check_exact=True)


def test_rows_are_buffered_until_a_block_is_full_or_flushed(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    table = MetricsCsv(path, columns=["b", "a"], buffer_rows=3, flush_seconds=1e9)
    assert not path.exists()
    assert list(table.read().columns) == ["epoch", "b", "a"]
    for epoch in (0, 1):
        table.append(epoch, {"a": epoch})
    assert not path.exists()
    table.append(2, {"a": 2})
    assert path.read_text() == "epoch,b,a\n0,,0\n1,,1\n2,,2\n"
    table.append(3, {"a": 3.0, "b": None})
    assert table.last_epoch == 3
    table.flush()
    assert path.read_text().endswith("2,,2\n3,,3.0\n")


def test_an_old_buffer_is_written_with_the_next_row(tmp_path: Path) -> None:
    table = MetricsCsv(tmp_path / "metrics.csv", flush_seconds=0)
    table.append(1, {"a": 1})
    assert table.path.read_text() == "epoch,a\n1,1\n"


def test_scalars_of_torch_and_numpy_are_accepted(tmp_path: Path) -> None:
    with MetricsCsv(tmp_path / "metrics.csv") as table:
        table.append(1, {"a": torch.tensor(0.1), "b": np.float32(0.1), "c": True, "d": math.inf})
    row = table.read().iloc[0]
    assert (row["a"], row["b"], row["c"], row["d"]) == (
        np.float32(0.1),
        np.float32(0.1),
        1,
        math.inf,
    )


def test_an_earlier_epoch_and_bad_columns_are_refused(tmp_path: Path) -> None:
    table = MetricsCsv(tmp_path / "metrics.csv")
    table.append(5, {"a": 1})
    with pytest.raises(ValueError, match="epoch must be >= 5, that of the latest row, got 4"):
        table.append(4, {"a": 1})
    with pytest.raises(ValueError, match="epoch must be >= 0"):
        MetricsCsv(tmp_path / "other.csv").append(-1, {})
    for name in ("", "epoch", "a,b", 'a"', "a\n"):
        with pytest.raises(ValueError, match="can't be named"):
            table.append(5, {name: 1})
    with pytest.raises(TypeError):
        table.append(5, {"a": []})  # type: ignore[dict-item]


def test_a_foreign_or_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    for text, part in (("a,b\n1,2\n", "no table of epochs"), ("epoch,a\n1\n2,3\n", "in line 2")):
        path.write_text(text)
        with pytest.raises(RunDirectoryError, match=part):
            MetricsCsv(path)
        assert path.read_text() == text


@pytest.mark.parametrize("cut", range(len("epoch,a\n1,0.25\n2,0.5\n") + 1))
def test_a_file_cut_anywhere_keeps_its_complete_rows(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "metrics.csv"
    whole = "epoch,a\n1,0.25\n2,0.5\n"
    path.write_text(whole[:cut])
    table = MetricsCsv(path)
    rows = whole[:cut].count("\n") - 1
    assert table.last_epoch == (rows if rows > 0 else None)
    table.append(3, {"a": 0.75})
    table.flush()
    kept = whole.splitlines(keepends=True)[: max(rows, 0) + 1]
    assert path.read_text() == "".join(kept) + "3,0.75\n"


def test_a_last_row_that_is_not_text_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_bytes(b"epoch,a\n1,0.25\n2,\xff\n")
    assert MetricsCsv(path).read().to_dict("list") == {"epoch": [1], "a": [0.25]}
    assert path.read_bytes() == b"epoch,a\n1,0.25\n"


def test_a_killed_writer_loses_its_buffer_at_most(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    code = f"""
import sys
from sweep.metrics_csv import MetricsCsv
table = MetricsCsv({str(path)!r}, buffer_rows=7)
for epoch in range(10**9):
    table.append(epoch, {{"a": epoch / 7, f"b{{epoch // 5000}}": epoch}})
"""
    for _ in range(5):
        process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
        while not path.exists():
            time.sleep(0.01)
        time.sleep(random.Random(process.pid).uniform(0.01, 0.1))
        process.send_signal(signal.SIGKILL)
        process.wait()
        found = MetricsCsv(path).read()
        assert found["epoch"].tolist() == list(range(len(found)))
        assert found["a"].tolist() == [epoch / 7 for epoch in range(len(found))]
        for draft in (*tmp_path.glob(".*.tmp"), path):
            draft.unlink()


def test_a_row_of_forty_metrics_is_cheap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In processor time; and the disk, whose time is not the processor's, is written to once in many rows."""
    written: list[MetricsCsv] = []
    synced: list[int] = []
    write_rows = MetricsCsv._write_rows

    def write(table: MetricsCsv) -> None:
        written.append(table)
        write_rows(table)

    monkeypatch.setattr(MetricsCsv, "_write_rows", write)
    monkeypatch.setattr(os, "fsync", synced.append)
    rng = random.Random(0)
    values = {f"val/metric_{index}": rng.random() for index in range(40)}
    best = math.inf
    for trial in range(5):
        start = time.process_time()
        with MetricsCsv(tmp_path / f"{trial}.csv") as table:
            for epoch in range(500):
                table.append(epoch, values)
        best = min(best, (time.process_time() - start) / 500)
    assert best < 200e-6
    assert len(written) <= 5 * 500 / 50
    assert len(synced) <= 3 * 5  # at the beginning and at the end of each table
