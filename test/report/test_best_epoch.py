"""Checkpoints, summary and reports name one best epoch."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from support.report_runs import make_run

from jumpstart.report.best_epoch import best_epoch
from jumpstart.report.comparison import comparison_page
from jumpstart.report.page import run_page
from jumpstart.report.record import read_run
from jumpstart.report.verdict import judge
from sweep.callbacks.checkpoints import BestAndLast
from sweep.metrics_csv import MetricsCsv

NAN = math.nan


def by_elimination(accuracies: list[float], losses: list[float]) -> int:
    """The best epoch, by one criterion after the other."""
    left = [i for i, value in enumerate(accuracies) if not math.isnan(value)] or list(range(len(accuracies)))
    if not math.isnan(accuracies[left[0]]):
        left = [i for i in left if accuracies[i] == max(accuracies[j] for j in left)]
    known = [i for i in left if not math.isnan(losses[i])]
    left = [i for i in known if losses[i] == min(losses[j] for j in known)] or left
    return left[0]


def kept_epoch(folder: Path, rows: list[dict[str, float]]) -> int:
    """The epoch whose weights the checkpoints of a run would keep."""
    keeper = BestAndLast(folder / "last.ckpt", folder / "best.ckpt", 1e9, MetricsCsv(folder / "metrics.csv"))
    for row in rows:
        if keeper._is_better(row):
            keeper.best_row = row
    return int(keeper.best_row["epoch"])


@pytest.mark.parametrize("part", ["val", "train"])
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_checkpoints_and_reports_agree_for_all_ties_and_missing_losses(
    part: str, missing: float, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    folder = make_run(tmp_path, name="seen")
    (folder / "summary.json").unlink()
    for _ in range(25):
        count = int(random.integers(1, 9))
        accuracies = random.choice([0.5, 0.75, 0.9], count).tolist()
        losses = np.where(random.random(count) < missing, NAN, random.choice([0.1, 0.2, 0.3], count)).tolist()
        rows = [
            {"epoch": i, f"{part}/acc": a, f"{part}/loss": b, "train/acc": a, "train/loss": b}
            for i, (a, b) in enumerate(zip(accuracies, losses, strict=True))
        ]
        expected = by_elimination(accuracies, losses)
        assert best_epoch(accuracies, losses) == kept_epoch(tmp_path, rows) == expected
        lines = [f"{row['epoch']},{row[f'{part}/acc']},{row[f'{part}/loss']}" for row in rows]
        (folder / "metrics.csv").write_text("\n".join([f"epoch,{part}/acc,{part}/loss", *lines]) + "\n")
        run = read_run(folder)
        assert run.best(f"{part}/acc") == (expected, accuracies[expected])
        assert f"(epoch {expected})" in " ".join(finding.text for finding in judge(run).findings)


def test_missing_accuracies_are_worse_than_any() -> None:
    assert best_epoch([NAN, 0.1, NAN], [0.1, 0.9, 0.1]) == by_elimination([NAN, 0.1, NAN], [0.1, 0.9, 0.1]) == 1
    assert best_epoch([NAN, NAN], [NAN, 0.9]) == by_elimination([NAN, NAN], [NAN, 0.9]) == 1
    assert best_epoch([NAN, NAN], [NAN, NAN]) == 0


def test_reports_name_the_kept_epoch_also_where_the_metrics_have_no_row_of_it(tmp_path: Path) -> None:
    """A long run writes every tenth row only, and the best epoch may be between two of them."""
    folder = make_run(tmp_path, epochs=4000)
    lines = [f"{epoch},{0.98 if epoch >= 2500 else 0.5},{1 / (epoch + 1)}" for epoch in range(0, 4000, 10)]
    (folder / "metrics.csv").write_text("\n".join(["epoch,val/acc,val/loss", *lines]) + "\n")
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps({**summary, "val/acc": 0.99, "best_epoch": 2895, "epochs": 4000}))
    run = read_run(folder)
    assert run.best("val/acc") == (2895, 0.99)
    assert "The best validation accuracy is 99.0 % (epoch 2,895);" in " ".join(f.text for f in judge(run).findings)
    assert ">2,895<" in comparison_page([run, run])
    resumed = {"best_epoch": 2895, "epochs": 3000}
    for other in (resumed, {"best_epoch": 9000}, {"best_epoch": 100, "epochs": 4000}, {"best_epoch": None}, {}):
        (folder / "summary.json").write_text(json.dumps({**summary, **other}))
        assert read_run(folder).best("val/acc") == (3990, 0.98)


def test_the_page_says_which_part_chose_the_weights(tmp_path: Path) -> None:
    usual, trained = (make_run(tmp_path, part, best_by=part) for part in ("val", "train"))
    for folder, part in ((usual, "validation"), (trained, "training")):
        assert f"the weights with the best {part} accuracy, which the run keeps." in run_page(read_run(folder))
    for folder in (usual, trained):
        summary = json.loads((folder / "summary.json").read_text())
        (folder / "summary.json").write_text(json.dumps({**summary, "best_epoch": 3, "epochs": 400}))
        lines = [f"{epoch},{epoch / 1000},1,{epoch / 1000},1" for epoch in range(0, 400, 10)]
        (folder / "metrics.csv").write_text("\n".join(["epoch,val/acc,val/loss,train/acc,train/loss", *lines]) + "\n")
    assert read_run(usual).best("val/acc") == (3, 0.79)
    assert read_run(trained).best("val/acc") == (390, 0.39)
    assert read_run(trained).best("train/acc")[0] == 3  # type: ignore[index]


def test_the_page_calls_the_test_part_by_its_name(tmp_path: Path) -> None:
    folder = make_run(tmp_path, best_by="train", val_size=0)
    counts = {"test": {"class_counts": [50, 50], "rows": 100}}
    (folder / "summary.json").write_text(json.dumps({"test/acc": 0.7, "epochs": 30, "data": {"parts": counts}}))
    shown = {"best_epoch": 4, "test/acc": 0.7, "epochs": 30, "data": {"parts": counts}}
    run = read_run(folder)
    page = run_page(run)
    assert "There is no validation part: the test part takes its place" in page
    assert "The latest test accuracy is 79.0 % (epoch 29);" in page  # the best would be chosen by the test part
    assert "validation accuracy" not in page
    (folder / "summary.json").write_text(json.dumps(shown))
    assert "The test accuracy of the kept weights is 70.0 % (epoch 4);" in run_page(read_run(folder))
    assert "no validation part" not in run_page(read_run(make_run(tmp_path, "other")))
    usual = read_run(tmp_path / "other")
    assert "(test part)" in comparison_page([run, usual])
    assert "(test part)" not in comparison_page([usual, usual])
