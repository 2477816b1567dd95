"""The registry of activations by name or class, and the gain that initial weights need.

A name is an elementwise activation of ``torch.nn``, or a class registered with :func:`jumpstart.register_activation`,
in lower case; or it is ``package.module:Class``, which imports the class and registers it. The registry is read at each
call, so a class can be chosen as soon as it is registered.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import math
from collections.abc import Callable, Hashable, Mapping
from types import ModuleType
from typing import Any, TypeGuard, cast

import torch
from torch import Tensor, nn

from jumpstart.capture import is_activation, register_activation, registered_activations
from jumpstart.choices import did_you_mean

ActivationClass = type[nn.Module]


def activation_names() -> tuple[str, ...]:
    """The names that :func:`resolve_activation` accepts, in alphabetical order.

    Example:
        >>> "relu" in activation_names(), "leakyrelu" in activation_names()
        (True, True)
    """
    own = {name for name, kind in _registered().items() if not _arguments(kind)}
    return tuple(sorted(own.union(_of_torch())))


def resolve_activation(name: str | ActivationClass) -> ActivationClass:
    """The module class of an activation.

    Args:
        name: A class of modules, which is registered. Or an elementwise activation of ``torch.nn``, or a class
            registered with :func:`jumpstart.register_activation`, by its name; case, underscores and hyphens do not
            matter. If a registered class and a class of torch have the same name, the class of torch is used. Or
            ``package.module:Class``, exactly as Python spells it: the module is imported, and the class is registered.
            A class must need no arguments.

    Returns:
        The class; build one instance per layer.

    Raises:
        TypeError: If ``name`` is neither a text nor a class of modules.
        ValueError: If there is no such activation, if its module can't be imported, if it needs arguments, or if it
            changes the shape of its input.

    Example:
        >>> resolve_activation("leaky_relu")
        <class 'torch.nn.modules.activation.LeakyReLU'>
        >>> resolve_activation("torch.nn:SiLU")
        <class 'torch.nn.modules.activation.SiLU'>
        >>> resolve_activation(nn.GELU)
        <class 'torch.nn.modules.activation.GELU'>
    """
    if _is_module_class(name):
        return _checked(name.__name__, name)
    if not isinstance(name, str):
        raise TypeError(f"activation must be a name such as 'relu', or a class such as torch.nn.ReLU, got {name!r}.")
    if ":" in name:
        return _imported(name)
    key = _key(name)
    kind = _of_torch().get(key) or _registered().get(key)
    if kind is None:
        known = activation_names()
        raise ValueError(
            f"activation must be one of {', '.join(known)}, or package.module:Class, got {name!r}."
            f"{did_you_mean(name, known)}"
        )
    _refuse_arguments(name, kind)
    return kind


def canonical_activation(name: str) -> str:
    """The canonical name of an activation: lower case without underscores; ``package.module:Class`` is not changed.

    Raises:
        ValueError: As :func:`resolve_activation` does.

    Example:
        >>> canonical_activation("Leaky_ReLU"), canonical_activation("torch.nn:LeakyReLU")
        ('leakyrelu', 'torch.nn:LeakyReLU')
    """
    resolve_activation(name)
    return name.strip() if ":" in name else _key(name)


def activation_gain(activation: ActivationClass) -> float:
    r"""The factor by which initial weights must be larger to keep the mean square of the signal.

    It is :math:`1 / \sqrt{E[f(z)^2]}` for standard normal :math:`z`: :math:`\sqrt 2` for ReLU. For
    sigmoid and tanh it is the exact value, not the rule of thumb of ``torch.nn.init``.

    Args:
        activation: A class from :func:`resolve_activation`.

    Source:
        *Delving Deep into Rectifiers* (He et al., 2015), section 2.2, with any activation in place of ReLU.

    Example:
        >>> round(activation_gain(nn.ReLU) ** 2, 6)
        2.0
    """
    module = _probe(activation)
    return float(_normal_mean(lambda z: module(z).square()).rsqrt())


def pair_scale(activation: ActivationClass) -> float:
    """The root mean square of f(z) - f(-z) for standard normal z, where f is the activation: 1 for ReLU.

    Args:
        activation: A class from :func:`resolve_activation`.

    Example:
        >>> round(pair_scale(nn.ReLU), 6)
        1.0
    """
    module = _probe(activation)
    return float(_normal_mean(lambda z: (module(z) - module(-z)).square()).sqrt())


def _probe(activation: ActivationClass) -> nn.Module:
    """An instance to evaluate; dtype and device are given, so that the caller's defaults change nothing."""
    return activation().to(device="cpu", dtype=torch.float64).eval()


@torch.no_grad()
def _normal_mean(function: Callable[[Tensor], Tensor]) -> Tensor:
    """The mean of a function of a standard normal variable, by the trapezoid rule."""
    z = torch.linspace(-12.0, 12.0, 24_001, dtype=torch.float64, device="cpu")
    density = torch.exp(-0.5 * z.square()) / math.sqrt(2.0 * math.pi)
    return torch.trapezoid(function(z) * density, z)


def _key(name: str) -> str:
    return name.strip().lower().replace("_", "").replace("-", "")


@functools.cache
def _of_torch() -> Mapping[str, ActivationClass]:
    """The elementwise activations of ``torch.nn`` that need no arguments. Softmax and GLU act on several units."""
    module = nn.modules.activation
    kinds: dict[str, ActivationClass] = {_key(name): getattr(module, name) for name in module.__all__}
    return {key: kind for key, kind in kinds.items() if not _arguments(kind) and is_activation(kind())}


def _registered() -> Mapping[str, ActivationClass]:
    return {_key(kind.__name__): kind for kind in registered_activations()}


def _arguments(kind: ActivationClass) -> tuple[str, ...]:
    """The arguments that must be given to build a class."""
    return _read_arguments(cast("Hashable", kind))


@functools.cache
def _read_arguments(kind: Any) -> tuple[str, ...]:
    named = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = inspect.signature(kind).parameters.values()
    return tuple(p.name for p in parameters if p.default is p.empty and p.kind in named)


def _refuse_arguments(name: str, kind: ActivationClass) -> None:
    if needed := _arguments(kind):
        raise ValueError(
            f"activation {name!r} must be a class that can be built without arguments, but {kind.__name__} needs "
            f"{', '.join(needed)}. Give them defaults, or name a subclass that sets them."
        )


def _imported(name: str) -> ActivationClass:
    """The class of ``package.module:Class``, registered."""
    path, _, class_name = name.strip().partition(":")
    if not path or not class_name.isidentifier():
        raise ValueError(f"activation must be a name such as 'relu', or package.module:Class, got {name!r}.")
    members = vars(_import(name, path))
    kind = members.get(class_name)
    if kind is None:
        classes = [member for member, value in members.items() if _is_module_class(value)]
        raise ValueError(f"activation {name!r}: {path} has no {class_name}.{did_you_mean(class_name, classes)}")
    if not _is_module_class(kind):
        raise ValueError(f"activation {name!r} must be a subclass of torch.nn.Module, got {kind!r:.80}.")
    return _checked(name, kind)


def _checked(name: str, kind: ActivationClass) -> ActivationClass:
    """A class that can be the activation of a network, registered."""
    _refuse_arguments(name, kind)
    _refuse_other_shapes(name, kind)
    return register_activation(kind)


def _refuse_other_shapes(name: str, kind: ActivationClass) -> None:
    """Raise ValueError for modules of torch that are no elementwise activations, and for other shapes of the output."""
    if kind.__module__ == nn.modules.activation.__name__ and kind not in _of_torch().values():
        raise ValueError(f"activation {name!r} must act on single units, but {kind.__name__} acts on several.")
    values = torch.zeros(2, 4, device="cpu")
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            result = kind().eval()(values.clone())
    except Exception as error:  # a class of the user's may raise anything
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise ValueError(f"activation {name!r} must accept one tensor; {kind.__name__} failed with {reason}") from error
    if not isinstance(result, Tensor) or result.shape != values.shape:
        shape = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
        raise ValueError(f"activation {name!r} must keep the shape of its input, got {shape} for (2, 4).")
    # Registered, a class such as nn.Identity would turn the modules of other networks into activations.
    if kind.__module__.startswith("torch.nn.modules.") and kind not in _of_torch().values():
        raise ValueError(f"activation {name!r} must be an activation, but {kind.__name__} is none.")


def _is_module_class(value: object) -> TypeGuard[ActivationClass]:
    return isinstance(value, type) and issubclass(value, nn.Module)


def _import(name: str, path: str) -> ModuleType:
    try:
        return importlib.import_module(path)
    except Exception as error:  # a module of the user's may raise anything
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise ValueError(
            f"activation {name!r} can't be imported: {reason}. The folder of the module must be on PYTHONPATH."
        ) from error
