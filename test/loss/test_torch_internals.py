"""Each use of torch's private API has the fallback that it names, with which the loss is as right as before."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
import torch
from support.references import Options, assert_same_grads, reference_loss_and_grads
from support.zoo import make
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.utils import checkpoint

from jumpstart import JumpstartRegularization
from jumpstart.extrema import torch_internals as internals
from jumpstart.monitor import StatusMonitor

LAST = {"tokens": 2}
PRIVATE: dict[str, tuple[object, str, Callable[[], object], object]] = {
    "holders": (torch._C, "_storage_Use_Count", lambda: internals.holders(torch.zeros(2)), None),
    "in_backward": (torch._C, "_current_graph_task_id", internals.in_backward, False),
    "transformed": (torch._C, "_are_functorch_transforms_active", internals.transformed, False),
    "transformed, level": (forward_ad, "_current_level", internals.transformed, False),
    "has_values": (
        torch._C._functorch,
        "is_functorch_wrapped_tensor",
        lambda: internals._has_values(torch.zeros(2)),
        True,
    ),
    "in_jit_trace": (torch._C, "_get_tracing_state", internals.in_jit_trace, False),
    "in_reentrant_checkpoint": (checkpoint, "CheckpointFunction", internals.in_reentrant_checkpoint, False),
    "running_calls": (nn.Module, "_call_impl", lambda: internals.running_calls(nn.ReLU()), sys.maxsize),
    "is_replica": (nn.Module, "no such attribute", lambda: internals.is_replica(nn.ReLU()), False),
    "is_compiled_in_place": (
        nn.Module,
        "_compiled_call_impl",
        lambda: internals.is_compiled_in_place(nn.ReLU()),
        False,
    ),
    "is_view": (nn.Module, "no such attribute", lambda: internals.is_view(object()), True),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", PRIVATE)
def test_the_fallback_is_the_one_that_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    owner, attribute, call, fallback = PRIVATE[name]
    monkeypatch.delattr(owner, attribute, raising=False)
    assert call() is fallback


def test_the_counter_of_hooks_that_torch_lacks_differs_at_each_look() -> None:
    counter = internals._NoCounter()
    assert counter.next_id != counter.next_id
    assert internals.HANDLES is torch.utils.hooks.RemovableHandle


def test_a_module_is_compiled_in_place_after_compile() -> None:
    module = nn.ReLU()
    assert not internals.is_compiled_in_place(module)
    module.compile(backend="eager")
    assert internals.is_compiled_in_place(module)


FALLBACKS: dict[str, object] = {
    "version_of": lambda z: 0,
    "is_view": lambda z: True,
    "holders": lambda grad: None,
    "in_backward": lambda: False,
    "transformed": lambda: False,
    "in_jit_trace": lambda: False,
    "in_reentrant_checkpoint": lambda: False,
    "running_calls": lambda module, thread=None: sys.maxsize,
    "HANDLES": internals._NoCounter(),
}


@pytest.mark.parametrize("kind", ["dense", "conv2d-inplace", "large-batch", "tokens", "shared", "residual"])
def test_without_private_api_the_loss_and_the_metrics_are_the_same(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    model, x = make(kind)
    expected, grads = reference_loss_and_grads(model, x, Options(), LAST.get(kind, 1))
    with StatusMonitor(model) as monitor:
        model(x)
        numbers = monitor.numbers()
    for name, fallback in FALLBACKS.items():
        own = getattr(internals, name)
        for module in [module for key, module in sys.modules.items() if key.startswith("jumpstart.")]:
            if vars(module).get(name) is own:
                monkeypatch.setattr(module, name, fallback)
    with JumpstartRegularization(model) as jumpstart:
        for _ in range(2):
            model.zero_grad()
            x.grad = None
            model(x)
            jumpstart.loss.backward()
            assert jumpstart.loss.item() == pytest.approx(expected)
            assert_same_grads([parameter.grad for parameter in model.parameters()], grads[:-1])
    with StatusMonitor(model) as monitor:
        model(x)
        assert monitor.numbers() == numbers


def test_values_are_looked_for_in_tensors_of_every_kind() -> None:
    assert internals._has_values(torch.zeros(2)) is True
    with torch._subclasses.FakeTensorMode():
        assert internals._has_values(torch.zeros(2)) is False
    seen: list[bool] = []

    def note(z: Tensor) -> Tensor:
        seen.append(internals._has_values(z))
        return z

    torch.func.vmap(note)(torch.zeros(2, 3))
    assert seen == [False]


def test_what_is_running_is_known() -> None:
    found = []

    class Probe(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, z: Tensor) -> Tensor:
            found.append((internals.in_backward(), internals.in_reentrant_checkpoint()))
            return z.clone()

        @staticmethod
        def backward(ctx: object, grad: Tensor) -> Tensor:
            found.append((internals.in_backward(), internals.traced_in_backward()))
            return grad

    assert internals.in_backward() is internals.traced_in_backward() is False
    z = torch.zeros(2, requires_grad=True)
    Probe.apply(z).sum().backward()
    checkpoint.checkpoint(Probe.apply, z, use_reentrant=True)
    assert found == [(False, False), (True, True), (False, True)]
    assert internals.in_reentrant_checkpoint() is False
