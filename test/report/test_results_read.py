"""Results that are read: sweeps, run directories and projects of Weights & Biases; files that are damaged."""

from __future__ import annotations

import csv
import io
import json
import logging
import math
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from support.hostile import HOSTILE
from support.report_runs import make_run

from jumpstart.literal import csv_text, csv_value
from jumpstart.table import dataset_table, read_results, read_wandb, results_table, to_csv, to_markdown

CSV = """number,run,state,tries,elapsed,error,technique,depth,pool_at,scheduler,epochs,data/rows,test/acc,epochs
1,1-a,finished,1,2.5,,baseline,2,"[2, 4]",null,300,1000,0.5,290
2,2-b,finished,1,2.5,,jumpstart,10,[],cosine,300,1000,nan,300
3,3-c,failed,2,,"ValueError: no, not this",jumpstart,50,[],cosine,300,,,
"""


def make_sweep(folder: Path, text: str = CSV) -> Path:
    folder.mkdir()
    (folder / "results.csv").write_text(text, encoding="utf-8")
    return folder


def test_a_sweep_is_read_with_its_types(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        runs = read_results(make_sweep(tmp_path / "sweep"))
    assert "1 of 3 runs in" in caplog.text
    first, second = runs.to_dict("records")
    assert first["pool_at"] == [2, 4]
    assert (first["depth"], first["scheduler"], first["technique"]) == (2, None, "baseline")
    assert (second["scheduler"], second["elapsed"], second["data/rows"]) == ("cosine", 2.5, 1000)
    assert math.isnan(second["test/acc"])
    assert runs["epochs"].tolist() == [300, 300], "the option, and not the epochs that were trained"
    assert [str(runs[name].dtype) for name in ("test/acc", "depth", "scheduler")] == ["float64", "int64", "object"]
    assert read_results(tmp_path / "sweep", finished=False)["error"][2] == "ValueError: no, not this"


def test_options_that_do_not_vary_are_those_of_any_run(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path / "sweep")
    (sweep / "runs" / "2-b").mkdir(parents=True)
    (sweep / "runs" / "2-b" / "config.yaml").write_text("dataset: moons\ndepth: 10\nname: 2-b\noutput_dir: x\n")
    runs = read_results(sweep)
    assert runs["dataset"].tolist() == ["moons", "moons"]
    assert runs["depth"].tolist() == [2, 10]
    assert {"name", "output_dir"}.isdisjoint(runs.columns)


@pytest.mark.parametrize("name", ["1e3", "null", "true", "NaN", '"quoted"', "{}", "nan", "[" * 5000, "", "'=a", "''@"])
def test_texts_that_look_like_something_else(tmp_path: Path, name: str) -> None:
    text = io.StringIO()
    csv.writer(text).writerows(
        [["run", "state", "error", "dataset"], [csv_text(name), "finished", "x", csv_text(name)]]
    )
    runs = read_results(make_sweep(tmp_path / "sweep", text.getvalue()))
    assert runs["run"][0] == (name or None)
    assert runs["dataset"][0] in (name, {"1e3": 1000.0, "true": True}.get(name))


def test_run_directories_and_folders_of_them_are_read(tmp_path: Path) -> None:
    one = make_run(tmp_path, "one", lambda_=0.1, milestones=[2, 4], output_dir="x")
    other = make_run(tmp_path, "other", lambda_=0.2)
    facts = {"data": {"rows": 150, "features": 4, "classes": 3, "class_names": ["a", "b", "c"]}}
    (other / "summary.json").write_text(json.dumps({"test/acc": 0.5, "epochs": 7, **facts}))
    runs = read_results(one, other, tmp_path, one)
    assert runs["run"].tolist() == ["one", "other"], "each run once"
    assert runs["lambda_"].tolist() == [0.1, 0.2]
    assert runs["milestones"][0] == [2, 4]
    assert runs["epochs"].tolist() == [30, 30], "the option"
    assert runs["test/acc"].tolist() == [0.77, 0.5]
    assert dataset_table(runs[1:]).iloc[0].tolist() == ["moons", 150, 4, 3]
    assert to_markdown(results_table(runs, "dataset")).endswith("| moons | 0.635 ± 0.191 |")
    (one / "summary.json").unlink()
    assert read_results(tmp_path)["run"].tolist() == ["other"]
    assert read_results(tmp_path, finished=False)["state"].tolist() == ["unfinished", "finished"]


def damaged(name: str, text: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = make_run(folder)
        (path / name).write_text(text)
        return path

    return make


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "none", "folder must exist, got .*none"),
        (lambda folder: folder, r"folder must hold runs, got .* neither results\.csv of a sweep nor config\.yaml"),
        (lambda folder: make_sweep(folder / "s", "a,b\n1,2\n"), "has no columns run and state"),
        (lambda folder: make_sweep(folder / "s", ""), "has no columns run and state"),
        (lambda folder: make_sweep(folder / "s", "run,state\na,finished,3\n"), "row 1 has 3 cells, not 2"),
        (lambda folder: make_sweep(folder / "s", "run,state\na,failed\n"), "has no finished run"),
        (damaged("summary.json", "{"), r"summary\.json can't be read"),
        (damaged("summary.json", "[1]"), r"summary\.json can't be read: it holds no names"),
        (damaged("config.yaml", "a: 1\na: 2\n"), r"config\.yaml can't be read: .* given twice"),
        (lambda folder: "", "folder must not be empty"),
        (lambda folder: "s3://bucket/runs", "folder must be a local path"),
    ],
)
def test_what_holds_no_results_is_refused(tmp_path: Path, make: Callable[[Path], Path], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        read_results(make(tmp_path))
    assert "\n" not in str(error.value)


def test_no_folder_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one folder, got none"):
        read_results()


# Cells of CSV files -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*HOSTILE.values(), "@a", "\tb", "\rc", "+1", "'=a", "'", "''=", "'a"])
def test_a_cell_is_no_formula_and_returns_its_text(name: str) -> None:
    assert csv_text(name)[:1] not in {*"=+-@\t\r"}
    assert csv_value(csv_text(name)) == csv_text(name).removeprefix("'" * csv_text(name).startswith("'" + name[:1]))
    if name.isprintable():
        assert csv_value(csv_text(name)) == name


def test_numbers_below_zero_stay_numbers() -> None:
    assert to_csv(pd.DataFrame({"=a": [-1.5], "b": ["-1.5"]})) == "'=a,b\n-1.5,'-1.5\n"


# Weights & Biases ---------------------------------------------------------------------------------


class FakeApi:
    """The part of ``wandb.Api`` that is used."""

    def __init__(self, *runs: SimpleNamespace) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.found = runs

    def runs(self, path: str, filters: dict[str, object], *, lazy: bool) -> tuple[SimpleNamespace, ...]:
        self.asked.append((path, filters, lazy))
        return self.found


def wandb_run(name: str, state: str = "finished", **summary: object) -> SimpleNamespace:
    config = {"depth": 2, "lambda_": 0.01, "epochs": 300, "_wandb": {"t": 1}, "optimizer": {"name": "adam"}}
    return SimpleNamespace(name=name, state=state, config=config, summary_metrics=summary)


def test_a_project_is_read_with_the_metrics_of_the_best_weights(caplog: pytest.LogCaptureFixture) -> None:
    summary = {
        "best/test/acc": 0.9,
        "val/acc": 0.7,
        "best/val/acc": 0.8,
        "train/loss": "NaN",
        "_step": 9,
        "epochs": 299,
    }
    api = FakeApi(wandb_run("a", **summary, **{"data/rows": 100, "chart": {"_type": "x"}}), wandb_run("b", "crashed"))
    runs = read_wandb("me/depths", filters={"group": "g"}, api=api)
    assert api.asked == [("me/depths", {"group": "g"}, False)]
    assert "1 of 2 runs in me/depths have not finished" in caplog.text
    (row,) = runs.to_dict("records")
    assert math.isnan(row.pop("train/loss"))
    assert row == {
        "run": "a", "state": "finished", "depth": 2, "lambda_": 0.01, "epochs": 300, "optimizer.name": "adam",
        "val/acc": 0.8, "test/acc": 0.9, "data/rows": 100,
    }  # fmt: skip
    assert read_wandb("depths", finished=False, api=api)["state"].tolist() == ["finished", "crashed"]


def test_wandb_itself_is_asked_where_no_api_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    api = FakeApi(wandb_run("a", **{"best/test/acc": 0.9}))
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(Api=lambda: api, Error=OSError))
    assert read_wandb("me/depths")["test/acc"].tolist() == [0.9]
    monkeypatch.setattr(api, "runs", lambda *_, **__: (_ for _ in ()).throw(OSError("no API\nkey")))
    with pytest.raises(ValueError, match=r"^project 'me/depths' can't be read: no API key$"):
        read_wandb("me/depths")


@pytest.mark.parametrize(
    ("project", "runs", "message"),
    [
        ("", [], "project must be 'entity/project' or 'project', got ''"),
        ("a/b/c", [], "got 'a/b/c'"),
        ("me/", [], "got 'me/'"),
        (None, [], "got None"),
        ("me/depths", [], "project must have runs, got 'me/depths'"),
        ("me/depths", [wandb_run("a", "failed")], "me/depths has no finished run"),
    ],
)
def test_a_project_without_results_is_refused(project: str, runs: list[SimpleNamespace], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_wandb(project, api=FakeApi(*runs))
