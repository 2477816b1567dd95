"""With one batch an epoch, the weights that the training part chooses are those that its metrics belong to."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from sweep import run_rectangular

OPTIONS = {
    "dataset": "moons", "num_points": 60, "depth": 3, "epochs": 25, "lr": 0.3, "scheduler": "none", "init": "kaiming",
    "best_by": "train", "plot_status": False, "wandb": False, "progress": False,
}  # fmt: skip


@pytest.mark.parametrize("engine", ["compiled", "lightning"])
def test_the_best_weights_have_the_training_metrics_of_their_epoch(engine: str, tmp_path: Path) -> None:
    result = run_rectangular(engine=engine, batch_size=None, output_dir=str(tmp_path), **OPTIONS)
    rows = pd.read_csv(result.path / "metrics.csv").set_index("epoch")
    best = rows.loc[result.best_epoch]
    assert result.best_epoch not in (0, len(rows) - 1)  # the rate is so high that accuracies go up and down
    for metric in ("acc", "loss", "unit_dead_ratio"):
        assert result.summary[f"train/{metric}"] == pytest.approx(best[f"train/{metric}"], rel=1e-5)
    assert best["train/acc"] == rows["train/acc"].max()
    assert rows.loc[result.best_epoch + 1, "train/loss"] != pytest.approx(best["train/loss"], rel=0.01)


@pytest.mark.parametrize("engine", ["compiled", "lightning"])
def test_with_several_batches_the_best_weights_are_those_after_the_epoch(engine: str, tmp_path: Path) -> None:
    result = run_rectangular(engine=engine, batch_size=16, output_dir=str(tmp_path), **OPTIONS)
    rows = pd.read_csv(result.path / "metrics.csv").set_index("epoch")
    assert rows.loc[result.best_epoch, "train/acc"] == rows["train/acc"].max()
    assert result.summary["val/loss"] == pytest.approx(rows.loc[result.best_epoch, "val/loss"], rel=1e-5)
