"""Run directories for reports, made without training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from jumpstart.history import StatusHistory


def make_run(folder: Path, name: str = "run", **config: object) -> Path:
    """A run directory with every file.

    Args:
        folder: The parent folder.
        name: The name of the run directory.
        config: Options that differ from those of the default run.
    """
    path = folder / name
    path.mkdir()
    options = {"dataset": "moons", "depth": 3, "width": 4, "lambda_": 0.0, "epochs": 30, **config}
    (path / "config.yaml").write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in options.items()))
    description = {"dataset": options["dataset"], "network": "3 layers of 4 units", "naming_options": ["name"]}
    (path / "run.json").write_text(json.dumps(description))
    (path / "environment.json").write_text(json.dumps({"command": "go.py --a=1", "versions": {"torch": "9.9.9"}}))
    rows = [f"{e},{1 / (e + 1)},{0.5 + e / 100},{0.5 + e / 120},0.25,0.25,0.5" for e in range(30)]
    names = "epoch,val/loss,val/acc,train/acc,val/unit_dead_ratio,val/unit_linear_ratio,val/unit_nonlinear_ratio"
    (path / "metrics.csv").write_text("\n".join([names, *rows]) + "\n")
    counts = {"class_counts": [50, 50], "rows": 100}
    summary = {"val/acc": 0.79, "test/acc": 0.77, "epochs": 30, "data": {"parts": {"val": counts}}}
    (path / "summary.json").write_text(json.dumps(summary))
    random_history([4, 4, 3], 4, 40).save(path / "status.npz")
    return path


def random_history(units: list[int], epochs: int, points: int, classes: int | None = 2) -> StatusHistory:
    """A history with random status, recorded every 10 epochs."""
    random = np.random.default_rng(1)
    history = StatusHistory([f"layer{i}" for i in range(len(units))], units)
    labels = random.integers(0, classes, points) if classes else None
    for epoch in range(epochs):
        ends = np.sort(random.normal(size=(2, sum(units))), axis=0)
        history.append(epoch * 10, ends[1], ends[0], random.integers(0, 3, (points, len(units))), labels)
    return history
