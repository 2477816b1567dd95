"""What cannot work is refused: the message says what was found and what to do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.zoo import make
from torch import Tensor, nn

from jumpstart import JumpstartRegularization


def test_a_pass_that_captures_nothing_says_so() -> None:
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


def test_no_pass_yet_says_what_may_have_hidden_it() -> None:
    model, _ = make("dense")
    with JumpstartRegularization(model) as jumpstart:
        for read in (lambda: jumpstart.loss, lambda: jumpstart.extrema):
            with pytest.raises(RuntimeError, match=r"run the model first.*recording.*torch\.compile.*Attach before"):
                read()


@pytest.mark.parametrize("bad", ["model", None, torch.ones(2), nn.ReLU], ids=str)
def test_what_is_no_module_is_named(bad: Any) -> None:
    with pytest.raises(TypeError, match=rf"model must be a torch.nn.Module, got {type(bad).__name__}"):
        JumpstartRegularization(bad)


def test_a_handle_after_remove_says_what_to_do() -> None:
    model, x = make("dense")
    jumpstart = JumpstartRegularization(model)
    model(x)
    jumpstart.remove()
    for read in (lambda: jumpstart.loss, lambda: jumpstart.extrema):
        with pytest.raises(RuntimeError, match=r"Attach a new one: JumpstartRegularization\(model\)"):
            read()
