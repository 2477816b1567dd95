"""The loss and its gradient equal the reference, over the zoo and every option, and removal leaves no trace."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from typing import Any

import pytest
import torch
from support import zoo as architectures
from support.references import (
    Options,
    assert_same_grads,
    preactivations,
    reference,
    reference_loss_and_grads,
    zoo_reference,
)
from support.zoo import dense, every_architecture, make
from torch import Tensor, nn

from jumpstart import JumpstartRegularization, PointMode, Terms, Ties
from jumpstart.capture.targets import first_tensor
from jumpstart.extrema import reduction as extrema
from jumpstart.extrema.rule import Rule
from jumpstart.monitor import StatusMonitor

LAST = {"tokens": 2, "transformer": 2}  # the dimension of the units where it is not 1


def loss_and_grads(name: str, **options: object) -> tuple[float, list[torch.Tensor | None]]:
    model, x = make(name)
    x.requires_grad_()
    with JumpstartRegularization(model, **options) as jumpstart:
        model(x)
        loss = jumpstart.loss
        wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
        return loss.item(), list(torch.autograd.grad(loss, [*wanted, x], allow_unused=True))


@every_architecture
def test_loss_and_gradient_equal_the_reference(name: str, path: str) -> None:
    loss, grads = loss_and_grads(name)
    expected, expected_grads = zoo_reference(name, LAST.get(name, 1))
    assert loss == pytest.approx(expected, rel=1e-6)
    assert_same_grads(grads, expected_grads)


OPTIONS: dict[str, dict[str, Any]] = {
    "margins": {"margin": 0.3, "negative_margin": 0.8},
    "weights": {"positive_weight": 0.5, "negative_weight": 2.0},
    "one-weight-zero": {"positive_weight": 0.0},
    "mean": {"aggregate": "mean"},
    "norm": {"aggregate": "norm", "negative_margin": 0.3},
    "squares": {"aggregate": "sum_of_squares", "negative_margin": 2.0},
    "squares-weighted": {"aggregate": "sum_of_squares", "negative_weight": 0.25},
    "squares-of-hinges": {"aggregate": "sum_of_squared_hinges", "negative_weight": 0.25, "negative_margin": 2.0},
    "average": {"ties": "average", "negative_margin": 0.3},
    "average-location": {"ties": "average", "point": "location", "negative_margin": 0.3},
    "location": {"point": "location"},
    "location-mean": {"point": "location", "aggregate": "mean", "negative_margin": 0.3},
}
for term in ("unit_positive", "unit_negative", "point_positive", "point_negative"):
    OPTIONS[term] = {"terms": (term,)}
OPTIONS["units"] = {"terms": ("unit_positive", "unit_negative")}
OPTIONS["diagonal-norm"] = {"terms": ("unit_positive", "point_negative"), "aggregate": "norm"}


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("name", ["dense", "conv2d-inplace", "tokens", "residual-inplace", "zeros", "shared"])
def test_every_option_equals_the_reference(name: str, option: str, path: str) -> None:
    loss, grads = loss_and_grads(name, **OPTIONS[option])
    expected, expected_grads = zoo_reference(name, LAST.get(name, 1), tuple(OPTIONS[option].items()))
    assert loss == pytest.approx(expected, rel=1e-6)
    assert_same_grads(grads, expected_grads)


@pytest.mark.parametrize("name", ["zeros", "conv2d", "tokens"])
@pytest.mark.parametrize("point", ["sample", "location"])
def test_random_ties_give_the_whole_gradient_to_one_tied_entry(name: str, point: str, path: str) -> None:
    z = torch.zeros(3, 4, 5, dtype=torch.float64, requires_grad=True)
    rule = Rule(Ties.RANDOM, PointMode(point))
    seen = set()
    for _ in range(60):
        if path == "waiting":
            record = extrema.extrema_of([z], ["z"], rule=rule)
        else:
            _, record = extrema.tap(z, "z", rule=rule)
        (grad,) = torch.autograd.grad(record.unit[0].sum(), z)
        assert grad.sum((0, 2)).tolist() == [1.0] * 4
        assert ((grad == 0) | (grad == 1)).all()
        seen.add(int(grad[:, 0].flatten().argmax()))
    assert len(seen) > 5, "the draw is not random"
    # And without any tie it is the reference.
    if name != "zeros":
        loss, grads = loss_and_grads(name, ties="random", point=point)
        expected, expected_grads = zoo_reference(name, LAST.get(name, 1), (("point", point),))
        assert loss == pytest.approx(expected, rel=1e-6)
        assert_same_grads(grads, expected_grads)


@every_architecture
def test_outputs_and_task_gradients_are_unaltered(name: str, path: str) -> None:
    model, x = make(name)
    bare = copy.deepcopy(model)

    def run(model: nn.Module) -> tuple[torch.Tensor, list[torch.Tensor | None]]:
        torch.manual_seed(0)
        output = model(x)
        y = output["y"] if isinstance(output, dict) else output[0] if isinstance(output, tuple) else output
        model.zero_grad()
        y.square().sum().backward()
        return y, [parameter.grad for parameter in model.parameters()]

    expected, expected_grads = run(bare)
    with JumpstartRegularization(model):
        found, grads = run(model)
    assert torch.equal(found, expected)
    for one, other in zip(grads, expected_grads, strict=True):
        assert (one is None and other is None) or torch.equal(one, other)


@every_architecture
def test_attaching_leaves_no_trace(name: str) -> None:
    model, x = make(name)
    with pytest.raises(KeyboardInterrupt), JumpstartRegularization(model):
        model(x)
        raise KeyboardInterrupt
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_both_losses_add_up_in_one_backward(path: str) -> None:
    model, x = make("residual-inplace")
    with JumpstartRegularization(model) as jumpstart:
        (model(x).sum() + 0.5 * jumpstart.loss).backward()
    found = [parameter.grad for parameter in model.parameters()]
    other, x = make("residual-inplace")
    _, penalty = reference_loss_and_grads(other, x)
    other(x).sum().backward()
    assert_same_grads(
        found,
        [
            parameter.grad if grad is None else parameter.grad + 0.5 * grad
            for parameter, grad in zip(other.parameters(), penalty[:-1], strict=True)
        ],
    )


def test_the_loss_is_that_of_the_latest_forward_pass_and_two_reads_return_one_tensor() -> None:
    model, x = make("dense")
    with JumpstartRegularization(model) as jumpstart:
        model(x)
        first = jumpstart.loss
        assert jumpstart.loss is first
        model(2 * x)
        model(3 * x)
        expected, _ = reference_loss_and_grads(model, 3 * x)
        assert jumpstart.loss.item() == pytest.approx(expected)


def test_two_losses_of_two_forwards_can_be_kept_and_added() -> None:
    model, x = make("dense")
    with JumpstartRegularization(model) as jumpstart:
        model(x)
        first = jumpstart.loss
        model(2 * x)
        total = first + jumpstart.loss
    total.backward()
    _, one = reference_loss_and_grads(model, x)
    _, two = reference_loss_and_grads(model, 2 * x)
    expected = [None if a is None else a + b for a, b in zip(one, two, strict=True)]
    assert_same_grads([parameter.grad for parameter in model.parameters()], expected[:-1])


def test_the_loss_is_available_in_evaluation_and_without_gradients() -> None:
    model, x = make("batchnorm")
    model.eval()
    with JumpstartRegularization(model) as jumpstart:
        for context in (torch.no_grad(), torch.inference_mode()):
            with context:
                model(x)
                loss = jumpstart.loss
            expected, _ = reference_loss_and_grads(model, x)
            assert loss.item() == pytest.approx(expected)
            assert not loss.requires_grad


def test_a_loss_first_read_without_gradients_can_still_be_trained() -> None:
    model, x = make("dense")
    with JumpstartRegularization(model) as jumpstart:
        model(x)
        with torch.no_grad():
            float(jumpstart.loss)
        jumpstart.loss.backward()
    assert model[0].weight.grad is not None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_the_loss_is_float32(dtype: torch.dtype, path: str) -> None:
    torch.manual_seed(0)
    model, x = dense(), torch.randn(64, 3)
    with JumpstartRegularization(model) as jumpstart, torch.autocast("cpu", dtype=dtype):
        model(x)
        loss = jumpstart.loss
    assert loss.dtype == torch.float32

    def run(model: nn.Module, x: torch.Tensor) -> object:
        with torch.autocast("cpu", dtype=dtype):
            return model(x)

    expected, _ = reference(preactivations(model, x, run)[2], Options())
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    loss.backward()
    assert model[0].weight.grad.dtype == torch.float32


def test_copies_and_pickles_are_not_regularized() -> None:
    model, x = make("dense")
    jumpstart = JumpstartRegularization(model)
    model(x)  # a step is pending
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin(x), model(x))
        with JumpstartRegularization(twin) as other:
            assert sum(len(m._forward_pre_hooks) for m in twin.modules()) == 6
            twin(x)
            assert other.loss == jumpstart.loss
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in twin.modules())
    handle = copy.deepcopy(jumpstart)
    with pytest.raises(RuntimeError, match="attached to no model"):
        _ = handle.loss
    assert "removed" in repr(handle)


def test_attaching_twice_is_refused_and_names_the_remedy() -> None:
    model, _ = make("dense")
    jumpstart = JumpstartRegularization(model)
    with pytest.raises(RuntimeError, match=r"attached to this Sequential.*remove\(\)"):
        JumpstartRegularization(nn.Sequential(model)[0])
    with pytest.raises(RuntimeError, match="attached"):
        JumpstartRegularization(nn.Sequential(model))
    jumpstart.remove()
    jumpstart.remove()
    JumpstartRegularization(model).remove()


def test_a_regularizer_keeps_no_model_alive_and_removes_its_hooks_when_deleted() -> None:
    model, x = make("dense")
    jumpstart = JumpstartRegularization(model)
    model(x)
    del jumpstart
    gc.collect()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    jumpstart = JumpstartRegularization(model)
    model(x).sum().backward()
    ghost = weakref.ref(model)
    del model
    gc.collect()
    assert ghost() is None
    jumpstart.remove()


def test_no_graph_outlives_its_step() -> None:
    model, x = make("dense")
    jumpstart = JumpstartRegularization(model)
    (model(x).sum() + jumpstart.loss).backward()
    gc.collect()
    model.zero_grad()
    known = {id(parameter) for parameter in model.parameters()} | {id(x)}
    tensors = [o for o in gc.get_objects() if type(o) is torch.Tensor and id(o) not in known and o.numel() == 7 * 4]
    assert tensors == []
    jumpstart.remove()


def test_a_recording_inside_of_another_or_of_a_call_is_a_part_of_it() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = dense(1)

        def forward(self, x: Tensor) -> Tensor:
            first: Tensor = self.net(x)
            with jumpstart.recording():
                return first + self.net(x)

    model, x = Twice(), torch.randn(5, 3)
    with JumpstartRegularization(model) as jumpstart, StatusMonitor(model) as monitor:
        for grad in (True, False):
            with jumpstart.recording(grad=grad):
                model(x)
                with jumpstart.recording(), monitor.recording():
                    model(x)
                model(x)
            assert jumpstart.layers == ["net.1", *[f"net.1#{call}" for call in range(2, 7)]]
            assert jumpstart.loss.requires_grad is grad
            monitor.reset()
            model(x)
            assert jumpstart.layers == ["net.1", "net.1#2"]
            assert monitor.points == 5


def test_recording_covers_models_that_are_called_by_their_parts() -> None:
    model, x = make("dense")
    with JumpstartRegularization(model) as jumpstart:
        with pytest.raises(RuntimeError, match="run the model first"):
            _ = jumpstart.loss
        with jumpstart.recording():
            model[2:](model[:2](x))
        expected, _ = reference_loss_and_grads(model, x)
        assert jumpstart.loss.item() == pytest.approx(expected)


@every_architecture
@pytest.mark.parametrize("small", [True, False])
def test_recording_without_grad_gives_a_loss_without_a_graph(name: str, small: bool) -> None:
    model, x = make(name)
    with JumpstartRegularization(model) as jumpstart:
        if not small:
            jumpstart._recorder.small = 0
        model(x)
        expected = jumpstart.loss
        with jumpstart.recording(grad=False):
            output = model(x)
        parts = list(output.values()) if isinstance(output, dict) else output
        first_tensor(parts, "output").sum().backward()  # a checkpoint finds what it has saved
        assert jumpstart.loss.item() == pytest.approx(expected.item())
        assert not jumpstart.loss.requires_grad
        model(x)
        assert jumpstart.loss.requires_grad == expected.requires_grad


def test_a_regularizer_works_after_an_error_in_the_forward_pass() -> None:
    model, x = make("dense")
    with JumpstartRegularization(model) as jumpstart:
        with pytest.raises(RuntimeError, match="shapes"):
            model(x[:, :2])
        model(x)
        expected, _ = reference_loss_and_grads(model, x)
        assert jumpstart.loss.item() == pytest.approx(expected)


def test_a_preactivation_that_is_overwritten_later_is_refused() -> None:
    class Writes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.act = nn.Linear(3, 4), nn.ReLU()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            z = self.a(x)
            y = self.act(z)
            z += 1
            return y + z

    model = Writes()
    with JumpstartRegularization(model) as jumpstart:
        model(torch.randn(2, 3))
        with pytest.raises(RuntimeError, match="'act' was written into after"):
            _ = jumpstart.loss


def test_reentrant_checkpoints_are_refused_and_frozen_parts_are_not() -> None:
    class Reentrant(architectures.Checkpointed):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return architectures.checkpoint(self.act, self.a(x), use_reentrant=True)

    model = Reentrant()
    with JumpstartRegularization(model), pytest.raises(RuntimeError, match="use_reentrant=False"):
        model(torch.randn(2, 3, requires_grad=True))

    class Frozen(architectures.Checkpointed):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                x = self.act(self.a(x))
            return self.act(self.b(x))

    frozen = Frozen()
    with JumpstartRegularization(frozen) as jumpstart:
        frozen(torch.randn(2, 3))
        jumpstart.loss.backward()
    assert frozen.a.weight.grad is None
    assert frozen.b.weight.grad is not None


def test_terms_form_an_algebra() -> None:
    assert Terms.ALL & ~Terms.UNIT_POSITIVE == Terms.UNIT_NEGATIVE | Terms.POINT
    assert Terms.parse(["unit_positive", "unit_negative"]) == Terms.UNIT


def test_the_repr_lists_the_captured_layers() -> None:
    model, _ = make("dense")
    with JumpstartRegularization(model, aggregate="norm") as jumpstart:
        assert repr(jumpstart).startswith("JumpstartRegularization(Sequential, 5 layers, capture='activations'")
        assert "aggregate=norm" in repr(jumpstart)


@pytest.mark.parametrize("held", ["nobody", "residual", "hook", "user", "retain"])
def test_a_gradient_with_another_reference_is_not_written_into(held: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jumpstart.capture.recorder.SMALL", 0)
    kept: list[torch.Tensor] = []

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.act = nn.Linear(3, 4), nn.Identity()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            z = self.a(x)
            y = self.act(z)
            if held == "hook":
                y.register_hook(kept.append)
            if held == "retain":
                y.retain_grad()
                kept.append(y)
            return y + z if held == "residual" else y if held == "user" else y * 2

    torch.manual_seed(0)
    model, x = Model().double(), torch.randn(5, 3).double()
    with JumpstartRegularization(model, capture=["act"]) as jumpstart:
        out = model(x)
        seed = torch.ones_like(out)
        torch.autograd.backward([out, jumpstart.loss], [seed, None])
    assert torch.equal(seed, torch.ones_like(seed))
    if held == "hook":
        assert torch.equal(kept[0], torch.full_like(kept[0], 2.0))
    if held == "retain":
        assert torch.equal(kept[0].grad, torch.full_like(seed, 2.0))
    z = model.a(x).detach().requires_grad_()
    _, (penalty,) = reference([z], Options())
    through = torch.full_like(z, 1.0 if held == "user" else 2.0) + torch.from_numpy(penalty)
    assert_same_grads([model.a.weight.grad], [through.T @ x])


class TwoDtypes(nn.Module):
    """A network whose second half computes in float64."""

    def __init__(self) -> None:
        super().__init__()
        self.halves = nn.ModuleList(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU()) for _ in "ab")
        self.halves[1].double()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.halves[1](self.halves[0](x).double())
        return result


def test_preactivations_of_two_dtypes_and_one_shape_have_records_of_their_own(path: str) -> None:
    model, x = TwoDtypes(), torch.randn(6, 4)
    with JumpstartRegularization(model) as jumpstart:
        model(x)
        loss = jumpstart.loss.item()
        found = {
            position: largest
            for record in jumpstart.extrema
            for position, largest in zip(record.order, record.unit_max, strict=True)
        }
    tensors = preactivations(model, x)[2]
    for position, z in enumerate(tensors):
        torch.testing.assert_close(found[position], z.detach().amax(0))  # the dtype too
    assert loss == pytest.approx(reference(tensors, Options())[0], rel=1e-6)
