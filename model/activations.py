"""Activations by name: which can be built, and the gain that initial weights need."""

from __future__ import annotations

import inspect
import math

import torch
from torch import nn

from model.checks import unknown

# GLU halves the channels; the others normalize over them: no unit has an activation of its own.
_NOT_ELEMENTWISE = {"GLU", "Softmax", "Softmax2d", "Softmin", "LogSoftmax"}


def _buildable_activations() -> dict[str, type[nn.Module]]:
    found = {}
    for name in nn.modules.activation.__all__:
        module: type[nn.Module] = getattr(nn, name)
        try:
            inspect.signature(module).bind()
        except TypeError:
            continue
        if name not in _NOT_ELEMENTWISE:
            found[name.lower()] = module
    return dict(sorted(found.items()))


_ACTIVATIONS = _buildable_activations()


def activation_names() -> tuple[str, ...]:
    """The names that :func:`resolve_activation` knows, in alphabetical order.

    Example:
        >>> "relu" in activation_names(), "leakyrelu" in activation_names()
        (True, True)
    """
    return tuple(_ACTIVATIONS)


def resolve_activation(name: str) -> type[nn.Module]:
    """The activation module of a name.

    Args:
        name: Any elementwise activation of ``torch.nn`` that can be built without arguments. Case,
            underscores and hyphens do not matter.

    Returns:
        The class; build one instance per layer.

    Raises:
        ValueError: If there is no such activation. The message names the nearest.

    Example:
        >>> resolve_activation("leaky_relu")
        <class 'torch.nn.modules.activation.LeakyReLU'>
    """
    if not isinstance(name, str):
        raise TypeError(f"activation must be a name such as 'relu', got {name!r}.")
    key = name.lower().replace("_", "").replace("-", "")
    if key not in _ACTIVATIONS:
        raise ValueError(unknown("activation", name, _ACTIVATIONS, key))
    return _ACTIVATIONS[key]


def activation_gain(activation: type[nn.Module]) -> float:
    r"""The factor by which weights must be larger to make up for what an activation takes away.

    It is :math:`1 / \sqrt{E[f(z)^2]}` for standard normal :math:`z`: :math:`\sqrt 2` for ReLU. For
    sigmoid and tanh it is the exact value, not the rule of thumb of ``torch.nn.init``.

    Args:
        activation: A class from :func:`resolve_activation`.

    Source:
        *Delving Deep into Rectifiers* (He et al., 2015), section 2.2, with any activation for ReLU.

    Example:
        >>> round(activation_gain(nn.ReLU) ** 2, 6)
        2.0
    """
    # Dtype and device are given so that the caller's defaults change nothing.
    z = torch.linspace(-12.0, 12.0, 24_001, dtype=torch.float64, device="cpu")
    density = torch.exp(-0.5 * z.square()) / math.sqrt(2.0 * math.pi)
    module = activation().to(device="cpu", dtype=torch.float64).eval()
    with torch.no_grad():
        second_moment = torch.trapezoid(module(z).square() * density, z)
    return float(second_moment.rsqrt())
