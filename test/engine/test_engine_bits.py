"""The bits of a member depend on the member alone: not on neighbors, threads, slices or checkpoints."""

from __future__ import annotations

import copy
import io
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from support.engine import BUILDS, cloud, config, every_build, member_of
from torch import Tensor

from jumpstart.engine.build import Build
from jumpstart.engine.layout import Outcome
from jumpstart.engine.member import Member
from jumpstart.engine.options import Data, LossOptions, NetworkOptions, TrainingOptions

EPOCHS = 7
WIDTHS = [1, 2, 3, 4, 5, 6, 8, 11, 12, 13]


def member(number: int, build: Build) -> Member:
    """One of many members, of which no two are alike."""
    width = WIDTHS[number % len(WIDTHS)]
    rows, features, classes = [(1, 1, 1), (15, 2, 3), (33, 1, 2), (64, 5, 7)][number % 4 if number % 3 else 1]
    run = config(
        depth=1 + number % 5,
        width=width,
        batch_size=None if number % 2 else 13,
        use_batchnorm=number % 3 == 0,
        skip_connections=1 if number % 5 in (2, 3) else None,
        skip_kind="published" if number % 5 == 2 else "preactivation",
        activation=["relu", "gelu", "tanh", "elu"][number % 7 % 4],
        capture="weights" if number % 4 == 1 else "activations",
        skip_last=number % 8 == 1,
        aggregate=["balanced", "norm"][number % 11 % 2],
        weight_decay=0.01 if number % 6 == 0 else 0.0,
        optimizer=["adam", "adamw", "sgd"][number % 3],
        gradient_clip=1.0,
        epochs=EPOCHS,
        lambda_=0.1,
        seed=number,
    )
    return member_of(run, cloud(rows, features, classes, seed=number), build, classes)


def trained(member: Member) -> Member:
    """The member after all epochs."""
    assert member.train() is Outcome.FINISHED
    return member


def bits(member: Member) -> dict[str, Tensor]:
    """All arrays and numbers of the state, for comparison."""
    state = member.state_dict()
    return state["tensors"] | {name: torch.tensor(value) for name, value in state["numbers"].items()}


def assert_same(found: Member, wanted: Member) -> None:
    expected = bits(wanted)
    for name, value in bits(found).items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize("build", BUILDS, ids=every_build)
def test_a_member_is_the_same_alone_and_in_a_crowd(build: Build) -> None:
    alone = [trained(member(number, build)) for number in range(40)]
    assert len({tuple(found.weights.tolist()) for found in alone}) == 40
    for threads in (1, 2):
        crowd = [member(number, build) for number in range(40)]
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(trained, crowd[::-1]))
        for found, wanted in zip(crowd, alone, strict=True):
            assert_same(found, wanted)
            for name in ("train/loss", "val/jumpstart_loss", "val/nonlinearity"):
                assert torch.equal(found.metric(name), wanted.metric(name))


def in_slices(found: Member) -> None:
    """Train in pieces of odd lengths, and let time end some of them."""
    choose = random.Random(0)
    while found.epoch < EPOCHS:
        until = min(EPOCHS, found.epoch + choose.choice([0, 1, 2, 3]))
        before = found.epoch
        outcome = found.train(until, seconds=choose.choice([0.0, 60.0]))
        assert outcome is (Outcome.FINISHED if found.epoch == until else Outcome.TIME_IS_UP)
        assert [epoch for epoch, _ in found.rows()] == list(range(before, found.epoch))


def second_by_second(found: Member) -> None:
    """Without time, every call trains one epoch."""
    for epoch in range(EPOCHS):
        assert found.epoch == epoch
        outcome = found.train(seconds=0.0)
        assert len(found.metric("val/acc")) == 1
    assert outcome is Outcome.FINISHED


@pytest.mark.parametrize("train", [in_slices, second_by_second])
@pytest.mark.parametrize("build", BUILDS, ids=every_build)
def test_a_member_is_the_same_in_slices(build: Build, train: Callable[[Member], None]) -> None:
    for number in range(0, 40, 3):
        found = member(number, build)
        train(found)
        assert_same(found, trained(member(number, build)))


@pytest.mark.parametrize("build", BUILDS, ids=every_build)
def test_a_member_is_the_same_through_a_checkpoint(build: Build) -> None:
    for number in range(1, 40, 3):
        interrupted, resumed = member(number, build), member(number, build)
        interrupted.train(3)
        file = io.BytesIO()
        torch.save(interrupted.state_dict(), file)
        state = copy.deepcopy(interrupted.state_dict())
        trained(interrupted)  # which must not change the state that was taken
        file.seek(0)
        resumed.weights.fill_(9.0)
        resumed.load_state_dict(torch.load(file, weights_only=True))
        assert resumed.epoch == 3
        assert_same(trained(resumed), interrupted)
        again = member(number, build)
        again.load_state_dict(state)
        assert_same(trained(again), interrupted)


@pytest.mark.parametrize("build", BUILDS[:1], ids=every_build)
def test_a_member_is_the_same_with_longer_schedules(build: Build) -> None:
    """Schedules grow after some epochs: before that, no later rate is known."""
    (x, y), val = cloud(20)
    network, weights = NetworkOptions(features=2, classes=3, depth=2, width=4), torch.randn(47)
    lr, lambda_ = [0.01, 0.02, 0.03, 0.04, 0.05], [0.5, 0.4, 0.3, 0.2, 0.1]

    def with_schedules(epochs: int) -> Member:
        training = TrainingOptions(lr=lr[:epochs], lambda_=lambda_[:epochs])
        return Member(build, network, LossOptions(), training, Data(x, y, *val), weights)

    extended, whole = with_schedules(3), with_schedules(5)
    trained(extended)
    for wrong in ((lr, lambda_[:4]), (lr[:2], lambda_[:2])):
        with pytest.raises(ValueError, match="at least 3, got"):
            extended.extend(*wrong)
    extended.extend(lr[:3], lambda_[:3])
    extended.extend(lr, torch.tensor(lambda_, dtype=torch.float64).repeat_interleave(2)[::2])
    assert extended.epochs == 5
    assert_same(trained(extended), trained(whole))


@pytest.mark.parametrize("build", BUILDS, ids=every_build)
def test_only_the_rows_of_a_batch_count(build: Build) -> None:
    """Padding adds nothing: a part served in whole blocks, and the same rows among batches of odd sizes."""
    (x, y), val = cloud(48)
    run = config(batch_size=16, epochs=4, lr=1e-6, lambda_=0.0)
    whole = member_of(run, ((x, y), val), build)
    odd = member_of(config(batch_size=17, epochs=4, lr=1e-6, lambda_=0.0), ((x, y), val), build)
    for found in (whole, odd):
        found.train(1)
    for name in ("train/acc", "train/point_dead_ratio", "train/deadness", "train/unit_linear_ratio"):
        assert float(whole.metric(name)) == float(odd.metric(name))
    assert float(whole.metric("train/loss")) == pytest.approx(float(odd.metric("train/loss")), rel=1e-4)


@pytest.mark.parametrize("build", BUILDS[:1], ids=every_build)
def test_a_large_batch_size_takes_no_memory_of_its_own(build: Build) -> None:
    """As many rows as there are: the batch size of a run may be any number."""
    parts = cloud(20)
    members = [member_of(config(batch_size=size, epochs=3), parts, build) for size in (None, 2**31 - 1, 2**40)]
    for found in members:
        assert_same(trained(found), members[0])
    assert members[1].measure(*parts[1]) == members[0].measure(*parts[1])
