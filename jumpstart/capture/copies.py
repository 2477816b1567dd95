"""Copies and pickles of a model with hooks: they have no hook of Jumpstart.

While a module has a hook, the class of the module has a reducer in ``copyreg``, the registry that ``copy``, ``pickle``
and ``torch.save`` read. The reducer leaves the hooks out. A class that defines ``__deepcopy__`` is copied without the
registry; its copies are cleaned when the deep copy ends.
"""

from __future__ import annotations

import copyreg
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from torch import nn

from jumpstart.extrema.torch_internals import HOOK_TABLES, drop_forward_hook, forward_hooks

Owner = TypeVar("Owner")
Reducer: TypeAlias = Callable[[Any], "str | tuple[Any, ...]"]


class Hook(Generic[Owner]):
    """A hook with a weak reference to its owner. A copy or pickle of it, if there is one, is dead: it does nothing.

    Attributes:
        module: A weak reference to the module that has the hook; None before it is registered.
    """

    def __init__(self, owner: Owner | None = None) -> None:
        self._owner = weakref.ref(owner) if owner is not None else None
        self.module: weakref.ref[nn.Module] | None = None

    @property
    def __name__(self) -> str:
        """Not there. Only ``torch.jit.script`` reads the names of hooks."""
        raise AttributeError(
            "torch.jit.script cannot compile a model that has a JumpstartRegularization or a StatusMonitor attached, "
            "whose hooks are Python. Call remove() on them first, or use torch.compile."
        )

    @property
    def owner(self) -> Owner | None:
        """The owner while it exists, else None."""
        return self._owner() if self._owner is not None else None

    def __reduce__(self) -> tuple[type[Hook[Owner]], tuple[()]]:
        return (Hook, ())

    def __deepcopy__(self, memo: dict[object, object]) -> Hook[Owner]:
        module = self.module() if self.module is not None else None
        copied = memo.get(id(module))
        if isinstance(copied, nn.Module):
            cleaner = memo.setdefault(_Cleaner, _Cleaner())  # a new one that is not used has nothing to clean
            assert isinstance(cleaner, _Cleaner)
            cleaner.modules.append(copied)
        return Hook()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Do nothing: a plain hook is dead."""


class _Cleaner:
    """Removes the dead hooks of copied modules when a deep copy ends: only the memo of the deep copy refers to it."""

    def __init__(self) -> None:
        self.modules: list[nn.Module] = []

    def __del__(self) -> None:
        for module in self.modules:
            remove_dead(module)


class Removable(Protocol):
    """A handle as torch's hooks have."""

    def remove(self) -> None:
        """Remove the hook."""


class HookHandle:
    """Removes one hook of Jumpstart from a module. May be called twice.

    Args:
        module: The module.
        hook: The hook.
        handle: Torch's handle of the hook.
    """

    def __init__(self, module: nn.Module, hook: Hook[Any], handle: Removable) -> None:
        hook.module = weakref.ref(module)
        self._handle: Removable | None = handle
        self._kind = type(module)
        if self._kind not in _reducers:
            _reducers[self._kind] = _Reducer(self._kind)
        _reducers[self._kind].hooks += 1

    def remove(self) -> None:
        """Remove the hook."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None
            _reducers[self._kind].release()


class _Reducer:
    """Reduces the modules of one class without their hooks.

    Args:
        kind: The class.

    Attributes:
        hooks: The number of Jumpstart's hooks on modules of the class. Without any, the registry is as it was.
    """

    def __init__(self, kind: type[nn.Module]) -> None:
        self.hooks = 0
        self._kind = kind
        self._before: Reducer | None = copyreg.dispatch_table.get(kind)
        copyreg.dispatch_table[kind] = self

    def release(self) -> None:
        """Note that a hook was removed."""
        self.hooks -= 1
        if self.hooks:
            return
        del _reducers[self._kind]
        registered: object = copyreg.dispatch_table.get(self._kind)
        if registered is self:
            del copyreg.dispatch_table[self._kind]
            if self._before is not None:
                copyreg.dispatch_table[self._kind] = self._before

    def __call__(self, module: nn.Module) -> str | tuple[Any, ...]:
        reduced = module.__reduce_ex__(2) if self._before is None else self._before(module)
        return reduced if isinstance(reduced, str) else _without_hooks(reduced)


_reducers: dict[type[nn.Module], _Reducer] = {}


def _without_hooks(value: Any) -> Any:
    """A reduced module, or a part of it, with the tables of hooks replaced by tables that leave out Jumpstart's."""
    if type(value) is tuple:
        return tuple([_without_hooks(part) for part in value])
    if type(value) is not dict:
        return value
    ours = {key for name in HOOK_TABLES[:2] for key, hook in (value.get(name) or {}).items() if isinstance(hook, Hook)}
    if not ours:
        return value
    tables = {name: value[name] for name in HOOK_TABLES if name in value}
    return value | {
        name: OrderedDict((key, hook) for key, hook in table.items() if key not in ours)
        for name, table in tables.items()
    }


def remove_dead(module: nn.Module) -> None:
    """Remove the dead hooks, which an unusual kind of copy may have, from one module."""
    for _, key, hook in forward_hooks(module):
        if isinstance(hook, Hook) and hook.owner is None:
            drop_forward_hook(module, key)
