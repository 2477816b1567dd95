"""What is read is what enters the activation, whatever hooks, fused layers and parametrizations the model has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from support.references import Options, reference
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.nn.utils import parametrize
from torch.utils.hooks import RemovableHandle

from jumpstart import JumpstartRegularization, register_activation
from jumpstart.capture.hooks import have_common_parts
from jumpstart.monitor import StatusMonitor


@register_activation
class Spy(nn.ReLU):
    """A ReLU that stores its input."""

    seen: Tensor

    def forward(self, z: Tensor) -> Tensor:
        self.seen = z.detach().clone()
        return super().forward(z)


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), Spy(), nn.Linear(5, 3)).double()


def add_in_place(module: nn.Module, args: tuple[Tensor, ...]) -> None:
    with torch.no_grad():
        args[0].add_(1)


def only_spies(hook: Callable[..., Any]) -> Callable[..., Any]:
    return lambda module, args: hook(module, args) if isinstance(module, Spy) else None


REGISTER: dict[str, Callable[[nn.Sequential], RemovableHandle]] = {
    "input": lambda net: net[1].register_forward_pre_hook(lambda module, args: (args[0] + 1,)),
    "input with kwargs": lambda net: net[1].register_forward_pre_hook(
        lambda module, args, kwargs: ((args[0] * 2,), kwargs), with_kwargs=True
    ),
    "input in place": lambda net: net[1].register_forward_pre_hook(add_in_place),
    "input of all modules": lambda net: register_module_forward_pre_hook(
        only_spies(lambda module, args: (args[0] - 1,))
    ),
    "output": lambda net: net[0].register_forward_hook(lambda module, args, output: output - 2),
}


@pytest.mark.parametrize(
    ("kind", "capture"),
    [*((kind, "activations") for kind in REGISTER), ("output", "weights"), ("output", ["0"])],
    ids=str,
)
def test_the_preactivation_is_read_after_all_hooks(kind: str, capture: Any, path: str) -> None:
    net, x = model(), torch.randn(7, 6, dtype=torch.float64)

    spy = net[1]
    assert isinstance(spy, Spy)

    def is_right(loss: Tensor) -> bool:
        return loss.item() == pytest.approx(reference([spy.seen], Options())[0])

    with JumpstartRegularization(net, capture=capture) as jumpstart:
        for warm in (False, True):  # before the first pass, and between two
            handle = REGISTER[kind](net)
            for _ in range(2):
                net(x)
                assert is_right(jumpstart.loss), warm
            handle.remove()
            net(x)
            assert is_right(jumpstart.loss), "removed"
        handle = REGISTER[kind](net)
        with jumpstart.recording():
            net[2](net[1](net[0](x)))
        assert is_right(jumpstart.loss)
        handle.remove()
    with StatusMonitor(net, capture=capture) as monitor:
        handle = REGISTER[kind](net)
        net(x)
        (largest,) = monitor.unit_max.values()
        assert largest.equal(spy.seen.amax(0))
        handle.remove()
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in net.modules())


def test_a_model_that_is_a_captured_layer_itself_is_read_after_its_hooks() -> None:
    layer, x = nn.Linear(3, 3), torch.randn(4, 3)
    with (
        JumpstartRegularization(layer, capture="weights", skip_last=False) as jumpstart,
        StatusMonitor(layer) as monitor,
    ):
        layer.register_forward_hook(lambda module, args, output: output + 1)
        output = layer(x)
        assert jumpstart.extrema[0].unit_max[0].equal(output.amax(0))
        assert monitor.points == 4


def test_a_preactivation_that_could_not_be_read_last_is_refused_once() -> None:
    relu, x = nn.ReLU(), torch.randn(4, 3)
    with JumpstartRegularization(relu) as jumpstart:
        relu(x)
        relu.register_forward_pre_hook(lambda module, args: (args[0] + 1,))
        relu(x)
        with pytest.raises(RuntimeError, match="Run the model again"):
            _ = jumpstart.loss
        relu(x)
        assert jumpstart.extrema[0].unit_max[0].equal((x + 1).amax(0))


class Registering(nn.Module):
    """Registers a hook on a part of its network in each pass, at one of three moments, and removes it at the end."""

    def __init__(self, kind: str, moment: str) -> None:
        super().__init__()
        self.net, self.kind, self.moment = model(), kind, moment

    def forward(self, x: Tensor) -> Tensor:
        handle = REGISTER[self.kind](self.net) if self.moment == "before" else None
        x = self.net[1](self.net[0](x))
        handle = REGISTER[self.kind](self.net) if self.moment == "after" else handle
        result: Tensor = self.net[2](x)
        if handle is not None:
            handle.remove()
        return result


@pytest.mark.parametrize("kind", ["input", "input in place", "output"])
def test_a_hook_that_lives_for_a_part_of_a_pass_is_noticed_if_it_changed_what_was_read(kind: str) -> None:
    net, x = Registering(kind, "never"), torch.randn(7, 6, dtype=torch.float64)
    options: dict[str, Any] = {"capture": "weights" if kind == "output" else "activations", "skip_last": False}
    spy = net.net[1]
    assert isinstance(spy, Spy)
    with JumpstartRegularization(net, **options) as jumpstart:
        for moment in ("never", "after", "never", "after"):
            net.moment = moment
            net(x)
            assert jumpstart.extrema[0].unit_max[0].equal(spy.seen.amax(0))
        net.moment = "before"
        for _ in range(2):
            net(x)
            with pytest.raises(RuntimeError, match=r"registered after .* during its pass, register it before"):
                _ = jumpstart.loss
        net.moment = "never"
        net(x)
        assert jumpstart.extrema[0].unit_max[0].equal(spy.seen.amax(0))
        handle = REGISTER[kind](net.net)
        net(x)
        assert jumpstart.extrema[0].unit_max[0].equal(spy.seen.amax(0))
        handle.remove()
    net.moment = "before"
    with StatusMonitor(net, **options) as monitor:
        net(x)
        with pytest.raises(RuntimeError, match=r"a hook that was registered after"):
            monitor.compute()


def test_a_hook_registered_during_a_pass_before_the_layer_before_is_read_too() -> None:
    net, x = nn.Sequential(nn.ReLU(), model()).double(), torch.randn(7, 6, dtype=torch.float64)
    spy = net[1][1]
    assert isinstance(spy, Spy)

    def register(module: nn.Module, args: object, output: object) -> None:
        REGISTER["input"](net[1])
        handle.remove()

    with JumpstartRegularization(net) as jumpstart:
        net(x)
        handle = net[0].register_forward_pre_hook(register, with_kwargs=True)
        net(x)
        assert jumpstart.extrema[-1].unit_max[-1].equal(spy.seen.amax(0))


def test_hooks_of_tensors_and_of_other_modules_do_not_matter() -> None:
    net, x = model(), torch.randn(7, 6, dtype=torch.float64)

    def register(module: nn.Module, args: object, output: Tensor) -> None:
        output.register_hook(lambda grad: grad)
        net[2].register_forward_hook(lambda module, args, output: output)

    net[0].register_forward_hook(register)
    with JumpstartRegularization(net) as jumpstart:
        for _ in range(2):
            net(x)
            assert jumpstart.loss > 0


def test_a_hook_registered_between_attaching_and_compiling_is_noticed() -> None:
    net, x = nn.Sequential(nn.Linear(6, 5), nn.ReLU()), torch.randn(7, 6)
    torch._dynamo.reset()
    with JumpstartRegularization(net) as jumpstart:
        net[1].register_forward_pre_hook(lambda module, args: (args[0] + 1,))
        torch.compile(net, backend="eager")(x)
        with pytest.raises(RuntimeError, match=r"With torch\.compile, register hooks first"):
            _ = jumpstart.loss


@pytest.mark.filterwarnings("ignore:.*torch.ao.quantization is deprecated", "ignore:.*reduce_range")
@pytest.mark.parametrize("kind", ["LinearReLU", "LinearBn1d", "ConvReLU2d", "ConvBn1d", "ConvBnReLU3d"])
def test_layers_fused_for_quantization_are_refused_with_a_remedy(kind: str) -> None:
    from torch.ao.nn.intrinsic import qat
    from torch.ao.quantization import get_default_qat_qconfig

    sizes = (3, 4) if kind.startswith("Linear") else (3, 4, 1)
    fused = getattr(qat, kind)(*sizes, qconfig=get_default_qat_qconfig("fbgemm"))
    net = nn.Sequential(fused, nn.ReLU(), nn.Flatten(), nn.Linear(4, 2))
    refused: list[Any] = ["weights", ["0"], lambda name, module: name == "0"]
    for capture in refused + ["activations"] * ("ReLU" in kind):
        for attach in (JumpstartRegularization, StatusMonitor):
            with pytest.raises(ValueError, match=rf"of '0' cannot be read: {kind} .*fuse_modules_qat.*capture=\["):
                attach(net, capture=capture)
    readable: list[Any] = [["1"]] + ["activations"] * ("ReLU" not in kind)
    for capture in readable:
        with JumpstartRegularization(net, capture=capture) as jumpstart:
            assert jumpstart.layers == ["1"]


def test_activations_that_compute_a_parameter_are_not_captured() -> None:
    class Positive(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act = nn.Softplus()

        def forward(self, weight: Tensor) -> Tensor:
            result: Tensor = self.act(weight)
            return result

    net, x = model(), torch.randn(7, 6, dtype=torch.float64)
    spy = net[1]
    assert isinstance(spy, Spy)
    parametrize.register_parametrization(net[0], "weight", Positive())
    with JumpstartRegularization(net) as jumpstart:
        net(x)
        assert jumpstart.layers == ["1"]
        _ = net[0].weight  # computes the parameter outside of a pass
        assert jumpstart.loss.item() == pytest.approx(reference([spy.seen], Options())[0])


def test_models_have_common_parts_if_they_share_a_parameter_or_one_is_inside_the_other() -> None:
    act, shared = nn.ReLU(), nn.Linear(2, 2)
    one, other = nn.Sequential(nn.Linear(2, 2), shared, act), nn.Sequential(shared, act, nn.Linear(2, 2))
    assert have_common_parts(one, other)
    assert have_common_parts(one, act)  # which has no parameters
    assert have_common_parts(act, one)
    assert not have_common_parts(nn.Sequential(nn.Linear(2, 2), act), nn.Sequential(act, nn.Linear(2, 2)))
