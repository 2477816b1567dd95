"""``python -m sweep table``: tables of a sweep's folder, and what the command refuses."""

from __future__ import annotations

import csv
import dataclasses
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from matplotlib.image import imread
from support.documents import DOCUMENTS, commands_of

from jumpstart.words import CommandParser
from model.config.rectangular import RectangularConfig
from sweep.__main__ import main
from sweep.grid.expand import Grid, expand
from sweep.ledger.ledger import Ledger
from sweep.ledger.results import NAME, results_text
from sweep.ledger.rows import Rows
from sweep.table import add_table_options

Table = Callable[..., list[str]]
FACTS = {"moons": (1000, 2, 2), "iris": (150, 4, 3)}
# Accuracies of seed 0; those of seed 1 are 0.02 higher. With lambda 0.1, iris is better on the test part alone.
ACCURACIES = {
    ("baseline", 0.0, "moons"): (0.6, 0.5),
    ("baseline", 0.0, "iris"): (0.9, 0.9),
    ("jumpstart", 0.01, "moons"): (0.9, 0.9),
    ("jumpstart", 0.01, "iris"): (0.9, 0.8),
    ("jumpstart", 0.1, "moons"): (0.8, 0.8),
    ("jumpstart", 0.1, "iris"): (0.85, 1.0),
    ("batchnorm", 0.0, "moons"): (0.7, 0.7),
    ("batchnorm", 0.0, "iris"): (0.8, 0.7),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep whose runs were not trained."""
    path = tmp_path_factory.mktemp("sweep")
    values = {"dataset": ["moons", "iris"], "lambda_": [0.01, 0.1], "seed": [0, 1]}
    with Ledger(path, "rectangular") as ledger:
        ledger.add(expand(RectangularConfig, [Grid(values, ["baseline", "jumpstart", "batchnorm"])]))
        for entry in ledger.entries():
            config = entry.config
            key = str(entry.technique), float(str(config["lambda_"])), str(config["dataset"])
            val, test = (acc + 0.02 * int(str(config["seed"])) for acc in ACCURACIES[key])
            facts = dict(zip(("rows", "features", "classes"), FACTS[key[2]], strict=True))
            ratios = {"test/unit_dead_ratio": 0.3 if key[0] == "baseline" else 0.0, "test/unit_linear_ratio": 0.0}
            ledger.finish(entry.number, {"val/acc": val, "test/acc": min(1.0, test), **ratios, "data": facts}, 1.0)
    return path


@pytest.fixture
def table(folder: Path, capsys: pytest.CaptureFixture[str]) -> Table:
    def run(*options: str) -> list[str]:
        assert main(["table", str(folder), *options]) == 0
        return capsys.readouterr().out.splitlines()

    return run


def cells(lines: list[str]) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if not line.startswith("|:")]


def test_by_default_a_row_is_what_varies_but_for_the_seed(table: Table) -> None:
    head, *rows = cells(table())
    assert head == ["technique", "lambda_", "dataset", "test/acc"]
    assert len(rows) == 8
    assert ["jumpstart", "0.1", "moons", "0.810 ± 0.014"] in rows


def test_settings_are_chosen_on_validation_and_reported_on_test(table: Table) -> None:
    assert cells(table("--by=dataset", "--columns=technique", "--tune=lambda_", "--digits=2")) == [
        ["dataset", "baseline", "jumpstart", "batchnorm"],
        ["moons", "0.51 ± 0.01", "**0.91 ± 0.01**", "0.71 ± 0.01"],
        ["iris", "**0.91 ± 0.01**", "0.81 ± 0.01", "0.71 ± 0.01"],
    ]


def test_the_comparisons_of_techniques(table: Table) -> None:
    assert cells(table("--show=wins", "--tune=lambda_"))[1:3] == [
        ["baseline", "jumpstart", "1", "0", "1"],
        ["baseline", "batchnorm", "1", "0", "1"],
    ]
    lines = table("--show=ranks", "--tune=lambda_", "--digits=1")
    assert cells(lines[:5])[1:] == [
        ["moons", "3.0", "**1.0**", "2.0"],
        ["iris", "**1.0**", "2.0", "3.0"],
        ["mean", "2.0", "**1.5**", "2.5"],
    ]
    assert lines[-1].startswith("Friedman test over 2 data sets: chi-squared(2) = 1.000")
    figures = cells(table("--show=key_figures"))
    assert figures[1][:2] == ["baseline", "1.000"]
    assert [row[-1] for row in figures[1:]] == ["-0.200", "-0.050", "-0.200"]
    assert cells(table("--show=datasets"))[1:] == [["moons", "1000", "2", "2"], ["iris", "150", "4", "3"]]


def test_every_format_and_a_file(table: Table, tmp_path: Path) -> None:
    given = ("--by=dataset", "--columns=technique")
    assert r"\cellcolor" in "".join(table(*given, "--format=latex", "--colors"))
    assert "<strong>" in "".join(table(*given, "--format=html"))
    assert table(*given, "--format=csv")[0].startswith("dataset,baseline,baseline_std")
    assert table("--show=ranks", "--format=latex")[-1].startswith("% Friedman test")
    path = tmp_path / "new" / "table.md"
    assert table(*given, f"--output={path}") == []
    assert path.read_text().splitlines() == table(*given)


@pytest.mark.parametrize(
    "options", [["--by=dataset", "--columns=lambda_"], ["--by=technique"], ["--show=ranks", "--tune=lambda_"]]
)
def test_a_table_is_drawn(table: Table, tmp_path: Path, options: list[str]) -> None:
    table(*options, f"--plot={tmp_path / 'table.png'}")
    assert imread(tmp_path / "table.png").std() > 0.01


def test_results_are_brought_up_to_date_first(folder: Path, table: Table) -> None:
    (folder / NAME).unlink()
    table()
    with (folder / NAME).open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 16
    assert (rows[0]["data/rows"], rows[0]["data/classes"]) == ("1000", "2")


def test_a_spreadsheet_reads_no_formula_in_the_results(folder: Path) -> None:
    with Ledger(folder, None) as ledger:
        rows = Rows(ledger)
        for row in rows.read()[:2]:
            changes = {**row.changes, "dataset": f"@{row.number % 2}"}
            rows._rows[row.number] = dataclasses.replace(row, error="=1+1", changes=changes)
        rows.read = lambda: [row for row in rows._rows.values() if row.error]  # type: ignore[method-assign]
        found = list(csv.DictReader(results_text(rows).splitlines()))
    assert sorted((row["error"], row["dataset"]) for row in found) == [("'=1+1", "'@0"), ("'=1+1", "'@1")]


def test_a_project_is_read_beside_the_folder(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"dataset": "moons", "lambda_": 9.0}
    run = SimpleNamespace(name="a", state="finished", config=config, summary_metrics={"best/test/acc": 0.25})
    api = SimpleNamespace(runs=lambda *_, **__: [run])
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(Api=lambda: api, Error=OSError))
    assert ["9.0", "moons", "0.250"] in cells(table("wandb:me/depths", "--by=lambda_,dataset"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--by=datset"], "no run has 'datset'. Did you mean 'dataset'?"),
        (["--values=test/ac"], "no run has 'test/ac'. Did you mean 'test/acc'?"),
        (["--on=test/acc"], "on must not be a metric of the test part"),
        (["--show=wins", "--by=technique"], "--by must name the techniques and the data sets with --show=wins"),
        (["--show=ranks", "--values=test/acc,val/acc"], "--values takes one metric with --show=ranks"),
        (["--show=wins", "--plot=a.png"], "--plot draws --show=results and --show=ranks, not wins"),
        (["--plot=a.pdf"], "path must end in .png, got 'a.pdf'"),
        (["--digits=-1"], "digits must be a whole number from 0 to 17"),
        (["--values=,"], "argument --values: must name at least one, got ','"),
        (["--by="], "argument --by: must name at least one, got ''"),
        (["--tune= , "], "argument --tune: must name at least one, got ' , '"),
        (["--columns="], "argument --columns: must name at least one, got ''"),
        (["--columns=depth,seed"], "argument --columns: must be one name, got 'depth,seed'"),
        (["--on="], "argument --on: must name at least one, got ''"),
        (["--show=rank"], "argument --show: the value must be one of results, wins, ranks"),
        (["--show=rank"], "got 'rank'. Did you mean 'ranks'?"),
        (["--format="], "argument --format: the value must be one of markdown, latex, html, csv, got ''"),
        (["no/such/folder"], "folder must exist, got no/such/folder"),
        (["wandb:a/b/c"], "project must be 'entity/project'"),
    ],
)
def test_what_makes_no_table_is_refused_in_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as error:
        main(["table", str(folder), *options])
    captured = capsys.readouterr()
    assert error.value.code == 2
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


@pytest.mark.parametrize("kind", ["runs", "opened", "one run"])
def test_a_run_that_is_read_twice_counts_once(folder: Path, table: Table, kind: str) -> None:
    expected = table()
    with Ledger(folder, None) as ledger:
        first = next(ledger.entries())
    place = folder / ("opened" if kind == "opened" else "runs") / first.label
    place.mkdir(parents=True)
    (place / "config.yaml").write_text("dataset: moons\nlambda_: 0.5\n")
    (place / "summary.json").write_text('{"test/acc": 0.0}')
    try:
        assert table(str(place if kind == "one run" else place.parent)) == expected
    finally:
        shutil.rmtree(place.parent)


def test_the_commands_of_the_documents_are_read() -> None:
    parser = CommandParser()
    add_table_options(parser)
    found = [words[4:] for path in DOCUMENTS for words in commands_of(path) if words[1:4] == ["-m", "sweep", "table"]]
    assert len(found) >= 2
    assert all(parser.parse_args(words).folders for words in found)


def test_a_folder_without_results_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["table", str(tmp_path)])
    assert "folder must hold runs" in capsys.readouterr().err
    with Ledger(tmp_path, "rectangular") as ledger:
        ledger.add(expand(RectangularConfig, [Grid({"depth": [2], "seed": [0]})]))
    with pytest.raises(SystemExit):
        main(["table", str(tmp_path)])
    assert "has no finished run" in capsys.readouterr().err
