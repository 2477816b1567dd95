"""One forward pass under observation: which modules run, how often, and which activations no hook can reach."""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.overrides import TorchFunctionMode
from torch.utils import checkpoint
from torch.utils.checkpoint import CheckpointFunction

from jumpstart.capture.targets import is_activation

_NAMES = {
    *("relu", "relu6", "leaky_relu", "prelu", "rrelu", "elu", "celu", "selu", "gelu", "silu", "mish", "threshold"),
    *("hardswish", "hardsigmoid", "hardtanh", "softplus", "softsign", "softshrink", "hardshrink", "tanhshrink"),
    *("logsigmoid", "tanh", "sigmoid", "clamp_min"),
}
FUNCTIONS: dict[Any, str] = {
    getattr(home, name): name
    for home in (F, torch, Tensor)
    for plain in sorted(_NAMES)
    for name in (plain, f"{plain}_")
    if hasattr(home, name)
}
"""Activations that are functions, by every name under which torch has them."""


@dataclass
class Observed:
    """What one forward pass showed.

    Attributes:
        order: Paths of the modules in the order in which they were first called.
        calls: How often each was called.
        shapes: Shape of the first tensor that entered it, at its first call.
        functional: (path of the calling module, name of the function) -> how often.
        in_place: Those of these pairs that write over their input.
        checkpointed: Path -> whether the checkpoint is a reentrant one.
    """

    order: list[str] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    functional: Counter[tuple[str, str]] = field(default_factory=Counter)
    in_place: set[tuple[str, str]] = field(default_factory=set)
    checkpointed: dict[str, bool] = field(default_factory=dict)


def observe(model: nn.Module, run: Callable[[], object]) -> Observed:
    """Run a model once and watch.

    The hooks are torch's global ones, for as long as this takes: the model itself gets none.

    Args:
        model: Whose modules are named.
        run: Calls the model.
    """
    observed = Observed()
    with _watching(model, observed):
        run()
    return observed


@contextmanager
def _watching(model: nn.Module, observed: Observed) -> Iterator[None]:
    names = {id(module): name for name, module in model.named_modules()}
    stack: list[nn.Module] = []

    def enter(module: nn.Module, args: Any) -> None:
        stack.append(module)
        name = names.get(id(module))
        if name is None:
            return
        if not observed.calls[name]:
            observed.order.append(name)
            tensor = next((value for value in args if isinstance(value, Tensor)), None)
            if tensor is not None:
                observed.shapes[name] = tuple(tensor.shape)
        observed.calls[name] += 1
        inside = _checkpoint_above()
        if inside is not None:
            observed.checkpointed[name] = inside or observed.checkpointed.get(name, False)

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        if stack and stack[-1] is module:
            stack.pop()

    mode = _Listener(observed, stack, names)
    handles = [register_module_forward_pre_hook(enter), register_module_forward_hook(leave, always_call=True)]
    try:
        with warnings.catch_warnings(), mode:
            # Of a part that is compiled: its hooks fire once more for the wrapper, which is no activation.
            warnings.filterwarnings("ignore", ".*global hooks on modules")
            yield
    finally:
        for handle in handles:
            handle.remove()


class _Listener(TorchFunctionMode):
    """Hears of every function of torch that is called from Python."""

    def __init__(self, observed: Observed, stack: list[nn.Module], names: Mapping[int, str]) -> None:
        super().__init__()
        self.observed, self.stack, self.names = observed, stack, names

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        name = FUNCTIONS.get(func)
        # An activation module calls such a function itself: that one is captured at its input.
        if name is not None and not any(is_activation(module) for module in self.stack[-1:]):
            where = next((self.names[id(m)] for m in reversed(self.stack) if id(m) in self.names), "")
            plain = name.rstrip("_")
            if plain != "clamp_min" or _clamps_at_zero(args, kwargs):
                self.observed.functional[where, plain] += 1
                if name.endswith("_") or kwargs.get("inplace"):
                    self.observed.in_place.add((where, plain))
        return func(*args, **kwargs)


def _clamps_at_zero(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """``x.clamp_min(0)`` is a ReLU; with another bound it is not."""
    bound = args[1] if len(args) > 1 else kwargs.get("min")
    return isinstance(bound, int | float) and bound == 0


def _checkpoint_above() -> bool | None:
    """Whether the checkpoint that this is called in is reentrant; None outside of one."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code is CheckpointFunction.forward.__code__:
            return True
        if frame.f_code.co_name == "checkpoint" and frame.f_globals.get("__name__") == checkpoint.__name__:
            return False
        frame = frame.f_back  # type: ignore[assignment]
    return None
