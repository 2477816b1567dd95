"""The doctor: what is captured and what not, in models of every kind, and a patient that is as before afterwards."""

from __future__ import annotations

import copy
import json
import random
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from runs import ROOT, run_tiny
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from jumpstart import JumpstartRegularization
from jumpstart.__main__ import main
from jumpstart.doctor import examine
from jumpstart.doctor_load import DoctorError, candidate_shapes, load_patient, parse_kwargs
from jumpstart.doctor_text import describe


class Functional(nn.Module):
    """One ReLU of every way to call it, and a module."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.act = nn.Linear(3, 8), nn.Linear(8, 8), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.a(x))
        x = torch.relu(self.b(x)) + self.b(x).relu() + F.gelu(x) + F.relu(self.b(x), inplace=True) + x.clamp_min(0)
        return self.act(self.b(x)).clamp_min(-1)


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

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.ReLU(), nn.Linear(4, 2))
        self.register_buffer("steps", torch.zeros(()))
        self.register_buffer("nothing", None)

    def forward(self, x: Tensor) -> Tensor:
        self.steps = self.steps + 1
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


def made_to_die() -> nn.Sequential:
    """The second ReLU has one dead and one linear unit of three, and kills every point in the third."""
    model = nn.Sequential(
        nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1), nn.ReLU(), nn.Linear(1, 2)
    )
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(2))
        model[2].weight.copy_(torch.tensor([[1.0, 1.0], [1.0, 1.0], [1.0, -1.0]]))
        model[2].bias.copy_(torch.tensor([-100.0, 100.0, 0.0]))
        model[4].weight.zero_()
        model[4].bias.fill_(-1.0)
    return model


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


def test_a_model_with_a_regulariser_is_refused() -> None:
    model = Functional()
    with JumpstartRegularization(model), pytest.raises(DoctorError, match="take it off first"):
        examine(model)
    examine(model, cost=False)


# Which model ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (nn.Sequential(nn.Linear(7, 2), nn.ReLU()), [64, 7]),
        (nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 26 * 26, 2)), [64, 1, 28, 28]),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 30 * 30, 2)), [64, 3, 32, 32]),
        (nn.Sequential(nn.Conv1d(5, 4, 3), nn.ReLU()), [64, 5, 64]),
        (nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 4), nn.ReLU()), [64, 16]),
    ],
    ids=["linear", "grey", "colour", "sound", "words"],
)
def test_the_shape_is_guessed(model: nn.Module, shape: list[int]) -> None:
    assert examine(model, cost=False)["data"]["shape"] == shape


def test_a_shape_that_cannot_be_guessed() -> None:
    with pytest.raises(DoctorError, match="Give it: --input-shape 3,224,224"):
        examine(nn.Sequential(nn.Flatten(), nn.Unflatten(1, (5, 5)), nn.Linear(5, 2), nn.ReLU()))
    with pytest.raises(DoctorError, match="no layer tells it"):
        examine(nn.ReLU())
    assert candidate_shapes(nn.LSTM(4, 5)) == [(16, 4)]


def test_arguments_are_literals() -> None:
    found = parse_kwargs(["a=1", "b=0.5", "c=None", "d=false", "e='x y'", "f=[1, 2]", "g=plain", "h=a=b", "i="])
    assert found == {
        "a": 1, "b": 0.5, "c": None, "d": False, "e": "x y", "f": [1, 2], "g": "plain", "h": "a=b", "i": "",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.at_all:model"], "nowhere.at_all can't be imported"),
        (["nowhere"], "MODEL must be package.module:name"),
        (["torch.nn:Nothing"], "torch.nn has nothing called 'Nothing'"),
        (["torch:pi"], "must be a torch.nn.Module or make one, got float"),
        (["torch:zeros", "--kwargs", "size=[2]"], "must give a torch.nn.Module, got Tensor"),
        (["torch.nn:Linear"], "Linear() failed: TypeError"),
        (["torch.nn:Linear", "--kwargs", "in_features=2", "of=3"], "Linear(in_features=2, of=3) failed"),
        (["torch.nn:Linear", "--kwargs", "2"], "--kwargs must be name=value"),
        (["torch.nn:ReLU", "--input-shape=3,x"], "must be whole numbers"),
        (["torch.nn:ReLU", "--input-shape=3", "--batch-size=0"], "batch_size must be >= 1"),
        (["torch.nn:ReLU", "--data=mooons"], "Did you mean 'moons'?"),
        (["setup.cfg.ckpt"], "does not exist"),
        (["pyproject.toml"], "is no checkpoint of an experiment"),
        (["docs"], "docs has no checkpoint"),
        (["docs", "--kwargs", "a=1"], "--kwargs is for an import path"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as stop:
        main(["doctor", *arguments])
    out, err = capsys.readouterr()
    assert stop.value.code == 2
    assert out == ""
    assert message in err
    assert err.count("\n") == 1


def test_an_instance_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    home = types.ModuleType("some_models")
    home.made = made_to_die()
    home.inner = types.SimpleNamespace(Kind=Functional)
    monkeypatch.setitem(sys.modules, "some_models", home)
    assert load_patient("some_models:made", {}).model is home.made
    assert isinstance(load_patient("some_models:inner.Kind", {}).model, Functional)
    with pytest.raises(DoctorError, match="is a module already"):
        load_patient("some_models:made", {"a": 1})


@pytest.mark.parametrize("layer", ["dense", "conv"])
def test_a_run_of_ours(layer: str, tmp_path: Path) -> None:
    changes = {"dataset": "digits", "batch_size": 500} if layer == "conv" else {}
    directory, _ = run_tiny(tmp_path, layer=layer, epochs=1, **changes)
    whole, file = load_patient(str(directory.path), {}), load_patient(str(directory.best_checkpoint), {})
    for patient in (whole, file):
        found = examine(patient, data="digits" if layer == "conv" else "moons", batch_size=20, cost=False)
        assert len(found["captured"]) == 4
        assert found["mode"] == "evaluation"
    weights = torch.load(directory.best_checkpoint, weights_only=False)["state_dict"]
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, weights[f"network.{name}"])
    assert examine(whole, cost=False)["data"]["shape"] == [64, *(whole.input_shape or ())]


def test_a_checkpoint_needs_our_package(tmp_path: Path) -> None:
    directory, _ = run_tiny(tmp_path, epochs=1)
    code = "import sys; sys.modules['model'] = None; from jumpstart.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "doctor", str(directory.path)],
        cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "PATH": ""}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert "a checkpoint needs the package model" in done.stderr


# What is said -----------------------------------------------------------------------------------

KEYS = {
    "model": str, "kind": str, "parameters": int, "mode": str, "data": dict, "compiled": list, "functional": list,
    "checkpointed": list, "nothing": (str, type(None)), "captured": list, "shared": dict, "in_place": list,
    "not_called": list, "total": (dict, type(None)), "first_death": (dict, type(None)), "cost": (dict, type(None)),
    "advice": list,
}  # fmt: skip
LAYER = {
    "name": str, "type": str, "shape": list, "units": int, "dead_units": int, "linear_units": int,
    "dead_points": float, "minimum": float, "maximum": float,
}  # fmt: skip


def check(content: dict[str, Any], schema: dict[str, Any]) -> None:
    assert content.keys() == schema.keys()
    for name, kind in schema.items():
        assert isinstance(content[name], kind), name


@pytest.mark.parametrize(("name", "status"), [("made_to_die", 0), ("Shared", 0), ("Functional", 0), ("Functions", 1)])
def test_json_and_table(name: str, status: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", f"{__name__}:{name}", "--json"]) == status
    out = capsys.readouterr().out
    found = json.loads(out)
    check(found, KEYS)
    for layer in found["captured"]:
        check(layer, LAYER)
    assert main(["doctor", f"{__name__}:{name}"]) == status
    text = capsys.readouterr().out
    for layer in found["captured"]:
        assert layer["name"] in text
    for advice in found["advice"]:
        if "times as long" not in advice:
            assert advice in text
    assert all(line == line.rstrip() for line in text.splitlines())


def test_what_a_model_prints_does_not_reach_the_result(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Loud(nn.ReLU):
        def forward(self, x: Tensor) -> Tensor:
            sys.stdout.write("here\n")
            return super().forward(x)

    home = types.ModuleType("loud_models")
    home.Loud = Loud
    monkeypatch.setitem(sys.modules, "loud_models", home)
    state = torch.get_rng_state()
    assert main(["doctor", "loud_models:Loud", "--input-shape=4", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["data"]["shape"] == [64, 4]
    assert "here" in err
    assert torch.equal(torch.get_rng_state(), state)


def test_a_deep_model_gets_a_table_that_fits() -> None:
    model = nn.Sequential(*[layer for _ in range(100) for layer in (nn.Linear(2, 2), nn.ReLU())])
    text = describe(examine(model, cost=False))
    assert "... 40 more, see --json ..." in text
    assert len(text.splitlines()) < 85
