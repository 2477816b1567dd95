"""The encoders of torch, in training and in evaluation, where their fast path would leave out the hooks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from jumpstart import JumpstartRegularization


def encoder(activation: Any) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, activation=activation, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).double()


@pytest.mark.parametrize("padded", [False, True])
def test_an_encoder_with_hooks_does_not_use_its_fast_path(padded: bool) -> None:
    x, mask = torch.randn(3, 4, 8, dtype=torch.float64), None
    if padded:
        mask = torch.tensor([[False] * 4, [False, False, False, True], [False, True, True, True]])
    for activation, capture in (
        (nn.GELU(), "activations"),
        ("relu", lambda name, module: name.endswith("linear1")),
    ):
        model = encoder(activation)
        with JumpstartRegularization(model, capture=capture) as jumpstart:
            model(x, src_key_padding_mask=mask)
            expected, layers = jumpstart.loss.item(), jumpstart.layers
        model.eval()
        with torch.no_grad():
            fast = model(x, src_key_padding_mask=mask)
            with JumpstartRegularization(model, capture=capture) as jumpstart:
                output = model(x, src_key_padding_mask=mask)
                assert jumpstart.layers == layers
                assert jumpstart.loss.item() == pytest.approx(expected)
        torch.testing.assert_close(output, fast)


def test_an_encoder_with_a_functional_activation_is_refused_with_a_remedy() -> None:
    with pytest.raises(ValueError, match=r"no activation module.*capture=\[module names\]"):
        JumpstartRegularization(encoder("relu"))
