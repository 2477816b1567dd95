"""The loss is that of the latest forward pass, and of nothing that ran after it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from jumpstart import JumpstartRegularization
from jumpstart.capture.undisturbed import evaluating
from jumpstart.monitor import StatusMonitor


class Net(nn.Module):
    """A model with two parts."""

    def __init__(self, wrap: Callable[[nn.Module], Any] = lambda part: part) -> None:
        super().__init__()
        self.features, self.head = nn.Sequential(nn.Linear(4, 8), nn.ReLU()), nn.Linear(8, 2)
        self.wrapped = wrap(self.features)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.head(self.wrapped(x))
        return result


def checkpointed(part: nn.Module) -> Callable[[Tensor], Any]:
    return lambda x: checkpoint(part, x, use_reentrant=False)


def compiled(part: nn.Module) -> Callable[[Tensor], Any]:
    torch._dynamo.reset()
    return torch.compile(part, backend="eager")


WAYS: dict[str, tuple[Callable[[nn.Module], Any], Callable[[Net, Tensor], object]]] = {
    "parts": (lambda part: part, lambda net, x: net.head(net.features(x))),
    "forward": (lambda part: part, lambda net, x: net.forward(x)),
    "one layer": (lambda part: part, lambda net, x: net.features[1](x)),
    "without gradients": (lambda part: part, lambda net, x: torch.no_grad()(net.features)(x)),
    "DataParallel": (nn.DataParallel, lambda net, x: net.wrapped(x)),
    "compiled part": (compiled, lambda net, x: net.wrapped(x)),
    "compiled by hand": (lambda part: part, lambda net, x: compiled(net.features)(x)),
    "checkpointed": (checkpointed, lambda net, x: net.wrapped(x)),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_read_after_layers_ran_outside_of_a_pass_is_an_error(way: str) -> None:
    wrap, call = WAYS[way]
    net, x = Net(wrap), torch.randn(6, 4)
    with JumpstartRegularization(net) as jumpstart:
        for read_before in (False, True):
            net(x)
            if read_before:
                _ = jumpstart.loss, jumpstart.extrema
            call(net, x)
            for read in (lambda: jumpstart.loss, lambda: jumpstart.extrema):
                with pytest.raises(RuntimeError, match=r"'features\.1' ran outside .*with jumpstart\.recording\(\)"):
                    read()
        with jumpstart.recording():
            call(net, x)
        assert jumpstart.loss is jumpstart.loss
        net(x)
        assert jumpstart.loss > 0


def test_the_first_layer_that_ran_outside_of_a_pass_is_named_until_the_next_pass() -> None:
    net, x = Net(), torch.randn(6, 4)
    with JumpstartRegularization(net, capture=["features.0", "features.1"]) as jumpstart:
        for first, run in (("0", net.features), ("1", net.features[1])):
            net(x)
            run(x)
            net.features(x)
            with pytest.raises(RuntimeError, match=rf"'features\.{first}' ran outside"):
                _ = jumpstart.loss


def test_a_pass_begins_before_the_hooks_of_the_model() -> None:
    net, x = Net(), torch.randn(6, 4)
    net.register_forward_pre_hook(lambda module, args: (module.features(args[0])[:, :4],))
    with JumpstartRegularization(net) as jumpstart:
        net(x)
        assert jumpstart.layers == ["features.1", "features.1#2"]
        assert jumpstart.loss > 0


def test_a_pass_ends_where_the_model_fails() -> None:
    net = Net()
    for capture in ("activations", ["features.0"]):
        with JumpstartRegularization(net, capture=capture) as jumpstart:
            with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
                net(torch.randn(6, 5))
            net.features(torch.randn(6, 4))
            with pytest.raises(RuntimeError, match="ran outside"):
                _ = jumpstart.loss


def interrupt(module: nn.Module, args: object) -> None:
    raise KeyboardInterrupt


def test_a_recording_ends_and_an_interrupted_pass_gives_way_to_the_next_one() -> None:
    net, x = Net(), torch.randn(6, 4)
    with JumpstartRegularization(net) as jumpstart:
        with jumpstart.recording():
            net.features(x)
        handle = net.head.register_forward_pre_hook(interrupt)
        with pytest.raises(KeyboardInterrupt):
            net(x)
        handle.remove()
        net(2 * x)
        assert jumpstart.layers == ["features.1"]
        assert torch.equal(jumpstart.extrema[0].unit_max[0], net.features[0](2 * x).amax(0))
        with jumpstart.recording():
            net.features(x)
        net.features(x)
        with pytest.raises(RuntimeError, match="ran outside"):
            _ = jumpstart.loss


def test_a_pass_that_is_interrupted_inside_of_a_recording_is_part_of_it() -> None:
    net, x = Net(), torch.randn(6, 4)
    with JumpstartRegularization(net) as jumpstart:
        with jumpstart.recording():
            handle = net.head.register_forward_pre_hook(interrupt)
            for _ in range(2):
                with pytest.raises(KeyboardInterrupt):
                    net(x)
            handle.remove()
            net(x)
        assert jumpstart.layers == ["features.1", "features.1#2", "features.1#3"]
        net(x)
        assert jumpstart.layers == ["features.1"]


def test_a_monitor_says_that_layers_ran_outside_of_a_pass() -> None:
    net, x = Net(), torch.randn(6, 4)
    for regularized in (False, True):
        jumpstart = JumpstartRegularization(net) if regularized else None
        with StatusMonitor(net) as monitor:
            net(x)
            with monitor.pause():
                net.features(x)
                net(x)
            assert monitor.numbers()
            net.features(x)
            with pytest.raises(RuntimeError, match=r"'features\.1' ran outside .*monitor\.recording\(\).*reset\(\)"):
                monitor.numbers()
            monitor.reset()
            net(x)
            assert monitor.numbers()
        if jumpstart is not None:
            jumpstart.remove()


@pytest.mark.parametrize("wrap", [checkpointed, lambda part: checkpointed(compiled(part))])
def test_a_checkpoint_that_recomputes_layers_is_no_call_outside_of_a_pass(wrap: Callable[[nn.Module], Any]) -> None:
    net, x = Net(wrap), torch.randn(6, 4)
    with JumpstartRegularization(net) as jumpstart:
        for _ in range(2):
            output, loss = net(x), jumpstart.loss
            (output.sum() + loss).backward()
            assert jumpstart.loss is loss
            net(x).sum().backward()  # the loss is read after the layers were recomputed
            assert jumpstart.layers == ["features.1"]
            assert jumpstart.loss.isfinite()


def test_hidden_passes_and_second_derivatives_are_no_calls_outside_of_a_pass() -> None:
    net, x = Net(), torch.randn(6, 4, requires_grad=True)
    with JumpstartRegularization(net) as jumpstart:
        (slope,) = torch.autograd.grad(net(x).sum(), x, create_graph=True)
        loss = jumpstart.loss
        (slope.square().sum() + loss).backward()
        with evaluating(net, torch.device("cpu")):
            net.features(x)
        assert jumpstart.loss is loss


class Dense(nn.Module):
    """A network whose instances share one activation, because the default argument is made once."""

    def __init__(self, activation: nn.Module = nn.ReLU()) -> None:  # noqa: B008
        super().__init__()
        self.first, self.activation, self.last = nn.Linear(4, 8), activation, nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.last(self.activation(self.first(x)))
        return result


def test_models_that_share_only_a_part_have_one_regularizer() -> None:
    encoder = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    one, other = (nn.Sequential(encoder, nn.Linear(4, width), nn.ReLU()) for width in (2, 5))
    with JumpstartRegularization(one), pytest.raises(RuntimeError, match="attached to this Sequential"):
        JumpstartRegularization(other)
    with JumpstartRegularization(other) as jumpstart:
        other(torch.randn(5, 3))
        assert jumpstart.loss > 0


def test_models_that_share_an_activation_have_losses_and_monitors_of_their_own() -> None:
    net, target, x, y = Dense(), Dense(), torch.randn(6, 4), torch.randn(5, 4)
    assert net.activation is target.activation
    monitor = StatusMonitor(net)
    net(x), target(y)
    assert monitor.numbers()["unit_loss"] >= 0
    assert monitor.points == 6
    monitor.remove()
    with JumpstartRegularization(net) as jumpstart:
        net(x)
        alone = jumpstart.loss.item()
        for other in (target, nn.Sequential(nn.Linear(4, 8), net.activation)):
            net(x), other(y)
            assert jumpstart.loss.item() == alone
        with JumpstartRegularization(target) as of_target:
            net(x), target(y)
            assert jumpstart.loss.item() == alone != of_target.loss.item()
            with pytest.raises(RuntimeError, match="attached to this Dense"):
                JumpstartRegularization(net)
        net.last(net.activation(net.first(x)))
        with pytest.raises(RuntimeError, match=r"'activation' ran outside"):
            _ = jumpstart.loss


class Interrupted(Dense):
    """A model that a person interrupts once."""

    interrupt: type[BaseException] | None = None

    def forward(self, x: Tensor) -> Tensor:
        result = super().forward(x)
        if self.interrupt is not None:
            raise self.interrupt
        return result


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, RuntimeError])
@pytest.mark.parametrize("scoped", [False, True])
@pytest.mark.parametrize("next_scoped", [False, True])
def test_the_pass_after_an_interrupted_one_counts_alone(
    error: type[BaseException], scoped: bool, next_scoped: bool
) -> None:
    net, x = Interrupted(nn.ReLU()), torch.randn(6, 4)
    with JumpstartRegularization(net) as jumpstart, StatusMonitor(net) as monitor:
        net.interrupt = error
        for _ in range(2):
            with pytest.raises(error), jumpstart.recording() if scoped else nullcontext():
                net(torch.randn(9, 4))
        net.interrupt = None
        monitor.reset()
        with jumpstart.recording() if next_scoped else nullcontext():
            net(x)
        assert jumpstart.layers == ["activation"]
        assert jumpstart.extrema[0].samples == 6
        net(x)
        assert monitor.points == 12


def test_a_model_that_calls_itself_makes_one_pass() -> None:
    class Twice(Dense):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) if len(x) == 3 else self(x[:3]) + self(x[3:])

    net = Twice(nn.ReLU())
    with JumpstartRegularization(net) as jumpstart:
        net(torch.randn(6, 4))
        assert jumpstart.layers == ["activation", "activation#2"]
