"""Examinations of models of every kind: what is captured and what is not; the model is unchanged afterwards."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
import random
import re
from collections import OrderedDict
from collections.abc import Callable
from typing import NoReturn

import numpy as np
import pytest
import torch
import torchvision
from support.doctor_models import Functional, made_to_die
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from jumpstart import JumpstartRegularization
from jumpstart.doctor import budget
from jumpstart.doctor import cost as doctor_cost
from jumpstart.doctor.advice import advise
from jumpstart.doctor.budget import Budget
from jumpstart.doctor.examination import Examination, FirstDeath, NoGradient, TooSlow
from jumpstart.doctor.examine import Plan, add_cost, examine, examine_status
from jumpstart.doctor.load import DoctorError, LoadedModel
from jumpstart.monitor import StatusMonitor


class Functions(nn.Module):
    """A model whose only activation is a function."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
        self.count = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(self.inner(x))


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(3, 3) for _ in range(3)])
        self.act, self.spare = nn.ReLU(inplace=True), nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = self.act(layer(x))
        return x


class Checkpointed(nn.Module):
    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.block = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
        self.last, self.reentrant = nn.ReLU(), reentrant

    def forward(self, x: Tensor) -> Tensor:
        return self.last(checkpoint(self.block, self.first(x), use_reentrant=self.reentrant))


class Restless(nn.Module):
    """A model whose forward pass changes buffers, modes and random generators."""

    steps: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.ReLU(), nn.Linear(4, 2))
        self.register_buffer("steps", torch.zeros(()))
        self.register_buffer("nothing", None)

    def forward(self, x: Tensor) -> Tensor:
        self.steps = self.steps + 1
        self.body[2].train(not self.body[2].training)
        random.random()
        np.random.rand()
        return self.body(x)


def functional_of(result: Examination) -> dict[tuple[str, str], tuple[int, bool]]:
    return {(call.module, call.function): (call.calls, call.in_place) for call in result.functional}


# What is captured -------------------------------------------------------------------------------


def test_a_model_of_modules_has_nothing_functional() -> None:
    result = examine(torchvision.models.resnet18(), input_shape=(3, 32, 32), batch_size=2, cost=False)
    assert result.functional == ()
    assert len(result.captured) == 17
    assert result.total.units == 3904
    assert result.captured[2].name == "layer1.0.relu#2"
    assert result.captured[0].shape == (2, 64, 16, 16)
    assert result.shared == {f"layer{i}.{j}.relu": 2 for i in (1, 2, 3, 4) for j in (0, 1)}
    assert len(result.in_place) == 9
    assert (result.compiled, result.checkpointed, result.not_called) == ((), (), ())


def test_functions_are_listed_with_the_module_that_calls_them() -> None:
    result = examine(Functional(), cost=False)
    assert functional_of(result) == {("", "relu"): (4, True), ("", "gelu"): (1, False), ("", "clamp_min"): (1, False)}
    assert [layer.name for layer in result.captured] == ["act"]
    assert "a function can't be hooked, so these layers do not enter the loss" in result.advice[0]
    nested = examine(nn.Sequential(nn.Sequential(Functions())), cost=False)
    assert functional_of(nested) == {("0.0", "silu"): (1, False)}


def stack(depth: int, width: int, *norms: nn.Module) -> nn.Sequential:
    """Layers of equal width, of which the first one may be normalized."""
    widths = [2, *[width] * depth]
    parts = [(nn.Linear(before, after), nn.ReLU()) for before, after in itertools.pairwise(widths)]
    return nn.Sequential(*itertools.chain(*parts), *norms)


@pytest.mark.parametrize(
    ("depth", "width", "is_deep_and_thin"),
    [(9, 4, False), (10, 4, True), (10, 5, False), (19, 16, False), (20, 16, True), (20, 17, False), (2, 1, False)],
)
def test_deep_and_thin_networks_are_named(depth: int, width: int, is_deep_and_thin: bool) -> None:
    words = f"{depth} layers of at most {4 if width <= 4 else 16} units"
    assert any(words in text for text in examine(stack(depth, width), cost=False).advice) == is_deep_and_thin
    normalized = examine(stack(depth, width, nn.LayerNorm(width)), cost=False)
    assert not any("layers of at most" in text for text in normalized.advice)


def test_advice_without_any_captured_layer_names_the_remedies() -> None:
    result = examine(Functions())
    assert (result.captured, result.total, result.cost) == ((), None, None)
    assert "so nothing can be captured" in result.advice[0]
    assert "capture=['inner.1']" in result.advice[-1]
    assert "no activation module" in result.nothing
    plain = examine(nn.Linear(3, 2))
    assert plain.functional == ()
    assert "no activation module" in plain.advice[0]


class Deep(nn.Module):
    """Many blocks with a function after their normalization, and a gate."""

    def __init__(self, blocks: int, gate: bool, inplace: bool) -> None:
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv1d(3, 3, 1) for _ in range(blocks)])
        self.blocks = nn.ModuleList(
            [nn.Sequential(OrderedDict(same=nn.Identity(), norm=nn.BatchNorm1d(3))) for _ in range(blocks)]
        )
        self.gate, self.inplace = nn.Linear(3, 3) if gate else None, inplace
        self.log: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        for conv, block in zip(self.convs, self.blocks, strict=True):
            z = block(conv(x))
            self.log.append(z.detach().clone())
            x = F.relu(z, inplace=self.inplace) * (torch.sigmoid(self.gate(x.mT)).mT if self.gate else 1)
        return x


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("gate", [False, True])
@pytest.mark.parametrize("blocks", [2, 30])
def test_the_advised_capture_reads_what_enters_the_functions(blocks: int, gate: bool, inplace: bool) -> None:
    model, x = Deep(blocks, gate, inplace), torch.randn(4, 3, 5)
    advice = examine(model, data=x, cost=False).advice[-1]
    attach = re.search(r"(JumpstartRegularization\(.*\))\.$", advice)
    assert attach is not None
    with eval(attach[1]) as jumpstart:
        model.log.clear()
        model(x)
        found = torch.cat([record.unit_max for record in jumpstart.extrema])
    assert torch.equal(found, torch.stack([z.amax((0, 2)) for z in model.log]))


class Swish(nn.Module):
    """An activation of one's own."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(x)


def test_the_class_of_an_activation_of_ones_own_is_to_be_registered() -> None:
    for model in (nn.Sequential(nn.Linear(3, 2), Swish()), nn.Sequential(nn.Linear(3, 2), Swish(), nn.ReLU())):
        advice = " ".join(examine(model, cost=False).advice)
        assert f"Register {__name__}.Swish as an activation" in advice
        assert "Call a module" not in advice
    assert "Register" not in " ".join(examine(Functions(), cost=False).advice)


def test_a_function_of_a_sum_has_no_module_to_read() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(F.relu(self.one(x)) + self.other(x))

    assert "capture='weights'" in examine(Sum(), cost=False).advice[-1]


def test_no_advice_names_layers_that_a_model_does_not_have() -> None:
    result = examine(nn.LSTM(4, 4, batch_first=True), input_shape=(5, 4), cost=False)
    assert result.advice
    assert "capture='weights'" not in " ".join(result.advice)


@pytest.mark.parametrize("activation", ["relu", F.gelu, nn.ReLU()], ids=["relu", "gelu", "module"])
@pytest.mark.parametrize("training", [True, False])
def test_a_transformer(activation: str | nn.Module | Callable[[Tensor], Tensor], training: bool) -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, activation=activation, batch_first=True)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).train(training)
    result = examine(model, cost=False)
    assert result.data.shape == (64, 16, 8)
    if isinstance(activation, nn.Module):
        assert result.functional == ()
        assert [entry.units for entry in result.captured] == [16, 16]
    else:
        name = activation if isinstance(activation, str) else "gelu"
        assert functional_of(result) == {(f"layers.{i}", name): (1, False) for i in (0, 1)}
        module = {"relu": "ReLU", "gelu": "GELU"}[name]
        assert f"activation=torch.nn.{module}()" in result.advice[0]


def test_modules_that_are_shared_in_place_or_not_called() -> None:
    result = examine(Shared(), cost=False)
    assert result.shared == {"act": 3}
    assert result.in_place == ("act",)
    assert result.not_called == ("spare",)
    assert [layer.name for layer in result.captured] == ["act", "act#2", "act#3"]
    assert any("spare did not run" in text for text in result.advice)


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpoints(reentrant: bool) -> None:
    result = examine(Checkpointed(reentrant))
    marked = {entry.module: entry.reentrant for entry in result.checkpointed}
    assert marked == {"block": reentrant, "block.0": reentrant, "block.1": reentrant}
    assert [layer.name for layer in result.captured] == ["block.1", "last"]
    assert (result.cost is None) == reentrant
    assert any("use_reentrant=False" in text for text in result.advice) == reentrant


def test_compiled_models_are_examined_uncompiled() -> None:
    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Sequential(nn.Linear(4, 4), nn.ReLU()))

    def backend(graph: object, inputs: object) -> NoReturn:
        pytest.fail("compiled")

    whole, part, inside = torch.compile(make(), backend=backend), make(), make()
    part.compile(backend=backend)
    inside[2] = torch.compile(inside[2], backend=backend)
    assert examine(whole, cost=False).compiled == ("",)
    assert examine(part, cost=False).compiled == ("",)
    result = examine(inside, cost=False)
    assert result.compiled == ("2",)
    assert len(result.captured) == 2
    assert any("before torch.compile" in text for text in result.advice)
    assert part._compiled_call_impl is not None


# Figures ----------------------------------------------------------------------------------------


def test_status_equals_that_of_preactivations_computed_by_hand() -> None:
    model = made_to_die()
    x = torch.randn(50, 2)
    result = examine(model, data=x, cost=False)
    z, preactivations = x, []
    for module in model:
        if isinstance(module, nn.ReLU):
            preactivations.append(z)
        z = module(z).detach()
    for layer, z in zip(result.captured, preactivations, strict=True):
        assert layer.dead_units == int((z <= 0).all(0).sum())
        assert layer.linear_units == int((z > 0).all(0).sum())
        assert layer.dead_points == pytest.approx(float((z <= 0).all(1).float().mean()))
        assert (layer.minimum, layer.maximum) == (float(z.min()), float(z.max()))
    assert result.captured[1].dead_units == result.captured[1].linear_units == 1
    somewhere = torch.stack([(z <= 0).all(1) for z in preactivations]).any(0)
    assert result.total.dead_points == pytest.approx(float(somewhere.float().mean())) == 1.0
    first = next(layer for layer in result.captured if layer.dead_points)
    assert result.first_death == FirstDeath(first.name, first.dead_points)
    assert any("Points die first in" in text for text in result.advice)


def test_preactivations_that_are_not_finite_become_none() -> None:
    result = examine(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), data=torch.full((4, 2), torch.nan), cost=False)
    assert result.captured[0].maximum is None
    assert any("not finite" in text for text in result.advice)
    json.dumps(result.to_dict(), allow_nan=False)


def test_the_cost_is_measured() -> None:
    cost = examine(nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))).cost
    assert 0 < cost.lowest_ratio <= cost.ratio <= cost.highest_ratio
    assert cost.plain_ms > 0
    assert 1 <= cost.rounds <= 7
    assert cost.samples == 64


@pytest.mark.parametrize("seed", range(5))
def test_times_and_ratio_are_of_the_same_round(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(seed)
    times = [rng.uniform(1, 2) for _ in range(16)]
    left = iter(times)
    monkeypatch.setattr(doctor_cost, "_seconds", lambda *_: next(left))
    if seed % 2:  # an even number of rounds
        monkeypatch.setattr(doctor_cost, "_ROUNDS", 6)
    cost = examine(nn.Sequential(nn.Linear(3, 8), nn.ReLU())).cost
    assert cost.jumpstart_ms / cost.plain_ms == pytest.approx(cost.ratio)
    rounds = list(zip(times[2::2], times[3::2], strict=True))[: cost.rounds]
    assert (cost.plain_ms / 1000, cost.jumpstart_ms / 1000) in [pytest.approx(pair) for pair in rounds]
    ratios = [after / before for before, after in rounds]
    assert (cost.lowest_ratio, cost.highest_ratio) == pytest.approx((min(ratios), max(ratios)))
    assert sorted(ratios)[(len(ratios) - 1) // 2] == pytest.approx(cost.ratio)


# The time ---------------------------------------------------------------------------------------


class Slow(nn.Module):
    """A model whose forward pass takes a time in proportion to the samples, on a clock of its own."""

    def __init__(self, clock: list[float], per_sample: float) -> None:
        super().__init__()
        self.body, self.clock, self.per_sample = nn.Sequential(nn.Linear(3, 4), nn.ReLU()), clock, per_sample

    def forward(self, x: Tensor) -> Tensor:
        self.clock[0] += self.per_sample * len(x)
        return self.body(x)


@pytest.mark.parametrize("seconds", [2.0, 20.0])
@pytest.mark.parametrize("per_sample", [1e-6, 0.02, 0.1, 0.4, 1.0, 5.0])
def test_an_examination_takes_the_batch_that_fits_its_time(
    per_sample: float, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, announced = [0.0], []
    monkeypatch.setattr(budget.time, "perf_counter", lambda: clock[0])
    plan = Plan("random", None, None, 0, Budget(seconds), lambda line: announced.append((clock[0], line)))
    seen = examine_status(LoadedModel(Slow(clock, per_sample), "Slow"), None, plan)
    assert clock[0] <= max(seconds, 10 * per_sample)  # two samples are the fewest
    assert seen.result.data.shape[0] == min(64, max(2, int(0.2 * seconds / per_sample)))
    result = add_cost(seen)
    assert (result.cost is None) == (result.too_slow is not None) == any("--seconds" in text for text in result.advice)
    if result.cost is not None:
        assert 2 <= result.cost.samples <= seen.result.data.shape[0]
        assert clock[0] <= seconds
    assert announced or clock[0] < 4
    assert not announced or clock[0] > 1
    brief = dataclasses.replace(result, cost=None, too_slow=TooSlow(seconds=0.3, samples=2))
    assert "take about 0.3 s on 2 samples" in advise(brief, nn.Identity())[-1]


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_a_time_that_is_no_time_is_refused(seconds: float) -> None:
    with pytest.raises(DoctorError, match="seconds must be a finite number above 0, got"):
        examine(nn.Sequential(nn.Linear(3, 8), nn.ReLU()), seconds=seconds)


# Gradients --------------------------------------------------------------------------------------


class Detached(nn.Module):
    """Two blocks, the first of which can get no gradient, for a reason of the user's choice."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.first, self.second = (nn.Sequential(nn.Linear(3, 3), nn.ReLU()) for _ in range(2))
        self.how = how
        self.first.requires_grad_(how != "frozen")

    def forward(self, x: Tensor) -> Tensor:
        with {"off": torch.no_grad, "inference": torch.inference_mode}.get(self.how, torch.enable_grad)():
            x = self.first(x)
        return self.second(x.clone().detach() if self.how == "detached" else x.clone())


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("", {}),
        ("detached", {}),
        ("frozen", {"first.1": NoGradient.CONSTANT}),
        ("off", {"first.1": NoGradient.OFF}),
        ("inference", {"first.1": NoGradient.OFF}),
    ],
)
@pytest.mark.parametrize("capture", ["activations", "weights"])
def test_layers_whose_loss_has_no_gradient(how: str, expected: dict[str, str], capture: str) -> None:
    loaded = LoadedModel(Detached(how), "Detached", capture={"capture": capture})
    result = examine(loaded, cost=False)
    names = {"first.1": "first.1"} if capture == "activations" else {"first.1": "first.0"}
    assert result.no_gradient == {names[name]: reason for name, reason in expected.items()}
    assert any("o gradient" in text for text in result.advice) == bool(expected)
    with torch.no_grad():  # the caller's mode does not matter
        assert examine(loaded, cost=False).no_gradient == result.no_gradient


def test_a_model_without_gradients_says_that_no_gradient_can_come() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    setattr(model, "forward", torch.no_grad()(model.forward))  # noqa: B010 - mypy refuses the plain assignment
    result = examine(model, cost=False)
    assert result.no_gradient == {"1": NoGradient.OFF}
    assert "No gradient can come from 1: the forward pass runs under torch.no_grad()" in result.advice[0]
    assert json.loads(json.dumps(result.to_dict()))["no_gradient"] == {"1": "gradients are off"}


# Nothing changes --------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_unchanged_afterwards(training: bool, fails: bool) -> None:
    model = Restless().train(training)
    model.body[2].eval()
    model(torch.randn(5, 3)).sum().backward()
    before, modes = copy.deepcopy(model.state_dict()), [module.training for module in model.modules()]
    pointers = {name: buffer.data_ptr() for name, buffer in model.named_buffers()}
    gradients = [parameter.grad for parameter in model.parameters()]
    values = [None if g is None else g.clone() for g in gradients]
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    if fails:
        with pytest.raises(DoctorError, match="can't be run on a batch of shape"):
            examine(model, data=torch.zeros(4, 7))
    else:
        examine(model)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert pointers == {name: buffer.data_ptr() for name, buffer in model.named_buffers()}
    assert [module.training for module in model.modules()] == modes
    for parameter, gradient, value in zip(model.parameters(), gradients, values, strict=True):
        assert parameter.grad is gradient
        assert value is not None
        assert torch.equal(gradient, value)
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in model.modules())
    everywhere = torch.nn.modules.module
    assert not everywhere._global_forward_hooks
    assert not everywhere._global_forward_pre_hooks


def test_the_same_seed_gives_the_same_result() -> None:
    model = Restless()
    one, two = (examine(model, cost=False, seed=3) for _ in range(2))
    assert one == two
    assert examine(model, cost=False, seed=4).captured != one.captured


def test_a_model_with_a_regularizer_is_refused() -> None:
    model = Functional()
    with (
        JumpstartRegularization(model),
        pytest.raises(DoctorError, match="a JumpstartRegularization already: detach"),
    ):
        examine(model)
    with StatusMonitor(model), pytest.raises(DoctorError, match="a StatusMonitor already: detach it first"):
        examine(model)
    examine(model, cost=False)
