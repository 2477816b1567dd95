"""Members whose values are not finite: they end, their layer is named, and their neighbors train on."""

from __future__ import annotations

import functools
import itertools
import math
import platform
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from support.engine import BUILDS, Parts, Reference, cloud, config, every_build, member_of
from torch import Tensor

from jumpstart.engine.build import Build
from jumpstart.engine.layout import Outcome
from jumpstart.engine.member import Member
from model.compiled import captured_layers
from model.config.rectangular import RectangularConfig

KINDS: dict[str, dict[str, object]] = {
    "relu": {},
    "tanh": {"activation": "tanh"},
    "softplus": {"activation": "softplus", "width": 12},
    "batchnorm": {"use_batchnorm": True, "activation": "sigmoid"},
    "weights": {"capture": "weights", "skip_last": False, "activation": "elu"},
    "skips": {"skip_connections": 2, "capture": "weights", "activation": "silu"},
}
OTHER_NAN = torch.tensor([0x7FC00001], dtype=torch.int32).view(torch.float32)
NOT_FINITE = (math.nan, -math.nan, OTHER_NAN, math.inf, -math.inf)


def named(run: RectangularConfig, member: Member) -> str:
    """The layer that a member names."""
    return captured_layers(run)[member.diverged_layer]


def spoiled(value: float | Tensor, row: int, part: int) -> Parts:
    """Data with one value that is not finite."""
    parts = cloud(40)
    parts[part][0][row, 1] = value
    return parts


def first_by_torch(run: RectangularConfig, reference: Reference) -> str | None:
    """The layer that a run by Lightning names after its first epoch."""
    next(reference.epochs())
    names = [reference.meters[part].watch.first() for part in ("train", "val")]
    return next((name for name in names if name is not None), None)


@pytest.mark.parametrize("build", BUILDS, ids=every_build)
@pytest.mark.parametrize("kind", KINDS)
def test_data_that_are_not_finite_end_the_member(build: Build, kind: str) -> None:
    run = config(**{"depth": 3, "epochs": 3, "batch_size": 16, "seed": 2, **KINDS[kind]})
    for part, (value, row) in itertools.product((0, 1), zip(NOT_FINITE, (0, 7, 16, 19, 5), strict=True)):
        member = member_of(run, spoiled(value, row, part), build)
        assert member.train() is Outcome.DIVERGED
        assert member.epoch == 0
        assert list(member.rows()) == []
        assert named(run, member) == captured_layers(run)[0], (value, row, part)


@pytest.mark.parametrize("build", BUILDS, ids=every_build)
def test_what_is_not_finite_has_no_metrics(build: Build) -> None:
    good, (bad, _) = cloud(40), spoiled(math.inf, 3, 0)
    member = member_of(config(epochs=2), good, build)
    wanted = member.measure(*good[0])
    assert all(math.isnan(value) for value in member.measure(*bad).values())
    assert member.measure(*good[0]) == wanted
    member.weights[0] = math.nan
    assert member.train() is Outcome.DIVERGED
    member.weights.copy_(member_of(config(), good, build).weights)
    assert member.measure(*good[0]) == wanted
    assert member.outcome is Outcome.DIVERGED


@functools.cache
def layer_by_torch(kind: str, value: float, layer: int) -> tuple[Tensor, str | None]:
    """The weights of a network with one bad weight, in a layer or in the output, and the layer that PyTorch names."""
    reference = Reference(damaged(kind), overflowing())
    weight = reference.network.layers[layer].linear.weight if layer < 3 else reference.network.output.weight
    with torch.no_grad():
        weight[1, 0] = value
    return reference.weights, first_by_torch(damaged(kind), reference)


def damaged(kind: str) -> RectangularConfig:
    """The run of a damaged network."""
    return config(**{"depth": 3, "epochs": 2, "batch_size": None, **KINDS[kind]})


def overflowing() -> Parts:
    """Data that a weight of 3e38 makes infinite."""
    (x, y), val = cloud(40)
    return (100 * x, y), val


@pytest.mark.parametrize("build", BUILDS, ids=every_build)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("value", "layer"), [(3e38, 0), (math.nan, 1), (math.inf, 3), (-math.inf, 0)])
def test_the_layer_is_that_which_lightning_names(build: Build, kind: str, value: float, layer: int) -> None:
    weights, wanted = layer_by_torch(kind, value, layer)
    assert wanted is not None
    member = member_of(damaged(kind), overflowing(), build)
    member.weights.copy_(weights)
    assert member.train(1) is Outcome.DIVERGED
    assert named(damaged(kind), member) == wanted


@pytest.mark.parametrize("build", BUILDS, ids=every_build)
def test_the_jumpstart_loss_alone_can_be_infinite(build: Build) -> None:
    """Preactivations whose squares overflow: each of them is finite, and so is the task loss."""
    run, parts = config(depth=3, batch_size=None, aggregate="sum_of_squares"), cloud(40)
    reference, member = Reference(run, parts), member_of(run, parts, build)
    member.weights.zero_()
    member.weights[8:12] = -2e37  # the biases of the first layer
    reference.load(member.weights)
    assert member.train(1) is Outcome.DIVERGED
    assert named(run, member) == first_by_torch(run, reference) == "the Jumpstart loss"


@pytest.mark.parametrize("build", BUILDS, ids=every_build)
@pytest.mark.parametrize(
    "options", [{"lr": 1e38}, {"lr": 1e30, "optimizer": "sgd"}, {"lambda_": 1e38, "optimizer": "sgd"}]
)
def test_a_huge_step_ends_the_member_in_the_epoch_of_lightning(build: Build, options: dict[str, float]) -> None:
    run = config(**{"depth": 3, "epochs": 6, "batch_size": None, **options})
    parts = cloud(40)
    reference, member = Reference(run, parts), member_of(run, parts, build)
    wanted = None
    for epoch, _ in enumerate(reference.epochs()):
        names = [reference.meters[part].watch.first() for part in ("train", "val")]
        wanted = next(((epoch, name) for name in names if name is not None), None)
        if wanted is not None:
            break
    assert wanted is not None
    assert member.train() is Outcome.DIVERGED
    assert (member.epoch, named(run, member)) == wanted
    assert len(list(member.rows())) == member.epoch
    if member.epoch:
        assert member.best_weights.isfinite().all()


@pytest.mark.parametrize("build", BUILDS, ids=every_build)
def test_the_neighbors_train_on(build: Build) -> None:
    run = config(epochs=20, batch_size=16)
    alone = member_of(run, cloud(40), build)
    alone.train()
    crowd = [member_of(run, cloud(40) if number % 2 else spoiled(math.nan, 3, 0), build) for number in range(12)]
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(Member.train, crowd))
    assert outcomes == [Outcome.DIVERGED, Outcome.FINISHED] * 6
    assert all(torch.equal(member.weights, alone.weights) for member in crowd[1::2])


@pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64"), reason="the engine sets x86 processors alone"
)
@pytest.mark.parametrize("build", BUILDS, ids=every_build)
def test_subnormal_numbers_count_as_zero(build: Build) -> None:
    """Many processors take a hundred times as long for them, and a network that has died is full of them."""
    (x, y), _ = cloud(40)
    member = member_of(config(depth=1), cloud(40), build)
    member.weights.zero_()
    member.weights[:8] = 0.1
    for scale, deadness in ((1.0, 0.0), (1e-36, 0.0), (1e-39, 1.0)):
        assert member.measure(scale * x.abs(), y)["deadness"] == deadness
    assert float(torch.tensor(1e-30) * 1e-10) > 0  # the setting of the processor is restored
