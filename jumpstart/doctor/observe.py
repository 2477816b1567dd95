"""One observed forward pass: which modules run, how often, and which activations no hook can reach."""

from __future__ import annotations

import sys
import warnings
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

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
FUNCTIONS: dict[object, str] = {
    getattr(home, name): name
    for home in (F, torch, Tensor)
    for plain in sorted(_NAMES)
    for name in (plain, f"{plain}_")
    if hasattr(home, name)
}
"""The name of every activation that is a function, under every path where torch has it."""


@dataclass
class Observed:
    """The observations of one forward pass.

    Attributes:
        calls: The number of calls of each module by its path, in the order of the first calls.
        shapes: Shape of the first tensor argument of each module, at its first call.
        functional: The number of calls by the path of the calling module and the name of the function.
        in_place: The pairs of path and function that overwrite their input.
        before: The paths of the modules whose outputs enter the functions, by the same pairs, in the order of the
            calls. A pair with a call whose input is no output of a module has none.
        checkpointed: Whether the checkpoint is a reentrant one, by the path of each module inside a checkpoint.
        gradients_off: The paths of the modules that ran while gradients were off, at their first call.
        with_gradient: The paths of the modules that a gradient reaches, by what it reaches: ``input`` or ``output``.
    """

    calls: Counter[str] = field(default_factory=Counter)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    functional: Counter[tuple[str, str]] = field(default_factory=Counter)
    in_place: set[tuple[str, str]] = field(default_factory=set)
    before: dict[tuple[str, str], dict[str, None]] = field(default_factory=dict)
    checkpointed: dict[str, bool] = field(default_factory=dict)
    gradients_off: set[str] = field(default_factory=set)
    with_gradient: dict[str, set[str]] = field(default_factory=lambda: {"input": set(), "output": set()})


def observe(model: nn.Module, run: Callable[[], object]) -> Observed:
    """Run a model once and record the calls of its modules and of torch's activation functions.

    Torch's global hooks are used and removed at the end; the model itself gets no hook.

    Args:
        model: The model whose modules are recorded.
        run: Calls the model.
    """
    observed = Observed()
    with _observing(model, observed):
        run()
    return observed


@contextmanager
def _observing(model: nn.Module, observed: Observed) -> Iterator[None]:
    names = {id(module): name for name, module in model.named_modules()}
    stack: list[nn.Module] = []

    def enter(module: nn.Module, args: tuple[object, ...]) -> None:
        stack.append(module)
        if id(module) in names:
            _record_call(observed, names[id(module)], args)

    def leave(module: nn.Module, args: object, output: object) -> None:
        if stack and stack[-1] is module:
            stack.pop()
        if id(module) in names and isinstance(output, Tensor):
            outputs.add(output, names[id(module)])
            if output.requires_grad:
                observed.with_gradient["output"].add(names[id(module)])

    outputs = _Outputs()
    mode = _FunctionRecorder(observed, stack, names, outputs)
    handles = [register_module_forward_pre_hook(enter), register_module_forward_hook(leave, always_call=True)]
    try:
        with warnings.catch_warnings(), mode:
            # Torch warns that global hooks also run for the wrapper of a compiled module, which is no activation.
            warnings.filterwarnings("ignore", ".*global hooks on modules")
            yield
    finally:
        for handle in handles:
            handle.remove()


def _record_call(observed: Observed, name: str, args: tuple[object, ...]) -> None:
    if not observed.calls[name]:
        tensor = next((value for value in args if isinstance(value, Tensor)), None)
        if tensor is not None:
            observed.shapes[name] = tuple(tensor.shape)
        if not torch.is_grad_enabled():
            observed.gradients_off.add(name)
    if any(isinstance(value, Tensor) and value.requires_grad for value in args):
        observed.with_gradient["input"].add(name)
    observed.calls[name] += 1
    reentrant = _enclosing_checkpoint()
    if reentrant is not None:
        observed.checkpointed[name] = reentrant or observed.checkpointed.get(name, False)


class _Outputs:
    """Which module computed a tensor: the innermost one that returned it."""

    def __init__(self) -> None:
        self._paths: dict[int, tuple[weakref.ref[Tensor], str]] = {}

    def add(self, output: Tensor, path: str) -> None:
        """Store the path of a module that has returned a tensor."""
        if self.path_of(output) is None:
            self._paths[id(output)] = (weakref.ref(output), path)

    def path_of(self, tensor: object) -> str | None:
        """The path of the module that computed a tensor; None if no module did."""
        ref, path = self._paths.get(id(tensor), (None, None))
        return path if ref is not None and ref() is tensor else None

    def overwrite(self, tensor: object) -> None:
        """Note that a tensor no longer has the values that its module computed."""
        self._paths.pop(id(tensor), None)


class _FunctionRecorder(TorchFunctionMode):
    """Records the activation functions that Python code calls while it is active."""

    def __init__(self, observed: Observed, stack: list[nn.Module], names: Mapping[int, str], outputs: _Outputs) -> None:
        super().__init__()
        self.observed, self.stack, self.names, self.outputs = observed, stack, names, outputs

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: object,
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        kwargs = dict(kwargs or {})
        name = FUNCTIONS.get(func)
        # An activation module calls such a function itself, and is captured at its input.
        if name is not None and not any(is_activation(module) for module in self.stack[-1:]):
            self._record(name, args, kwargs)
        return func(*args, **kwargs)

    def _record(self, name: str, args: Sequence[object], kwargs: Mapping[str, object]) -> None:
        where = next((self.names[id(module)] for module in reversed(self.stack) if id(module) in self.names), "")
        plain = name.rstrip("_")
        if plain == "clamp_min" and not _clamps_at_zero(args, kwargs):
            return
        z = args[0] if args else kwargs.get("input")
        path = self.outputs.path_of(z)
        first = not self.observed.functional[where, plain]
        self.observed.functional[where, plain] += 1
        if path is None:
            self.observed.before[where, plain] = {}
        elif first or self.observed.before[where, plain]:
            self.observed.before.setdefault((where, plain), {})[path] = None
        if name.endswith("_") or kwargs.get("inplace"):
            self.observed.in_place.add((where, plain))
            self.outputs.overwrite(z)


def _clamps_at_zero(args: Sequence[object], kwargs: Mapping[str, object]) -> bool:
    """Whether a call of ``clamp_min`` is a ReLU."""
    bound = args[1] if len(args) > 1 else kwargs.get("min")
    return isinstance(bound, int | float) and bound == 0


def _enclosing_checkpoint() -> bool | None:
    """Whether the checkpoint around the current call is reentrant; None outside of any checkpoint."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code is CheckpointFunction.forward.__code__:
            return True
        if frame.f_code.co_name == "checkpoint" and frame.f_globals.get("__name__") == checkpoint.__name__:
            return False
        frame = frame.f_back
    return None
