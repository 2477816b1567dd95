"""The callbacks of runs: rows of metrics, checkpoints, the progress bar."""

from __future__ import annotations

import io
import math
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.loggers.logger import DummyLogger
from support.runs import fit, prepare, same, tiny
from torch import Tensor

from model.config.rectangular import RectangularConfig
from model.rectangular_experiment import RectangularExperiment
from sweep.callbacks.checkpoints import BestAndLast
from sweep.callbacks.epoch_log import EpochLog
from sweep.callbacks.progress import ProgressLine
from sweep.metrics_csv import MetricsCsv
from sweep.watchers import progress_bar


class Snapshots(Checkpoint):
    """Copies the weights at the end of every epoch."""

    def __init__(self) -> None:
        self.weights: list[dict[str, Tensor]] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: object) -> None:
        self.weights.append({name: value.clone() for name, value in pl_module.network.state_dict().items()})


def keeper(folder: Path, seconds: float = 1e9) -> BestAndLast:
    return BestAndLast(folder / "last.ckpt", folder / "best.ckpt", seconds, MetricsCsv(folder / "metrics.csv"))


@pytest.mark.parametrize("seed", range(4))
def test_the_best_weights_are_those_of_the_highest_accuracy_then_the_lowest_loss(seed: int, tmp_path: Path) -> None:
    config = tiny(seed=seed, noise=0.5, lr=0.05, epochs=8, use_batchnorm=True)
    snapshots, best = Snapshots(), keeper(tmp_path)
    _, seen = fit(config, snapshots, best)
    chosen = 0
    for epoch, row in enumerate(seen.rows):
        top = seen.rows[chosen]
        if row["val/acc"] > top["val/acc"] or (row["val/acc"] == top["val/acc"] and row["val/loss"] < top["val/loss"]):
            chosen = epoch
    assert best.best_row == seen.rows[chosen]
    stored = torch.load(tmp_path / "best.ckpt")
    assert (stored["epoch"], stored["row"]) == (chosen, seen.rows[chosen])
    loaded = RectangularExperiment.load_from_checkpoint(tmp_path / "best.ckpt")
    assert same(loaded.network.state_dict(), snapshots.weights[chosen])
    assert loaded.config == config
    _, fresh = prepare(config)
    best.load_best(fresh)
    assert same(fresh.network.state_dict(), snapshots.weights[chosen])
    last = RectangularExperiment.load_from_checkpoint(tmp_path / "last.ckpt", weights_only=False)
    assert same(last.network.state_dict(), snapshots.weights[-1])


def test_the_first_of_two_equal_epochs_is_the_best(tmp_path: Path) -> None:
    best = keeper(tmp_path)
    best.best_row = {"epoch": 0, "val/acc": 0.5, "val/loss": 1.0, "train/acc": 0.5, "train/loss": 1.0}
    assert not best._is_better({**best.best_row, "epoch": 1})
    assert best._is_better({**best.best_row, "epoch": 1, "val/loss": 0.9})


@pytest.mark.parametrize(("rows", "kept"), [(5, [0, 1, 2]), (3, [0, 1, 2]), (2, [0, 1])])
def test_a_resumed_log_drops_the_rows_after_the_checkpoint(rows: int, kept: list[int], tmp_path: Path) -> None:
    metrics = MetricsCsv(tmp_path / "metrics.csv")
    for epoch in range(rows):
        metrics.append(epoch, {"train/loss": 1.0})
    trainer = pl.Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False)
    log, module = EpochLog(metrics, 1), pl.LightningModule()
    log.on_load_checkpoint(trainer, module, {"callbacks": {"BestAndLast": {"metrics": {"rows": 3, "sha256": ""}}}})
    log.on_train_start(trainer, module)
    assert metrics.read()["epoch"].tolist() == kept


@pytest.mark.parametrize(("seconds", "expected"), [(0.0, [0, 1, 2, 3, 4, 5]), (1e9, [0, 5])])
def test_checkpoints_are_written_at_intervals_and_at_the_end(
    seconds: float, expected: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    save = pl.Trainer.save_checkpoint

    def note(self: pl.Trainer, *args: object, **kwargs: object) -> None:
        written.append(self.current_epoch)
        save(self, *args, **kwargs)

    monkeypatch.setattr(pl.Trainer, "save_checkpoint", note)
    best = keeper(tmp_path, seconds)
    fit(tiny(), best)
    assert written == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.ckpt", "last.ckpt"]
    assert 0 < best.elapsed < 60


@pytest.mark.parametrize("broken", ["last.ckpt", "best.ckpt"])
def test_a_failed_write_of_a_checkpoint_leaves_the_previous_one(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = {"last.ckpt": 0, "best.ckpt": 0}
    save = torch.save

    def full(content: object, target: object, *args: object) -> None:
        name = "last.ckpt" if "callbacks" in content else "best.ckpt"
        writes[name] += 1
        if name == broken and writes[name] == 3:
            if isinstance(target, Path):
                target.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        save(content, target, *args)

    monkeypatch.setattr(torch, "save", full)
    best = keeper(tmp_path, 0.0)
    with pytest.raises(OSError, match="No space"):
        fit(tiny(epochs=30, lr=0.02), best)
    assert writes[broken] >= 3
    for name in writes:
        assert torch.load(tmp_path / name, weights_only=False)["state_dict"]


def test_a_failed_run_writes_the_best_weights_so_far(tmp_path: Path) -> None:
    class Stop(pl.Callback):
        def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            if trainer.current_epoch == 4:
                raise RuntimeError("stop")

    best, snapshots, log = keeper(tmp_path), Snapshots(), EpochLog(MetricsCsv(tmp_path / "metrics.csv"), 10)
    with pytest.raises(RuntimeError, match="stop"):
        fit(tiny(lr=0.05), log, best, snapshots, Stop())
    stored = torch.load(tmp_path / "best.ckpt")
    assert stored["epoch"] > 0
    found = {name.removeprefix("network."): value for name, value in stored["state_dict"].items()}
    assert same(found, snapshots.weights[stored["epoch"]])
    assert MetricsCsv(tmp_path / "metrics.csv").read()["epoch"].tolist() == [0, 3]


@pytest.mark.parametrize(("every", "expected"), [(1, [0, 1, 2, 3, 4]), (2, [0, 2, 4]), (3, [0, 3, 4]), (9, [0, 4])])
def test_rows_are_written_every_nth_epoch_and_for_the_last(every: int, expected: list[int], tmp_path: Path) -> None:
    class Numbers(DummyLogger):
        seen: list[tuple[dict[str, float], int]]

        def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
            if "train/acc" in metrics:
                self.seen.append((dict(metrics), step or 0))

    logger = Numbers()
    logger.seen = []
    _, seen = fit(tiny(), EpochLog(MetricsCsv(tmp_path / "metrics.csv"), every), logger=logger)
    table = MetricsCsv(tmp_path / "metrics.csv").read()
    assert table["epoch"].tolist() == expected
    assert table.to_dict("records") == [seen.rows[epoch] for epoch in expected]
    assert logger.seen == [(seen.rows[epoch], epoch) for epoch in expected]


def bar_text(monkeypatch: pytest.MonkeyPatch, config: RectangularConfig) -> tuple[str, list[dict[str, float]]]:
    """The output of a bar without a least interval between refreshes, and the rows of the run."""
    make = progress_bar.tqdm
    monkeypatch.setattr(progress_bar, "tqdm", lambda **options: make(**{**options, "mininterval": 0, "ncols": 200}))
    screen = io.StringIO()
    monkeypatch.setattr("sys.stderr", screen)
    _, seen = fit(config, ProgressLine())
    return screen.getvalue(), seen.rows


def test_the_bar_shows_loss_accuracy_and_dead_and_linear_units(monkeypatch: pytest.MonkeyPatch) -> None:
    text, rows = bar_text(monkeypatch, tiny(epochs=4))
    for row in rows[:-1]:
        assert (
            f"loss {row['train/loss']:.3g}, val acc {row['val/acc']:.1%}, dead units {row['val/unit_dead_ratio']:.1%}, "
            f"linear {row['val/unit_linear_ratio']:.1%}" in text
        )
    assert "100%" in text.splitlines()[-1].split("\r")[-1]
    assert " 4/4 " in text.split("\r")[-1]
    assert text.endswith("\n")


def test_the_bar_advances_within_long_epochs_and_never_beyond_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    places: list[float] = []

    class Bar:
        mininterval = math.inf
        last_print_t = 0.0
        n = 0.0

        def __init__(self, total: int, initial: int, **_: object) -> None:
            assert (total, initial) == (2, 0)

        def update(self, n: float) -> None:
            self.n += n
            places.append(self.n)

        def close(self) -> None:
            places.append(-1)

    monkeypatch.setattr(progress_bar, "tqdm", Bar)
    fit(tiny(epochs=2, batch_size=1, depth=1, num_points=150), ProgressLine())
    assert places.pop() == -1
    assert places == sorted(places)
    assert len(set(places)) == 2 * 104
    assert max(places) == 2


def test_the_bar_is_closed_when_training_fails(capfd: pytest.CaptureFixture[str]) -> None:
    class Fail(pl.Callback):
        def on_train_batch_end(self, *_: object) -> None:
            raise RuntimeError("stop")

    bar = ProgressLine()
    with pytest.raises(RuntimeError, match="stop"):
        fit(tiny(), bar, Fail())
    assert bar._bar is None
    assert capfd.readouterr().err.endswith("\n")
