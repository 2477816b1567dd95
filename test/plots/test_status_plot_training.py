"""The status plot does not stop a training, whatever its steps do, and logs at the steps at which Lightning does."""

from __future__ import annotations

import csv
import os
import re
import socket
import warnings
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger
from support.processes import together
from support.runs import same
from support.status_plots import OPTIONS, Images, hooks
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from jumpstart import JumpstartRegularization
from jumpstart.callbacks import Jumpstart, NetworkStatusPlot
from jumpstart.history import StatusHistory
from sweep.machine import quiet_lightning

EPOCHS = 2

pytestmark = [
    pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no"),
    pytest.mark.usefixtures("data_alone"),
]


def data() -> TensorDataset:
    x = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    return TensorDataset(x, (x[:, 0] > 0).long())


class Plain(pl.LightningModule):
    """A module without Jumpstart, whose steps subclasses replace."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        return nn.functional.cross_entropy(self.model(batch[0]), batch[1])

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        loss = self.loss(batch)
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.log("val_loss", self.loss(batch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(
    module: pl.LightningModule, *callbacks: pl.Callback, validation: bool = True, **options: Any
) -> dict[str, Tensor]:
    """The weights after training."""
    quiet_lightning()
    trainer = pl.Trainer(**{**OPTIONS, "max_epochs": EPOCHS, **options}, callbacks=list(callbacks))
    loader = DataLoader(data(), batch_size=10)
    trainer.fit(module, loader, DataLoader(data(), batch_size=8) if validation else None)
    return module.state_dict()


def plot(folder: Path, **options: Any) -> NetworkStatusPlot:
    return NetworkStatusPlot(1, directory=folder / "plots", history=folder / "status.npz", **options)


class Functional(Plain):
    """A network with a functional activation."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 2))

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        return nn.functional.cross_entropy(self.model[1](self.model[0](batch[0]).relu()), batch[1])


def test_a_module_without_activation_modules_is_refused_and_can_be_monitored_by_its_weights(tmp_path: Path) -> None:
    module = Functional()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(ValueError, match=r"nothing to capture in Functional: .* choose capture='weights'"):
        fit(module, plot(tmp_path))
    assert same(module.state_dict(), before)
    fit(module, plot(tmp_path, capture="weights"))
    assert StatusHistory.load(tmp_path / "status.npz").layers == ("model.0",)
    fit(module, plot(tmp_path, capture="weights", skip_last=False))
    assert StatusHistory.load(tmp_path / "status.npz").layers == ("model.0", "model.1")
    fit(module, plot(tmp_path, capture=["model.1"]))
    assert StatusHistory.load(tmp_path / "status.npz").layers == ("model.1",)


def test_wrong_options_of_capture_are_refused_at_once() -> None:
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match="capture must be one of"):
        NetworkStatusPlot(capture="wieghts")
    with pytest.raises(ValueError, match="unit_dim must be an integer other than 0"):
        NetworkStatusPlot(unit_dim=0)
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(ValueError, match=r"module must name a part of Plain \(model\), got 'network'"):
        fit(Plain(), NetworkStatusPlot(module="network"))


class TwoPasses(Plain):
    """A module whose steps run the network on all rows, and on some of them again."""

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return self.loss(batch) + self.loss((batch[0][:5], batch[1][:5]))


class Changing(Plain):
    """A module of which some steps leave out a layer."""

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        layers = self.model[2:] if not self.training and batch[0][0, 0] > -0.65 else self.model[1:]
        return nn.functional.cross_entropy(layers(self.model[0](batch[0])), batch[1])


class Deep(Plain):
    """A tensor of three dimensions with unknown unit dimension; ``repeat`` makes the tensor large enough for a tap."""

    def __init__(self, repeat: int = 1) -> None:
        super().__init__()
        self.repeat, self.model = repeat, nn.Sequential(nn.ReLU())
        self.scale = nn.Parameter(torch.ones(2))

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        z = batch[0].unsqueeze(1).expand(-1, self.repeat, -1)
        return nn.functional.cross_entropy(self.model(z).mean(1) * self.scale, batch[1])


class Forgetful(Plain):
    """A module that removes its own regularizer during training."""

    def __init__(self) -> None:
        super().__init__()
        self.jumpstart = JumpstartRegularization(self.model)

    def on_train_batch_end(self, *_: Any) -> None:
        self.jumpstart.remove()


FAILURES: list[tuple[Any, dict[str, Any], str]] = [
    (TwoPasses, {"validation": False}, "layers have unequal numbers of samples .*With validation data"),
    (Changing, {}, "the captured layers changed within an epoch"),
    (Deep, {}, "Give the dimension of its units: unit_dim=-1"),
    (lambda: Deep(40000), {}, "Give the dimension of its units: unit_dim=-1"),
    (Forgetful, {}, "the regularizer whose records it reads was removed"),
]


@pytest.mark.parametrize(("make", "options", "reason"), FAILURES)
def test_a_step_that_cannot_be_counted_ends_the_monitoring_with_one_warning(
    make: Any, options: dict[str, Any], reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Look(pl.Callback):
        def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            left.append(hooks(pl_module))

    left: list[int] = []
    expected = fit(make(), **options)
    caplog.clear()
    found = fit(make(), plot(tmp_path), Look(), **options)
    assert same(found, expected)
    (warning,) = (record.getMessage() for record in caplog.records if "NetworkStatusPlot" in record.getMessage())
    assert "stops monitoring" in warning
    assert "Set capture" in warning
    assert re.search(reason, warning), warning
    assert left == [0]
    assert not (tmp_path / "status.npz").exists()


def test_unit_dim_makes_an_ambiguous_module_countable(tmp_path: Path) -> None:
    fit(Deep(), plot(tmp_path, unit_dim=-1))
    assert StatusHistory.load(tmp_path / "status.npz").epochs == [0, 1]


class FailsInOne(Plain):
    """A training of two processes, of which the second has a step that can't be counted."""

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        if self.global_rank == 1 and self.current_epoch == 1:
            self.model[1:](self.model[0](batch[0][:3]))
        self.loss(batch)


def watch_in_two(rank: int, port: int, folder: str) -> None:
    os.environ.update(
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), LOCAL_RANK=str(rank), NODE_RANK="0", WORLD_SIZE="2"
    )
    warnings.filterwarnings("ignore", ".*DistributedSampler")
    fit(FailsInOne(), plot(Path(folder)), strategy="ddp", devices=2, max_epochs=4, num_sanity_val_steps=0)
    Path(folder, f"{rank}.done").touch()


@pytest.mark.slow
def test_all_processes_stop_monitoring_together(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    together(watch_in_two, port, str(tmp_path))
    assert all((tmp_path / f"{rank}.done").exists() for rank in range(2))
    assert StatusHistory.load(tmp_path / "status.npz").epochs == [0]


class Skips(Plain):
    """A module that skips every other validation batch."""

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        if batch_idx % 2 == 0:
            super().validation_step(batch, batch_idx)


class Sometimes(Plain):
    """A module that runs its network in the first validation epoch only."""

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        if self.current_epoch == 0:
            super().validation_step(batch, batch_idx)


@pytest.mark.parametrize("by", ["callback", "part", "alone"])
def test_a_step_without_the_network_counts_as_no_pass(
    by: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    others = {"callback": [Jumpstart(0.1)], "part": [Jumpstart(0.1, module="model")], "alone": []}[by]
    fit(Skips(), plot(tmp_path), *others)
    history = StatusHistory.load(tmp_path / "status.npz")
    labels = data().tensors[1]
    seen = torch.arange(40).view(5, 8)[::2].flatten()
    assert history.epochs == [0, 1]
    assert history.labels.tolist() == labels[seen].tolist()
    fit(Sometimes(), plot(tmp_path), *others)
    assert StatusHistory.load(tmp_path / "status.npz").epochs == [0]
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 1
    assert "has nothing to plot for epoch 1 of Sometimes: no captured layer ran" in warnings[0]


def test_an_epoch_without_a_pass_is_not_plotted_at_the_end(tmp_path: Path) -> None:
    class Begins(Sometimes):
        def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
            if self.current_epoch < 2:
                self.loss(batch)

    rare = NetworkStatusPlot(9, directory=tmp_path / "plots", history=tmp_path / "status.npz")
    fit(Begins(), rare, max_epochs=3)
    assert StatusHistory.load(tmp_path / "status.npz").epochs == [0]


class TwoParts(Plain):
    """A network of an encoder and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        return super().loss((self.encoder(batch[0]), batch[1]))


@pytest.mark.parametrize("attached", [True, False])
def test_several_parts_of_a_module_can_have_a_plot_each(attached: bool, tmp_path: Path) -> None:
    names = ["encoder", "model"]
    others = [Jumpstart(0.1, module=name) for name in names] if attached else []
    if attached:
        with pytest.raises(RuntimeError, match=r"2 regularizers are attached .* or NetworkStatusPlot\(module=...\)"):
            fit(TwoParts(), *others, plot(tmp_path))
    plots = [plot(tmp_path / name, module=name) for name in names]
    fit(TwoParts(), *others, *plots, logger=CSVLogger(tmp_path, version=0))
    for name, layers in zip(names, [["1"], ["1", "3"]], strict=True):
        assert list(StatusHistory.load(tmp_path / name / "status.npz").layers) == layers
        assert f"status/{name}/deadness" in rows(tmp_path)[0]


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "lightning_logs" / "version_0" / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("interval", [1.0, 0.5])
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("validation", [True, False])
def test_metrics_and_plots_are_logged_at_the_step_of_the_losses_of_the_epoch(
    interval: float, accumulate: int, validation: bool, tmp_path: Path
) -> None:
    images = Images()
    logger = CSVLogger(tmp_path, version=0)
    options: dict[str, Any] = {"val_check_interval": interval if validation else 1.0}
    fit(
        Plain(),
        plot(tmp_path),
        validation=validation,
        logger=[logger, images],
        log_every_n_steps=1,
        accumulate_grad_batches=accumulate,
        **options,
    )
    loss = "val_loss" if validation else "train_loss"
    found = [(row["step"], row["epoch"]) for row in rows(tmp_path) if row["status/deadness"]]
    assert found == [(row["step"], row["epoch"]) for row in rows(tmp_path) if row[loss]]
    each = round(1 / options["val_check_interval"])
    assert [int(epoch) for _, epoch in found] == [epoch for epoch in range(EPOCHS) for _ in range(each)]
    assert len({step for step, _ in found}) == each * EPOCHS
    last = [int(step) for step, _ in found[each - 1 :: each]]
    assert [step for _, _, step in images.seen] == [step for step in last for _ in range(2)]


class Fails(Plain):
    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        if batch_idx == 1:
            raise KeyError("stop")
        return super().training_step(batch, batch_idx)


@pytest.mark.parametrize("first", ["plot", "jumpstart"])
@pytest.mark.parametrize("module", [None, "model"])
def test_an_error_in_a_step_is_raised_without_a_warning(
    first: str, module: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    callbacks = [plot(tmp_path), Jumpstart(0.1, module=module)]
    failing = Fails()
    with pytest.raises(KeyError, match="stop"):
        fit(failing, *(callbacks if first == "plot" else callbacks[::-1]), validation=False)
    assert caplog.text == ""
    assert hooks(failing) == 0
