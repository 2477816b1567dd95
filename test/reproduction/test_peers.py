"""Peers: their initial weights, layers and steps are what their papers say."""

from __future__ import annotations

import time
from collections import Counter

import pandas as pd
import pytest
import torch
from torch import nn

from model.config.rectangular import RectangularConfig
from model.rectangular import RectangularNetwork
from reproduction.peers import cost, yardsticks
from reproduction.peers.yardsticks import PEERS, Trainer, hidden, table
from reproduction.study import Study, study_named

X = torch.randn(200, 2, generator=torch.Generator().manual_seed(1))


def network(depth: int = 6, width: int = 4, skip: int | None = None) -> RectangularNetwork:
    return RectangularNetwork((2,), 3, depth=depth, width=width, skip_connections=skip)


def preactivations(net: RectangularNetwork, x: torch.Tensor) -> list[torch.Tensor]:
    found = []
    for parts, layer in zip(net.layers, hidden(net), strict=True):
        found.append(layer(x))
        x = parts(x)
    return found


@torch.no_grad()
def test_lsuv_gives_every_layer_a_variance_of_one() -> None:
    net = network()
    yardsticks.lsuv(net, X)
    for z in preactivations(net, X):
        assert z.std().item() == pytest.approx(1, abs=0.06)


@torch.no_grad()
def test_orthogonal_layers_keep_lengths_up_to_their_gain() -> None:
    net = network()
    yardsticks.orthogonal(net, X)
    for layer in hidden(net)[1:]:
        assert torch.allclose(layer.weight @ layer.weight.T, 2 * torch.eye(4), atol=1e-5)


@torch.no_grad()
def test_a_network_that_looks_linear_is_linear() -> None:
    net = network()
    assert not torch.allclose(net(X[:9] + X[9:18]), net(X[:9]) + net(X[9:18]) - net(torch.zeros(1, 2)), atol=1e-5)
    yardsticks.looks_linear(net, X)
    assert torch.allclose(net(X[:9] + X[9:18]), net(X[:9]) + net(X[9:18]), atol=1e-5)
    assert net(X).std() > 0.1


@torch.no_grad()
def test_selu_layers_have_a_variance_of_one_over_their_inputs() -> None:
    net = network(depth=3, width=200)
    yardsticks.selu(net, X)
    for layer in hidden(net)[1:]:
        assert layer.weight.var().item() == pytest.approx(1 / 200, rel=0.05)


@torch.no_grad()
def test_layer_normalization_precedes_every_activation() -> None:
    net, x = network(), X
    yardsticks.layernorm(net, X)
    for parts in net.layers.children():
        assert isinstance(parts, nn.Sequential)
        kinds = [type(module) for module in parts.modules() if not isinstance(module, nn.Sequential)]
        assert kinds == [nn.Linear, nn.LayerNorm, nn.ReLU]
        x = parts[0](x)
        normal = (x - x.mean(1, keepdim=True)) / (x.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
        x = parts[1](x)
        assert torch.allclose(x, normal.relu(), atol=1e-5)


@torch.no_grad()
def test_branches_of_fixup_begin_at_zero() -> None:
    net = network(depth=7, skip=2)
    yardsticks.fixup(net, X)
    first = torch.relu(hidden(net)[0](X))
    carried: list[torch.Tensor] = []
    for parts in net.layers.children():
        activation = parts.get_submodule("activation")
        activation.register_forward_hook(lambda module, args, output: carried.append(output))
    assert net(X).abs().max() == 0
    assert torch.equal(carried[6], first)  # the branches add nothing


def test_dormant_units_begin_anew_and_all_others_stay() -> None:
    net = network(depth=3)
    first, second, _ = hidden(net)
    with torch.no_grad():
        first.bias[1] = -1000.0  # a dead unit
        first.bias[[0, 2, 3]] = 10.0
    adam = torch.optim.Adam(net.parameters(), 1e-3)
    net(X).sum().backward()
    adam.step()
    before = [layer.weight.clone() for layer in (first, second)]
    yardsticks.redo(net, X, yardsticks.RECYCLE_EVERY + 1, adam)
    assert torch.equal(first.weight, before[0])
    yardsticks.redo(net, X, yardsticks.RECYCLE_EVERY, adam)
    assert not torch.equal(first.weight[1], before[0][1])
    assert first.bias[1] > -1
    assert torch.equal(first.weight[[0, 2, 3]], before[0][[0, 2, 3]])
    assert not second.weight[:, 1].any()
    assert not adam.state[first.weight]["exp_avg"][1].any()
    assert adam.state[first.weight]["exp_avg_sq"][0].all()


@pytest.mark.parametrize(("name", "lambda_"), [*((name, 0) for name in PEERS), ("lsuv", 0.01)])
def test_a_peer_trains_and_has_the_same_result_again(name: str, lambda_: float) -> None:
    skip = 2 if name == "fixup" else None
    config = RectangularConfig(
        dataset="moons", num_points=60, depth=3, epochs=3, skip_connections=skip, lambda_=lambda_
    )
    rows = table(name, [config, config])
    assert rows["seed"].tolist() == [42, 42]
    assert rows.iloc[0].equals(rows.iloc[1])
    for metric in ("test/acc", "test/unit_dead_ratio", "test/unit_linear_ratio"):
        assert rows[metric].between(0, 1).all()


def test_the_cost_is_that_of_the_steps_of_each_method(monkeypatch: pytest.MonkeyPatch) -> None:
    study, taken, clock = study_named("peers"), Counter[str](), [0.0]
    slow = {"jumpstart": 3.0, "redo": 2.0}
    names: dict[int, str] = {}

    class Counted(Trainer):
        def step(self, x: torch.Tensor, y: torch.Tensor, number: int) -> None:
            method = names[id(self)]
            taken[method] += 1
            assert taken[method] == number
            clock[0] += slow.get(method, 1.0)
            if number < 3:
                before = [parameter.clone() for parameter in self.network.parameters()]
                super().step(x, y, number)
                moved = [
                    bool((one != other).any()) for one, other in zip(before, self.network.parameters(), strict=True)
                ]
                assert any(moved)
                assert (self.jumpstart is not None) == method.startswith("jumpstart")

    def make(study: Study, method: str) -> Trainer:
        trainer = trainer_of(study, method)
        trainer.__class__ = Counted
        names[id(trainer)] = method
        return trainer

    trainer_of = cost._trainer
    monkeypatch.setattr(cost, "_trainer", make)
    monkeypatch.setattr(time, "process_time", lambda: clock[0])
    frame = cost.measure(study, rounds=2, steps=30).set_index("method")
    assert set(taken) == set(study.methods) == set(frame.index)
    assert set(taken.values()) == {90}
    for method, ratio in frame["ratio"].items():
        assert ratio == slow.get(str(method), 1.0)
    assert frame["plain_us"].eq(1e6).all()


def test_the_committed_costs_are_those_of_the_methods_of_the_study() -> None:
    assert pd.read_csv(cost.FILE)["method"].tolist() == list(study_named("peers").methods)
