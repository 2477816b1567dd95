"""A member refuses what it can't train, with the name of the argument, what was found, and what is wanted."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from support.engine import BUILDS, cloud, config, every_build, member_of
from torch import Tensor

from jumpstart.engine.build import Build
from jumpstart.engine.layout import MemberLayout
from jumpstart.engine.member import Member
from jumpstart.engine.options import Data, LossOptions, NetworkOptions, TrainingOptions
from model.compiled import captured_layers, not_covered
from model.config.rectangular import RectangularConfig

X, Y = torch.zeros(9, 2), torch.zeros(9, dtype=torch.int64)
VALID: dict[str, object] = {"features": 2, "classes": 3, "depth": 2, "width": 4}


def make(build: Build, parts: dict[str, Tensor], weights: Tensor | None = None, **options: object) -> Member:
    """A member with some options of the network, or of the training, replaced."""
    network = NetworkOptions(**{**VALID, **{name: options.pop(name) for name in list(options) if name in NETWORK}})
    training = TrainingOptions(**{"lr": [0.1], "lambda_": [0.1], **options})
    data = Data(**{"x": X, "y": Y, "val_x": X, "val_y": Y, **parts})
    return Member(
        build, network, LossOptions(), training, data, torch.zeros(network.parameters) if weights is None else weights
    )


NETWORK = (*VALID, "activation", "batchnorm", "skip_connections", "skip_kind")
OPTIONS = [
    ({"features": 0}, "features must be >= 1, got 0."),
    ({"classes": 0}, "classes must be >= 1, got 0."),
    ({"depth": 0}, "depth must be >= 1, got 0."),
    ({"width": 0}, "width must be >= 1, got 0."),
    (
        {"activation": "mish"},
        "activation must be one of relu, leakyrelu, gelu, silu, elu, tanh, sigmoid, softplus, got 'mish'.",
    ),
    (
        {"skip_connections": 1, "skip_kind": "both"},
        "skip_kind must be one of None, preactivation, published, got 'both'.",
    ),
    ({"optimizer": "lion"}, "optimizer must be one of adam, adamw, sgd, got 'lion'."),
    ({"monitor": "train/loss"}, "monitor must be one of None, val/loss, val/acc, got 'train/loss'."),
    ({"weights": torch.zeros(42)}, "weights must have 47 numbers for NetworkOptions("),
    ({"lr": [0.1, 0.1]}, "lr and lambda_ must have one number per epoch each, got 2 and 1."),
    ({"batch": 0}, "batch must be >= 1, got 0."),
    (
        {"batch": 4, "batchnorm": True},
        "batch must leave no batch of a single row to batch normalization, got 4 for 9 rows.",
    ),
    (
        {"batch": 1, "batchnorm": True},
        "batch must leave no batch of a single row to batch normalization, got 1 for 9 rows.",
    ),
]
PARTS = [
    (
        "x",
        X.double(),
        "x must be float32 and its classes int64, on the CPU, got torch.float64 on cpu and torch.int64 on cpu.",
    ),
    ("val_x", X.to("meta"), "val_x must be float32 and its classes int64, on the CPU, got torch.float32 on meta"),
    (
        "y",
        Y.int(),
        "x must be float32 and its classes int64, on the CPU, got torch.float32 on cpu and torch.int32 on cpu.",
    ),
    ("x", X[:, :1], "x must be (rows, 2) and its classes (rows,), got (9, 1) and (9,)."),
    ("val_x", X[:8], "val_x must be (rows, 2) and its classes (rows,), got (8, 2) and (9,)."),
    ("y", Y[:, None], "x must be (rows, 2) and its classes (rows,), got (9, 2) and (9, 1)."),
    ("y", Y + 3, "the classes of x must be from 0 to 2, got 3 to 3."),
    ("val_y", Y - 1, "the classes of val_x must be from 0 to 2, got -1 to -1."),
]


@pytest.mark.parametrize("build", BUILDS[:1], ids=every_build)
@pytest.mark.parametrize(("options", "message"), OPTIONS)
def test_options_are_refused(build: Build, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        make(build, {}, **options)


@pytest.mark.parametrize("build", BUILDS[:1], ids=every_build)
@pytest.mark.parametrize(("name", "value", "message"), PARTS)
def test_data_are_refused(build: Build, name: str, value: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        make(build, {name: value})


@pytest.mark.parametrize("build", BUILDS[:1], ids=every_build)
@pytest.mark.parametrize("part", ["x", "val_x"])
def test_an_empty_part_is_refused(build: Build, part: str) -> None:
    with pytest.raises(ValueError, match=f"^{part} must have at least one row.$"):
        make(build, {part: X[:0], part.replace("x", "y"): Y[:0]})


CALLS: list[tuple[Callable[[Member], object], str]] = [
    (lambda member: member.train(5), "until must be from 0 to 4, got 5."),
    (lambda member: member.train(-1), "until must be from 0 to 4, got -1."),
    (lambda member: member.measure(X[:0], Y[:0]), "x must have at least one row."),
    (lambda member: member.measure(X, Y + 9), "the classes of x must be from 0 to 2, got 9 to 9."),
    (lambda member: member.measure(X, Y, best=True), "there is no best epoch yet: train() first."),
]


@pytest.mark.parametrize("build", BUILDS[:1], ids=every_build)
@pytest.mark.parametrize(("call", "message"), CALLS)
def test_calls_are_refused(build: Build, call: Callable[[Member], object], message: str) -> None:
    member = member_of(config(epochs=4), cloud(20), build)
    with pytest.raises(ValueError, match=re.escape(message)):
        call(member)
    assert member.epoch == 0


@pytest.mark.parametrize("build", BUILDS[:1], ids=every_build)
def test_epochs_that_are_done_are_not_trained_again(build: Build) -> None:
    member = member_of(config(epochs=4), cloud(20), build)
    member.train(3)
    with pytest.raises(ValueError, match=re.escape("until must be from 3 to 4, got 2.")):
        member.train(2)


@pytest.mark.parametrize("build", BUILDS[:1], ids=every_build)
def test_the_state_of_another_network_is_refused(build: Build) -> None:
    member, other = (member_of(config(width=width, epochs=3), cloud(20), build) for width in (4, 9))
    before = member.weights.clone()
    with pytest.raises(ValueError, match="weights of the state does not fit a network with NetworkOptions"):
        member.load_state_dict(other.state_dict())
    assert torch.equal(member.weights, before)


@pytest.mark.parametrize("build", BUILDS, ids=every_build)
def test_a_structure_of_another_size_is_refused(build: Build) -> None:
    with pytest.raises(ValueError, match=r"a member has \d+ bytes, got 8"):
        build.functions.train(bytearray(8), 1, 1.0)
    with pytest.raises(BufferError):
        build.functions.train(bytes(MemberLayout()), 1, 1.0)
    with pytest.raises(TypeError):
        build.functions.measure(MemberLayout(), "here")


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"dropout": 0.5}, "dropout=0.5"),
        ({"activation": "mish"}, "activation='mish'"),
        ({"ties": "random"}, None),
        ({"scheduler": "plateau"}, "scheduler='plateau'"),
        ({"layer": "conv"}, "layer='conv'"),
        ({"optimizer": "muon"}, "optimizer='muon'"),
        ({"sync": True}, "sync=True"),
        ({"fast_dev_run": True}, "fast_dev_run=True"),
        ({"activation": "LeakyReLU", "capture": "weights"}, None),
    ],
)
def test_what_the_engine_does_not_cover_is_named(options: dict[str, object], word: str | None) -> None:
    assert not_covered(RectangularConfig(**options)) == word


def test_the_names_of_the_layers_are_those_of_the_network() -> None:
    from support.engine import Reference

    for options in ({}, {"capture": "weights"}, {"capture": "weights", "skip_last": False}):
        run = config(**options)
        reference = Reference(run, cloud(20))
        next(reference.epochs())
        assert captured_layers(run) == [*reference.jumpstart.layers, "the output", "the Jumpstart loss"]
