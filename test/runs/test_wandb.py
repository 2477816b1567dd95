"""Weights & Biases: offline without a key, no prompt, and the same metrics as in the run directory."""

from __future__ import annotations

import builtins
import hashlib
import json
import logging
import os
import struct
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.runs import run_tiny, tiny

from model.errors import ConfigError
from sweep import weights_and_biases
from sweep.metrics_csv import MetricsCsv
from sweep.weights_and_biases import MODES, check_wandb, has_key, make_wandb_logger

KEY = "0123456789012345678901234567890123456789"


@pytest.fixture(autouse=True)
def _no_question(monkeypatch: pytest.MonkeyPatch) -> None:
    from wandb.analytics import opentelemetry

    monkeypatch.setattr(builtins, "input", lambda *_: pytest.fail("asked a question"))
    opentelemetry.opentelemetry_proxy.disable()  # online, its thread would look for the network in any later test


def offline_runs(folder: Path) -> list[str]:
    """The ids of the runs that were logged offline."""
    import wandb

    wandb.teardown()  # waits until wandb's service has written the file
    return [path.stem.removeprefix("run-") for path in sorted(folder.glob("wandb/offline-run-*/*.wandb"))]


def records(folder: Path) -> Iterator[object]:
    """The messages of the only offline run, stored in LevelDB's log format in blocks of 32 KiB."""
    import wandb
    from wandb.proto import wandb_internal_pb2

    wandb.teardown()  # waits until wandb's service has written the file
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    content, place, message = path.read_bytes(), 7, b""
    while place + 7 <= len(content):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        _, size, kind = struct.unpack_from("<IHB", content, place)
        message += content[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # the whole message, or its last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(message)
            message = b""
            yield record


def items(entries: object) -> dict[str, object]:
    return {entry.key or "/".join(entry.nested_key): json.loads(entry.value_json) for entry in entries}


@pytest.mark.usefixtures("data_alone")
def test_without_a_key_a_run_is_logged_offline_in_its_directory_with_one_line_of_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    before = dict(os.environ)
    names = {"wandb_project": "mine", "wandb_entity": "team", "wandb_group": "a/b", "wandb_tags": "x,y z"}
    config = {"wandb": True, "plot_status": True, "plot_every": 4, "curve_points": 2, **names}
    config |= {"wandb_notes": "Two\nlines.", "wandb_checkpoints": True}
    with caplog.at_level(logging.WARNING):
        directory, summary = run_tiny(Path("runs"), **config)
    warnings = [record.getMessage() for record in caplog.records if record.name.startswith("sweep")]
    assert warnings == [
        "Weights & Biases: no API key found, so this run is logged offline; "
        "`wandb sync runs/run/wandb/offline-run-*` uploads it later."
    ]
    assert os.listdir(tmp_path) == ["runs"]
    own = [name for name in before if not name.startswith("PL_")]  # Lightning notes the seed there
    assert {name: os.environ.get(name) for name in own} == {name: before[name] for name in own}
    assert "WANDB_MODE" not in os.environ
    (identity,) = offline_runs(directory.path)

    found = list(records(directory.path))
    (run,) = (record.run for record in found if record.WhichOneof("record_type") == "run")
    assert (run.run_id, run.project, run.display_name) == (identity, "mine", "run")
    assert (run.entity, run.run_group, list(run.tags), run.notes) == ("team", "a/b", ["x", "y z"], "Two\nlines.")
    stored = items(run.config.update)
    expected = tiny(output_dir="runs", name="run", **config).to_dict()
    assert {name: stored[name] for name in expected} == expected
    history = [items(record.history.item) for record in found if record.WhichOneof("record_type") == "history"]
    rows = [row for row in history if "train/acc" in row]
    table = MetricsCsv(directory.metrics).read()
    assert table["epoch"].tolist() == [0, 2, 4]
    assert [{name: row[name] for name in table.columns} for row in rows] == table.to_dict("records")
    assert [row["trainer/global_step"] for row in rows] == [0, 2, 4]
    plots = [row for row in history if any(name.startswith("status/unit_status") for name in row)]
    assert [row["trainer/global_step"] for row in plots] == [0, 4]
    final: dict[str, object] = {}
    for record in found:
        if record.WhichOneof("record_type") == "summary":
            final |= items(record.summary.update)
    for name in ("train/acc", "test/acc", "val/unit_dead_ratio"):
        assert final[f"best/{name}"] == summary[name]
    assert final["best_epoch"] == summary["best_epoch"]


def test_a_resumed_run_keeps_its_id(tmp_path: Path) -> None:
    directory, _ = run_tiny(tmp_path, wandb=True, epochs=2)
    run_tiny(tmp_path, wandb=True, epochs=3, resume=directory.path)
    runs = offline_runs(directory.path)
    assert len(runs) == 2
    assert len(set(runs)) == 1
    other, _ = run_tiny(tmp_path, wandb=True, epochs=1, name="other")
    assert offline_runs(other.path)[0] != runs[0]


@pytest.mark.parametrize("mode", ["disabled", "offline"])
def test_a_requested_mode_is_used_without_a_warning(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WANDB_MODE", mode)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.delenv("WANDB_ERROR_REPORTING", raising=False)
    directory, _ = run_tiny(tmp_path, wandb=True, epochs=1)
    assert len(offline_runs(directory.path)) == (mode == "offline")
    assert directory.wandb.exists() == (mode == "offline")
    assert os.environ["WANDB_ERROR_REPORTING"] == "false"
    assert not [record for record in caplog.records if record.name.startswith("sweep")]


def test_without_an_answer_of_the_server_the_run_is_logged_offline_with_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(weights_and_biases, "INIT_TIMEOUT", 1.0)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    directory, summary = run_tiny(tmp_path, wandb=True, epochs=1)
    assert summary["epochs"] == 1
    assert len(offline_runs(directory.path)) == 1
    (warning,) = (record.getMessage() for record in caplog.records if record.name.startswith("sweep"))
    assert warning.startswith("Weights & Biases: can't be used online (")
    assert "\n" not in warning


def test_with_wandb_false_no_logger_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweep.run.make_wandb_logger", lambda *_: pytest.fail("called"))
    monkeypatch.setattr("sweep.run.close_wandb", lambda *_: pytest.fail("called"))
    monkeypatch.setenv("WANDB_MODE", "nonsense")
    directory, _ = run_tiny(tmp_path, epochs=1, wandb_project="a/b")
    assert not directory.wandb.exists()


@pytest.mark.parametrize("asked", [None, "", *MODES])
@pytest.mark.parametrize("key", [True, False])
def test_a_run_is_online_only_with_a_key(
    asked: str | None, key: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if asked is not None:
        monkeypatch.setenv("WANDB_MODE", asked)
    if key:
        monkeypatch.setenv("WANDB_API_KEY", KEY)
    opened: list[str] = []

    class Opened:
        experiment = None

    def note(config: object, directory: object, mode: str) -> object:
        opened.append(mode)
        return Opened()

    monkeypatch.setattr(weights_and_biases, "_logger", note)
    config = tiny(wandb=True)
    check_wandb(config)
    make_wandb_logger(config, weights_and_biases.RunDirectory(tmp_path))
    wanted = {"dryrun": "offline", "run": "online", "": "online", None: "online"}.get(asked, asked)
    offline = wanted in ("online", "shared") and not key
    assert opened == ["offline" if offline else wanted]
    assert len(caplog.records) == offline


def test_checkpoints_are_uploaded_as_one_artifact_only_if_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    logged: list[tuple[str, str, dict[str, str]]] = []

    def note(run: object, artifact: wandb.Artifact) -> None:
        files = {name: entry.digest for name, entry in artifact.manifest.entries.items()}
        logged.append((artifact.name, artifact.type, files))

    monkeypatch.setattr(wandb.Run, "log_artifact", note)
    directory, _ = run_tiny(tmp_path, wandb=True, epochs=1, wandb_checkpoints=True, wandb_charts=False)
    run_tiny(tmp_path, wandb=True, epochs=1, name="other", wandb_charts=False)
    (identity,) = offline_runs(directory.path)
    ((name, kind, files),) = logged
    assert (name, kind) == (f"checkpoints-{identity}", "model")
    for path in (directory.best_checkpoint, directory.last_checkpoint):
        assert files[path.name] == b64encode(hashlib.md5(path.read_bytes()).digest()).decode()


def test_settings_that_wandb_refuses_are_refused_before_a_run_directory_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for project in ("a/b", "a\\b", "a#b", "a?b", "a%b", "a:b", 129 * "a"):
        with pytest.raises(ConfigError, match="wandb_project must have at most 128 characters"):
            check_wandb(tiny(wandb_project=project))
        with pytest.raises(ConfigError, match="wandb_entity must have at most 128 characters, and none of"):
            check_wandb(tiny(wandb_entity=project))
    for group in (129 * "a", "a\nb"):
        with pytest.raises(ConfigError, match=r"wandb_group must have at most 128 characters, got"):
            check_wandb(tiny(wandb_group=group))
    for tags in ("", ",", "a,,b", "a, ,b", 65 * "a"):
        with pytest.raises(ConfigError, match="wandb_tags must "):
            tiny(wandb_tags=tags)
    check_wandb(tiny(wandb_project="a b-c_d.e" + 119 * "f", wandb_entity="a-b_c", wandb_group="a/b"))
    monkeypatch.setenv("WANDB_MODE", "ofline")
    with pytest.raises(ConfigError, match=r"WANDB_MODE must be one of online, offline, .*, got 'ofline'"):
        check_wandb(tiny())


NETRC = "machine example.org\n  login me\n  password secret\n"


@pytest.mark.parametrize(
    ("netrc", "url", "expected"),
    [
        (None, None, False),
        ("", None, False),
        (NETRC, None, False),
        (NETRC + "machine api.wandb.ai login user password " + KEY, None, True),
        (NETRC + "machine wandb.here login user password " + KEY, None, False),
        (NETRC + "machine wandb.here login user password " + KEY, "http://wandb.here:8080", True),
        ("machine api.wandb.ai login", None, False),
        ("\x00\udcff nonsense", None, False),
    ],
)
def test_a_key_is_read_from_the_places_where_wandb_stores_it(
    netrc: str | None, url: str | None, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    if netrc is not None:
        (tmp_path / "netrc").write_bytes(netrc.encode(errors="surrogateescape"))
    if url is not None:
        monkeypatch.setenv("WANDB_BASE_URL", url)
    assert has_key() is expected
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert has_key()
