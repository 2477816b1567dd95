"""Which preactivations are captured, their names, their unit dimension, and wrong options."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from typing import Any

import pytest
import torch
from support import zoo as architectures
from support.references import Options, preactivations, reference
from support.zoo import make
from torch import Tensor, nn

from jumpstart import JumpstartRegularization, register_activation
from jumpstart.capture import registered_activations
from jumpstart.capture.hooks import ReadInput


def test_layers_are_named_by_call() -> None:
    model, x = make("shared")
    with JumpstartRegularization(model) as jumpstart:
        assert jumpstart.layers == ["act"]
        model(x)
        assert jumpstart.layers == ["act", "act#2", "act#3", "act#4"]
        names = [name for record in jumpstart.extrema for name in record.names]
        assert sorted(names) == sorted(jumpstart.layers)


def test_tapped_calls_are_named_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jumpstart.capture.recorder.SMALL", 0)
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
        """A network whose layers are registered in the reverse order of their calls."""

        def __init__(self) -> None:
            super().__init__()
            self.last, self.norm, self.first = nn.Linear(4, 2), nn.BatchNorm1d(4), nn.Linear(3, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.norm(self.first(x)).relu())

    model, x = Backwards().double(), torch.randn(6, 3).double()
    with JumpstartRegularization(model, capture="weights") as jumpstart:
        model(x)
        assert jumpstart.layers == ["first"]
        found = jumpstart.extrema[0].unit_max.tolist()
        assert found == [model.first(x).amax(0).tolist()]
    with JumpstartRegularization(model, capture="weights", skip_last=False) as jumpstart:
        model(x)
        assert jumpstart.layers == ["first", "last"]


def test_outputs_of_layers_are_read_before_an_in_place_activation_writes_into_them(path: str) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 2)).double()
    x = torch.randn(6, 3).double()
    with JumpstartRegularization(model, capture="weights") as jumpstart:
        model(x)
        found = jumpstart.extrema[0].unit_min[0]
        jumpstart.loss.backward()
        assert torch.equal(found, model[0](x).amin(0))
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


class Packed(nn.Module):
    """A layer whose output is in a dictionary or in a named tuple, beside what is no tensor."""

    def __init__(self, kind: Callable[..., Any]) -> None:
        super().__init__()
        self.layer, self.kind = nn.Linear(3, 4), kind

    def forward(self, x: Tensor) -> Any:
        return self.kind(z=self.layer(x), number=3)


@pytest.mark.parametrize("kind", [dict, namedtuple("Pair", ["z", "number"])])
def test_a_tensor_in_an_output_gets_the_gradient_of_the_loss(kind: Callable[..., Any], path: str) -> None:
    model, x = nn.Sequential(Packed(kind)).double(), torch.randn(5, 3).double()
    with JumpstartRegularization(model, capture=["0"]) as jumpstart:
        found = model(x)
        assert isinstance(found, dict | tuple)
        z = found["z"] if isinstance(found, dict) else found.z
        total = jumpstart.loss + z.square().sum()
        (gradient,) = torch.autograd.grad(total, model[0].layer.weight)
    z = model[0].layer(x).detach()
    loss, (slope,) = reference([z], Options())
    assert (total - z.square().sum()).item() == pytest.approx(loss)
    torch.testing.assert_close(gradient, (2 * z + torch.from_numpy(slope)).T @ x)


def test_further_inputs_of_an_activation_are_passed_on(path: str) -> None:
    @register_activation
    class Scaled(nn.Module):
        def forward(self, z: Tensor, scale: Tensor) -> Tensor:
            return z.relu() * scale

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.act = nn.Linear(3, 4), Scaled()

        def forward(self, x: Tensor) -> Tensor:
            return self.act(self.layer(x), torch.full((4,), 0.5))

    model, x = Model(), torch.randn(5, 3)
    expected = model(x)
    with JumpstartRegularization(model) as jumpstart:
        for _ in range(2):
            assert torch.equal(model(x), expected)
            assert torch.equal(jumpstart.extrema[0].unit_max[0], model.layer(x).amax(0))


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
    assert registered_activations()[-1] is Twice


def test_units_are_in_the_dimension_in_which_the_layer_before_puts_them() -> None:
    for model, x, units in (
        (nn.Sequential(nn.Linear(6, 3), nn.ReLU()), torch.randn(2, 5, 6), 3),
        (nn.Sequential(nn.Conv1d(6, 3, 1), nn.ReLU()), torch.randn(2, 6, 5), 3),
        (nn.Sequential(nn.Conv1d(6, 3, 1), nn.Dropout(0.0), nn.ReLU()), torch.randn(2, 6, 5), 3),
        (nn.Sequential(nn.Linear(6, 3), nn.ReLU()), torch.randn(2, 5, 4, 6), 3),
        (nn.Sequential(nn.ReLU()), torch.randn(2, 7, 4, 6), 7),
    ):
        with JumpstartRegularization(model) as jumpstart:
            for _ in range(2):  # in the second pass the hooks of the unit dimension are removed
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


@pytest.mark.parametrize("dim", [3, -3, 4, -4])
def test_a_dimension_that_a_preactivation_lacks_is_refused(dim: int) -> None:
    model = nn.Sequential(nn.ReLU())
    with JumpstartRegularization(model, unit_dim=dim) as jumpstart, pytest.raises(ValueError, match="one of 1 to 2"):
        model(torch.randn(2, 3, 4))
        _ = jumpstart.loss


class TwoLayouts(nn.Module):
    """One activation module after a convolution, with units second, and after dense layers, with units last."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act, self.same, self.dense = nn.Conv1d(4, 6, 1), nn.ReLU(), nn.Linear(6, 6), nn.Linear(6, 9)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.conv(x)).transpose(1, 2)
        return self.act(self.dense(self.act(self.same(x))))


@pytest.mark.parametrize("small", [True, False])
def test_each_call_of_a_shared_module_has_the_unit_dimension_of_the_layer_before(
    small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jumpstart.capture.recorder.SMALL", 10**9 if small else 0)
    model, x = TwoLayouts(), torch.randn(5, 4, 7)
    with JumpstartRegularization(model) as jumpstart:
        for _ in range(3):
            model(x)
            units = {name: record.unit.shape[2] for record in jumpstart.extrema for name in record.names}
            assert units == {"act": 6, "act#2": 6, "act#3": 9}
            first, *others = preactivations(model, x)[2]
            loss, _ = reference([first, *(z.transpose(1, 2) for z in others)], Options())
            assert jumpstart.loss.item() == pytest.approx(loss, rel=1e-6)


class Between(nn.Module):
    """A convolution and an activation with another module in between."""

    def __init__(self, between: nn.Module) -> None:
        super().__init__()
        self.conv, self.between, self.act = nn.Conv1d(4, 6, 1), between, nn.Tanh()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.between(self.conv(x).transpose(1, 2))
        return self.act(x[0] if isinstance(x, tuple) else x)


@pytest.mark.parametrize(
    "between",
    [nn.LSTM(6, 6, batch_first=True), nn.GRU(6, 6, batch_first=True), nn.RMSNorm(6), nn.LayerNorm(6)],
    ids=lambda module: type(module).__name__,
)
def test_recurrent_and_normalization_layers_have_their_units_last(between: nn.Module) -> None:
    model = Between(between)
    with JumpstartRegularization(model) as jumpstart:
        model(torch.randn(5, 4, 7))
        assert jumpstart.extrema[0].unit.shape == (2, 1, 6)


def test_after_an_unknown_module_the_unit_dimension_is_unknown() -> None:
    class Turn(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.transpose(1, 2)

    for between in (Turn(), nn.Unflatten(2, (7,))):
        model = nn.Sequential(nn.Conv1d(4, 6, 1), between, nn.ReLU())
        with JumpstartRegularization(model) as jumpstart, pytest.raises(ValueError, match="no module before it tells"):
            model(torch.randn(5, 4, 7))
            _ = jumpstart.loss


@pytest.mark.parametrize(
    "between",
    [nn.Dropout(0.5), nn.Identity(), nn.MaxPool1d(2), nn.ConstantPad1d(1, 0.0), nn.Upsample(scale_factor=2), nn.ReLU()],
    ids=lambda module: type(module).__name__,
)
def test_after_a_module_that_does_not_move_units_their_dimension_is_still_known(between: nn.Module) -> None:
    model = nn.Sequential(nn.Conv1d(4, 6, 1), between, nn.Tanh())
    with JumpstartRegularization(model) as jumpstart:
        model(torch.randn(5, 4, 7))
        assert jumpstart.extrema[-1].unit.shape[2] == 6


def test_layers_that_run_outside_of_a_pass_tell_no_unit_dimension() -> None:
    class Direct(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.act = nn.Linear(3, 4), nn.ReLU()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.act(x)

    model = Direct()
    with JumpstartRegularization(model) as jumpstart:
        model.layer(torch.randn(5, 3))
        model(torch.randn(5, 2, 3))
        with pytest.raises(ValueError, match="no module before it tells"):
            _ = jumpstart.loss


def test_modules_that_are_never_called_do_not_slow_the_others_down() -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.used, self.unused = nn.Linear(3, 4), nn.ReLU(), nn.ReLU()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.used(self.layer(x))

    model = Half()
    with JumpstartRegularization(model) as jumpstart:
        for _ in range(3):
            model(torch.randn(5, 2, 3))
            assert jumpstart.extrema[0].unit.shape == (2, 1, 4)
        (read,) = model.used._forward_pre_hooks.values()
        assert isinstance(read, ReadInput)
        assert read.quick


class OneActivation(nn.Module):
    """One activation after a dense layer and after batch normalization: two kinds, but one dimension of the units."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm, self.act = nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.act(self.norm(self.act(self.layer(x))))
        return result


@pytest.mark.parametrize("unit_dim", [None, -1])
@pytest.mark.parametrize(
    ("make_model", "shape"),
    [
        (lambda: nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.Tanh()), (5, 2, 3)),
        (OneActivation, (5, 3)),
    ],
)
def test_only_the_first_pass_has_hooks_that_learn_the_unit_dimension(
    make_model: Callable[[], nn.Module], shape: tuple[int, ...], unit_dim: int | None
) -> None:
    model = make_model()
    learning = [module for module in model.modules() if isinstance(module, nn.Linear | nn.BatchNorm1d)]
    with JumpstartRegularization(model, unit_dim=unit_dim):
        assert all(bool(module._forward_hooks) == (unit_dim is None) for module in learning)
        for _ in range(2):
            model(torch.randn(shape))
            assert not any(module._forward_hooks for module in learning)
            reads = [hook for module in model.modules() for hook in module._forward_pre_hooks.values()]
            assert all(hook.quick for hook in reads if isinstance(hook, ReadInput))


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
        ((model, {"negative_margin": 0}), ValueError, "negative_margin must be a finite number > 0, got 0"),
        ((model, {"negative_margin": "auto"}), ValueError, "negative_margin must be a finite number > 0, got 'auto'"),
        ((model, {"positive_weight": -1.0}), ValueError, "positive_weight must be"),
        ((model, {"margin": "1"}), ValueError, "margin must be a finite number > 0, got '1'"),
        ((model, {"margin": torch.ones(2)}), ValueError, "margin must be a finite number > 0, got tensor"),
        ((model, {"positive_weight": None}), ValueError, "positive_weight must be a finite number >= 0, got None"),
        ((model, {"negative_weight": [1]}), ValueError, r"negative_weight must be a finite number >= 0, got \[1\]"),
        ((model, {"terms": None}), ValueError, "terms must be a union of unit_positive, .*, got None"),
        ((model, {"terms": 3}), ValueError, "terms must be a union of unit_positive, .*, got 3"),
        ((model, {"terms": ["unit", None]}), ValueError, "terms must be a union of unit_positive, .*, got None"),
        (
            (model, {"capture": None}),
            ValueError,
            r"capture must be 'activations', 'weights', a list of module names or a predicate .*, got None",
        ),
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


class Moved(nn.Module):
    """A layer, a function that moves its units, and an activation."""

    def __init__(self, layer: nn.Module, move: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.layer, self.move, self.act = layer, move, nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.move(self.layer(x)))


MOVES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], Callable[[Tensor], Tensor], int | None]] = {
    "image to tokens": (lambda: nn.Conv2d(3, 7, 1), (2, 3, 4, 5), lambda z: z.flatten(2).mT, 2),
    "image to positions": (lambda: nn.Conv2d(3, 7, 1), (2, 3, 4, 5), lambda z: z.flatten(2), 1),
    "channels last": (lambda: nn.Conv2d(3, 7, 1), (2, 3, 4, 5), lambda z: z.permute(0, 2, 3, 1), 3),
    "tokens with a class token": (
        lambda: nn.Conv2d(3, 7, 1),
        (2, 3, 4, 5),
        lambda z: torch.cat([z.flatten(2).mT[:, :1], z.flatten(2).mT], dim=1),
        2,
    ),
    "tokens to image": (lambda: nn.Linear(3, 7), (2, 20, 3), lambda z: z.mT.unflatten(2, (4, 5)), 1),
    "tokens turned": (lambda: nn.Linear(3, 7), (2, 5, 3), lambda z: z.mT, 1),
    "normalized tokens": (lambda: nn.BatchNorm1d(7), (10, 7), lambda z: z.unflatten(0, (2, 5)), 2),
    "a chunk": (lambda: nn.Conv2d(3, 8, 1), (2, 3, 4, 4), lambda z: z.chunk(2, 1)[0], 1),
    "a chunk of positions": (lambda: nn.Conv2d(3, 8, 1), (2, 3, 4, 5), lambda z: z.flatten(2).chunk(2, 1)[0], 1),
    "heads": (lambda: nn.Linear(3, 8), (2, 5, 3), lambda z: z.unflatten(2, (2, 4)), 3),
    "joined": (lambda: nn.Conv2d(3, 4, 1), (2, 3, 8, 4), lambda z: torch.cat([z, -z], 1), 1),
    "pooled": (lambda: nn.Conv2d(3, 4, 1), (2, 3, 8, 8), lambda z: nn.functional.avg_pool2d(z, 2), 1),
    "square": (lambda: nn.Conv2d(3, 4, 1), (2, 3, 4, 4), lambda z: z * 2, 1),
    "as many samples as units": (lambda: nn.Conv2d(3, 7, 1), (7, 3, 4, 5), lambda z: z.flatten(2).mT, 2),
    "as many tokens as units": (lambda: nn.Conv2d(3, 6, 1), (2, 3, 2, 3), lambda z: z.flatten(2).mT, None),
}


@pytest.mark.parametrize("name", MOVES)
def test_the_units_are_found_where_a_function_has_moved_them(name: str) -> None:
    layer, shape, move, dim = MOVES[name]
    model, x = Moved(layer(), move).eval(), torch.randn(shape)
    z = move(model.layer(x)).detach()
    with JumpstartRegularization(model) as jumpstart:
        for _ in range(2):
            model(x)
            if dim is None:
                with pytest.raises(ValueError, match="unit_dim"):
                    _ = jumpstart.loss
            else:
                (record,) = jumpstart.extrema
                assert torch.equal(record.unit_max[0], z.movedim(dim, 0).flatten(1).amax(1))


def test_the_parts_of_a_registered_activation_are_not_read_again() -> None:
    @register_activation
    class Squared(nn.Module):
        def __init__(self, part: nn.Module) -> None:
            super().__init__()
            self.part = part

        def forward(self, z: Tensor) -> Tensor:
            result: Tensor = self.part(z) ** 2
            return result

    shared, x = nn.ReLU(), torch.randn(5, 3)
    model = nn.Sequential(
        nn.Linear(3, 4), Squared(nn.ReLU()), nn.Linear(4, 4), Squared(shared), nn.Linear(4, 4), shared
    )
    with JumpstartRegularization(model[:3]) as jumpstart:
        model[:3](x)
        assert jumpstart.layers == ["1"]
    with JumpstartRegularization(model) as jumpstart:  # which also runs a part on its own
        model(x)
        assert jumpstart.layers == ["1", "3", "3.part", "3.part#2"]
    with JumpstartRegularization(model[1]) as jumpstart:
        model[1](torch.randn(5, 4))
        assert len(jumpstart.layers) == 1
