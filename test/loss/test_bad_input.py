"""Wrong use of the regularizer is refused with a message that has the value and a remedy."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.zoo import make
from torch import Tensor, nn

from jumpstart import JumpstartRegularization, register_activation
from jumpstart.capture.targets import registered_activations


def test_a_pass_that_captures_nothing_raises_an_error_with_a_remedy() -> None:
    class Skips(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.act, self.on = nn.Linear(3, 3), nn.ReLU(), False

        def forward(self, x: Tensor) -> Tensor:
            return self.act(self.a(x)) if self.on else self.a(x)

    model = Skips()
    with JumpstartRegularization(model) as jumpstart:
        for _ in range(2):
            model.on = True
            model(torch.randn(2, 3))
            assert jumpstart.loss.isfinite()
            model.on = False
            model(torch.randn(2, 3))
            for read in (lambda: jumpstart.loss, lambda: jumpstart.extrema):
                with pytest.raises(RuntimeError, match=r"captured nothing: none of act.*recording"):
                    read()


def test_a_loss_before_any_pass_raises_an_error_with_possible_causes() -> None:
    model, _ = make("dense")
    with JumpstartRegularization(model) as jumpstart:
        for read in (lambda: jumpstart.loss, lambda: jumpstart.extrema):
            with pytest.raises(RuntimeError, match=r"run the model first.*recording.*torch\.compile.*Attach before"):
                read()


@pytest.mark.parametrize("bad", ["model", None, torch.ones(2), nn.ReLU], ids=str)
def test_a_model_that_is_no_module_is_refused_with_its_type(bad: Any) -> None:
    with pytest.raises(TypeError, match=rf"model must be a torch.nn.Module, got {type(bad).__name__}"):
        JumpstartRegularization(bad)


def test_a_removed_regularizer_raises_an_error_with_a_remedy() -> None:
    model, x = make("dense")
    jumpstart = JumpstartRegularization(model)
    model(x)
    jumpstart.remove()
    for read in (lambda: jumpstart.loss, lambda: jumpstart.extrema):
        with pytest.raises(RuntimeError, match=r"Attach a new one: JumpstartRegularization\(model\)"):
            read()


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM, nn.RNN, nn.Identity])
def test_a_packed_sequence_is_refused(kind: type[nn.GRU | nn.LSTM | nn.RNN | nn.Identity]) -> None:
    layer = kind(8, 6, num_layers=2, batch_first=True)
    packed = nn.utils.rnn.pack_padded_sequence(torch.randn(3, 5, 8), torch.tensor([5, 4, 2]), batch_first=True)
    model = nn.Sequential(layer)
    with JumpstartRegularization(model, capture=["0"]), pytest.raises(TypeError, match="'0' is a packed sequence"):
        model(packed)


@pytest.mark.parametrize("option", ["sync", "skip_last"])
@pytest.mark.parametrize("value", ["False", 1, None])
def test_a_flag_is_true_or_false(option: str, value: object) -> None:
    with pytest.raises(TypeError, match=f"{option} must be True or False, got {value!r}"):
        JumpstartRegularization(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), **{option: value})


@pytest.mark.parametrize("kind", [int, nn.ReLU(), torch.relu, "ReLU", None])
def test_only_a_class_of_modules_is_registered_as_an_activation(kind: object) -> None:
    before = registered_activations()
    with pytest.raises(TypeError, match=r"takes a subclass of torch.nn.Module, got"):
        register_activation(kind)  # type: ignore[type-var]
    assert registered_activations() == before


def test_a_later_layer_without_a_batch_is_refused() -> None:
    class Mean(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.last = nn.Conv2d(1, 3, 3), nn.Conv1d(3, 4, 3), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            z: Tensor = self.second(self.first(x).mean((0, 3)))  # (3, H), without samples
            result: Tensor = self.last(z.mean(1))
            return result

    model = Mean()
    with (
        JumpstartRegularization(model, capture="weights") as jumpstart,
        pytest.raises(ValueError, match=r"'second' has shape \(4x6\), but needs a dimension of samples"),
    ):
        model(torch.randn(5, 1, 10, 10))
        _ = jumpstart.loss


@pytest.mark.parametrize("name", ["Conv", "ConvTranspose", "InstanceNorm"])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_single_sample_is_told_from_a_batch(name: str, dims: int) -> None:
    kind = getattr(nn, f"{name}{dims}d")
    layer = kind(4) if name == "InstanceNorm" else kind(4, 4, 2)
    model, x = nn.Sequential(layer, nn.ReLU()), torch.randn(3, 4, *[5] * dims)
    with JumpstartRegularization(model) as jumpstart:
        model(x)
        assert jumpstart.extrema[0].samples == 3
        assert jumpstart.extrema[0].unit.shape[2] == 4
        model(x[0])
        with pytest.raises(ValueError, match="needs a dimension of samples"):
            _ = jumpstart.loss
    with JumpstartRegularization(model) as jumpstart:
        model(x[0])
        with pytest.raises(ValueError, match="needs a dimension of samples"):
            _ = jumpstart.loss


def test_weights_are_offered_to_a_model_that_has_some() -> None:
    with pytest.raises(ValueError, match=r"or choose capture='weights' or capture="):
        JumpstartRegularization(nn.Sequential(nn.Linear(2, 2), nn.Flatten()))
    with pytest.raises(ValueError, match=r"or choose capture=\[module names\]"):
        JumpstartRegularization(nn.Sequential(nn.Flatten()))
