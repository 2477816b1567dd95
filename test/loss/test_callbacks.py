"""The callback that adds the loss equals a training step that adds the loss itself."""

from __future__ import annotations

import copy
import logging
import os
import pickle
import socket
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger
from support.lightning_modules import STEPS, Manual, Plain, by_hand, data, fit, make_model, untouched
from support.processes import together
from support.runs import same
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from jumpstart import JumpstartRegularization
from jumpstart.callbacks import Jumpstart


@pytest.mark.parametrize("returns", ["tensor", "dict"])
@pytest.mark.parametrize("accumulate", [1, 4])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_training_equals_a_loop_by_hand(returns: str, accumulate: int, precision: str) -> None:
    module = Plain(returns)
    fit(module, Jumpstart(0.3), accumulate_grad_batches=accumulate, precision=precision)
    expected = by_hand([0.3], accumulate=accumulate, precision=precision)
    assert same(module.model.state_dict(), expected.state_dict())
    without = Plain()
    fit(without, accumulate_grad_batches=accumulate, precision=precision)
    assert not same(module.model.state_dict(), without.model.state_dict())
    assert untouched(module)


def test_steps_that_return_none_are_left_out() -> None:
    module = Plain("none")
    with pytest.warns(UserWarning, match="returned `None`"):
        fit(module, Jumpstart(0.3))
    assert same(module.model.state_dict(), by_hand([0.3], skip=2).state_dict())


def test_lambda_can_depend_on_the_epoch_and_options_are_passed_to_the_regularizer() -> None:
    options: dict[str, Any] = {"terms": "unit", "aggregate": "mean", "margin": 0.5, "capture": ["1"]}
    module = Plain()
    fit(module, Jumpstart(lambda epoch: 0.5 / (epoch + 1), module="model", **options), max_epochs=3)
    assert same(module.model.state_dict(), by_hand([0.5, 0.25, 0.5 / 3], **options).state_dict())


def test_training_with_lambda_zero_equals_training_without_the_callback() -> None:
    one, other = Plain(), Plain()
    fit(one, Jumpstart(0.0))
    fit(other)
    assert same(one.model.state_dict(), other.model.state_dict())


class FailAt(pl.Callback):
    def __init__(self, step: int, error: BaseException) -> None:
        self.step, self.error = step, error

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            raise self.error


@pytest.mark.parametrize("error", [RuntimeError("stop"), KeyboardInterrupt()])
def test_hooks_and_wrapper_are_removed_after_an_exception(error: BaseException) -> None:
    module = Plain()
    with pytest.raises((RuntimeError, SystemExit)):
        fit(module, Jumpstart(0.3), FailAt(7, error))
    assert untouched(module)
    fit(module, Jumpstart(0.3))


def test_a_training_step_of_the_instance_is_restored() -> None:
    module = Plain()
    own = module.training_step
    module.training_step = own  # type: ignore[method-assign]
    fit(module, Jumpstart(0.3))
    assert vars(module)["training_step"] == own


def test_copies_and_pickles_made_during_training_have_no_regularizer() -> None:
    class Copy(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
            if not copies:
                trainer_of, pl_module._trainer = pl_module._trainer, None
                copies.extend([copy.deepcopy(pl_module), pickle.loads(pickle.dumps(pl_module))])
                pl_module._trainer = trainer_of

    copies: list[Plain] = []
    module = Plain()
    fit(module, Jumpstart(0.3), Copy())
    batch = next(iter(DataLoader(data(), batch_size=8)))
    for other in copies:
        assert other.training_step.__self__ is other
        expected = F.cross_entropy(other.model(batch[0]), batch[1])
        assert torch.equal(other.training_step(batch, 0), expected)
        fit(other, Jumpstart(0.3))


def test_the_loss_is_logged_where_there_is_a_logger(tmp_path: Path) -> None:
    module = Plain()
    trainer = fit(module, Jumpstart(1e-9), logger=CSVLogger(tmp_path), log_every_n_steps=1)
    model = make_model()
    with JumpstartRegularization(model) as jumpstart:
        losses = []
        adam = torch.optim.Adam(model.parameters(), lr=0.05)
        for x, y in DataLoader(data(), batch_size=8):
            F.cross_entropy(model(x), y).backward()
            losses.append(jumpstart.loss.item())
            adam.step()
            adam.zero_grad()
    assert trainer.logged_metrics["jumpstart_loss"].item() == pytest.approx(sum(losses) / STEPS, rel=1e-4)


def test_manual_optimization_adds_the_loss_by_hand(caplog: pytest.LogCaptureFixture) -> None:
    module = Manual()
    fit(module, Jumpstart(0.3, module="two"))
    assert same(module.two.state_dict(), by_hand([0.3]).state_dict())
    assert same(module.one.state_dict(), by_hand([0.0]).state_dict())
    assert untouched(module)
    with pytest.raises(ValueError, match="module must name the network when optimization is manual"):
        fit(Manual(), Jumpstart(0.3))
    caplog.set_level(logging.WARNING)
    fit(Manual(adds=False), Jumpstart(0.3, module="two"))
    assert "trains without the Jumpstart loss" in caplog.text


def test_wrong_values_are_refused_at_once() -> None:
    for value in (-0.1, float("nan"), float("inf"), lambda epoch: -1.0, lambda epoch: None, lambda epoch: "0.1"):
        with pytest.raises(ValueError, match=r"lambda_ must be a finite number >= 0, got"):
            Jumpstart(value)
    for other in ("0.1", None, True):
        with pytest.raises(TypeError, match="lambda_ must be a number >= 0 or a function"):
            Jumpstart(other)
    with pytest.raises(ValueError, match="aggregate must be one of"):
        Jumpstart(aggregate="blanced")
    with pytest.raises(TypeError, match="agregate"):
        Jumpstart(agregate="mean")  # type: ignore[call-arg]
    before = torch.get_rng_state()
    Jumpstart(0.1, capture=["anything"])
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(RuntimeError, match="there is no Jumpstart loss now"):
        _ = Jumpstart().loss


def test_modules_to_which_nothing_can_be_attached_are_refused_before_training() -> None:
    module = Plain()
    with pytest.raises(ValueError, match=r"module must name a part of Plain \(model\), got 'network'"):
        fit(module, Jumpstart(module="network"))
    kept = JumpstartRegularization(module.model)
    with pytest.raises(RuntimeError, match="Plain has a JumpstartRegularization"):
        fit(module, Jumpstart())
    kept.remove()
    assert untouched(module)
    with pytest.raises(ValueError, match=r"from the function in epoch 1"):
        fit(module, Jumpstart(lambda epoch: 1.0 if epoch == 0 else -1.0), max_epochs=2)
    assert untouched(module)


def train_in_two(rank: int, port: int, folder: str) -> None:
    os.environ.update(
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), LOCAL_RANK=str(rank), NODE_RANK="0", WORLD_SIZE="2"
    )
    module = Plain()
    options: dict[str, Any] = {"strategy": "ddp", "devices": 2, "use_distributed_sampler": False}
    fit(module, Jumpstart(0.3), rows=slice(rank, None, 2), **options)
    torch.save(module.model.state_dict(), f"{folder}/{rank}.pt")


@pytest.mark.slow
def test_the_callback_works_in_two_processes(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    together(train_in_two, port, str(tmp_path))
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    assert same(found[0], found[1])
    model = make_model()
    jumpstart = JumpstartRegularization(model)
    adam = torch.optim.Adam(model.parameters(), lr=0.05)
    parts = [list(DataLoader(TensorDataset(*data()[rank::2]), batch_size=8)) for rank in range(2)]
    for batches in zip(*parts, strict=True):
        for x, y in batches:  # each process has the loss of its part; gradients are averaged
            ((F.cross_entropy(model(x), y) + 0.3 * jumpstart.loss) / 2).backward()
        adam.step()
        adam.zero_grad()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(found[0][name], value, rtol=1e-4, atol=1e-5)
