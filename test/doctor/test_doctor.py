"""The doctor: what is captured and what not, in models of every kind, and a patient that is as before afterwards."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from support.doctor_models import Functional, made_to_die
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from jumpstart import JumpstartRegularization
from jumpstart.doctor import examine as doctor
from jumpstart.doctor.examine import examine
from jumpstart.doctor.load import DoctorError
from jumpstart.monitor import StatusMonitor


class Functions(nn.Module):
    """Nothing to hook."""

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
    """Changes all that a model can change while it runs."""

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


def functional_of(found: dict[str, Any]) -> dict[tuple[str, str], tuple[int, bool]]:
    return {(e["module"], e["function"]): (e["calls"], e["in_place"]) for e in found["functional"]}


# What is captured -------------------------------------------------------------------------------


def test_a_model_of_modules_has_nothing_functional() -> None:
    found = examine(torchvision.models.resnet18(), input_shape=(3, 32, 32), batch_size=2, cost=False)
    assert found["functional"] == []
    assert len(found["captured"]) == 17
    assert found["total"]["units"] == 3904
    assert found["captured"][2]["name"] == "layer1.0.relu#2"
    assert found["captured"][0]["shape"] == [2, 64, 16, 16]
    assert found["shared"] == {f"layer{i}.{j}.relu": 2 for i in (1, 2, 3, 4) for j in (0, 1)}
    assert len(found["in_place"]) == 9
    assert found["compiled"] == found["checkpointed"] == found["not_called"] == []


def test_functions_are_found_with_their_place() -> None:
    found = examine(Functional(), cost=False)
    assert functional_of(found) == {("", "relu"): (4, True), ("", "gelu"): (1, False), ("", "clamp_min"): (1, False)}
    assert [layer["name"] for layer in found["captured"]] == ["act"]
    assert "a function can't be hooked, these layers do not enter the loss" in found["advice"][0]
    nested = examine(nn.Sequential(nn.Sequential(Functions())), cost=False)
    assert functional_of(nested) == {("0.0", "silu"): (1, False)}


def test_a_model_in_which_nothing_is_captured_is_told_the_remedies() -> None:
    found = examine(Functions())
    assert (found["captured"], found["total"], found["cost"]) == ([], None, None)
    assert "so nothing can be read" in found["advice"][0]
    assert "capture='weights'" in found["advice"][-1]
    assert "no activation module" in found["nothing"]
    plain = examine(nn.Linear(3, 2))
    assert plain["functional"] == []
    assert "no activation module" in plain["advice"][0]


@pytest.mark.parametrize("activation", ["relu", F.gelu, nn.ReLU()], ids=["relu", "gelu", "module"])
@pytest.mark.parametrize("training", [True, False])
def test_a_transformer(activation: Any, training: bool) -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, activation=activation, batch_first=True)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).train(training)
    found = examine(model, cost=False)
    assert found["data"]["shape"] == [64, 16, 8]
    if isinstance(activation, nn.Module):
        assert found["functional"] == []
        assert [entry["units"] for entry in found["captured"]] == [16, 16]
    else:
        name = activation if isinstance(activation, str) else "gelu"
        assert functional_of(found) == {(f"layers.{i}", name): (1, False) for i in (0, 1)}
        module = {"relu": "ReLU", "gelu": "GELU"}[name]
        assert f"activation=torch.nn.{module}()" in found["advice"][0]


def test_shared_in_place_and_idle_modules() -> None:
    found = examine(Shared(), cost=False)
    assert found["shared"] == {"act": 3}
    assert found["in_place"] == ["act"]
    assert found["not_called"] == ["spare"]
    assert [layer["name"] for layer in found["captured"]] == ["act", "act#2", "act#3"]
    assert any("spare did not run" in text for text in found["advice"])


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpoints(reentrant: bool) -> None:
    found = examine(Checkpointed(reentrant))
    marked = {entry["module"]: entry["reentrant"] for entry in found["checkpointed"]}
    assert marked == {"block": reentrant, "block.0": reentrant, "block.1": reentrant}
    assert [layer["name"] for layer in found["captured"]] == ["block.1", "last"]
    assert (found["cost"] is None) == reentrant
    assert any("use_reentrant=False" in text for text in found["advice"]) == reentrant


def test_compiled_models_are_looked_at_uncompiled() -> None:
    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Sequential(nn.Linear(4, 4), nn.ReLU()))

    whole, part, inside = torch.compile(make()), make(), make()
    part.compile()
    inside[2] = torch.compile(inside[2])
    assert examine(whole, cost=False)["compiled"] == [""]
    assert examine(part, cost=False)["compiled"] == [""]
    found = examine(inside, cost=False)
    assert found["compiled"] == ["2"]
    assert len(found["captured"]) == 2
    assert any("before torch.compile" in text for text in found["advice"])
    assert part._compiled_call_impl is not None


# Figures ----------------------------------------------------------------------------------------


def test_the_shares_are_those_of_the_model() -> None:
    model = made_to_die()
    x = torch.randn(50, 2)
    found = examine(model, data=x, cost=False)
    z, preactivations = x, []
    for layer in model:
        if isinstance(layer, nn.ReLU):
            preactivations.append(z)
        z = layer(z).detach()
    for layer, z in zip(found["captured"], preactivations, strict=True):
        assert layer["dead_units"] == int((z <= 0).all(0).sum())
        assert layer["linear_units"] == int((z > 0).all(0).sum())
        assert layer["dead_points"] == pytest.approx(float((z <= 0).all(1).float().mean()))
        assert (layer["minimum"], layer["maximum"]) == (float(z.min()), float(z.max()))
    assert found["captured"][1]["dead_units"] == found["captured"][1]["linear_units"] == 1
    somewhere = torch.stack([(z <= 0).all(1) for z in preactivations]).any(0)
    assert found["total"]["dead_points"] == pytest.approx(float(somewhere.float().mean())) == 1.0
    first = next(layer for layer in found["captured"] if layer["dead_points"])
    assert found["first_death"] == {"layer": first["name"], "dead_points": first["dead_points"]}
    assert any("Points die first in" in text for text in found["advice"])


def test_numbers_that_are_not_finite() -> None:
    found = examine(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), data=torch.full((4, 2), torch.nan), cost=False)
    assert found["captured"][0]["maximum"] is None
    assert any("not finite" in text for text in found["advice"])
    json.dumps(found, allow_nan=False)


def test_the_cost_is_measured() -> None:
    cost = examine(nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)))["cost"]
    assert 0 < cost["lowest_ratio"] <= cost["ratio"] <= cost["highest_ratio"]
    assert cost["plain_ms"] > 0
    assert cost["rounds"] >= 3


@pytest.mark.parametrize("seed", range(5))
def test_the_times_are_those_of_the_ratio(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(seed)
    times = [rng.uniform(1, 2) for _ in range(16)]
    left = iter(times)
    monkeypatch.setattr(doctor, "_seconds", lambda *_: next(left))
    if seed % 2:  # an even number of rounds
        monkeypatch.setattr(doctor, "_ROUNDS", 6)
    cost = examine(nn.Sequential(nn.Linear(3, 8), nn.ReLU()))["cost"]
    assert cost["jumpstart_ms"] / cost["plain_ms"] == pytest.approx(cost["ratio"])
    rounds = list(zip(times[2::2], times[3::2], strict=True))[: cost["rounds"]]
    assert (cost["plain_ms"] / 1000, cost["jumpstart_ms"] / 1000) in [pytest.approx(pair) for pair in rounds]
    ratios = [after / before for before, after in rounds]
    assert (cost["lowest_ratio"], cost["highest_ratio"]) == pytest.approx((min(ratios), max(ratios)))
    assert sorted(ratios)[(len(ratios) - 1) // 2] == pytest.approx(cost["ratio"])


# Nothing changes --------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("fails", [False, True])
def test_the_patient_is_as_before(training: bool, fails: bool) -> None:
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


def test_the_same_seed_gives_the_same_figures() -> None:
    model = Restless()
    one, two = (examine(model, cost=False, seed=3) for _ in range(2))
    assert one == two
    assert examine(model, cost=False, seed=4)["captured"] != one["captured"]


def test_a_model_with_a_regularizer_is_refused() -> None:
    model = Functional()
    with JumpstartRegularization(model), pytest.raises(DoctorError, match="a JumpstartRegularization already: take"):
        examine(model)
    with StatusMonitor(model), pytest.raises(DoctorError, match="a StatusMonitor already: take it off first"):
        examine(model)
    examine(model, cost=False)
