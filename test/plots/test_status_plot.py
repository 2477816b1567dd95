"""Plots of the status during training, their history, and the metrics for loggers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.loggers.logger import DummyLogger
from support.runs import ByHand, fit, prepare, same, tiny
from support.status_plots import OPTIONS, Images, hooks
from torch import Tensor, nn

from jumpstart import JumpstartRegularization, Status
from jumpstart.callbacks import Jumpstart, NetworkStatusPlot
from jumpstart.history import HistoryFile, StatusHistory
from jumpstart.plots import status_drawer
from model.optimization import lr_at
from sweep.machine import quiet_lightning


class Drawn:
    """Replaces the two plot functions and stores their arguments."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.units: list[tuple[Any, ...]] = []
        self.points: list[tuple[Any, ...]] = []
        self.saved: list[Path] = []
        patch.setattr(status_drawer, "plot_unit_status", lambda *args: self.units.append(args))
        patch.setattr(status_drawer, "plot_point_status", lambda *args: self.points.append(args))
        patch.setattr(status_drawer, "save_figure", lambda figure, path: self.saved.append(path))


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # the default place of status.npz


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    return Drawn(monkeypatch)


def codes(values: np.ndarray) -> list[int]:
    """The status of every slice of (slices, entries), in a loop."""
    found = []
    for entries in values:
        alive = max(entries) > 0
        found.append(int(Status.DEAD if not alive else Status.LINEAR if min(entries) > 0 else Status.NONLINEAR))
    return found


@pytest.mark.parametrize("changes", [{}, {"dataset": "digits", "layer": "conv", "depth": 2, "epochs": 2}])
def test_the_plots_show_every_unit_and_the_same_points_of_the_validation_part(
    changes: dict[str, Any], drawn: Drawn, tmp_path: Path
) -> None:
    config = tiny(**{"epochs": 3, "batch_size": 16, "lr": 0.1, "scheduler": "none", **changes})
    fit(config, NetworkStatusPlot(2, num_points=20, directory=tmp_path))
    epochs = range(config.epochs)
    rates = [lr_at(config, epoch) for epoch in epochs]
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
        chosen = np.sort(np.random.default_rng(0).random(len(layers[0])).argsort()[:20])
        by_layer = [codes(layer.reshape(len(layer), -1)[chosen]) for layer in layers]
        assert points[0].T.tolist() == by_layer
        assert points[1].tolist() == torch.cat(seen.labels)[chosen].tolist()
        assert points[2:] == (names, f"Points, epoch {epoch}")
    assert drawn.saved == [
        tmp_path / f"{kind}_status-epoch{epoch:06d}.png" for epoch in due for kind in ("unit", "point")
    ]


def at(epoch: int) -> int:
    """The step at which Lightning logs the validation of an epoch of ``tiny``: that of its last batch, from 0."""
    return 3 * epoch + 2


@pytest.mark.parametrize("sanity_steps", [0, 2])
def test_files_and_loggers_get_complete_plots_of_the_epochs_that_are_due(sanity_steps: int, tmp_path: Path) -> None:
    logger = Images()
    plot = NetworkStatusPlot(3)
    fit(tiny(), plot, logger=logger, default_root_dir=tmp_path, num_sanity_val_steps=sanity_steps)
    expected = [(kind, epoch) for epoch in (0, 3, 4) for kind in ("unit_status", "point_status")]
    files = sorted(path.name for path in (tmp_path / "plots").iterdir())
    assert files == sorted(f"{kind}-epoch{epoch:06d}.png" for kind, epoch in expected)
    assert all(path.read_bytes()[:4] == b"\x89PNG" for path in (tmp_path / "plots").iterdir())
    assert [(key, step) for key, _, step in logger.seen] == [(f"status/{kind}", at(epoch)) for kind, epoch in expected]
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


class Batches:
    """Batches of four inputs without labels."""

    def __init__(self, x: Tensor) -> None:
        self.batches = x.split(4)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.batches)


class Foreign(pl.LightningModule):
    """A module without labels and with two validation sets of unequal size."""

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

    def train_dataloader(self) -> Batches:
        return Batches(torch.arange(16.0).view(8, 2) - 8)

    def val_dataloader(self) -> list[Batches]:
        return [Batches(torch.arange(14.0).view(7, 2) - 5), Batches(torch.ones(9, 2))]


class NoValidation(Foreign):
    """The same module without validation data."""

    val_dataloader = validation_step = None  # type: ignore[assignment]


@pytest.mark.parametrize("by", ["its own", "callback", "alone"])
def test_any_module_is_plotted(by: str, drawn: Drawn, tmp_path: Path) -> None:
    quiet_lightning()
    module = Foreign(attached=by == "its own")
    if module.jumpstart is not None:
        module.model(torch.zeros(1, 2))  # it takes some of its own hooks off after the first pass
    before = hooks(module)
    plot = NetworkStatusPlot(1, directory=tmp_path, history=tmp_path / "status.npz")
    others = [Jumpstart(0.5)] if by == "callback" else []
    trainer = pl.Trainer(**OPTIONS, max_epochs=1, callbacks=[plot, *others])
    trainer.fit(module)
    assert len(drawn.points) == 1
    (points, labels, names, _), (units, *_) = drawn.points[0], drawn.units[0]
    assert labels is None
    assert names == (["1"] if by == "its own" else ["model.1"])
    with torch.no_grad():
        z = module.model[0](torch.arange(14.0).view(7, 2) - 5).numpy()
    assert units[0].tolist() == codes(z.T)
    assert points[:, 0].tolist() == codes(z)
    assert hooks(module) == before
    history = StatusHistory.load(tmp_path / "status.npz")
    assert history.epochs == [0]
    assert history.unit_max[0] == pytest.approx(z.max(0))
    assert history.unit_min[0] == pytest.approx(z.min(0))


def test_without_validation_data_training_epochs_are_monitored(drawn: Drawn, tmp_path: Path) -> None:
    quiet_lightning()
    module = NoValidation()
    with torch.no_grad():
        module.model[2].weight.zero_(), module.model[2].bias.zero_()  # no gradient: one network all the epoch
    plot = NetworkStatusPlot(1, directory=tmp_path, history=tmp_path / "status.npz")
    pl.Trainer(**OPTIONS, max_epochs=2, callbacks=[plot]).fit(module)
    with torch.no_grad():
        z = module.model[0](torch.arange(16.0).view(8, 2) - 8).numpy()
    assert [part[0][0].tolist() for part in drawn.units] == [codes(z.T)] * 2
    assert drawn.points[1][0].shape == (8, 1)


def test_trainer_validate_is_plotted(drawn: Drawn, tmp_path: Path) -> None:
    quiet_lightning()
    module = Foreign(attached=False)
    pl.Trainer(**OPTIONS, callbacks=[NetworkStatusPlot(1, directory=tmp_path)]).validate(module, verbose=False)
    assert len(drawn.units) == 1
    assert drawn.points[0][0].shape == (7, 1)
    assert hooks(module) == 0


class StopAfter(pl.Callback):
    def __init__(self, epoch: int, *, fail: bool = False) -> None:
        self.epoch, self.fail = epoch, fail

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.should_stop = trainer.current_epoch == self.epoch and not self.fail

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.fail and trainer.current_epoch > self.epoch:
            raise RuntimeError("stop")


def test_the_last_epoch_of_a_run_that_stops_early_is_plotted(drawn: Drawn, tmp_path: Path) -> None:
    config = tiny(epochs=9)
    fit(config, NetworkStatusPlot(3, directory=tmp_path, history=tmp_path / "status.npz"), StopAfter(4))
    assert [part[2] for part in drawn.units] == [f"Units, epoch {epoch}" for epoch in (0, 3, 4)]
    assert StatusHistory.load(tmp_path / "status.npz").epochs == [0, 3, 4]


def test_hooks_are_removed_after_an_exception(drawn: Drawn, tmp_path: Path) -> None:
    quiet_lightning()
    module = Foreign(attached=False)
    plot = NetworkStatusPlot(1, directory=tmp_path, history=tmp_path / "status.npz")
    with pytest.raises(RuntimeError, match="stop"):
        pl.Trainer(**OPTIONS, max_epochs=5, callbacks=[plot, StopAfter(1, fail=True)]).fit(module)
    assert hooks(module) == 0
    assert StatusHistory.load(tmp_path / "status.npz").epochs == [0, 1]


def test_a_resumed_run_continues_its_history(drawn: Drawn, tmp_path: Path) -> None:
    def plot(name: str) -> NetworkStatusPlot:
        return NetworkStatusPlot(2, num_points=9, directory=tmp_path, history=tmp_path / name)

    class Keep(pl.Callback):
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            if trainer.current_epoch == 3:
                trainer.save_checkpoint(tmp_path / "three.ckpt")

    config = tiny(epochs=8)
    fit(config, plot("whole.npz"))
    with pytest.raises(RuntimeError, match="stop"):
        fit(config, plot("status.npz"), StopAfter(6, fail=True), Keep())
    assert StatusHistory.load(tmp_path / "status.npz").epochs == [0, 2, 4, 6]
    data, experiment = prepare(config)
    trainer = pl.Trainer(**OPTIONS, max_epochs=8, callbacks=[plot("status.npz")], num_sanity_val_steps=0)
    trainer.fit(experiment, datamodule=data, ckpt_path=tmp_path / "three.ckpt", weights_only=False)
    found, expected = (StatusHistory.load(tmp_path / name) for name in ("status.npz", "whole.npz"))
    assert found.epochs == expected.epochs == [0, 2, 4, 6, 7]
    for name in ("unit_max", "unit_min", "point_status", "labels"):
        assert np.array_equal(getattr(found, name), getattr(expected, name)), name
    fit(config, plot("status.npz"))  # begun anew
    assert StatusHistory.load(tmp_path / "status.npz").epochs == expected.epochs


def test_a_damaged_history_is_replaced_by_a_new_one(
    drawn: Drawn, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "status.npz").write_bytes(b"half")
    memory = HistoryFile(tmp_path / "status.npz", resume=True)
    assert "starts over" in caplog.text
    memory.append(["a"], 3, [np.ones(2)], [np.zeros(2)], np.zeros((4, 1), dtype=np.int8), None)
    assert StatusHistory.load(tmp_path / "status.npz").epochs == [3]


def test_points_that_differ_between_epochs_have_no_labels(tmp_path: Path) -> None:
    memory = HistoryFile(tmp_path / "status.npz", resume=False)
    for epoch in range(3):
        labels = np.arange(4) + epoch
        memory.append(["a"], epoch, [np.ones(2)], [np.zeros(2)], np.zeros((4, 1), dtype=np.int8), labels)
    memory.save()
    history = StatusHistory.load(tmp_path / "status.npz")
    assert (history.epochs, history.labels) == ([0, 1, 2], None)


class Numbers(DummyLogger):
    """A logger that accepts numbers, and images as TensorBoard does."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[dict[str, float], int]] = []
        self.pictures: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)

    @property
    def experiment(self) -> Any:
        return self

    def add_image(self, name: str, picture: np.ndarray, epoch: int, dataformats: str) -> None:
        self.pictures.append((name, picture.shape[2], epoch, dataformats))

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self.seen.append((dict(metrics), step or 0))


def test_loggers_get_the_metrics_of_every_epoch(tmp_path: Path) -> None:
    log = Numbers()
    plot = NetworkStatusPlot(4, directory=tmp_path, history=tmp_path / "status.npz")
    _, seen = fit(tiny(), plot, logger=log, num_sanity_val_steps=2)
    found = [(figures, step) for figures, step in log.seen if "status/deadness" in figures]
    assert [step for _, step in found] == [at(epoch) for epoch in range(5)]
    for epoch, ((figures, _), row) in enumerate(zip(found, seen.rows, strict=True)):
        assert figures.pop("epoch") == epoch
        expected = {name: row[name.replace("status", "val")] for name in figures}
        assert len(figures) == 16
        assert figures == pytest.approx(expected, abs=1e-12)
    kinds = [(kind, epoch) for epoch in (0, 4) for kind in ("unit_status", "point_status")]
    assert log.pictures == [(f"status/{kind}", 4, at(epoch), "HWC") for kind, epoch in kinds]


def test_the_csv_logger_gets_the_metrics_too(drawn: Drawn, tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, name="log", version=0)
    fit(tiny(epochs=2), NetworkStatusPlot(4, directory=tmp_path, history=tmp_path / "status.npz"), logger=logger)
    header, *rows = (tmp_path / "log" / "version_0" / "metrics.csv").read_text().splitlines()
    assert "status/unit_dead_ratio" in header.split(",")
    assert len(rows) >= 2


@pytest.mark.parametrize("name", ["epoch_freq", "num_points"])
def test_wrong_options_of_the_plot_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be >= 1, got 0"):
        NetworkStatusPlot(**{name: 0})
