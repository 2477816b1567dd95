"""A model that was run to be examined is as it was before."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from jumpstart import JumpstartRegularization
from jumpstart.capture.undisturbed import evaluating, restored


class Counting(nn.Module):
    """Replaces one buffer, which has two names, and writes into another one."""

    count: Tensor
    total: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.register_buffer("count", torch.zeros(1))
        self.register_buffer("again", self.count)
        self.register_buffer("total", torch.zeros(2))

    def forward(self, x: Tensor) -> Tensor:
        self.count = self.again = self.count + 1
        self.total += self.layer(x).detach().sum(0)
        return torch.nn.functional.dropout(self.layer(x), training=self.training)


@pytest.mark.parametrize("fails", [False, True])
def test_buffers_gradients_modes_and_generators_are_restored(fails: bool) -> None:
    model = nn.Sequential(Counting(), nn.Dropout(), Counting().eval())
    model(torch.ones(3, 2)).sum().backward()
    buffers = [dict(part.named_buffers(recurse=False, remove_duplicate=False)) for part in model.modules()]
    values = [{name: buffer.clone() for name, buffer in named.items()} for named in buffers]
    gradients = [(parameter.grad, parameter.grad.clone()) for parameter in model.parameters()]
    modes, attributes = [part.training for part in model.modules()], [set(vars(part)) for part in model.modules()]
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    drawn = random.random(), np.random.rand(), torch.rand(1).item()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    try:
        with restored(model):
            assert all(parameter.grad is None for parameter in model.parameters())
            model.train()(torch.ones(3, 2)).sum().backward()
            random.random(), np.random.rand()
            assert not fails
    except AssertionError:
        assert fails
    for part, named, before in zip(model.modules(), buffers, values, strict=True):
        after = dict(part.named_buffers(recurse=False, remove_duplicate=False))
        assert all(after[name] is named[name] and after[name].equal(before[name]) for name in named)
    for parameter, (gradient, value) in zip(model.parameters(), gradients, strict=True):
        assert parameter.grad is gradient
        assert parameter.grad.equal(value)
    assert [part.training for part in model.modules()] == modes
    assert [set(vars(part)) for part in model.modules()] == attributes
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == drawn


def test_hooks_have_the_same_order_after_a_hidden_pass() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    model[1].register_forward_pre_hook(lambda module, args: None)
    with JumpstartRegularization(model) as jumpstart:
        model[1].register_forward_pre_hook(lambda module, args: None)
        before = [list(part._forward_pre_hooks.items()) for part in model.modules()]
        with evaluating(model, torch.device("cpu")):
            model(torch.ones(3, 2))
        assert [list(part._forward_pre_hooks.items()) for part in model.modules()] == before
        with pytest.raises(RuntimeError, match="run the model first"):
            _ = jumpstart.loss


@pytest.mark.parametrize("whole", [True, False])
def test_a_model_that_was_compiled_in_place_is_evaluated_without_a_compilation(whole: bool) -> None:
    compiled: list[int] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., object]:
        compiled.append(len(inputs))
        return graph.forward

    model, x = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Sequential(nn.Linear(4, 2))), torch.randn(5, 3)
    expected = model(x)
    (model if whole else model[2]).compile(backend=backend)
    with evaluating(model, torch.device("cpu")):
        assert torch.equal(model(x), expected)
    assert compiled == []
    with torch.no_grad():
        model(x)
    assert len(compiled) == 1
