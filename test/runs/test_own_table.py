"""A run on a table of one's own: from the file to the report, and resumed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from support.runs import command, flags

HEAD = "id,width,color,kind\n"
ROWS = "".join(f"{row},{row * 37 % 50 / 10},{('red', 'blue', '')[row % 3]},{'ab'[row % 2]}\n" for row in range(60))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``my table.csv`` and a finished run on it, which no test may change."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "my table.csv").write_text(HEAD + ROWS)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        arguments = flags(dataset="./my table.csv", target="-1", epochs=1, depth=2, output_dir=str(folder), name="run")
        assert command(*arguments) == 0
    return folder


def test_a_run_keeps_what_was_found(finished: Path) -> None:
    run = finished / "run"
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["dataset"] == str(finished / "my table.csv")
    assert config["target"] == "-1"
    data = json.loads((run / "data.json").read_text())
    assert data.pop("fingerprint").startswith("my table.csv with SHA-256 ")
    assert {column["name"]: column["kind"] for column in data["columns"]} == {
        "id": "left out",
        "width": "number",
        "color": "category",
        "kind": "target",
    }
    assert json.loads((run / "summary.json").read_text())["data"] == data
    report = (run / "report.html").read_text()
    for words in ("Columns of the data: 4", "it numbers the rows", "2: blue, red", "my table.csv: separated by commas"):
        assert words in report


def test_the_columns_are_shown_before_training(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = finished / "my table.csv"
    arguments = flags(dataset=str(path), target="kind", epochs=1, depth=2, output_dir=str(tmp_path))
    assert command(*arguments) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("my table.csv: separated by commas")
    assert shown.index("left out") < shown.index("best_epoch")
    assert [path.name.startswith("my_table.csv-2x4") for path in tmp_path.iterdir()] == [True]


def test_a_resumed_run_refuses_a_file_that_has_changed(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished / "run", run)
    table, content = finished / "my table.csv", HEAD + ROWS
    monkeypatch.chdir(tmp_path)
    try:
        table.write_text(content.replace("a\n", "b\n", 1))
        before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != "run.lock"}
        assert command(f"--resume={run}", "--epochs=2") == 2
        message = capsys.readouterr().err
        assert message.count("\n") == 1
        assert "the data changed since" in message
        assert all(path.read_bytes() == old for path, old in before.items())
        without = tmp_path / "without"
        shutil.copytree(run, without)
        for path in (*(without / "checkpoints").iterdir(), without / "metrics.csv", without / "summary.json"):
            path.unlink()
        assert command(f"--resume={without}", "--epochs=2") == 2
        message = capsys.readouterr().err
        assert f"the data changed since {without / 'data.json'} was written: my table.csv with SHA-256" in message
        (without / "data.json").write_text("{")
        assert command(f"--resume={without}", "--epochs=2") == 2
        assert f"{without / 'data.json'} can't be read" in capsys.readouterr().err
    finally:
        table.write_text(content)
    assert command(f"--resume={run}", "--epochs=2") == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dataset": "moons", "target": "y"}, "target has an effect for a table of your own only"),
        ({"target": "kin"}, "Did you mean 'kind'?"),
        ({"target": "kind", "layer": "conv"}, 'layer="conv" needs images'),
        ({"target": "kind", "test_dataset": "none.csv"}, "none.csv does not exist"),
    ],
)
def test_wrong_options_are_refused_before_a_run_is_made(
    options: dict[str, object], message: str, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(finished / "my table.csv")
    assert command(*flags(**{"dataset": path, "output_dir": str(tmp_path / "runs"), **options})) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert not (tmp_path / "runs").exists()
