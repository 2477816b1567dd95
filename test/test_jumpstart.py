"""The loss and its gradient equal the reference, over the zoo and every option; attaching leaves no trace."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from typing import Any

import architectures
import pytest
import torch
from architectures import dense, every_architecture, make
from asserts import Options, assert_same_grads, preactivations, reference, reference_loss_and_grads
from torch import nn

from jumpstart import JumpstartRegularization, PointMode, Terms, Ties, extrema, register_activation
from jumpstart.options import Rule

LAST = {"tokens": 2, "transformer": 2}  # the dimension of the units where it is not 1


@pytest.fixture(params=["waiting", "tapped"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to a record: as if every preactivation were small, or large."""
    size = 10**9 if request.param == "waiting" else 0
    monkeypatch.setattr("jumpstart.recorder.SMALL", size)
    return request.param


def loss_and_grads(name: str, **options: object) -> tuple[float, list[torch.Tensor | None]]:
    model, x = make(name)
    x.requires_grad_()
    with JumpstartRegularization(model, **options) as jumpstart:
        model(x)
        loss = jumpstart.loss
        wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
        return loss.item(), list(torch.autograd.grad(loss, [*wanted, x], allow_unused=True))


@every_architecture
def test_loss_and_gradient_are_the_reference(name: str, path: str) -> None:
    loss, grads = loss_and_grads(name)
    expected, expected_grads = reference_loss_and_grads(*make(name), unit_dim=LAST.get(name, 1))
    assert loss == pytest.approx(expected, rel=1e-6)
    assert_same_grads(grads, expected_grads)


OPTIONS: dict[str, dict[str, Any]] = {
    "margin": {"margin": 0.3},
    "weights": {"positive_weight": 0.5, "negative_weight": 2.0},
    "one-weight-zero": {"positive_weight": 0.0},
    "mean": {"aggregate": "mean"},
    "norm": {"aggregate": "norm"},
    "squares": {"aggregate": "sum_of_squares"},
    "squares-weighted": {"aggregate": "sum_of_squares", "negative_weight": 0.25},
    "average": {"ties": "average"},
    "average-location": {"ties": "average", "point": "location"},
    "location": {"point": "location"},
    "location-mean": {"point": "location", "aggregate": "mean"},
}
for term in ("unit_positive", "unit_negative", "point_positive", "point_negative"):
    OPTIONS[term] = {"terms": (term,)}
OPTIONS["units"] = {"terms": ("unit_positive", "unit_negative")}
OPTIONS["diagonal-norm"] = {"terms": ("unit_positive", "point_negative"), "aggregate": "norm"}


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("name", ["dense", "conv2d-inplace", "tokens", "residual-inplace", "zeros", "shared"])
def test_every_option_is_the_reference(name: str, option: str, path: str) -> None:
    loss, grads = loss_and_grads(name, **OPTIONS[option])
    expected, expected_grads = reference_loss_and_grads(*make(name), Options(**OPTIONS[option]), LAST.get(name, 1))
    assert loss == pytest.approx(expected, rel=1e-6)
    assert_same_grads(grads, expected_grads)


@pytest.mark.parametrize("name", ["zeros", "conv2d", "tokens"])
@pytest.mark.parametrize("point", ["sample", "location"])
def test_random_ties_give_the_whole_gradient_to_one_tied_entry(name: str, point: str, path: str) -> None:
    model, x = make(name)
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
        expected, expected_grads = reference_loss_and_grads(model, x, Options(point=point), LAST.get(name, 1))
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


def test_layers_are_named_by_call() -> None:
    model, x = make("shared")
    with JumpstartRegularization(model) as jumpstart:
        assert jumpstart.layers == ["act"]
        model(x)
        assert jumpstart.layers == ["act", "act#2", "act#3", "act#4"]
        names = [name for record in jumpstart.extrema for name in record.names]
        assert sorted(names) == sorted(jumpstart.layers)


def test_tapped_calls_are_named_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jumpstart.recorder.SMALL", 0)
    model, x = make("shared")
    with JumpstartRegularization(model) as jumpstart:
        model(x)
        assert [record.names[0] for record in jumpstart.extrema] == [
            "act",
            "act#2",
            "act#3",
            "act#4",
        ]


def test_weights_leave_out_the_layer_that_is_called_last(path: str) -> None:
    class Backwards(nn.Module):
        """Registered in the opposite order of the calls."""

        def __init__(self) -> None:
            super().__init__()
            self.last, self.norm, self.first = nn.Linear(4, 2), nn.BatchNorm1d(4), nn.Linear(3, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.norm(self.first(x)).relu())

    model, x = Backwards().double(), torch.randn(6, 3).double()
    with JumpstartRegularization(model, capture="weights") as jumpstart:
        model(x)
        assert jumpstart.layers == ["first"]
        z = model.first(x)
        assert jumpstart.extrema[0].unit_max.tolist() == [z.amax(0).tolist()]
    with JumpstartRegularization(model, capture="weights", skip_last=False) as jumpstart:
        model(x)
        assert jumpstart.layers == ["first", "last"]


def test_weights_are_read_before_what_follows_writes_into_them(path: str) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 2)).double()
    x = torch.randn(6, 3).double()
    with JumpstartRegularization(model, capture="weights") as jumpstart:
        model(x)
        assert torch.equal(jumpstart.extrema[0].unit_min[0], model[0](x).amin(0))
        jumpstart.loss.backward()
    assert model[0].weight.grad is not None


def test_capture_by_names_and_by_predicate() -> None:
    model, x = make("dense")
    with JumpstartRegularization(model, capture=["3", "4"]) as jumpstart:
        model(x)
        assert jumpstart.layers == [
            "3",
            "4",
        ]  # the input of an activation, the output of a linear layer
        z = model[:3](x)
        assert torch.equal(jumpstart.extrema[0].unit_max[0], z.amax(0))
        assert torch.equal(jumpstart.extrema[0].unit_max[1], model[4](z.relu()).amax(0))
    with JumpstartRegularization(model, capture=lambda name, module: name == "1") as jumpstart:
        model(x)
        assert jumpstart.layers == ["1"]


def test_outputs_in_tuples_and_dicts_are_read_and_passed_on(path: str) -> None:
    for kind in (dict, tuple):
        model = nn.Sequential(architectures.Outputs(kind)).double()
        x = torch.randn(5, 3).double()
        expected = model(x)
        if kind is dict:
            with (
                JumpstartRegularization(model, capture=["0"]),
                pytest.raises(TypeError, match="tensor"),
            ):
                model(x)
            continue
        with JumpstartRegularization(model, capture=["0"]) as jumpstart:
            found = model(x)
            assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
            assert torch.equal(jumpstart.extrema[0].unit_max[0], expected[0].amax(0))


def test_a_registered_activation_is_read_at_its_input() -> None:
    @register_activation
    class Twice(nn.Module):
        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return z.mul_(2).relu_()

    model = nn.Sequential(nn.Linear(3, 4), Twice()).double()
    x = torch.randn(6, 3).double()
    with JumpstartRegularization(model) as jumpstart:
        model(x)
        assert torch.equal(jumpstart.extrema[0].unit_min[0], model[0](x).amin(0))


def test_the_latest_forward_counts_and_a_loss_read_twice_is_one() -> None:
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


def test_available_in_evaluation_and_without_gradients() -> None:
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


def test_copies_and_pickles_are_not_regularised() -> None:
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


def test_the_handle_keeps_no_model_alive_and_takes_its_hooks_along() -> None:
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


def test_recording_covers_models_that_are_called_by_their_parts() -> None:
    model, x = make("dense")
    with JumpstartRegularization(model) as jumpstart:
        with pytest.raises(RuntimeError, match="run the model first"):
            _ = jumpstart.loss
        with jumpstart.recording():
            model[2:](model[:2](x))
        expected, _ = reference_loss_and_grads(model, x)
        assert jumpstart.loss.item() == pytest.approx(expected)


def test_an_error_in_the_forward_pass_leaves_a_working_handle() -> None:
    model, x = make("dense")
    with JumpstartRegularization(model) as jumpstart:
        with pytest.raises(RuntimeError, match="shapes"):
            model(x[:, :2])
        model(x)
        expected, _ = reference_loss_and_grads(model, x)
        assert jumpstart.loss.item() == pytest.approx(expected)


def test_a_preactivation_written_into_later_is_refused_not_misread() -> None:
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


def test_units_are_where_the_feeder_puts_them() -> None:
    for model, x, units in (
        (nn.Sequential(nn.Linear(6, 3), nn.ReLU()), torch.randn(2, 5, 6), 3),
        (nn.Sequential(nn.Conv1d(6, 3, 1), nn.ReLU()), torch.randn(2, 6, 5), 3),
        (nn.Sequential(nn.Conv1d(6, 3, 1), nn.Dropout(0.0), nn.ReLU()), torch.randn(2, 6, 5), 3),
        (nn.Sequential(nn.Linear(6, 3), nn.ReLU()), torch.randn(2, 5, 4, 6), 3),
        (nn.Sequential(nn.ReLU()), torch.randn(2, 7, 4, 6), 7),
    ):
        with JumpstartRegularization(model) as jumpstart:
            for _ in range(2):  # the second pass has forgotten the feeders and knows the answer
                model(x)
                assert jumpstart.extrema[0].unit.shape == (2, 1, units)
    model = nn.Sequential(nn.ReLU())
    with (
        JumpstartRegularization(model) as jumpstart,
        pytest.raises(ValueError, match="unit_dim=-1"),
    ):
        model(torch.randn(2, 3, 4))
        _ = jumpstart.loss
    with JumpstartRegularization(model := nn.Sequential(nn.ReLU()), unit_dim=-1) as jumpstart:
        model(torch.randn(2, 3, 4))
        assert jumpstart.extrema[0].unit.shape == (2, 1, 4)


def test_bad_input_is_refused_with_a_remedy() -> None:
    model, _ = make("dense")
    functional = nn.Sequential(nn.Linear(2, 2))
    for arguments, error, message in (
        ((lambda x: x,), TypeError, "model must be a torch.nn.Module, got function"),
        ((functional,), ValueError, "nothing to capture in Sequential.*F.relu"),
        ((nn.Sequential(nn.ReLU()), {"capture": "weights"}), ValueError, "no Linear or Conv"),
        ((nn.DataParallel(model),), TypeError, "DistributedDataParallel"),
        ((model, {"capture": "activation"}), ValueError, "Did you mean 'activations'"),
        ((model, {"capture": ["7.act"]}), ValueError, "does not have"),
        ((model, {"capture": "1"}), ValueError, r"capture=\['1'\]"),
        ((model, {"capture": lambda name, module: False}), ValueError, "selects none"),
        ((model, {"terms": "units"}), ValueError, "Did you mean 'unit'"),
        ((model, {"terms": []}), ValueError, "at least one hinge"),
        ((model, {"margin": 0.0}), ValueError, "margin must be a finite number > 0, got 0"),
        ((model, {"margin": float("nan")}), ValueError, "got nan"),
        ((model, {"positive_weight": -1.0}), ValueError, "positive_weight must be"),
        (
            (model, {"positive_weight": 0.0, "negative_weight": 0.0}),
            ValueError,
            "would always be 0",
        ),
        ((model, {"aggregate": "sum"}), ValueError, "aggregate must be one of balanced"),
        ((model, {"ties": "first"}), ValueError, "ties must be one of"),
        ((model, {"point": "samples"}), ValueError, "Did you mean 'sample'"),
        ((model, {"unit_dim": 0}), ValueError, "unit_dim must be"),
        ((functional, {"capture": "weights"}), ValueError, "skip_last=False"),
    ):
        options: dict[str, Any] = arguments[1] if len(arguments) > 1 else {}
        with pytest.raises(error, match=message):
            JumpstartRegularization(arguments[0], **options)
        if isinstance(arguments[0], nn.Module):
            assert not any(m._forward_pre_hooks for m in arguments[0].modules())


def test_bad_preactivations_are_named(path: str) -> None:
    model = nn.Sequential(nn.ReLU())
    for x, error, message in (
        (torch.zeros(0, 3), ValueError, r"'0' is empty \(0x3\)"),
        (torch.ones(2, 3, dtype=torch.long), TypeError, "dtype torch.int64"),
        (torch.ones(3), ValueError, "Run the model on a batch"),
    ):
        with JumpstartRegularization(model) as jumpstart, pytest.raises(error, match=message):
            model(x)
            _ = jumpstart.loss


def test_terms_form_an_algebra() -> None:
    assert Terms.ALL & ~Terms.UNIT_POSITIVE == Terms.UNIT_NEGATIVE | Terms.POINT
    assert Terms.parse(["unit_positive", "unit_negative"]) == Terms.UNIT


def test_the_repr_says_what_is_read() -> None:
    model, _ = make("dense")
    with JumpstartRegularization(model, aggregate="norm") as jumpstart:
        assert repr(jumpstart).startswith("JumpstartRegularization(Sequential, 5 layers, capture='activations'")
        assert "aggregate=norm" in repr(jumpstart)


@pytest.mark.parametrize("held", ["nobody", "residual", "hook", "user", "retain"])
def test_a_gradient_that_somebody_else_holds_is_not_written_into(held: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jumpstart.recorder.SMALL", 0)
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
