"""A monitor never stops the model that it monitors; reading the metrics says what was not counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from jumpstart import JumpstartRegularization, register_activation
from jumpstart.capture import targets
from jumpstart.doctor import examine
from jumpstart.monitor import StatusMonitor


class Skipping(nn.Module):
    """A model that leaves out one of its blocks in each pass, another one each time, and all of them at ``none``."""

    def __init__(self, none: int = -1) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(4, 4), nn.ReLU()) for _ in range(3))
        self.calls, self.none = 0, none

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        for number, block in enumerate(self.blocks):
            if number != self.calls % 3 and self.calls % 4 != self.none:
                x = block(x)
        return x


@pytest.mark.parametrize("none", [-1, 2])
@pytest.mark.parametrize("regularized", [False, True])
def test_a_model_that_skips_layers_runs(regularized: bool, none: int) -> None:
    model, x = Skipping(none), torch.randn(5, 4)
    jumpstart = JumpstartRegularization(model) if regularized else None
    with StatusMonitor(model) as monitor:
        for _ in range(4):
            model(x)
        with monitor.pause():
            model(x)
        with monitor.recording():
            model(x)
        reads: list[Callable[[], object]] = [
            monitor.compute, monitor.numbers, lambda: monitor.unit_status, lambda: monitor.point_status,
        ]  # fmt: skip
        for read in reads:
            with pytest.raises(RuntimeError, match=r"not all forward passes were counted: .*reset\(\) clears"):
                read()
        monitor.reset()
        model.none, model.calls = -1, 0
        model(x)
        assert monitor.points == 5
        assert monitor.numbers()
    if jumpstart is not None:
        jumpstart.remove()


@pytest.fixture(autouse=True, scope="module")
def _registered() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(targets, "_registered", {})
        register_activation(Any1)
        yield


class Any1(nn.Module):
    """An activation that takes anything, or nothing."""

    def forward(self, z: Any = None) -> Any:
        return torch.ones(2, 3) if z is None else z


class Feeds(nn.Module):
    """A model that calls its activation in an unusual way."""

    def __init__(self, feed: Callable[[nn.Module, Tensor], object]) -> None:
        super().__init__()
        self.act, self.feed = Any1(), feed

    def forward(self, x: Tensor) -> object:
        return self.feed(self.act, x)


UNUSUAL: dict[str, Callable[[nn.Module, Tensor], object]] = {
    "integers": lambda act, x: act(x.long()),
    "complex": lambda act, x: act(x + 1j),
    "sparse": lambda act, x: act(x.to_sparse()),
    "one dimension": lambda act, x: act(x[0]),
    "empty": lambda act, x: act(x[:0]),
    "text": lambda act, x: act("text"),
    "nothing": lambda act, x: act(),
    "None by name": lambda act, x: act(z=None),
    "two in a dictionary": lambda act, x: act({"a": x, "b": x}),
    "unequal samples": lambda act, x: (act(x), act(x[:1])),
}


@pytest.mark.parametrize("kind", UNUSUAL)
def test_a_preactivation_that_cannot_be_read_does_not_stop_the_model(kind: str) -> None:
    model, x = Feeds(UNUSUAL[kind]), torch.randn(4, 3)
    with StatusMonitor(model) as monitor:
        for _ in range(2):
            model(x)
        with pytest.raises(RuntimeError, match="not all forward passes were counted"):
            monitor.numbers()
    with JumpstartRegularization(model) as jumpstart:
        with jumpstart.recording(grad=False):  # as Lightning's callback does to log a loss that is not trained
            model(x)
        if kind != "unequal samples":
            with pytest.raises((RuntimeError, TypeError, ValueError)):
                _ = jumpstart.loss
    result = examine(model, data=x, cost=False)
    assert result.nothing or kind == "unequal samples"


@pytest.mark.parametrize(
    "function",
    [
        "capture.recorder.Recorder._record_tensor",
        "capture.recorder.Recorder._group",
        "capture.recorder.extrema_of",
        "capture.recorder.is_replica",
        "metrics.NetworkStatus.add",
    ],
)
def test_any_error_of_a_monitor_is_said_when_the_metrics_are_read(
    function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x = nn.Sequential(nn.Linear(3, 4), nn.ReLU()), torch.randn(5, 3)

    def fails(*args: object, **options: object) -> None:
        raise ZeroDivisionError("planted")

    with StatusMonitor(model) as monitor:
        with monkeypatch.context() as patch:
            patch.setattr(f"jumpstart.{function}", fails)
            model(x)
            model(x)
        model(x)
        with pytest.raises(RuntimeError, match="not all forward passes were counted: planted"):
            monitor.numbers()


def test_a_replica_and_a_reentrant_checkpoint_run_under_a_monitor() -> None:
    model, x = nn.Sequential(nn.Linear(3, 4), nn.ReLU()), torch.randn(5, 3, requires_grad=True)
    with StatusMonitor(model) as monitor:
        checkpoint(model, x, use_reentrant=True).sum().backward()
        assert monitor.points == 5
        assert monitor.numbers()
        model._replicate_for_data_parallel()(x)  # what DataParallel runs on each GPU
        with pytest.raises(RuntimeError, match="DistributedDataParallel"):
            monitor.numbers()


def test_the_doctor_examines_a_model_that_skips_all_layers_in_some_passes() -> None:
    for none in range(4):
        result = examine(Skipping(none), data=torch.randn(5, 4))
        assert result.advice
