"""The hooks on a model: small picklable objects, which only tell a recorder what runs.

A deep copy or a pickle of the model takes dead ones along, which do nothing and hold nothing; attaching to the copy
clears them away.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.compiler import is_compiling

from jumpstart.capture.targets import Target, first_tensor
from jumpstart.capture.unit_dims import feeder_dim

if TYPE_CHECKING:
    from jumpstart.capture.recorder import Recorder


class Hook:
    """A hook bound to a recorder, which it does not keep alive. Copies and pickles of it are dead."""

    def __init__(self, recorder: Recorder | None = None) -> None:
        self._recorder = weakref.ref(recorder) if recorder is not None else None

    @property
    def recorder(self) -> Recorder | None:
        """The live recorder, or None."""
        return self._recorder() if self._recorder is not None else None

    def __reduce__(self) -> tuple[Any, ...]:
        return (Hook, ())

    def __deepcopy__(self, memo: dict[int, Any]) -> Hook:
        return Hook()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Do nothing: this one is dead."""


class Begin(Hook):
    """Before the attached model runs: a new forward pass."""

    def __call__(self, module: nn.Module, args: Any) -> None:
        """Begin."""
        recorder = self.recorder
        if recorder is not None:
            recorder.begin(module)


class End(Hook):
    """After the attached model ran, or failed."""

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        """End."""
        recorder = self.recorder
        if recorder is not None:
            recorder.end()


class Feed(Hook):
    """After a module that puts its units in a known dimension, or nobody knows where: it feeds what comes next."""

    def __init__(self, recorder: Recorder, dim: int | None) -> None:
        super().__init__(recorder)
        self.dim = dim

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        """Tell where the units are."""
        recorder = self.recorder
        if recorder is not None:
            recorder.fed = self.dim


class Read(Hook):
    """At one preactivation.

    Attributes:
        fed: The dimension of the units of what feeds it, if that is known.
        resolved: Whether ``fed`` has been found out.
        varies: Whether its calls are fed differently, so that ``fed`` is that of its first call only.
        simple: Whether its preactivation simply waits if it is small.
    """

    def __init__(self, recorder: Recorder, target: Target) -> None:
        super().__init__(recorder)
        self.name, self.after = target.name, target.after
        self.fed = None if target.reads_input else feeder_dim(target.module)
        self.resolved = not target.reads_input
        self.varies = self.simple = False


class ReadInput(Read):
    """Before a module whose input is a preactivation."""

    def __call__(self, module: nn.Module, args: Any, kwargs: Any) -> Any:
        """Hand the preactivation over."""
        recorder = self._recorder() if self._recorder is not None else None
        if recorder is None or not recorder.active:
            return None
        if args:
            z = args[0]
            # Most preactivations of a deep network simply wait. This is what `take` would do with them, said shortly.
            if (
                self.simple
                and type(z) is Tensor
                and z.numel() <= recorder.small
                and (torch.is_grad_enabled() or not recorder.grad)
                and not is_compiling()
                and not z.is_inference()
                and not z.is_nested
            ):
                recorder.waiting.append((len(recorder.calls), z, z._version))
                recorder.calls.append(self)
                return None
            new = recorder.take(self, z if isinstance(z, Tensor) else first_tensor(z, self.name))
            return None if new is None else ((new, *args[1:]), kwargs)
        key = next(iter(kwargs))
        new = recorder.take(self, first_tensor(kwargs[key], self.name))
        return None if new is None else (args, {**kwargs, key: new})


class ReadOutput(Read):
    """After a module whose output is one."""

    def __call__(self, module: nn.Module, args: Any, output: Any) -> Any:
        """Hand the preactivation over."""
        recorder = self.recorder
        if recorder is None or not recorder.active:
            return None
        z = first_tensor(output, self.name)
        new = recorder.take(self, z)
        if new is None or output is z:
            return new
        if isinstance(output, dict):
            return type(output)((key, new if value is z else value) for key, value in output.items())
        items = [new if value is z else value for value in output]
        return type(output)(*items) if hasattr(output, "_fields") else type(output)(items)


def attached(model: nn.Module) -> Recorder | None:
    """The recorder of a live hook of ours on any module of ``model``, or None."""
    return next((hook.recorder for *_, hook in _hooks(model) if hook.recorder is not None), None)


def _hooks(model: nn.Module) -> Iterator[tuple[nn.Module, int, Hook]]:
    """Our hooks on a model, living and dead: module, key, hook."""
    for module in model.modules():
        for key, hook in [*module._forward_pre_hooks.items(), *module._forward_hooks.items()]:
            if isinstance(hook, Hook):
                yield module, key, hook


def clear_dead(model: nn.Module) -> None:
    """Take off what a deep copy or a pickle brought along."""
    for module, key, hook in _hooks(model):
        if hook.recorder is None:
            for table in (
                module._forward_pre_hooks,
                module._forward_pre_hooks_with_kwargs,
                module._forward_hooks,
                module._forward_hooks_with_kwargs,
                module._forward_hooks_always_called,
            ):
                table.pop(key, None)
