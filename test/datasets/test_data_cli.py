"""The command ``python -m data``."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.image_layouts import kaggle_layout, torchvision_layout

from data.__main__ import main
from data.cache import FOLDER_VARIABLE
from data.datasets import DATASETS


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    return tmp_path


def test_the_list_has_every_data_set(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line}
    for name, info in DATASETS.items():
        assert info.license in lines[name]
        assert lines[name].split()[2:5] == [str(info.rows), str(info.features), str(info.classes)]
        here = info.source in ("generated", "scikit-learn")
        assert ("built in" if here else "not cached") in lines[name]


def test_the_list_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == list(DATASETS)
    assert all(row["rows"] == DATASETS[row["name"]].rows for row in rows)


def test_the_list_as_a_markdown_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--markdown"]) == 0
    head, rule, *rows = capsys.readouterr().out.splitlines()
    assert head == "| name | title | source | rows | features | classes | license |"
    assert rule.count("|") == head.count("|")
    assert [row.split("`")[1] for row in rows] == list(DATASETS)
    for row, info in zip(rows, DATASETS.values(), strict=True):
        assert f"[{info.title}]({info.url}) | {info.source} | {info.rows} |" in row
        assert row.endswith(f"| {info.classes} | {info.license} |")


@pytest.mark.parametrize("name", DATASETS)
def test_one_data_set_is_described(name: str, capsys: pytest.CaptureFixture[str], empty_cache: Path) -> None:
    assert main([name]) == 0
    text = capsys.readouterr().out
    info = DATASETS[name]
    assert all(part in " ".join(text.split()) for part in (info.title, info.creators, info.note))
    assert info.url in text
    for file in info.files:
        assert str(empty_cache / "uci" / name / file.name) in text
        assert file.sha256[0] in text
    assert main([name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["license"] == info.license


def test_a_damaged_file_is_shown_in_the_list(
    capsys: pytest.CaptureFixture[str], empty_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "uci" / "haberman").mkdir(parents=True)
    (other / "uci" / "haberman" / "haberman.data").write_bytes(b"30,64,1,1\n")
    assert main(["--data_dir", str(other), "--json"]) == 0
    states = {row["name"]: row["available"] for row in json.loads(capsys.readouterr().out)}
    assert states.pop("haberman") == "damaged"
    assert set(states.values()) == {"built in", "not cached"}


@pytest.mark.parametrize("name", ["imagenet", "imagenette"])
def test_the_place_of_a_missing_folder_is_shown(
    name: str, capsys: pytest.CaptureFixture[str], empty_cache: Path
) -> None:
    assert main([name]) == 0
    text = capsys.readouterr().out
    assert f"folder:    {empty_cache / name}\n" in text
    assert "layout:" not in text


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        (torchvision_layout, "torchvision's, training images in {root}/train, test images in {root}/val"),
        (kaggle_layout, "Kaggle's, training images in {root}/ILSVRC/Data/CLS-LOC/train, test images in "),
        (kaggle_layout, "their classes in {root}/LOC_val_solution.csv"),
    ],
)
def test_layout_and_content_of_a_folder_are_shown(
    layout: Callable[..., Path], words: str, capsys: pytest.CaptureFixture[str], empty_cache: Path
) -> None:
    root = layout(empty_cache, classes=3, per_class=4, held=2)
    assert main(["imagenet", "--json"]) == 0
    details = json.loads(capsys.readouterr().out)
    assert (details["available"], details["folder"]) == ("cached", str(root))
    assert words.format(root=root) in details["layout"]
    assert details["found"] == "12 training and 6 test images of 3 classes"
    # --data_dir may also be the folder of the set itself.
    assert main(["imagenet", "--data_dir", str(root)]) == 0
    assert f"folder:    {root}\n" in capsys.readouterr().out


def test_the_problem_of_an_unusable_folder_is_shown(capsys: pytest.CaptureFixture[str], empty_cache: Path) -> None:
    (kaggle_layout(empty_cache) / "LOC_val_solution.csv").unlink()
    assert main(["imagenet", "--json"]) == 0
    details = json.loads(capsys.readouterr().out)
    assert details["available"] == "damaged"
    assert "LOC_val_solution.csv" in details["problem"]
    assert main([]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["abalones"], "Did you mean 'abalone'?"),
        (["?"], "dataset must be one of moons"),
        (["--jsn"], "--jsn"),
        (["moons", "circles"], "circles"),
        (["moons", "--markdown"], "leave NAME out"),
        (["--json", "--markdown"], "not allowed with"),
    ],
)
def test_a_wrong_argument_is_one_line_and_status_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    out, err = capsys.readouterr()
    assert stop.value.code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert message in err


def test_the_command_runs_without_torch() -> None:
    root = Path(__file__).resolve().parents[2]
    code = (
        "import sys, runpy; sys.argv = ['data']; sys.modules['torch'] = None; "
        "runpy.run_module('data', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "moons" in done.stdout
