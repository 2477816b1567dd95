"""Which tensors of a model are preactivations, and which dimension holds their units."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor, nn

from jumpstart.choices import Capture, choose
from jumpstart.extrema.rule import NextOp
from jumpstart.words import did_you_mean

Predicate: TypeAlias = Callable[[str, nn.Module], bool]
CaptureLike: TypeAlias = Capture | str | Iterable[str] | Predicate

_ACTIVATIONS: tuple[type[nn.Module], ...] = (
    nn.CELU, nn.ELU, nn.GELU, nn.Hardshrink, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh, nn.LeakyReLU, nn.LogSigmoid,
    nn.Mish, nn.PReLU, nn.ReLU, nn.ReLU6, nn.RReLU, nn.SELU, nn.SiLU, nn.Sigmoid, nn.Softplus, nn.Softshrink,
    nn.Softsign, nn.Tanh, nn.Tanhshrink, nn.Threshold,
)  # fmt: skip
CONVOLUTIONS: tuple[type[nn.Module], ...] = (
    nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
)  # fmt: skip
_WEIGHTED: tuple[type[nn.Module], ...] = (nn.Linear, nn.Bilinear, *CONVOLUTIONS)
_registered: dict[type[nn.Module], None] = {}


def register_activation(kind: type[nn.Module]) -> type[nn.Module]:
    """Make a module class of your own an activation, so that its input is a preactivation.

    Works as a class decorator. Softmax and its kin, gated units (GLU) and attention are not activations in this sense
    and stay out by default.

    Args:
        kind: A class whose first input is the preactivation.

    Returns:
        The class itself.

    Raises:
        TypeError: If ``kind`` is not a class of modules.

    Example:
        >>> @register_activation
        ... class Squared(nn.Module):
        ...     def forward(self, z):
        ...         return z.relu().square()
        >>> is_activation(Squared())
        True
    """
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise TypeError(f"register_activation takes a subclass of torch.nn.Module, got {kind!r}.")
    _registered[kind] = None
    return kind


def registered_activations() -> tuple[type[nn.Module], ...]:
    """The classes given to :func:`register_activation`, in the order of their registration."""
    return tuple(_registered)


def is_activation(module: nn.Module) -> bool:
    """Whether a module is an activation: one of ``torch.nn``'s element-wise ones, or a registered one."""
    return isinstance(module, (*_ACTIVATIONS, *_registered))


@dataclass(frozen=True, slots=True)
class Target:
    """One module whose preactivation is read.

    Attributes:
        name: Its path in the model.
        module: The module.
        reads_input: The input is the preactivation (activations), or the output is (everything else).
        after: What follows the preactivation does with it.
    """

    name: str
    module: nn.Module
    reads_input: bool
    after: NextOp


def find_targets(model: nn.Module, capture: CaptureLike) -> list[Target]:
    """The modules of ``model`` that ``capture`` selects, in the order of registration.

    Args:
        model: The model to look through. A module that is registered twice counts once, under its first name.
        capture: A :class:`Capture`, module names, or a predicate ``(name, module) -> bool``.

    Raises:
        ValueError: On an unknown mode or module name, or if nothing is selected.
    """
    modules = dict(model.named_modules())
    if isinstance(capture, str) and not isinstance(capture, Capture) and capture in modules and capture:
        raise ValueError(f"capture got one module name as a string; give a list: capture=[{capture!r}].")
    if isinstance(capture, str):
        mode = choose(Capture, capture, "capture")
        wanted: Predicate = _is_activation if mode is Capture.ACTIVATIONS else _is_weighted
    elif callable(capture):
        wanted = capture
    else:
        if not isinstance(capture, Iterable):
            raise ValueError(
                f"capture must be {', '.join(map(repr, map(str, Capture)))}, a list of module names or a predicate "
                f"(name, module) -> bool, got {capture!r}."
            )
        names = list(capture)
        for name in names:
            if name not in modules:
                raise ValueError(
                    f"capture names the module {name!r}, which {type(model).__name__} does not have."
                    f"{did_you_mean(name, modules)} dict(model.named_modules()) lists them."
                )
        chosen = set(names)
        wanted = lambda name, module: name in chosen  # noqa: E731
    targets = [_target(name, module) for name, module in modules.items() if wanted(name, module)]
    if not targets:
        raise ValueError(_nothing(model, capture))
    return targets


def small_model() -> nn.Module:
    """Something to try options on before there is a model. Global random numbers are left alone."""
    first, last = (nn.utils.skip_init(nn.Linear, 1, 1) for _ in range(2))
    return nn.Sequential(first, nn.ReLU(), last)


def first_tensor(value: object, name: str) -> Tensor:
    """The one tensor of a module's input or output.

    Raises:
        TypeError: If there is none or it is not clear which.
    """
    if isinstance(value, Tensor):
        return value
    parts = list(value.values()) if isinstance(value, dict) else value
    if isinstance(parts, (tuple, list)):
        tensors = [part for part in parts if isinstance(part, Tensor) and part.is_floating_point()]
        if len(tensors) == 1 or (tensors and not isinstance(value, dict)):
            return tensors[0]
    raise TypeError(
        f"the preactivation of {name!r} must be a tensor, or the first of a tuple, got {type(value).__name__}. "
        "Capture a module whose output is one tensor."
    )


def _is_activation(name: str, module: nn.Module) -> bool:
    return is_activation(module)


def _is_weighted(name: str, module: nn.Module) -> bool:
    return isinstance(module, _WEIGHTED)


def _target(name: str, module: nn.Module) -> Target:
    if isinstance(module, _ACTIVATIONS) and type(module).__module__.startswith("torch.nn"):
        return Target(name, module, True, NextOp.WRITES if getattr(module, "inplace", False) else NextOp.READS)
    if is_activation(module):
        return Target(name, module, True, NextOp.UNKNOWN)
    return Target(name, module, False, NextOp.UNKNOWN)


def _nothing(model: nn.Module, capture: CaptureLike) -> str:
    kind = type(model).__name__
    if capture == Capture.ACTIVATIONS:
        return (
            f"nothing to capture in {kind}: it has no activation module. Functional activations (F.relu(x), x.relu()) "
            "cannot be hooked: use modules such as torch.nn.ReLU(), register your own class with "
            "jumpstart.register_activation, or choose capture='weights' or capture=[module names]."
        )
    if capture == Capture.WEIGHTS:
        return (
            f"nothing to capture in {kind}: it has no Linear or Conv layer. Choose capture='activations' or "
            "capture=[module names]."
        )
    return (
        f"nothing to capture in {kind}: capture selects none of its {len(list(model.modules()))} modules. "
        "Give names out of dict(model.named_modules()), or a predicate that is true for some of them."
    )
