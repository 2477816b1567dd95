"""Early stopping by patience, and training without a last epoch."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from support.runs import command, fit, flags, run_tiny, tiny

from model.config.rectangular import RectangularConfig
from sweep.callbacks.patience import Patience
from sweep.metrics_csv import MetricsCsv
from sweep.resumption import check_resumable
from sweep.run_directory import RunDirectory, RunDirectoryError

NOISY: dict[str, object] = {"epochs": 30, "scheduler": "none", "lr": 0.02, "noise": 0.5, "depth": 1, "seed": 1}


def slow_stop(values: list[float], patience: int, sign: int, min_delta: float) -> int | None:
    """The index of the epoch that ends training; None if no epoch does."""
    best, bad = -math.inf, 0
    rounded: list[float] = np.asarray(values, np.float32).tolist()
    for epoch, value in enumerate(rounded):
        if np.float32(sign * value - min_delta) > np.float32(best):
            best, bad = sign * value, 0
        else:
            bad += 1
        if bad >= patience:
            return epoch
    return None


@pytest.mark.parametrize(
    ("monitor", "sign", "patience", "min_delta", "changes"),
    [
        ("val/loss", -1, 1, 0.0, {"noise": 1.0}),
        ("val/loss", -1, 3, 0.05, {}),
        ("val/acc", 1, 3, 0.0, {}),
        ("val/loss", -1, 2, 0.0, {"lr": 1e-3, "noise": 0.1, "epochs": 6}),
    ],
)
def test_training_ends_after_patience_epochs_without_a_better_value(
    monitor: str, sign: int, patience: int, min_delta: float, changes: dict[str, object]
) -> None:
    config = tiny(**{**NOISY, **changes}, patience=patience, monitor=monitor, min_delta=min_delta)
    _, seen = fit(config, Patience(config))
    found = [row[monitor] for row in seen.rows]
    stop = slow_stop(found, patience, sign, min_delta)
    assert len(found) == (config.epochs if stop is None else stop + 1)
    assert (stop is None) is (config.epochs == 6)


def rows(directory: RunDirectory) -> list[list[float]]:
    table: list[list[float]] = MetricsCsv(directory.metrics).read().to_numpy().tolist()
    return table


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDirectory, int]:
    """A finished run without a last epoch, and its number of epochs. No test may change it."""
    directory, summary = run_tiny(tmp_path_factory.mktemp("endless"), **{**NOISY, "epochs": -1}, patience=3)
    assert isinstance(summary["epochs"], int)
    assert summary["epochs"] > 6
    return directory, summary["epochs"]


def test_a_resumed_run_goes_on_counting_and_stays_where_it_ended(
    endless: tuple[RunDirectory, int], tmp_path: Path
) -> None:
    expected, epochs = endless
    changes = {**NOISY, "patience": 3}
    short, summary = run_tiny(tmp_path, **{**changes, "epochs": epochs - 2})
    assert summary["epochs"] == epochs - 2
    for _ in range(2):
        _, summary = run_tiny(tmp_path, **{**changes, "epochs": -1}, resume=short.path)
        assert summary["epochs"] == epochs
        assert rows(short) == rows(expected)


def test_an_endless_run_can_be_given_a_last_epoch_that_is_not_over(endless: tuple[RunDirectory, int]) -> None:
    directory, epochs = endless
    stored = RectangularConfig.from_dict(directory.read_config())
    assert check_resumable(directory, stored) is not None
    assert check_resumable(directory, stored.replace(epochs=epochs)) is not None
    with pytest.raises(RunDirectoryError, match=f"epochs is {epochs - 1} in the first, and {epochs} are finished"):
        check_resumable(directory, stored.replace(epochs=epochs - 1))


def test_epochs_may_become_endless_on_the_command_line_and_may_not_shrink(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = flags(output_dir=tmp_path, name="run", epochs=3, scheduler="none", patience=1, lr=1e-9, depth=1)
    assert command(*arguments) == 0
    assert command(f"--resume={tmp_path / 'run'}", "--epochs=2") == 2
    assert "epochs can only grow when a run is resumed" in capsys.readouterr().err
    assert command(f"--resume={tmp_path / 'run'}", "--epochs=-1") == 0
