"""Checkpoints around the whole model, nested and unbatched inputs, other devices."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from support.references import reference_loss_and_grads
from support.zoo import make
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from jumpstart import JumpstartRegularization
from jumpstart.monitor import StatusMonitor


@pytest.mark.filterwarnings("ignore:.*nested tensors is in prototype")
def test_nested_preactivations_are_refused_with_a_remedy() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, activation=nn.ReLU(), batch_first=True)
    model = nn.TransformerEncoder(layer, 2).eval()  # nested tensors are its default
    mask = torch.tensor([[False] * 4, [False, False, True, True]])
    with (
        JumpstartRegularization(model) as jumpstart,
        torch.no_grad(),
        pytest.raises(TypeError, match="enable_nested_tensor=False"),
    ):
        model(torch.randn(2, 4, 8), src_key_padding_mask=mask)
        _ = jumpstart.loss


def test_a_reentrant_checkpoint_around_the_whole_model_is_refused() -> None:
    model, x = make("dense")
    with JumpstartRegularization(model) as jumpstart, pytest.raises(RuntimeError, match="use_reentrant=False"):
        checkpoint(model, x.requires_grad_(), use_reentrant=True)
        _ = jumpstart.loss


def test_a_checkpoint_around_the_whole_model_does_not_change_the_loss() -> None:
    model, x = make("dense")
    with JumpstartRegularization(model) as jumpstart:
        output = checkpoint(model, x, use_reentrant=False)
        loss = jumpstart.loss
        (output.sum() + loss).backward()
        assert jumpstart.loss is loss  # the second run, in backward, is no pass of its own


@pytest.mark.parametrize("name", ["dense", "large-batch"])
def test_a_model_moved_to_meta_has_a_loss_without_a_value(name: str) -> None:
    model, x = make(name)
    with JumpstartRegularization(model) as jumpstart:
        model.to("meta")
        model(x.to("meta"))
        assert jumpstart.loss.device.type == "meta"


def test_a_single_sample_without_a_batch_dimension_is_refused_with_a_remedy() -> None:
    model, x = make("dense")
    with JumpstartRegularization(model) as jumpstart, pytest.raises(ValueError, match="Run the model on a batch"):
        model(x[0])
        _ = jumpstart.loss


UNBATCHED: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "conv1d": (lambda: nn.Conv1d(2, 3, 1), (4, 2, 5)),
    "conv2d": (lambda: nn.Conv2d(2, 3, 1), (4, 2, 5, 6)),
    "conv3d": (lambda: nn.Conv3d(2, 3, 1), (4, 2, 3, 2, 2)),
    "transposed1d": (lambda: nn.ConvTranspose1d(2, 3, 1), (4, 2, 5)),
    "transposed2d": (lambda: nn.ConvTranspose2d(2, 3, 1), (4, 2, 5, 6)),
    "transposed3d": (lambda: nn.ConvTranspose3d(2, 3, 1), (4, 2, 3, 2, 2)),
    "instance-norm1d": (lambda: nn.Sequential(nn.Conv1d(2, 3, 1), nn.InstanceNorm1d(3)), (4, 2, 5)),
    "instance-norm2d": (lambda: nn.Sequential(nn.Conv2d(2, 3, 1), nn.InstanceNorm2d(3)), (4, 2, 5, 6)),
    "instance-norm3d": (lambda: nn.Sequential(nn.Conv3d(2, 3, 1), nn.InstanceNorm3d(3)), (4, 2, 3, 2, 2)),
    "dropout": (lambda: nn.Sequential(nn.Conv1d(2, 3, 1), nn.Dropout(0.0)), (4, 2, 5)),
}


@pytest.mark.parametrize("capture", ["activations", "weights"])
@pytest.mark.parametrize("name", UNBATCHED)
def test_a_single_sample_is_refused_by_convolutions_before_and_after_a_batch(name: str, capture: str) -> None:
    layer, shape = UNBATCHED[name]
    model, x = nn.Sequential(layer(), nn.ReLU()), torch.randn(shape)
    with JumpstartRegularization(model, capture=capture, skip_last=False) as jumpstart:
        for value, refused in ((x[0], True), (x, False), (x[0], True), (x, False)):
            model(value)
            if refused:
                with pytest.raises(ValueError, match="Run the model on a batch"):
                    _ = jumpstart.loss
            else:
                assert jumpstart.extrema[0].unit.shape == (2, 1, 3)


def test_a_batch_whose_positions_are_flattened_is_not_a_single_sample() -> None:
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.act, self.line = nn.Conv2d(2, 3, 2), nn.ReLU(), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.act(self.line(self.act(self.conv(x).flatten(1))))

    model = Flat()
    with JumpstartRegularization(model) as jumpstart:
        for _ in range(2):
            model(torch.randn(4, 2, 2, 2))
            assert [record.samples for record in jumpstart.extrema] == [4, 4]


# The warning says that torch.jit is deprecated.
@pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning")
def test_a_scripted_model_is_refused_with_a_remedy() -> None:
    model, _ = make("dense")
    with JumpstartRegularization(model), pytest.raises(AttributeError, match=r"torch\.jit\.script .* Call remove"):
        torch.jit.script(model)
    with StatusMonitor(model), pytest.raises(AttributeError, match=r"torch\.jit\.script .* Call remove"):
        torch.jit.script(model)
    scripted = torch.jit.script(model)
    for compiled in (scripted, nn.Sequential(scripted, nn.Flatten())):
        for attach in (JumpstartRegularization, StatusMonitor):
            with pytest.raises(ValueError, match="Attach to the model from which it was compiled"):
                attach(compiled)


# The warning says that torch.jit is deprecated.
@pytest.mark.filterwarnings("ignore:.*torch.jit.(trace|trace_method|script).:FutureWarning")
@pytest.mark.parametrize("scale", [1, 1000])
@pytest.mark.parametrize("regularized", [False, True])
def test_a_trace_is_that_of_the_model_alone_and_no_pass(regularized: bool, scale: int) -> None:
    model, x = make("dense")
    x = x.repeat(scale, 1)
    expected = torch.jit.trace(model, x)
    jumpstart = JumpstartRegularization(model) if regularized else None
    with StatusMonitor(model) as monitor:
        model(x)  # this pass is not counted yet when the trace begins
        found = torch.jit.trace(model, x, check_trace=False)  # the check is a pass outside of the trace
        kinds = [[node.kind() for node in traced.inlined_graph.nodes()] for traced in (found, expected)]
        assert kinds[0] == kinds[1]
        assert torch.equal(found(2 * x), model(2 * x))
        assert monitor.points == 2 * len(x)
        torch.jit.trace(model, x)
        assert monitor.compute()
    if jumpstart is not None:
        before = jumpstart.loss
        torch.jit.trace(model, x, check_trace=False)
        assert jumpstart.loss is before
        with pytest.raises(RuntimeError, match=r"under torch\.jit\.trace, .* use torch\.compile"):
            torch.jit.trace(Loss(model, jumpstart), x)
        model(x)
        assert jumpstart.loss.item() == pytest.approx(reference_loss_and_grads(model, x)[0])
        jumpstart.remove()


class Loss(nn.Module):
    """A model that returns its Jumpstart loss."""

    def __init__(self, model: nn.Module, jumpstart: JumpstartRegularization) -> None:
        super().__init__()
        self.model, self.jumpstart = model, jumpstart

    def forward(self, x: Tensor) -> Tensor:
        self.model(x)
        return self.jumpstart.loss
