"""The encoders of torch, in training and in evaluation, where their fast path would leave out the hooks."""

from __future__ import annotations

from types import MethodType
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


@pytest.mark.parametrize("kind", ["transformer", "decoder"])
def test_an_activation_that_torch_hides_in_copies_of_a_decoder_layer_is_refused(kind: str) -> None:
    if kind == "transformer":
        model: nn.Module = nn.Transformer(8, 2, 1, 2, 12, 0.0, nn.GELU(), batch_first=True)
    else:
        model = nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 12, 0.0, nn.GELU(), batch_first=True), 2)
    name = "decoder.layers.0" if kind == "transformer" else "layers.0"
    with pytest.raises(ValueError, match=f"'{name}.activation' never runs: .* calls relu instead") as error:
        JumpstartRegularization(model)
    for number in range(2):
        remedy = str(error.value).rpartition("attribute: ")[2].replace("layers.0", f"layers.{number}")
        exec(remedy, {"model": model, "vars": vars})
    with JumpstartRegularization(model) as jumpstart:
        model(torch.randn(3, 5, 8), torch.randn(3, 4, 8))
        assert sum("decoder" in layer or kind == "decoder" for layer in jumpstart.layers) == 2


def test_the_output_layer_of_attention_which_torch_never_calls_is_not_captured() -> None:
    model = encoder("relu").train()
    for capture in ("weights", lambda name, module: isinstance(module, nn.Linear)):
        with JumpstartRegularization(model, capture=capture, skip_last=False) as jumpstart:
            attached = jumpstart.layers
            assert attached == [f"layers.{number}.linear{part}" for number in range(2) for part in (1, 2)]
            model(torch.randn(3, 4, 8, dtype=torch.float64))
            assert jumpstart.layers == attached
    name = "layers.1.self_attn"
    with pytest.raises(ValueError, match=rf"'{name}.out_proj' never runs: .*capture=\['{name}'\]"):
        JumpstartRegularization(model, capture=[f"{name}.out_proj"])
    with JumpstartRegularization(model, capture=[name]) as jumpstart:
        model(torch.randn(3, 4, 8, dtype=torch.float64))
        assert jumpstart.layers == [name]
    attention = nn.MultiheadAttention(8, 2)
    with pytest.raises(ValueError, match=r"'out_proj' never runs: .*capture=\[''\]"):
        JumpstartRegularization(attention, capture=["out_proj"])
    with JumpstartRegularization(attention, capture=[""]) as jumpstart:
        attention(*[torch.randn(5, 3, 8)] * 3)
        assert jumpstart.loss > 0


class Attention(nn.MultiheadAttention):
    """An attention that calls its output layer."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.out_proj(args[0]), None


@pytest.mark.parametrize("how", ["subclass", "patched", "tied"])
def test_an_output_layer_of_attention_that_is_called_is_captured(how: str) -> None:
    attention = Attention(8, 2) if how == "subclass" else nn.MultiheadAttention(8, 2)
    if how == "patched":
        attention.forward = MethodType(Attention.forward, attention)  # type: ignore[method-assign]
    model = nn.ModuleDict({"attention": attention, "last": nn.Linear(8, 2)})
    if how == "tied":
        model["head"] = attention.out_proj
    for capture in ("weights", ["attention.out_proj", "last"]):
        with JumpstartRegularization(model, capture=capture, skip_last=False) as jumpstart:
            assert jumpstart.layers == ["attention.out_proj", "last"]
