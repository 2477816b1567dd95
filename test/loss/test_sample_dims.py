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


class Told(nn.Module):
    """A module that says that its tensors are time-major, and returns what it is told to."""

    batch_first = False

    def __init__(self, work: Callable[..., object]) -> None:
        super().__init__()
        self.work = work

    def forward(self, *tensors: Tensor) -> object:
        return self.work(*tensors)


class Beside(nn.Module):
    """A layer that works on the input of the model, beside a module that says that its tensors are time-major."""

    def __init__(self, told: nn.Module, run: Callable[[nn.Module, Tensor], object]) -> None:
        super().__init__()
        self.told, self.run, self.dense, self.act = told, run, nn.Linear(8, 5), nn.ReLU()

    def forward(self, x: Tensor, others: Tensor | None = None) -> Tensor:
        self.run(self.told, x if others is None else others)
        result: Tensor = self.act(self.dense(x))
        return result


def of_sizes(x: Tensor) -> Tensor:
    return x.new_zeros(*x.shape[:2], 3)


EVIDENCE: dict[str, tuple[Callable[..., object], Callable[[nn.Module, Tensor], object]]] = {
    "the output": (of_sizes, lambda told, x: told(x[..., 0])),
    "the first of two outputs": (lambda x: (of_sizes(x), 1), lambda told, x: told(x[..., 0])),
    "the first of a list": (lambda x: [of_sizes(x), 1], lambda told, x: told(x[..., 0])),
    "the input": (lambda x: None, lambda told, x: told(x)),
    "the second input": (lambda one, other: one, lambda told, x: told(x[0], x)),
    "the third input": (lambda *inputs: inputs[0], lambda told, x: told(x[0], x[1], x)),
}


def warnings_of(model: nn.Module, *passes: tuple[Tensor, ...]) -> int:
    """The number of warnings about the layout in some passes."""
    with warnings.catch_warnings(record=True) as found, JumpstartRegularization(model) as jumpstart:
        warnings.simplefilter("always")
        for tensors in passes:
            model(*tensors)
            _ = jumpstart.loss
    assert all("may be time-major" in str(each.message) for each in found)
    return len(found)


@pytest.mark.parametrize("kind", EVIDENCE)
def test_every_tensor_of_a_time_major_module_is_evidence(kind: str) -> None:
    work, run = EVIDENCE[kind]
    model = Beside(Told(work), run)
    assert warnings_of(model, (torch.randn(TIMES, SAMPLES, 8),)) == 1


def test_other_tensors_are_no_evidence() -> None:
    x, others = torch.randn(TIMES, SAMPLES, 8), torch.randn(TIMES + 1, SAMPLES, 8)
    outputs = Beside(Told(lambda x: (x[:1], of_sizes(x))), lambda told, x: told(x[..., 0]))
    assert warnings_of(outputs, (x,)) == 0  # the second output of a recurrent layer is its state
    model = Beside(nn.GRU(8, 6), lambda told, x: told(x))
    assert warnings_of(model, (x, others), (x, x)) == 0  # the layout is settled in the first pass
    with warnings.catch_warnings(), JumpstartRegularization(model) as jumpstart:
        warnings.simplefilter("error")
        model.told(x)  # outside of a pass
        model(x, others)
        _ = jumpstart.loss


class Later(nn.Module):
    """A model with one activation for its first pass, and another one for the later passes."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent, self.dense = nn.GRU(8, 6), nn.Linear(8, 5)
        self.first, self.later = nn.ReLU(), nn.ReLU()

    def forward(self, x: Tensor, others: Tensor, first: bool) -> Tensor:
        self.recurrent(others)
        z = self.dense(x)
        result: Tensor = self.first(z) if first else self.later(z)
        return result


@pytest.mark.parametrize("now", [False, True], ids=["the pass before", "the same pass"])
def test_evidence_counts_in_its_own_pass(now: bool) -> None:
    x, others = torch.randn(TIMES, SAMPLES, 8), torch.randn(TIMES + 1, SAMPLES, 8)
    first, later = (x[:2], others if now else x, True), (x, x if now else others, False)
    assert warnings_of(Later(), first, later) == now


def test_a_layer_behind_a_recurrent_one_is_doubtful_whatever_is_read() -> None:
    x = torch.randn(TIMES, SAMPLES, 8)
    for capture, count in (("dense", 1), ("recurrent", 0)):
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            with JumpstartRegularization(model := Head(nn.LSTM), capture=[capture]) as jumpstart:
                model(x)
                _ = jumpstart.loss
        assert len(found) == count


def test_units_in_dimension_1_are_no_question() -> None:
    class Channels(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.recurrent, self.conv, self.act = nn.GRU(8, 6), nn.Conv1d(SAMPLES, SAMPLES, 1), nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.act(self.conv(self.recurrent(x)[0]))  # (TIMES, SAMPLES, 6), and yet (N, C, S)
            return result

    assert warnings_of(Channels(), (torch.randn(TIMES, SAMPLES, 8),)) == 0


@pytest.mark.filterwarnings("ignore:.*may be time-major:UserWarning")
@pytest.mark.parametrize("kind", DOUBTFUL)
def test_a_doubtful_layout_is_the_same_in_every_pass(kind: str) -> None:
    model, x = DOUBTFUL[kind](), torch.randn(TIMES, SAMPLES, 8)
    with JumpstartRegularization(model) as jumpstart, torch.no_grad():
        found = []
        for _ in range(3):
            model(x)
            found.append([(record.samples, record.point.clone()) for record in jumpstart.extrema])
    for later in found[1:]:
        for (samples, point), (first_samples, first) in zip(later, found[0], strict=True):
            assert samples == first_samples
            assert torch.equal(point, first)


def test_tensors_of_two_dimensions_have_their_samples_in_dimension_0() -> None:
    model, x = nn.Sequential(nn.ReLU(), nn.Linear(3, 2)), torch.randn(5, 3)  # no module tells where the units are
    with JumpstartRegularization(model, batch_first=False) as jumpstart:
        model(x)
        assert jumpstart.extrema[0].samples == 5


def test_the_doctor_says_which_modules_are_time_major() -> None:
    model = nn.Sequential(encoder(False), encoder(True))
    result = examine(model, data=torch.randn(TIMES, SAMPLES, 8), cost=False)
    assert result.time_major == ("0",)
    assert any("0 has batch_first=False, so dimension 1" in advice for advice in result.advice) == (not result.doubts)
