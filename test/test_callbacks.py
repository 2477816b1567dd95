"""The callbacks: plots of the status, rows of figures, checkpoints, the progress bar."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.loggers.logger import DummyLogger
from runs import ByHand, fit, prepare, same, tiny
from torch import Tensor, nn

from jumpstart import JumpstartRegularization, Status, status_plot
from jumpstart.callbacks import NetworkStatusPlot
from model.optimization import lr_factor
from model.rectangular_config import RectangularConfig
from model.rectangular_experiment import RectangularExperiment
from sweep import callbacks as run_callbacks
from sweep.callbacks import BestAndLast, EpochLog, ProgressLine
from sweep.metrics_csv import MetricsCsv
from sweep.run import quiet_lightning


class Drawn:
    """Stands in for the two plots and keeps what they are given."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.units: list[tuple[Any, ...]] = []
        self.points: list[tuple[Any, ...]] = []
        self.saved: list[Path] = []
        patch.setattr(status_plot, "plot_unit_status", lambda *args: self.units.append(args))
        patch.setattr(status_plot, "plot_point_status", lambda *args: self.points.append(args))
        patch.setattr(status_plot, "save_figure", lambda figure, path: self.saved.append(path))


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    return Drawn(monkeypatch)


def codes(values: np.ndarray) -> list[int]:
    """The status of every slice (slices, entries), one by one."""
    found = []
    for entries in values:
        alive = max(entries) > 0
        found.append(int(Status.DEAD if not alive else Status.LINEAR if min(entries) > 0 else Status.NONLINEAR))
    return found


@pytest.mark.parametrize("changes", [{}, {"dataset": "digits", "layer": "conv", "depth": 2, "epochs": 2}])
def test_the_plots_show_every_unit_and_the_first_points_of_the_validation_part(
    changes: dict[str, Any], drawn: Drawn, tmp_path: Path
) -> None:
    config = tiny(**{"epochs": 3, "batch_size": 16, "lr": 0.1, "scheduler": "none", **changes})
    fit(config, NetworkStatusPlot(2, num_points=20, directory=tmp_path))
    epochs = range(config.epochs)
    rates = [config.lr * lr_factor(config, epoch) for epoch in epochs]
    hand = ByHand(config, rates, [config.lambda_ for _ in epochs])
    due = [epoch for epoch in epochs if epoch % 2 == 0 or epoch + 1 == config.epochs]
    assert len(drawn.units) == len(drawn.points) == len(due)
    for epoch, units, points in zip(due, drawn.units, drawn.points, strict=True):
        seen = hand.epochs[epoch]["val"]
        assert len(seen.labels) > 1
        layers = [torch.cat(parts).numpy() for parts in zip(*seen.preactivations, strict=True)]
        names = [f"layers.{i}.activation" for i in range(config.depth)]
        expected = [codes(layer.swapaxes(0, 1).reshape(layer.shape[1], -1)) for layer in layers]
        assert [part.tolist() for part in units[0]] == expected
        assert units[1:] == (names, f"Units, epoch {epoch}")
        by_layer = [codes(layer.reshape(len(layer), -1)[:20]) for layer in layers]
        assert points[0].T.tolist() == by_layer
        assert points[1].tolist() == torch.cat(seen.labels)[:20].tolist()
        assert points[2:] == (names, f"Points, epoch {epoch}")
    assert drawn.saved == [
        tmp_path / f"{kind}_status-epoch{epoch:06d}.png" for epoch in due for kind in ("unit", "point")
    ]


class Images(DummyLogger):
    """A logger that takes pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, Any, int]] = []

    def log_image(self, key: str, images: list[Any], step: int) -> None:
        self.seen.append((key, images[0], step))


@pytest.mark.parametrize("sanity_steps", [0, 2])
def test_files_and_loggers_get_whole_pictures_of_the_epochs_that_are_due(sanity_steps: int, tmp_path: Path) -> None:
    logger = Images()
    plot = NetworkStatusPlot(3)
    fit(tiny(), plot, logger=logger, default_root_dir=tmp_path, num_sanity_val_steps=sanity_steps)
    expected = [(kind, epoch) for epoch in (0, 3, 4) for kind in ("unit_status", "point_status")]
    files = sorted(path.name for path in (tmp_path / "plots").iterdir())
    assert files == sorted(f"{kind}-epoch{epoch:06d}.png" for kind, epoch in expected)
    assert all(path.read_bytes()[:4] == b"\x89PNG" for path in (tmp_path / "plots").iterdir())
    assert [(key, step) for key, _, step in logger.seen] == [(f"status/{kind}", epoch) for kind, epoch in expected]
    for _, picture, _ in logger.seen:
        assert picture.dtype == np.uint8
        assert picture.ndim == 3
        assert picture.shape[2] == 4
        assert len(np.unique(picture)) > 5


def test_plotting_changes_neither_the_training_nor_the_random_numbers(tmp_path: Path) -> None:
    config = tiny(dropout=0.2, use_batchnorm=True, epochs=3)
    plain, without = fit(config)
    after = torch.get_rng_state(), np.random.get_state()[1].tolist()  # type: ignore[index]
    plotted, within = fit(config, NetworkStatusPlot(1, num_points=5, directory=tmp_path))
    assert same(plain.network.state_dict(), plotted.network.state_dict())
    assert without.rows == within.rows
    assert torch.equal(torch.get_rng_state(), after[0])
    assert np.random.get_state()[1].tolist() == after[1]  # type: ignore[index]


class Rows:
    """Batches of four inputs, nothing else."""

    def __init__(self, x: Tensor) -> None:
        self.batches = x.split(4)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.batches)


class Foreign(pl.LightningModule):
    """Somebody else's module, without labels and with two validation sets of unequal size."""

    def __init__(self, *, attached: bool = True) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
        self.jumpstart = JumpstartRegularization(self.model) if attached else None

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss: Tensor = self.model(batch).square().mean()
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int, dataloader_idx: int) -> None:
        self.model(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def train_dataloader(self) -> Rows:
        return Rows(torch.randn(8, 2))

    def val_dataloader(self) -> list[Rows]:
        return [Rows(torch.ones(7, 2)), Rows(torch.randn(9, 2))]


def test_any_module_with_a_regulariser_is_plotted(drawn: Drawn, tmp_path: Path) -> None:
    quiet_lightning()
    options: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    options |= {"max_epochs": 1, "enable_checkpointing": False, "accelerator": "cpu"}
    trainer = pl.Trainer(**options, callbacks=[NetworkStatusPlot(1, directory=tmp_path)])
    trainer.fit(Foreign())
    assert len(drawn.points) == 1
    assert drawn.points[0][0].shape == (7, 1)
    assert drawn.points[0][1] is None
    assert drawn.units[0][1] == ["1"]
    trainer = pl.Trainer(**options, callbacks=[NetworkStatusPlot(1, directory=tmp_path)])
    with pytest.raises(TypeError, match=r"Foreign has no regulariser to read: set self\.jumpstart"):
        trainer.fit(Foreign(attached=False))


@pytest.mark.parametrize("name", ["epoch_freq", "num_points"])
def test_a_plot_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be >= 1, got 0"):
        NetworkStatusPlot(**{name: 0})


class Snapshots(Checkpoint):
    """The weights at the end of every epoch."""

    def __init__(self) -> None:
        self.weights: list[dict[str, Tensor]] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
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


@pytest.mark.parametrize(("seconds", "expected"), [(0.0, [0, 1, 2, 3, 4, 5]), (1e9, [0, 5])])
def test_checkpoints_are_written_by_the_clock_first_and_last(
    seconds: float, expected: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    save = pl.Trainer.save_checkpoint

    def note(self: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        written.append(self.current_epoch)
        save(self, *args, **kwargs)

    monkeypatch.setattr(pl.Trainer, "save_checkpoint", note)
    best = keeper(tmp_path, seconds)
    fit(tiny(), best)
    assert written == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.ckpt", "last.ckpt"]
    assert 0 < best.elapsed < 60


@pytest.mark.parametrize("broken", ["last.ckpt", "best.ckpt"])
def test_a_checkpoint_that_fails_half_way_leaves_the_one_before(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = {"last.ckpt": 0, "best.ckpt": 0}
    save = torch.save

    def full(content: Any, target: Any, *args: Any) -> None:
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


def test_an_interrupted_run_saves_the_best_weights_that_it_had(tmp_path: Path) -> None:
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
def test_rows_are_written_every_so_often_and_of_the_first_and_last_epoch(
    every: int, expected: list[int], tmp_path: Path
) -> None:
    class Numbers(DummyLogger):
        seen: list[tuple[dict[str, float], int]]

        def log_metrics(self, metrics: Any, step: int | None = None) -> None:
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
    """What the bar writes if it may write after every epoch."""
    make = run_callbacks.tqdm
    monkeypatch.setattr(run_callbacks, "tqdm", lambda **options: make(**{**options, "mininterval": 0, "ncols": 200}))
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


def test_the_bar_moves_within_long_epochs_and_never_beyond_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    places: list[float] = []

    class Bar:
        mininterval = math.inf
        last_print_t = 0.0
        n = 0.0

        def __init__(self, total: int, initial: int, **_: Any) -> None:
            assert (total, initial) == (2, 0)

        def update(self, n: float) -> None:
            self.n += n
            places.append(self.n)

        def close(self) -> None:
            places.append(-1)

    monkeypatch.setattr(run_callbacks, "tqdm", Bar)
    fit(tiny(epochs=2, batch_size=1, depth=1, num_points=150), ProgressLine())
    assert places.pop() == -1
    assert places == sorted(places)
    assert len(set(places)) == 2 * 104
    assert max(places) == 2


def test_the_bar_is_closed_when_training_fails(capfd: pytest.CaptureFixture[str]) -> None:
    class Fail(pl.Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            raise RuntimeError("stop")

    bar = ProgressLine()
    with pytest.raises(RuntimeError, match="stop"):
        fit(tiny(), bar, Fail())
    assert bar._bar is None
    assert capfd.readouterr().err.endswith("\n")
