"""What a step costs, in counted things: calls, reductions and hooks. No time is measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import torch
from support.calls import Calls
from support.zoo import conv, dense
from torch import Tensor, nn

from jumpstart import JumpstartRegularization
from jumpstart.capture import recorder
from jumpstart.capture.copies import Hook
from jumpstart.capture.recorder import Recorder, in_graph
from jumpstart.capture.unit_dims import UnitDims
from jumpstart.extrema import kernel
from jumpstart.monitor import StatusMonitor

DEPTH, WIDTH, ROWS = 6, 4, 8


def hooks_of(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def recorder_of(jumpstart: JumpstartRegularization) -> Recorder:
    assert jumpstart._recorder is not None
    return jumpstart._recorder


# Reading -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grad", [True, False])
def test_a_layer_that_is_known_is_read_by_the_short_form(monkeypatch: pytest.MonkeyPatch, grad: bool) -> None:
    model, x = dense(DEPTH, WIDTH), torch.randn(ROWS, 3)
    with JumpstartRegularization(model) as jumpstart:
        recorder_of(jumpstart).small = ROWS * WIDTH  # the size of the layers: the largest one that is kept
        model(x)
        calls = Calls(monkeypatch, Recorder, "record")
        with torch.set_grad_enabled(grad):
            for _ in range(2):
                model(x)
                assert len(jumpstart.layers) == DEPTH
        assert calls.take() == 0


class BesideTimeMajor(nn.Module):
    """A dense layer behind a recurrent one, which makes it a question what dimension holds the samples."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent, self.dense, self.act = nn.GRU(3, 5), nn.Linear(5, 4), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.act(self.dense(self.recurrent(x)[0][-1]))
        return result


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], dict[str, Any]]] = {
    "dense": (dense, (ROWS, 3), {}),
    "conv": (lambda: conv(2), (ROWS, 2, 6, 6), {}),
    "time": (BesideTimeMajor, (7, 2, 3), {}),
    "time, with known units": (BesideTimeMajor, (7, 2, 3), {"unit_dim": -1}),
}


@pytest.mark.parametrize("name", MODELS)
def test_one_pass_teaches_all_and_the_hooks_that_learn_are_gone(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    make, shape, options = MODELS[name]
    model, x = make(), torch.randn(shape)
    with JumpstartRegularization(model, **options) as jumpstart:
        before = hooks_of(model)
        model(x)
        captured = len(jumpstart.layers)
        assert before > hooks_of(model) == 2 + captured  # the hooks of the model itself, and one that reads each layer
        parts = recorder_of(jumpstart)._unit_dims, recorder_of(jumpstart)._sample_dims
        assert [part.hooks for part in parts] == [[], []]
        calls = Calls(monkeypatch, Recorder, "record")
        model(x)
        assert calls.take() == 0


def test_hooks_of_others_are_looked_for_only_where_some_were_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = dense(DEPTH, WIDTH), torch.randn(ROWS, 3)
    with JumpstartRegularization(model):
        model(x)
        calls = Calls(monkeypatch, recorder, "read_last")
        model(x)
        assert calls.take() == 0
        model[0].register_forward_hook(lambda *_: None)
        model(x)
        assert calls.take() == DEPTH


def test_attaching_removes_the_dead_hooks_of_unusual_copies() -> None:
    model = dense(2)
    for module in model.modules():
        module.register_forward_hook(Hook())
    with JumpstartRegularization(model):
        assert not any(
            isinstance(hook, Hook) and hook.owner is None for m in model for hook in m._forward_hooks.values()
        )
    assert hooks_of(model) == 0


def test_names_are_made_once_for_passes_with_the_same_calls() -> None:
    model, x = dense(DEPTH, WIDTH), torch.randn(ROWS, 3)
    with JumpstartRegularization(model) as jumpstart:
        model(x)
        names = recorder_of(jumpstart).names
        model(x)
        assert recorder_of(jumpstart).names is names


# Large preactivations ------------------------------------------------------------------------------------------------


@pytest.fixture(params=[True, False], ids=["kernel", "torch"])
def with_kernel(request: pytest.FixtureRequest) -> Iterator[bool]:
    if not request.param:
        with kernel.disabled():
            yield False
    elif not kernel.available():
        pytest.skip(f"no kernel here; {kernel.description()}")
    else:
        yield True


@pytest.mark.parametrize("copies", [False, True], ids=["read", "written into"])
def test_a_layer_is_reduced_at_once_from_one_entry_beyond_the_bound(
    monkeypatch: pytest.MonkeyPatch, copies: bool, with_kernel: bool
) -> None:
    monkeypatch.setattr(recorder, "SMALL_COPY", 20)
    monkeypatch.setattr(recorder, "SMALL_COPY_WITHOUT_KERNEL", 30)
    calls = Calls(monkeypatch, recorder, "tap")
    model = nn.Sequential(nn.Linear(3, 1), nn.ReLU(inplace=copies))
    with JumpstartRegularization(model) as jumpstart:
        recorder_of(jumpstart).small = 40
        bound = 40 if not copies else 20 if with_kernel else 30
        for rows in (bound, bound + 1):
            for _ in range(2):
                model(torch.randn(rows, 3))
                assert len(jumpstart.extrema) == 1
            assert calls.take() == 2 * (rows > bound)


class Named(NamedTuple):
    """What a layer with two results returns."""

    z: Tensor
    note: str


class InParts(nn.Module):
    """A layer that returns a dictionary, a tuple or a named tuple."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.layer, self.kind = nn.Linear(3, 4), kind

    def forward(self, x: Tensor) -> object:
        z = self.layer(x)
        return {"z": z, "note": "kept"} if self.kind == "dict" else Named(z, "kept") if self.kind == "named" else (z, 1)


class Unchanged(nn.ReLU):
    """An activation that returns what it gets."""

    def forward(self, input: Tensor) -> Tensor:
        return input


class Given(nn.Module):
    """An activation that gets its input by position or by keyword."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.layer, self.act, self.kind = nn.Linear(3, 4), Unchanged(), kind

    def forward(self, x: Tensor) -> object:
        z = self.layer(x)
        return (self.act(z) if self.kind == "position" else self.act(input=z),)


@pytest.mark.parametrize("kind", ["dict", "named", "tuple", "position", "keyword"])
def test_the_gradient_of_a_large_layer_passes_through_one_function(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Beside the function, the gradient of the Jumpstart loss would be a tensor of zeros that autograd adds."""
    monkeypatch.setattr(recorder, "SMALL", 0)
    given = kind in ("position", "keyword")
    model = Given(kind) if given else InParts(kind)
    with JumpstartRegularization(model, capture=["act" if given else ""]) as jumpstart:
        out = model(torch.randn(5, 3))
        z = out["z"] if isinstance(out, dict) else out[0]  # type: ignore[index]
        assert z.grad_fn is not None
        assert "Tap" in z.grad_fn.name()
        assert jumpstart.loss.requires_grad
        if kind == "dict":
            assert out["note"] == "kept"  # type: ignore[index]
        elif kind == "named":
            assert isinstance(out, Named)
            assert out.note == "kept"


# Reducing ------------------------------------------------------------------------------------------------------------


def test_layers_of_one_shape_are_reduced_together(monkeypatch: pytest.MonkeyPatch, with_kernel: bool) -> None:
    model, x = dense(DEPTH, WIDTH), torch.randn(ROWS, 3)
    calls, sizes = Calls(monkeypatch, recorder, "extrema_of"), Calls(monkeypatch, UnitDims, "of")
    with JumpstartRegularization(model) as jumpstart:
        model(x)
        assert jumpstart.loss.isfinite()
        assert calls.options[0]["weights"] is not None  # so the penalty is not computed from the record
        assert (calls.take(), sizes.take()) == (1, 1)  # so small layers are one group
        for entries, groups in ((4, 2), (3, 2), (2, 3), (1, 6), (0.5, 6), (100, 1)):
            monkeypatch.setattr(recorder, "GROUP", int(entries * ROWS * WIDTH))
            model(x)
            assert jumpstart.loss.isfinite()
            together = {len(tensors) for tensors, *_ in calls.arguments}
            assert max(together) == (DEPTH if with_kernel else min(max(int(entries), 1), DEPTH))
            assert calls.take() == (1 if with_kernel else groups)
            assert sizes.take() == 1


def test_layers_of_several_shapes_are_looked_at_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    widths = (4, 4, 5, 5, 5, 4)
    layers = [part for i, o in zip((3, *widths), widths, strict=False) for part in (nn.Linear(i, o), nn.ReLU())]
    sizes, calls = Calls(monkeypatch, UnitDims, "of"), Calls(monkeypatch, recorder, "extrema_of")
    model = nn.Sequential(*layers)
    with JumpstartRegularization(model) as jumpstart:
        model(torch.randn(ROWS, 3))
        assert jumpstart.loss.isfinite()
    assert (sizes.take(), calls.take()) == (3, 2)


def test_no_context_is_entered_where_none_is_needed() -> None:
    with in_graph("cpu") as entered:
        assert entered is None
    for context in (torch.no_grad(), torch.inference_mode(), torch.autocast("cpu", torch.bfloat16)):
        with context, in_graph("cpu") as entered:
            assert entered is not None
            assert torch.is_grad_enabled()
            assert not torch.is_inference_mode_enabled()
            assert not torch.is_autocast_enabled("cpu")


def test_a_monitor_that_is_off_costs_no_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = dense(DEPTH, WIDTH), torch.randn(ROWS, 3)
    with StatusMonitor(model, enabled=False) as monitor:
        reads = Calls(monkeypatch, Recorder, "_record"), Calls(monkeypatch, recorder, "extrema_of")
        model(x)
        assert [calls.take() for calls in reads] == [0, 0]
        monitor.enabled = True
        model(x)
        assert [calls.take() for calls in reads] == [DEPTH, 1]
        model(x)
        assert [calls.take() for calls in reads] == [0, 1]
