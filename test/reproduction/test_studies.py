"""Studies of published results: valid grids, whole results, pages that say what the results say."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import gc
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

from data.tabular import TabularData
from jumpstart.monitor import StatusMonitor
from model.errors import ConfigError
from model.rectangular_experiment import RectangularExperiment
from reproduction import run
from reproduction.__main__ import main
from reproduction.run import run_method
from reproduction.study import Study, studies, study_named
from scripts.make_tables import table_names
from sweep.executors.executor import Executor, Work
from sweep.executors.worker import train
from sweep.families import family_named
from sweep.grid.expand import Grid, expand
from sweep.ledger.alive import living
from sweep.rectangular import make_data as data_of

METHODS = [(name, method) for name in studies() for method in study_named(name).methods]
MEASURED = [(name, method) for name, method in METHODS if study_named(name).results_of(method).is_file()]


def first_values(grid: Grid) -> Grid:
    """The grid with the first value of each option, and the last one."""
    return Grid({name: [*dict.fromkeys((values[0], values[-1]))] for name, values in grid.values.items()})


@pytest.mark.parametrize(("name", "method"), METHODS)
def test_every_method_is_a_grid_that_can_be_trained(name: str, method: str) -> None:
    study = study_named(name)
    grids = study.grids(method)
    members = expand(study.family.config_class, [first_values(grid) for grid in grids])
    assert members
    for option in study.by:
        assert all(option in grid.values for grid in grids)


@pytest.mark.parametrize(("name", "method"), MEASURED)
def test_results_are_whole(name: str, method: str) -> None:
    """Every combination of the options has one row for each seed that was run."""
    study = study_named(name)
    frame = study.read(method)
    assert frame is not None
    assert [*frame.columns] == study.columns()
    assert (frame["recipe"] == study.recipe(method)).all(), "made by another recipe than that of study.yaml"
    assert not frame.duplicated([*study.by]).any()
    seeds = "[" + ",".join(map(str, sorted(frame["seed"].unique()))) + "]"
    assert len(frame) == sum(grid.count for grid in study.grids(method, seeds))
    assert frame["test/acc"].between(0, 1).all()


@pytest.mark.parametrize("name", sorted({name for name, _ in MEASURED}))
def test_the_page_says_what_the_results_say(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables of the page are those that the results give; figures are not drawn again."""
    report = pytest.importorskip(f"reproduction.{name}.report")
    page = study_named(name).folder / "README.md"
    found: dict[str, str] = {}
    monkeypatch.setattr(report, "fill_page", lambda path, tables: found.update(tables))
    monkeypatch.setattr(report, "save", lambda figure, path: None, raising=False)
    report.write(study_named(name))
    text = page.read_text(encoding="utf-8")
    assert table_names(text) == [*found]
    for table, content in found.items():
        assert f"<!-- table: {table} -->\n\n{content}\n\n<!-- /table -->" in text


class InThisProcess(Executor):
    """Trains the runs here, without the seconds that a new process needs for its imports."""

    claims_alone = False

    def run(self, work: Work) -> None:
        with living(work.ledger.folder, "here") as life:
            while (entry := work.ledger.claim(life, work.retries)) is not None:
                train(work.ledger, family_named(work.ledger.family), entry, work.keep)


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """A study of four runs, in a folder of its own."""
    monkeypatch.setattr("reproduction.study.ROOT", tmp_path)
    monkeypatch.setattr("sweep.sweep.executor_of", lambda *options: contextlib.nullcontext(InThisProcess()))
    (tmp_path / "tiny").mkdir()
    return Study(
        name="tiny",
        launcher="rectangular",
        by=["depth", "seed"],
        metrics=["test/acc", "epochs"],
        shared={"dataset": "moons", "num_points": 40, "epochs": 2, "depth": [1, 2], "seed": "0..1"},
        methods={"plain": {"lambda_": 0}},
    )


def trained(study: Study, folder: Path, seeds: str | None = None) -> tuple[bytes, str]:
    """The results of the only method, and what was said."""
    said: list[str] = []
    path = run_method(study, "plain", str(folder / "runs"), seeds=seeds, write=said.append)
    return path.read_bytes(), "".join(said)


def test_no_committed_result_has_a_path_of_a_machine() -> None:
    for path in Path(run.__file__).parent.glob("*/results/*.csv"):
        with path.open(newline="") as file:
            assert not any(field.startswith(("/", "~")) or ":\\" in field for row in csv.reader(file) for field in row)


def test_a_data_file_of_the_project_has_a_relative_path_in_the_results(
    tiny: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "tiny" / "own.csv"
    data.write_text("x,y,side\n" + "".join(f"{i / 7},{-i},{'ab'[i % 3 == 0]}\n" for i in range(60)))
    monkeypatch.setattr(run, "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    shared = {**tiny.shared, "dataset": "tiny/own.csv", "target": "side"}
    study = dataclasses.replace(tiny, shared=shared, by=["dataset", *tiny.by])
    trained(study, tmp_path)
    assert set(pd.read_csv(study.results_of("plain"))["dataset"]) == {f"{tmp_path.name}/tiny/own.csv"}


def test_a_method_is_trained_once_and_its_results_are_the_same_again(tiny: Study, tmp_path: Path) -> None:
    first, _ = trained(tiny, tmp_path)
    frame = pd.read_csv(tiny.results_of("plain"))
    assert frame[["depth", "seed"]].to_numpy().tolist() == [[1, 0], [1, 1], [2, 0], [2, 1]]
    again, said = trained(tiny, tmp_path)
    assert again == first
    assert "4 of them known (4 finished)" in said
    assert trained(tiny, tmp_path / "elsewhere")[0] == first


def test_fewer_seeds_leave_the_rows_of_other_seeds(tiny: Study, tmp_path: Path) -> None:
    _, said = trained(tiny, tmp_path, seeds="1")
    assert pd.read_csv(tiny.results_of("plain"))["seed"].tolist() == [1, 1]
    whole, said = trained(tiny, tmp_path)
    assert "2 of them known" in said
    assert trained(tiny, tmp_path, seeds="1")[0] == whole
    assert trained(tiny, tmp_path / "elsewhere", seeds="0")[0] == whole


def test_the_row_of_the_best_epoch_has_the_statistics_of_the_batch(tiny: Study, tmp_path: Path) -> None:
    shared = {**tiny.shared, "use_batchnorm": True, "batch_size": "none", "best_by": "train", "val_size": 0}
    shared |= {"epochs": 8, "lr": 0.3}
    names = ["train/acc", "best_row/train/acc", "best_row/train/loss", "best_epoch"]
    study = dataclasses.replace(tiny, shared=shared, metrics=names)
    trained(study, tmp_path)
    folder = next((tmp_path / "runs").glob("*"))
    rows = pd.read_csv(study.results_of("plain"))
    assert (rows["best_epoch"] < 7).any()
    for _, row in rows.iterrows():
        (run,) = (folder / "runs").glob(f"*depth={row['depth']:.0f}-seed={row['seed']:.0f}")
        logged = pd.read_csv(run / "metrics.csv").set_index("epoch").loc[row["best_epoch"]]
        assert row["best_row/train/acc"] == pytest.approx(logged["train/acc"], abs=1e-5)
        assert row["best_row/train/loss"] == pytest.approx(logged["train/loss"], rel=1e-5)


def test_a_changed_recipe_takes_no_result_of_the_old_one(tiny: Study, tmp_path: Path) -> None:
    trained(tiny, tmp_path, seeds="0")
    other = dataclasses.replace(tiny, shared={**tiny.shared, "epochs": 1})
    trained(other, tmp_path, seeds="1")
    assert pd.read_csv(tiny.results_of("plain"))["epochs"].tolist() == [1, 1]


def test_a_run_that_diverges_counts_with_its_best_weights(
    tiny: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"optimizer": "sgd", "lr": 3e4, "gradient_clip": 0, "epochs": 40, "scheduler": "none", "depth": [3]}
    study = dataclasses.replace(
        tiny,
        shared={**tiny.shared, **options},
        metrics=[
            "test/acc",
            "last/val/acc",
            "best_row/val/acc",
            "test/unit_dead_ratio",
            "best_epoch",
            "epochs",
            "diverged",
        ],
    )

    def attach(network: nn.Module) -> StatusMonitor:
        monitor = StatusMonitor(network)
        gc.collect()  # whatever is not kept is gone
        return monitor

    monkeypatch.setattr("reproduction.diverged.StatusMonitor", attach)
    trained(study, tmp_path)
    rows = pd.read_csv(study.results_of("plain")).set_index("seed")
    assert rows["diverged"].any()
    assert (rows.loc[rows["diverged"] == 1, "epochs"] < 40).all()
    assert not rows.isna().any(axis=None)
    folder = next((tmp_path / "runs").glob("*"))
    for seed in rows.index[rows["diverged"] == 1]:
        (run,) = (folder / "runs").glob(f"*seed={seed}")
        kept = RectangularExperiment.load_from_checkpoint(run / "checkpoints" / "best.ckpt").eval()
        data = data_of(kept.config)
        assert isinstance(data, TabularData)
        data.setup()
        with StatusMonitor(kept.network) as monitor:
            accuracy = (kept(data.x_test).argmax(1) == data.y_test).double().mean()
            dead = torch.cat([largest <= 0 for largest in monitor.unit_max.values()]).double().mean()
        assert rows.loc[seed, "test/acc"] == pytest.approx(float(accuracy), abs=1e-5)
        assert rows.loc[seed, "test/unit_dead_ratio"] == pytest.approx(float(dead), abs=1e-5)


def test_a_run_that_fails_leaves_no_results(tiny: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweep.run.run", lambda *args, **options: 1 / 0)
    with pytest.raises(ConfigError, match="some runs of plain have failed"):
        trained(tiny, tmp_path)
    assert not tiny.results_of("plain").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["moon_grid"], "got 'moon_grid'. Did you mean 'moons_grid'?"),
        (["moons_grid", "plane"], "method must be one of plain, batchnorm"),
        (["moons_grid", "plain", "--seeds=4..1"], "the range '4..1' is empty"),
    ],
)
def test_mistakes_are_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_study_without_results_says_how_to_get_them(tiny: Study) -> None:
    with pytest.raises(ConfigError, match="run python -m reproduction tiny"):
        tiny.results()
