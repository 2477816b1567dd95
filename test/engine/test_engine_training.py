"""Steps of the optimizers and the metrics of every epoch, against the same training by PyTorch.

Training is chaotic: at a learning rate of 0.01 roundings grow to other counts within some epochs, in PyTorch's own
float32 too. So metrics are compared at 0.001, and weights by their distance to training in float64.
"""

from __future__ import annotations

import functools
import math

import pytest
import torch
from support.engine import BUILDS, Reference, cloud, config, every_build, member_of
from torch import Tensor
from torch.nn import functional as F

from jumpstart.engine.build import Build
from model.compiled import load_weights
from model.config.rectangular import RectangularConfig

STEPS = 50
LARGEST_RATIO = 3.0
FLOOR = 1e-7
FULL: dict[str, object] = {"batch_size": None, "epochs": STEPS}
SMALL: dict[str, object] = {
    "batch_size": 16,
    "epochs": 13,
    "lr": 0.002,
}  # of 50 rows: three batches of 16, and one of 2
SGD = FULL | {"optimizer": "sgd", "lr": 0.1}

OPTIONS: dict[str, dict[str, object]] = {
    "adam": FULL | {"weight_decay": 0.1, "gradient_clip": 0.2},
    "adamw": SMALL | {"optimizer": "adamw", "weight_decay": 0.3, "scheduler": "cosine", "warmup_epochs": 3},
    "norm": SGD | {"gradient_clip": 0.1},
    "values": SGD | {"gradient_clip_value": 0.02, "gradient_clip": 0.05, "momentum": 0.0, "weight_decay": 0.1},
    "batchnorm": SMALL | {"use_batchnorm": True, "lambda_": 1.0, "lambda_schedule": "linear"},
}


@functools.cache
def weights_by_torch(name: str) -> tuple[Tensor, Tensor]:
    """The last weights of a run in float32 and in float64."""
    single, exact = (Reference(run_of(name), cloud(50), dtype) for dtype in (torch.float32, torch.float64))
    for reference in (single, exact):
        for epoch in range(reference.run.epochs):
            reference.train_epoch(epoch)
    return single.weights, exact.weights


def run_of(name: str) -> RectangularConfig:
    """The run of a name of ``OPTIONS``."""
    return config(**{"depth": 3, "lambda_": 0.1, "seed": 3, **OPTIONS[name]})


@pytest.mark.parametrize("build", BUILDS, ids=every_build)
@pytest.mark.parametrize("name", OPTIONS)
def test_weights_after_fifty_steps_are_as_exact_as_those_of_torch(build: Build, name: str) -> None:
    member = member_of(run_of(name), cloud(50), build)
    begin = member.weights.double()
    member.train()
    assert member.steps in (STEPS, 4 * 13)
    single, exact = weights_by_torch(name)
    moved = (exact - begin).norm()
    assert moved > 0.05 * begin.norm()
    error, of_torch = ((weights - exact).norm() / moved for weights in (member.weights, single))
    assert error <= LARGEST_RATIO * max(of_torch, FLOOR)


COUNTED = ("acc", "_ratio", "deadness", "linearity", "efficiency")
MANY: dict[str, object] = {"batch_size": None, "epochs": 30}
FEW: dict[str, object] = {"batch_size": 24, "epochs": 5}
RUNS: dict[str, dict[str, object]] = {
    "plain": MANY,
    "skips": MANY | {"skip_connections": 2, "depth": 5, "width": 3},
    "weights": MANY | {"capture": "weights", "skip_last": False, "terms": "unit,point_negative"},
    # By Adam, a bias before batch normalization moves by the sign of a rounding.
    "batchnorm": FEW | {"use_batchnorm": True, "optimizer": "sgd"},
    "published": FEW | {"skip_connections": 1, "skip_kind": "published", "aggregate": "norm"},
    "sums": FEW
    | {"aggregate": "sum_of_squares", "margin": 0.5, "activation": "silu"}
    | {"positive_weight": 0.5, "negative_margin": 0.1},
    "thin": FEW | {"depth": 12, "width": 2, "seed": 5, "capture": "weights", "aggregate": "mean", "use_loss": False},
}


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("build", BUILDS[:1], ids=every_build)
def test_every_metric_of_every_epoch_is_that_of_torch(build: Build, name: str) -> None:
    run = config(**{"depth": 3, "lr": 0.001, "lambda_": 0.1, **RUNS[name]})
    parts = cloud(70, features=3, classes=4, val_rows=37)
    member, reference = member_of(run, parts, build, 4), Reference(run, parts, torch.float32, 4)
    member.train()
    rows = list(reference.epochs())
    assert [epoch for epoch, _ in member.rows()] == list(range(run.epochs))
    for (_, found), wanted in zip(member.rows(), rows, strict=True):
        assert found.keys() == wanted.keys()
        counts = {name: value for name, value in wanted.items() if name.endswith(COUNTED)}
        assert len(counts) == 2 * 11
        for metric, value in wanted.items():
            tolerance = 1e-12 if metric in counts else 1e-4
            assert math.isclose(found[metric], value, rel_tol=tolerance, abs_tol=tolerance / 10), metric
    assert len({row["train/nonlinearity"] for row in rows}) > 1
    network = reference.network
    expected = {key: value.clone() for key, value in network.state_dict().items()}
    load_weights(member, network)
    torch.testing.assert_close(dict(network.state_dict()), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("build", BUILDS, ids=every_build)
def test_the_counts_meet_every_status(build: Build) -> None:
    """Networks with dead, linear and nonlinear units and points in one epoch, before any step."""
    seen = set()
    for seed in range(8):
        run = config(depth=6, width=3, lr=1e-6, batch_size=None, seed=seed, init="kaiming")
        parts = cloud(70, seed=seed)
        member = member_of(run, parts, build)
        member.train()
        ((_, found),), (wanted,) = member.rows(), Reference(run, parts).epochs()
        assert found == pytest.approx(wanted, rel=1e-5, abs=1e-6)
        seen |= {name for name, value in found.items() if 0 < value < 1}
    assert {
        f"{part}/unit_{status}_ratio" for part in ("train", "val") for status in ("dead", "linear", "nonlinear")
    } <= seen
    assert {"train/point_dead_ratio", "train/point_nonlinear_ratio", "train/point_efficiency"} <= seen


@pytest.mark.parametrize("build", BUILDS, ids=every_build)
def test_measuring_a_part_is_an_epoch_of_it(build: Build) -> None:
    run, parts = config(batch_size=16, epochs=6, use_batchnorm=True), cloud(50)
    member = member_of(run, parts, build)
    member.train()
    *_, (_, last) = member.rows()
    found = member.measure(*parts[1])
    assert {f"val/{name}": value for name, value in found.items()} == {
        name: value for name, value in last.items() if name.startswith("val/")
    }
    best = dict(member.rows())[member.best_epoch]
    assert member.measure(*parts[1], best=True)["loss"] == best["val/loss"]
    assert member.epoch == 6


@pytest.mark.parametrize("build", BUILDS, ids=every_build)
@pytest.mark.parametrize("classes", [1, 2, 7, 100, 1000, 3000])
def test_cross_entropy_is_exact_to_its_last_place(build: Build, classes: int) -> None:
    """The biases of the output alone are the logits of the only row."""
    x, y = torch.zeros(1, 1), torch.tensor([classes // 2])
    member = member_of(config(depth=1, width=1), ((x, y), (x, y)), build, classes)
    for scale in (0.0, 0.5, 3.0):
        logits = scale * torch.randn(classes)
        member.weights.zero_()
        member.weights[-classes:] = logits
        exact = float(F.cross_entropy(logits.double()[None], y))
        assert abs(member.measure(x, y)["loss"] - exact) <= 1.5 * 2.0**-23 * max(1.0, exact)


@pytest.mark.parametrize("build", BUILDS[:1], ids=every_build)
def test_there_are_no_metrics_before_the_first_epoch(build: Build) -> None:
    member = member_of(config(), cloud(20), build)
    assert list(member.rows()) == []
    assert (member.metric("val/acc").shape, member.metric("val/acc").dtype) == ((0,), torch.float64)
    assert (member.epochs, member.epoch, member.best_epoch, member.diverged_layer) == (1, 0, -1, -1)


@pytest.mark.parametrize("build", BUILDS[:1], ids=every_build)
def test_data_may_lie_in_memory_in_any_order(build: Build) -> None:
    parts = cloud(20)
    scattered = tuple((x.t().contiguous().t(), y.repeat_interleave(2)[::2]) for x, y in parts)
    member, other = (member_of(config(epochs=3), data, build) for data in (parts, (scattered[0], scattered[1])))
    for found in (member, other):
        found.train()
    assert torch.equal(member.weights, other.weights)
    assert list(member.rows()) == list(other.rows())
    assert member.measure(*parts[0]) == member.measure(*scattered[0])


@pytest.mark.parametrize("build", BUILDS[:1], ids=every_build)
@pytest.mark.parametrize("width", [1, 2, 3, 4, 13])
def test_vectors_of_any_build_end_within_the_parameters(build: Build, width: int) -> None:
    """The widest vector has 16 numbers."""
    member = member_of(config(width=width), cloud(20), build)
    sizes = {name: len(array) for name, array in member.state_dict()["tensors"].items()}
    assert set(sizes) == {"weights", "moment1", "moment2", "best_weights"}
    assert all(size % 16 == 0 and size >= len(member.weights) for size in sizes.values())
