"""Time-major models have the loss of their batch-first twins, or a warning that names the remedy."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from jumpstart import JumpstartRegularization
from jumpstart.doctor import examine
from jumpstart.monitor import StatusMonitor

SAMPLES, TIMES = 4, 7


def encoder(batch_first: bool, inplace: bool = False) -> nn.Module:
    return nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, activation=nn.ReLU(inplace), batch_first=batch_first)


class Decoder(nn.Module):
    """A decoder with its input as its memory."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.layer = nn.TransformerDecoderLayer(8, 2, 12, 0.0, nn.ReLU(), batch_first=batch_first)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layer(x, x)
        return result


class Head(nn.Module):
    """A recurrent layer, whose outputs at all times or at the last time enter a dense layer."""

    def __init__(self, kind: type[nn.LSTM | nn.GRU | nn.RNN], batch_first: bool = False, last: bool = False) -> None:
        super().__init__()
        self.recurrent = kind(8, 6, batch_first=batch_first)
        self.dense, self.act, self.last = nn.Linear(6, 5), nn.Tanh(), last

    def forward(self, x: Tensor) -> Tensor:
        y = self.recurrent(x)[0]
        result: Tensor = self.act(self.dense(y[-1] if self.last else y))
        return result


class Own(nn.Module):
    """A block that says its layout, and may turn its input."""

    def __init__(self, batch_first: bool, turns: bool = False) -> None:
        super().__init__()
        self.batch_first, self.turns = batch_first, turns
        self.up, self.act = nn.Linear(8, 6), nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.up(x.transpose(0, 1) if self.turns else x))
        return y.transpose(0, 1) if self.turns else y


def loss_and_grads(model: nn.Module, x: Tensor, **options: Any) -> list[Tensor]:
    with JumpstartRegularization(model, **options) as jumpstart:
        for _ in range(2):
            model.zero_grad()
            (model(x).square().mean() + jumpstart.loss).backward()
            samples = jumpstart.extrema[0].samples
        return [
            torch.tensor(samples),
            jumpstart.loss.detach(),
            *(p.grad for p in model.parameters() if p.grad is not None),
        ]


KNOWN: dict[str, tuple[Callable[[bool], nn.Module], Any]] = {
    "encoder": (encoder, "activations"),
    "in place": (lambda first: encoder(first, inplace=True), "activations"),
    "named": (encoder, ["linear1"]),
    "weights": (encoder, "weights"),
    "decoder": (Decoder, "activations"),
    "layers": (lambda first: nn.TransformerEncoder(encoder(first), 2, enable_nested_tensor=False), "activations"),
    "recurrent": (lambda first: Head(nn.GRU, first), ["recurrent"]),
}


@pytest.mark.parametrize("kind", KNOWN)
def test_where_the_layout_is_known_the_loss_is_that_of_the_batch_first_twin(kind: str, path: str) -> None:
    make, capture = KNOWN[kind]
    first, time = make(True).double(), make(False).double()
    time.load_state_dict(first.state_dict())
    x = torch.randn(SAMPLES, TIMES, 8, dtype=torch.float64)
    expected = loss_and_grads(first, x, capture=capture)
    found = loss_and_grads(time, x.transpose(0, 1).contiguous(), capture=capture)
    assert found[0] == SAMPLES
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
    with StatusMonitor(time, capture=capture) as monitor:
        time(x.transpose(0, 1))
        assert monitor.points == SAMPLES


DOUBTFUL: dict[str, Callable[[], nn.Module]] = {
    "LSTM": lambda: Head(nn.LSTM),
    "RNN": lambda: Head(nn.RNN),
    "own": lambda: Own(batch_first=False),
    "own, inside": lambda: nn.Sequential(nn.Linear(8, 8), Own(batch_first=False)),
    "head of an encoder": lambda: nn.Sequential(encoder(False), nn.Linear(8, 5), nn.ReLU()),
}


@pytest.mark.parametrize("kind", DOUBTFUL)
def test_where_the_layout_is_doubtful_a_warning_names_the_remedy_once(kind: str) -> None:
    model, x = DOUBTFUL[kind](), torch.randn(TIMES, SAMPLES, 8)
    with JumpstartRegularization(model) as jumpstart:
        model(x)
        with pytest.warns(UserWarning, match=r"may be time-major.*batch_first=False if"):
            _ = jumpstart.loss
        model(x)
        _ = jumpstart.loss, jumpstart.extrema
    with StatusMonitor(model, capture=[jumpstart.layers[-1]]) as monitor:
        model(x)
        with pytest.warns(UserWarning, match="may be time-major"):
            monitor.numbers()
        assert monitor.numbers()
    for told, points in ((True, TIMES), (False, SAMPLES)):
        with StatusMonitor(model, batch_first=told) as monitor:
            model(x)
            assert monitor.numbers()
            assert monitor.points == points
    assert any("batch_first=False if" in advice for advice in examine(model, data=x, cost=False).advice)


@pytest.mark.parametrize(
    "model",
    [Own(batch_first=True), Own(batch_first=False, turns=True), Head(nn.LSTM, last=True), encoder(True)],
    ids=["batch first", "turned inside", "last time", "encoder"],
)
def test_other_models_have_no_warning(model: nn.Module) -> None:
    with warnings.catch_warnings(), JumpstartRegularization(model) as jumpstart:
        warnings.simplefilter("error")
        for _ in range(2):
            model(torch.randn(TIMES, SAMPLES, 8))
            _ = jumpstart.loss


def test_units_in_dimension_1_leave_the_samples_in_dimension_0() -> None:
    model = nn.Sequential(nn.Conv1d(3, 5, 1), nn.ReLU())
    with JumpstartRegularization(model, batch_first=False) as jumpstart:
        model(torch.randn(2, 3, 6))
        assert jumpstart.extrema[0].point.shape == (2, 1, 2)
    with pytest.raises(ValueError, match=r"batch_first must be True, False or None .*, got 'yes'"):
        JumpstartRegularization(model, batch_first="yes")


def test_the_doctor_says_which_modules_are_time_major() -> None:
    model = nn.Sequential(encoder(False), encoder(True))
    result = examine(model, data=torch.randn(TIMES, SAMPLES, 8), cost=False)
    assert result.time_major == ("0",)
    assert any("0 has batch_first=False, so dimension 1" in advice for advice in result.advice) == (not result.doubts)
