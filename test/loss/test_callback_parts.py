"""Several callbacks that add the loss to parts of one module, and the logged loss, also with weight 0."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger
from support.lightning_modules import STEPS, Manual, Plain, by_hand, data, fit, untouched
from support.runs import same
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader

from jumpstart import JumpstartRegularization, callbacks
from jumpstart.callbacks import Jumpstart
from model.meters import ClassificationMetrics


def logged(folder: Path) -> dict[str, list[float]]:
    """The columns of ``metrics.csv``, in the order of the rows that have them."""
    with (folder / "lightning_logs" / "version_0" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows if row[name]] for name in rows[0]}


class TwoParts(Plain):
    """A network of an encoder and a head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.encoder = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 3))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return F.cross_entropy(self.model(self.encoder(batch[0])), batch[1])


def test_two_callbacks_on_two_parts_add_both_losses(tmp_path: Path) -> None:
    module, hand = TwoParts(), TwoParts()
    callbacks = [Jumpstart(0.1, module="model"), Jumpstart(0.2, module="encoder", aggregate="mean")]
    fit(module, *callbacks, max_epochs=2, logger=CSVLogger(tmp_path))
    one = JumpstartRegularization(hand.model)
    two = JumpstartRegularization(hand.encoder, aggregate="mean")
    adam = hand.configure_optimizers()
    epochs: dict[str, list[float]] = {"model": [], "encoder": []}
    for _ in range(2):
        sums = {"model": 0.0, "encoder": 0.0}
        for step, batch in enumerate(DataLoader(data(), batch_size=8)):
            loss = hand.training_step(batch, step) + 0.1 * one.loss + 0.2 * two.loss
            sums["model"] += one.loss.item()
            sums["encoder"] += two.loss.item()
            adam.zero_grad()
            loss.backward()
            adam.step()
        for name, value in sums.items():
            epochs[name].append(value / STEPS)
    assert same(module.state_dict(), hand.state_dict())
    columns = logged(tmp_path)
    assert "jumpstart_loss" not in columns
    for name, expected in epochs.items():
        assert columns[f"jumpstart_loss/{name}"] == pytest.approx(expected, rel=1e-5)
    assert untouched(module)


@pytest.mark.parametrize("first", [0, 1, 2])
def test_callbacks_on_several_parts_can_be_detached_in_any_order(first: int) -> None:
    class Leave(pl.Callback):
        def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            callbacks[first].on_fit_end(trainer, pl_module)
            batch = next(iter(DataLoader(data(), batch_size=8)))
            with torch.no_grad():
                total = pl_module.training_step(batch, 0)
                loss = TwoParts.training_step(pl_module, batch, 0)
                loss = loss + sum(callback.loss for callback in callbacks if callback is not callbacks[first])
            assert total.item() == pytest.approx(loss.item())
            callbacks[first - 1].on_fit_end(trainer, pl_module)
            assert len(vars(pl_module)["training_step"].callbacks) == 1

    module = TwoParts()
    module.encoder.append(nn.Sequential(nn.Linear(3, 3), nn.Tanh()))
    module.encoder.append(nn.Sequential(nn.Linear(3, 3), nn.ReLU()))
    parts = ["model", "encoder.3", "encoder.4"]
    callbacks = [Jumpstart(0.1 * (i + 1), module=name) for i, name in enumerate(parts)]
    fit(module, *callbacks, Leave())
    assert untouched(module)


def test_two_callbacks_on_the_same_part_are_refused() -> None:
    module = TwoParts()
    for name in ("encoder", None):
        with pytest.raises(RuntimeError, match="TwoParts has a JumpstartRegularization"):
            fit(module, Jumpstart(0.1, module="encoder"), Jumpstart(0.1, module=name))
        assert untouched(module)


class BothParts(Manual):
    """A module with manual optimization that adds the loss of both its networks."""

    def jumpstart_of(self, model: nn.Module) -> Tensor:
        return self.jumpstart_loss("one" if model is self.one else "two")

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        if batch_idx == 0:
            with pytest.raises(ValueError, match="module must be one of 'one', 'two', got None"):
                self.jumpstart_loss()
        for model, optimizer in zip((self.one, self.two), self.optimizers(), strict=True):
            loss = F.cross_entropy(model(batch[0]), batch[1]) + self.jumpstart_of(model)
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()


def test_manual_optimization_names_the_part_and_its_losses_are_logged(tmp_path: Path) -> None:
    module = BothParts()
    fit(module, Jumpstart(0.3, module="one"), Jumpstart(0.0, module="two"), logger=CSVLogger(tmp_path / "two"))
    assert same(module.one.state_dict(), by_hand([0.3]).state_dict())
    assert same(module.two.state_dict(), by_hand([0.0]).state_dict())
    assert untouched(module)
    plain = Plain()
    fit(plain, Jumpstart(0.3), logger=CSVLogger(tmp_path / "plain"))
    fit(Manual(), Jumpstart(0.3, module="two"), logger=CSVLogger(tmp_path / "one"))
    expected = logged(tmp_path / "plain")["jumpstart_loss"]
    columns = logged(tmp_path / "two")
    assert logged(tmp_path / "one")["jumpstart_loss"] == columns["jumpstart_loss/one"] == expected
    assert len(columns["jumpstart_loss/two"]) == 1


class Large(Plain):
    """In-place layers that are too large to be kept, with dropout."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.model = nn.Sequential(
            nn.Linear(3, 9000), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(9000, 4), nn.ReLU(), nn.Linear(4, 2)
        )


@pytest.mark.parametrize("make", [Plain, Large])
def test_with_lambda_zero_the_loss_is_logged_and_training_is_the_same(make: type[Plain], tmp_path: Path) -> None:
    def run(*callbacks: Jumpstart, **options: Any) -> tuple[nn.Module, Tensor]:
        module = make()
        fit(module, *callbacks, rows=slice(40), **options)
        return module, torch.get_rng_state()

    without, after = run()
    zero = Jumpstart(0.0, ties="random")
    watched, after_too = run(zero, logger=CSVLogger(tmp_path / "zero"))
    assert same(without.state_dict(), watched.state_dict())
    assert torch.equal(after, after_too)
    run(Jumpstart(1e-12), logger=CSVLogger(tmp_path / "tiny"))
    found, expected = (logged(tmp_path / name)["jumpstart_loss"] for name in ("zero", "tiny"))
    assert found == pytest.approx(expected, rel=1e-4)


def test_a_loss_that_grows_from_zero_is_logged_throughout(tmp_path: Path) -> None:
    module = Plain()
    fit(module, Jumpstart(lambda epoch: 0.3 * epoch), max_epochs=2, logger=CSVLogger(tmp_path))
    assert same(module.model.state_dict(), by_hand([0.0, 0.3]).state_dict())
    assert len(logged(tmp_path)["jumpstart_loss"]) == 2


def test_with_lambda_zero_a_step_without_the_network_does_not_stop_the_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Elsewhere(Plain):
        def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
            return torch.stack([weight.square().sum() for weight in self.parameters()]).sum()

    fit(Elsewhere(), Jumpstart(0.0), logger=CSVLogger(tmp_path))
    assert caplog.text.count("is not logged any more while lambda_ is 0: the latest forward pass captured nothing") == 1


def mean_parts(lambdas: list[float], columns: dict[str, list[float]], suffix: str = "") -> None:
    """Compare the logged parts of every epoch with those of a loop by hand."""
    module = Plain()
    jumpstart, adam = JumpstartRegularization(module.model), module.configure_optimizers()
    for epoch, weight in enumerate(lambdas):
        seen = []
        for x, y in DataLoader(data(), batch_size=8):
            loss = F.cross_entropy(module.model(x), y) + weight * jumpstart.loss
            seen.append([jumpstart.loss.item(), jumpstart.unit_loss.item(), jumpstart.point_loss.item()])
            adam.zero_grad()
            loss.backward()
            adam.step()
        logs = [columns[f"jumpstart_{name}loss{suffix}"][epoch] for name in ("", "unit_", "point_")]
        assert logs == pytest.approx(torch.tensor(seen).mean(0).tolist(), rel=1e-4)
        assert logs[1] + logs[2] == pytest.approx(logs[0], rel=1e-5)


@pytest.mark.parametrize("lambdas", [[0.3, 0.3], [0.0, 0.4], [0.0, 0.0]])
def test_the_parts_of_the_loss_are_logged_each_epoch(lambdas: list[float], tmp_path: Path) -> None:
    for name, module, part in (("plain", Plain(), None), ("manual", Manual(), "two")):
        callback = Jumpstart(lambdas.__getitem__, module=part)
        fit(module, callback, max_epochs=2, logger=CSVLogger(tmp_path / name))
        mean_parts(lambdas, logged(tmp_path / name))


def test_the_parts_of_several_callbacks_are_logged_by_module(tmp_path: Path) -> None:
    module = BothParts()
    fit(module, Jumpstart(0.3, module="one"), Jumpstart(0.2, module="two"), logger=CSVLogger(tmp_path))
    for suffix, weight in (("/one", 0.3), ("/two", 0.2)):
        mean_parts([weight], logged(tmp_path), suffix)


class NoReads(TorchDispatchMode):
    """Fails where the value of a tensor is read to Python, which waits for the device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func is not torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def test_no_value_is_read_before_the_epoch_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def watched(own: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            calls.append(own.__name__)
            with NoReads():  # type: ignore[no-untyped-call]
                return own(*args)

        return call

    calls: list[str] = []
    monkeypatch.setattr("jumpstart.callbacks._values", watched(callbacks._values))
    monkeypatch.setattr(Jumpstart, "_add", watched(Jumpstart._add))
    monkeypatch.setattr(ClassificationMetrics, "update", watched(ClassificationMetrics.update))
    fit(Plain(), Jumpstart(0.3), logger=CSVLogger(tmp_path))
    zero = torch.tensor(0.0)
    ClassificationMetrics().update(torch.zeros(2, 2), torch.zeros(2).long(), zero, zero, (zero, zero))
    assert {name: calls.count(name) for name in calls} == {"_values": STEPS, "_add": STEPS, "update": 1}
    with pytest.raises(AssertionError), NoReads():  # type: ignore[no-untyped-call]
        zero.item()
