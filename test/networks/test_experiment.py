"""The Lightning module: its training equals a loop written by hand, and every metric of an epoch is exact."""

from __future__ import annotations

import copy
import functools
import gc
import math
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from support.runs import ByHand, Rows, fit, network_weights, prepare, run_tiny, same, slow_metrics, tiny
from torch import Tensor, nn
from torch.nn import functional as F

from jumpstart import JumpstartRegularization
from model.activations import activation_names
from model.config.rectangular import RectangularConfig
from model.errors import NonFiniteLossError
from model.meters import ClassificationMetrics, DivergenceWatch
from model.optimization import lambda_at, lr_at
from model.rectangular_experiment import RectangularExperiment

CASES: dict[str, dict[str, object]] = {
    "default": {},
    "one batch": {"batch_size": None},
    "adamw": {"optimizer": "adamw", "weight_decay": 0.1, "gradient_clip": None},
    "muon": {"optimizer": "muon", "momentum": 0.8, "weight_decay": 0.1},
    "sgd": {"optimizer": "sgd", "momentum": 0.5, "weight_decay": 0.1, "gradient_clip": 0.1},
    "clipped values": {"gradient_clip_value": 0.01, "gradient_clip": 0.05},
    "clipped values alone": {"gradient_clip_value": 0.01, "gradient_clip": None},
    "schedules": {"scheduler": "cyclic", "warmup_epochs": 1, "lambda_schedule": "cosine", "lambda_min": 0.001},
    "jumpstart alone": {"use_loss": False, "lambda_": 1.0},
    "dropout": {"dropout": 0.3, "width": 8},
    "batchnorm": {"use_batchnorm": True, "skip_connections": 2},
    "random ties": {"ties": "random", "init": "constant", "margin": 1.2, "negative_margin": "auto"},
    "conv": {"dataset": "digits", "layer": "conv", "pool_at": (1,), "batch_size": 600, "epochs": 2, "dropout": 0.1},
}
every_case = pytest.mark.parametrize("case", CASES)


def by_hand(config: RectangularConfig) -> ByHand:
    epochs = range(config.epochs)
    lambdas = [lambda_at(config, epoch) for epoch in epochs] if config.lambda_ else None
    return ByHand(config, [lr_at(config, epoch) for epoch in epochs], lambdas)


@functools.cache
def both_ways(case: str) -> tuple[RectangularExperiment, Rows, ByHand]:
    config = tiny(**CASES[case])
    return *fit(config), by_hand(config)


@every_case
def test_training_equals_a_loop_written_by_hand(case: str) -> None:
    experiment, _, hand = both_ways(case)
    assert same(experiment.network.state_dict(), hand.network.state_dict())


@pytest.mark.parametrize("changes", [{}, {"dropout": 0.2}, {"use_batchnorm": True, "optimizer": "sgd"}])
def test_training_with_lambda_zero_equals_training_without_jumpstart(changes: dict[str, object]) -> None:
    config = tiny(lambda_=0, **changes)
    experiment, _ = fit(config)
    expected = by_hand(config)
    assert expected.jumpstart is None
    assert same(experiment.network.state_dict(), expected.network.state_dict())


def test_jumpstart_alone_does_not_depend_on_the_labels() -> None:
    config = tiny(use_loss=False)
    _, fresh = prepare(config)
    experiment, _ = fit(config)
    assert torch.equal(experiment.network.output.weight, fresh.network.output.weight)
    moved = [not torch.equal(a, b) for a, b in zip(experiment.parameters(), fresh.parameters(), strict=True)]
    assert sum(moved) == len(moved) - 2


@every_case
def test_every_metric_of_every_epoch_equals_a_slow_reference(case: str) -> None:
    experiment, seen, hand = both_ways(case)
    config = experiment.config
    assert len(seen.rows) == config.epochs
    for epoch, (row, parts) in enumerate(zip(seen.rows, hand.epochs, strict=True)):
        expected = {
            f"{stage}/{name}": value
            for stage, part in parts.items()
            for name, value in slow_metrics(part, config.margins).items()
        }
        expected |= {"epoch": epoch, "lr": row["lr"], "lambda": lambda_at(config, epoch)}
        assert row.keys() == expected.keys()
        assert row == pytest.approx(expected, rel=1e-5, abs=1e-6)
        assert all(type(value) in (int, float) for value in row.values())


@pytest.mark.parametrize("scale", [1e-4, 1.0, 50.0])
def test_binary_accuracy_is_right_for_logits_between_0_and_1(scale: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 0.2 + 0.3 * torch.rand(200, 2, generator=generator) * scale
    labels = torch.randint(2, (200,), generator=generator)
    metrics = ClassificationMetrics()
    for rows in torch.arange(200).split(64):
        loss = F.cross_entropy(logits[rows], labels[rows])
        metrics.update(logits[rows], labels[rows], loss, torch.tensor(1.0))
    expected = sum(int(pair[1] > pair[0]) == label for pair, label in zip(logits, labels, strict=True)) / 200
    assert float(metrics.compute()["acc"]) == expected
    assert float(metrics.compute()["loss"]) == pytest.approx(float(F.cross_entropy(logits, labels)))


class Modes(pl.Callback):
    """Records the mode of every module in training and in validation; one module is kept in evaluation mode."""

    def __init__(self, frozen: Callable[[pl.LightningModule], nn.Module]) -> None:
        self.frozen = frozen
        self.train: list[list[bool]] = []
        self.val: list[list[bool]] = []

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.frozen(pl_module).eval()

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        self.train.append([module.training for module in pl_module.network.modules()])

    def on_validation_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        assert not torch.is_grad_enabled()
        self.val.append([module.training for module in pl_module.modules()])


@pytest.mark.filterwarnings("ignore:Found 1 module.* in eval mode")
def test_validation_runs_in_evaluation_mode_and_restores_the_modes_of_training() -> None:
    modes = Modes(lambda experiment: experiment.network.get_submodule("layers.1.norm"))
    experiment, _ = fit(tiny(use_batchnorm=True, dropout=0.5, epochs=2), modes)
    names = [name for name, _ in experiment.network.named_modules()]
    assert len(modes.train) == 6
    assert all(dict(zip(names, mode, strict=True))["layers.1.norm"] is False for mode in modes.train)
    assert all(sum(mode) == len(mode) - 1 for mode in modes.train)
    assert not any(any(mode) for mode in modes.val)
    norms = [parts.norm for parts in experiment.network.layers]
    assert [int(norm.num_batches_tracked) for norm in norms] == [6, 0, 6, 6]
    assert not norms[1].running_mean.any()


def test_a_test_restores_the_modes_too(tmp_path: Path) -> None:
    experiment, _ = fit(tiny(dropout=0.5, use_batchnorm=True, epochs=1))
    data, _ = prepare(experiment.config)
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=tmp_path)
    before = copy.deepcopy(experiment.network.state_dict())
    first, second = (trainer.test(experiment, datamodule=data, verbose=False)[0] for _ in range(2))
    assert first == second
    assert first == pytest.approx({name: experiment.evaluation[name] for name in ("test/acc", "test/loss")})
    assert same(before, experiment.network.state_dict())
    assert all(module.training for module in experiment.network.modules())


class Poison(pl.Callback):
    """Writes NaN, or another value, into a parameter at the start of an epoch or after its last step."""

    def __init__(self, name: str, epoch: int, *, late: bool = False, value: float = math.nan) -> None:
        self.name, self.epoch, self.late, self.value = name, epoch, late, value

    def _poison(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.current_epoch == self.epoch:
            with torch.no_grad():
                module.network.get_parameter(self.name).view(-1)[0] = self.value

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not self.late:
            self._poison(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        if self.late and batch_idx + 1 == trainer.num_training_batches:
            self._poison(trainer, pl_module)


@pytest.mark.parametrize(("value", "late"), [(math.nan, False), (math.inf, True)])
@pytest.mark.parametrize(
    ("poisoned", "named", "changes"),
    [
        ("layers.0.linear.weight", "layers.0.activation", {}),
        ("layers.2.linear.bias", "layers.2.activation", {}),
        ("layers.3.linear.bias", "layers.3.linear", {"capture": "weights"}),
        ("output.weight", "the output", {}),
        ("output.weight", "the output", {"capture": "weights"}),
        ("layers.1.norm.weight", "layers.1.activation", {"use_batchnorm": True}),
        (
            "layers.1.conv.weight",
            "layers.1.activation",
            {"dataset": "digits", "layer": "conv", "pool_at": (1, 3), "batch_size": 600, "width": 16},
        ),
    ],
)
def test_divergence_names_the_epoch_and_the_first_layer(
    poisoned: str, named: str, changes: dict[str, object], value: float, late: bool
) -> None:
    poison = Poison(poisoned, 1, late=late, value=value)
    message = f"the loss of epoch 1 is not finite; the first layer that is not finite is {named}. "
    with pytest.raises(NonFiniteLossError, match=message):
        fit(tiny(activation="gelu", lambda_=0.01, **changes), poison)


@pytest.mark.parametrize(
    ("changes", "epoch", "remedies"),
    [
        (
            {"gradient_clip": 0.0},
            1,
            "a lower lr or gradient_clip=1.0 or warmup_epochs; the last good checkpoint is kept",
        ),
        ({"gradient_clip": None, "warmup_epochs": 1}, 0, "a lower lr or gradient_clip=1.0"),
        ({"gradient_clip": 5.0}, 0, "a lower lr or gradient_clip=1.0 or warmup_epochs"),
        ({"gradient_clip": 1.0}, 0, "a lower lr or warmup_epochs"),
        ({"gradient_clip": 0.5, "warmup_epochs": 2}, 0, "a lower lr"),
    ],
)
def test_the_error_of_divergence_names_only_remedies_that_are_left(
    changes: dict[str, object], epoch: int, remedies: str
) -> None:
    with pytest.raises(NonFiniteLossError) as caught:
        fit(tiny(depth=1, width=1, epochs=2, batch_size=None, **changes), Poison("output.weight", epoch))
    assert str(caught.value).endswith(f" is the output. Try {remedies}.")


def test_an_overflow_of_the_jumpstart_loss_is_named_as_such() -> None:
    poison = Poison("layers.1.linear.bias", 0, value=-1e25)
    with pytest.raises(NonFiniteLossError, match="not finite is the Jumpstart loss"):
        fit(tiny(aggregate="sum_of_squares", activation="tanh"), poison)


def test_the_watch_names_layers_in_call_order_however_they_are_grouped() -> None:
    class Bottleneck(nn.Module):
        """Layers of two widths, whose records form two groups."""

        def __init__(self) -> None:
            super().__init__()
            self.sizes = nn.ModuleList([nn.Linear(a, b) for a, b in pairwise([2, 4, 3, 4, 3, 2])])
            self.acts = nn.ModuleList([nn.ReLU() for _ in range(4)])

        def forward(self, x: Tensor) -> Tensor:
            for layer, act in zip(self.sizes, self.acts, strict=False):
                x = act(layer(x))
            out: Tensor = self.sizes[-1](x)
            return out

    model = Bottleneck()
    with JumpstartRegularization(model) as jumpstart:
        for bad in range(4):
            watch = DivergenceWatch()
            healthy = copy.deepcopy(model.state_dict())
            for step in range(3):
                if step == 1:
                    nn.init.constant_(model.sizes[bad].bias, math.inf)
                loss = model(torch.randn(5 + step, 2)).sum()
                watch.update(jumpstart, loss)
                assert watch.first() == (f"acts.{bad}" if step else None)
                if step == 1:
                    model.load_state_dict(healthy)  # the first layer stays recorded


def test_a_diverged_run_keeps_a_finite_checkpoint_of_every_kind(tmp_path: Path) -> None:
    # The one step of the first epochs is harmless; that of a later one throws the weights away.
    with pytest.raises(NonFiniteLossError, match="epoch 3"), poisoned_from(3):
        run_tiny(tmp_path, engine="lightning", batch_size=None, checkpoint_seconds=0.0)
    for name in ("last.ckpt", "best.ckpt"):
        weights = network_weights(tmp_path / "run" / "checkpoints" / name)
        assert all(value.isfinite().all() for value in weights.values())
    assert (tmp_path / "run" / "metrics.csv").read_text().splitlines()[-1].startswith("2,")
    assert not (tmp_path / "run" / "summary.json").exists()


@contextmanager
def poisoned_from(epoch: int) -> Iterator[None]:
    """Every run diverges at the last step of this epoch."""

    def ruin(self: RectangularExperiment, *_: object) -> None:
        if self.current_epoch == epoch:
            with torch.no_grad():
                next(self.network.parameters()).fill_(math.nan)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RectangularExperiment, "on_train_batch_end", ruin)
        yield


def test_an_experiment_from_a_checkpoint_starts_a_new_training(tmp_path: Path) -> None:
    directory, _ = run_tiny(tmp_path)
    loaded = RectangularExperiment.load_from_checkpoint(directory.last_checkpoint)
    assert loaded.row == {}
    _, seen = fit(loaded.config, experiment=loaded)
    assert [row["lr"] for row in seen.rows] == [lr_at(loaded.config, epoch) for epoch in range(5)]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda experiment: pickle.loads(pickle.dumps(experiment))])
def test_a_trained_experiment_can_be_copied(copied: Callable[[RectangularExperiment], RectangularExperiment]) -> None:
    experiment, _ = fit(tiny(use_batchnorm=True, epochs=1))
    experiment._trainer = None
    other = copied(experiment)
    assert same(experiment.state_dict(), other.state_dict())
    assert torch.equal(other.network.eval()(torch.ones(3, 2)), experiment.network.eval()(torch.ones(3, 2)))


@pytest.mark.parametrize("activation", activation_names())
def test_every_activation_is_captured_in_every_layer(activation: str) -> None:
    _, experiment = prepare(tiny(activation=activation, depth=3))
    experiment(torch.randn(5, 2))
    assert experiment.jumpstart.layers == [f"layers.{i}.activation" for i in range(3)]
    assert experiment.jumpstart.loss.isfinite()


def test_a_network_that_cannot_be_captured_is_refused_when_the_experiment_is_built() -> None:
    with pytest.raises(ValueError, match=r"unit_dim must be one of 1 to 3 .* got 9"):
        prepare(tiny(dataset="digits", layer="conv", unit_dim=9))


class Census(pl.Callback):
    """Counts the tensors and objects in memory at the start of some epochs."""

    def __init__(self, epochs: tuple[int, ...]) -> None:
        self.epochs = epochs
        self.tensors: list[int] = []
        self.objects: list[int] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch in self.epochs:
            gc.collect()
            alive = gc.get_objects()
            self.tensors.append(sum(issubclass(type(thing), Tensor) for thing in alive))
            self.objects.append(len(alive))


def test_memory_does_not_grow_from_epoch_to_epoch() -> None:
    census = Census((10, 20, 40, 60))
    fit(tiny(depth=2, epochs=61, batch_size=None, use_batchnorm=True, dropout=0.1), census)
    assert len(set(census.tensors[1:])) == 1
    assert census.objects[3] - census.objects[1] < 200  # the rows that the test keeps, and little else
