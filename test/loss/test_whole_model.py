"""Checkpoints around the whole model, nested and unbatched inputs, other devices."""

from __future__ import annotations

import pytest
import torch
from support.zoo import make
from torch import nn
from torch.utils.checkpoint import checkpoint

from jumpstart import JumpstartRegularization


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
