"""The loss and its gradient under torch.func and torch.compile."""

from __future__ import annotations

import pytest
import torch
from support.references import Options, assert_same_grads, reference_loss_and_grads
from support.zoo import Case, dense, make
from torch import Tensor, nn
from torch.autograd import forward_ad

from jumpstart import JumpstartRegularization
from jumpstart.choices import Ties
from jumpstart.extrema import extrema_of
from jumpstart.extrema.rule import Rule

LAST = {"tokens": 2}
every_kind = pytest.mark.parametrize("name", ["dense", "conv2d", "tokens", "shared", "residual"])
every_option = pytest.mark.parametrize(
    "options", [{}, {"ties": "average"}, {"point": "location"}, {"ties": "random", "aggregate": "norm"}]
)


def shallow() -> Case:
    return dense(2).double(), torch.randn(7, 3, dtype=torch.float64)


@every_kind
@every_option
def test_the_gradient_of_torch_func_equals_the_reference(name: str, options: dict[str, str]) -> None:
    model, x = make(name)
    parameters = {key: value.detach() for key, value in model.named_parameters()}
    with JumpstartRegularization(model, **options) as jumpstart:

        def loss(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
            torch.func.functional_call(model, parameters, (x,))
            return jumpstart.loss

        grads, found = torch.func.grad_and_value(loss)(parameters, x)
    kinds = {key: value for key, value in options.items() if value != "random"}
    expected, expected_grads = reference_loss_and_grads(model, x, Options(**kinds), LAST.get(name, 1))
    assert found.item() == pytest.approx(expected, rel=1e-6)
    assert_same_grads(list(grads.values()), expected_grads[:-1])


@pytest.mark.parametrize("ties", list(Ties))
def test_tied_extrema_have_the_gradient_of_their_rule_under_torch_func(ties: Ties) -> None:
    z = torch.tensor([[0.5, -0.5, -0.5], [0.5, -0.5, 0.5], [-0.5, -0.5, 0.5]], dtype=torch.float64)
    rule = Rule(ties=ties)

    def sides(z: Tensor) -> Tensor:
        record = extrema_of([z], ["0"], rule=rule)
        return record.unit_max.sum() + 2 * record.point_max.sum() + 4 * record.unit_min.sum()

    def plain(z: Tensor) -> Tensor:
        leaf = z.clone().requires_grad_()
        (grad,) = torch.autograd.grad(sides(leaf), leaf)
        return grad

    if ties is not Ties.RANDOM:
        torch.testing.assert_close(torch.func.grad(sides)(z), plain(z))
        return
    torch.manual_seed(0)
    drawn = torch.stack([torch.func.grad(sides)(z) for _ in range(300)])
    torch.testing.assert_close(drawn.sum((1, 2)), torch.full((300,), 3.0 + 6.0 + 12.0).double())
    assert len(drawn.unique(dim=0)) > 20
    rule = Rule(ties=Ties.AVERAGE)
    torch.testing.assert_close(drawn.mean(0), plain(z), rtol=0, atol=0.4)


def test_vmap_over_networks_equals_a_loop_over_them() -> None:
    model, x = make("dense")
    stacks = {
        key: torch.stack([value.detach(), 2 * value.detach(), 0 * value.detach()])
        for key, value in model.named_parameters()
    }
    with JumpstartRegularization(model) as jumpstart:

        def loss(parameters: dict[str, Tensor]) -> Tensor:
            torch.func.functional_call(model, parameters, (x,))
            return jumpstart.loss

        together = torch.func.vmap(torch.func.grad_and_value(loss))(stacks)
        for i in range(3):
            one = {key: value[i] for key, value in stacks.items()}
            grads, value = torch.func.grad_and_value(loss)(one)
            assert together[1][i].item() == pytest.approx(value.item())
            assert_same_grads([together[0][key][i] for key in grads], list(grads.values()))


# The time of a compilation grows with the layers. `test_conditions.py` compiles a step with convolutions.
@pytest.mark.parametrize(
    ("name", "backend"), [("shallow", "aot_eager"), ("tokens", "eager"), ("shared", "eager"), ("residual", "eager")]
)
def test_a_compiled_step_has_no_graph_break_and_the_same_gradient(name: str, backend: str) -> None:
    model, x = shallow() if name == "shallow" else make(name)
    torch._dynamo.reset()
    with JumpstartRegularization(model) as jumpstart:

        @torch.compile(backend=backend, fullgraph=True)
        def step(x: Tensor) -> Tensor:
            model(x)
            return jumpstart.loss

        for _ in range(10):  # more often than torch is willing to compile it anew
            model.zero_grad()
            loss = step(x)
            loss.backward()
    expected, grads = reference_loss_and_grads(model, x, unit_dim=LAST.get(name, 1))
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    assert_same_grads([parameter.grad for parameter in model.parameters()], grads[:-1])


def test_a_compiled_recording_holds_all_calls_inside_of_it() -> None:
    model, x = shallow()
    torch._dynamo.reset()
    with JumpstartRegularization(model) as jumpstart:

        def step(x: Tensor) -> tuple[Tensor, Tensor]:
            with jumpstart.recording():
                model(x)
                with jumpstart.recording():
                    model(2 * x)
            together = jumpstart.loss
            model(x)
            return together, jumpstart.loss

        expected = step(x)
        assert not torch.equal(*expected)
        for _ in range(2):
            found = torch.compile(step, backend="eager")(x)
            assert [loss.item() for loss in found] == pytest.approx([loss.item() for loss in expected])


def test_the_loss_of_a_compiled_model_can_be_read_outside_of_the_graph() -> None:
    model, x = shallow()
    torch._dynamo.reset()
    with JumpstartRegularization(model) as jumpstart:
        compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
        for scale in (1, 2):
            model.zero_grad()
            compiled(scale * x)
            jumpstart.loss.backward()
            expected, grads = reference_loss_and_grads(model, scale * x)
            assert jumpstart.loss.item() == pytest.approx(expected, rel=1e-6)
            assert_same_grads([parameter.grad for parameter in model.parameters()], grads[:-1])


def test_hooks_attached_after_compiling_raise_an_error_with_a_remedy() -> None:
    model, x = make("dense")
    torch._dynamo.reset()
    step = torch.compile(nn.Sequential(model), backend="eager")
    step(x)
    with JumpstartRegularization(model) as jumpstart:
        step(x)
        if jumpstart._live().ran:  # newer releases of torch look at the hooks again
            assert jumpstart.loss.item() == pytest.approx(reference_loss_and_grads(model, x)[0])
        else:
            with pytest.raises(RuntimeError, match=r"run the model first.*Attach before compiling"):
                _ = jumpstart.loss


# Torch itself compiles its rules of forward mode with torch.jit.
@pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning")
@pytest.mark.parametrize("rows", [7, 2000])
@pytest.mark.parametrize("options", [{}, {"ties": "average"}, {"point": "location"}, {"aggregate": "norm"}])
def test_the_derivative_in_forward_mode_equals_the_one_in_backward_mode(options: dict[str, str], rows: int) -> None:
    model, _ = make("conv2d")
    x = torch.randn(rows, 2, 6, 5, dtype=torch.float64, requires_grad=True)
    direction = torch.randn_like(x)
    with JumpstartRegularization(model, **options) as jumpstart:
        model(x)
        (grad,) = torch.autograd.grad(jumpstart.loss, x)
        with forward_ad.dual_level():
            model(forward_ad.make_dual(x.detach(), direction))
            loss, tangent = forward_ad.unpack_dual(jumpstart.loss)
        assert loss.item() == pytest.approx(jumpstart.loss.item())
        assert tangent.item() == pytest.approx((grad * direction).sum().item(), rel=1e-6)
        model(x)
        assert torch.equal(torch.autograd.grad(jumpstart.loss, x)[0], grad)


def test_an_exported_loss_equals_the_reference_on_other_points() -> None:
    model, x = shallow()
    other = torch.randn_like(x)
    with JumpstartRegularization(model) as jumpstart:

        class Loss(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.model = model

            def forward(self, x: Tensor) -> Tensor:
                self.model(x)
                return jumpstart.loss

        exported = torch.export.export(Loss(), (x,)).module()
    assert exported(other).item() == pytest.approx(reference_loss_and_grads(model, other)[0])
