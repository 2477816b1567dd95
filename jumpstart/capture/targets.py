"""Which tensors of a model are preactivations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList
from torch.nn.utils.rnn import PackedSequence

from jumpstart.choices import Capture, check_flag, choose, did_you_mean
from jumpstart.extrema.rule import NextOp

Predicate: TypeAlias = Callable[[str, nn.Module], bool]
CaptureLike: TypeAlias = Capture | str | Iterable[str] | Predicate
"""A capture mode or its name, module names, or a predicate ``(name, module) -> bool``."""

_ACTIVATIONS: tuple[type[nn.Module], ...] = (
    nn.CELU, nn.ELU, nn.GELU, nn.Hardshrink, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh, nn.LeakyReLU, nn.LogSigmoid,
    nn.Mish, nn.PReLU, nn.ReLU, nn.ReLU6, nn.RReLU, nn.SELU, nn.SiLU, nn.Sigmoid, nn.Softplus, nn.Softshrink,
    nn.Softsign, nn.Tanh, nn.Tanhshrink, nn.Threshold,
)  # fmt: skip
CONVOLUTIONS: tuple[type[nn.Module], ...] = (
    nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
)  # fmt: skip
_WEIGHTED: tuple[type[nn.Module], ...] = (nn.Linear, nn.Bilinear, *CONVOLUTIONS)
_FUSED = ("torch.ao.nn.intrinsic.qat", "torch.ao.nn.intrinsic.quantized")
"""Packages with layers that apply normalization or an activation inside of their own ``forward``."""
_registered: dict[type[nn.Module], None] = {}


def register_activation(kind: type[nn.Module]) -> type[nn.Module]:
    """Register a module class as an activation, so that its input is a preactivation.

    Works as a class decorator. Softmax and its variants, gated units (GLU) and attention are not activations in this
    sense and are not captured by default.

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
        name: The path of the module in the model.
        module: The module.
        reads_input: Whether the preactivation is the input (of an activation) or the output (of any other module).
        after: What the operation after the preactivation does with it.
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
        ValueError: On an unknown mode or module name, if nothing is selected, or if a fused layer is, or a module that
            never runs.
    """
    modules = dict(model.named_modules())
    if isinstance(capture, str) and not isinstance(capture, Capture) and capture in modules and capture:
        raise ValueError(f"capture got one module name as a string; give a list: capture=[{capture!r}].")
    if isinstance(capture, str):
        mode = choose(Capture, capture, "capture")
        selects: Predicate = _is_activation if mode is Capture.ACTIVATIONS else _is_weighted
    elif callable(capture):
        selects = capture
    elif isinstance(capture, Iterable):
        chosen = _known_names(capture, modules, model)
        selects = lambda name, module: name in chosen  # noqa: E731
    else:
        raise ValueError(
            f"capture must be {', '.join(map(repr, map(str, Capture)))}, a list of module names or a predicate "
            f"(name, module) -> bool, got {capture!r}."
        )
    selected = {name: module for name, module in modules.items() if selects(name, module)}
    if isinstance(capture, str) or callable(capture):
        selected = _without_uncalled(selected, model)
    if isinstance(capture, str):
        weights = {id(part) for module in modules.values() for part in _parts_of_weights(module)}
        selected = {name: module for name, module in selected.items() if id(module) not in weights}
        selected = _without_parts(selected, model)
    for name, module in selected.items():
        _refuse_fused(name, module)
        _refuse_hidden(name, module, modules)
    targets = [_target(name, module) for name, module in selected.items()]
    if not targets:
        raise ValueError(_nothing(model, capture))
    return targets


def select_targets(model: nn.Module, capture: CaptureLike, *, skip_last: bool) -> tuple[list[Target], bool]:
    """The modules that ``capture`` selects, and whether the one that is called last is to be left out.

    Args:
        model: As for :func:`find_targets`.
        capture: As for :func:`find_targets`.
        skip_last: With ``capture="weights"``, leave out the layer that is called last.

    Raises:
        ValueError: As :func:`find_targets`, or if ``skip_last`` leaves out the only layer.
        TypeError: As :func:`find_targets`, or if ``skip_last`` is neither True nor False.
    """
    check_flag("skip_last", skip_last)
    targets = find_targets(model, capture)
    drop_last = isinstance(capture, str) and capture == Capture.WEIGHTS and skip_last
    if drop_last and len(targets) == 1:
        raise ValueError(
            f"nothing to capture in {type(model).__name__}: {targets[0].name!r} is its only Linear or Conv layer, and "
            "skip_last leaves the last one out. Use skip_last=False."
        )
    return targets, drop_last


def small_model() -> nn.Module:
    """A model on which options can be checked before the real model exists. Draws no global random numbers."""
    first, last = (nn.utils.skip_init(nn.Linear, 1, 1) for _ in range(2))
    return nn.Sequential(first, nn.ReLU(), last)


def first_tensor(value: object, name: str) -> Tensor:
    """The tensor in a module's input or output: the value itself, the first of a tuple, or the only one of a dict.

    Args:
        value: The input or output.
        name: The path of the module, for the message.

    Raises:
        TypeError: If there is no tensor, or several in a dictionary.
    """
    if isinstance(value, Tensor):
        return value
    packed = value[:1] if isinstance(value, tuple) else ()
    if isinstance(value, PackedSequence) or any(isinstance(part, PackedSequence) for part in packed):
        raise TypeError(
            f"the preactivation of {name!r} is a packed sequence, whose samples are not a dimension. Give the layer a "
            "padded batch, or capture a module that reads pad_packed_sequence(...)."
        )
    parts = list(value.values()) if isinstance(value, dict) else value
    if isinstance(parts, (tuple, list)):
        tensors = [part for part in parts if isinstance(part, Tensor) and part.is_floating_point()]
        if len(tensors) == 1 or (tensors and not isinstance(value, dict)):
            return tensors[0]
    raise TypeError(
        f"the preactivation of {name!r} must be a tensor, or the first of a tuple, got {type(value).__name__}. "
        "Capture a module whose output is one tensor."
    )


def _known_names(names: Iterable[str], modules: Mapping[str, nn.Module], model: nn.Module) -> set[str]:
    """The names in ``capture``, all of which must be modules of the model."""
    chosen = list(names)
    for name in chosen:
        if name not in modules:
            raise ValueError(
                f"capture names the module {name!r}, which {type(model).__name__} does not have."
                f"{did_you_mean(name, modules)} dict(model.named_modules()) lists them."
            )
    for name in set(chosen) - {*_without_uncalled({name: modules[name] for name in chosen}, model)}:
        raise ValueError(
            f"the module {name!r} never runs: torch.nn.MultiheadAttention uses its weights without calling it. Name "
            f"the attention itself, to capture its output: capture=[{name.rpartition('.')[0]!r}]."
        )
    return set(chosen)


def _is_activation(name: str, module: nn.Module) -> bool:
    return is_activation(module) or (_is_fused(module) and not _is_linear(module))


def _is_fused(module: nn.Module) -> bool:
    """Whether a module is a layer of torch's quantization that computes more than its name's first word says."""
    return any(kind.__module__.startswith(_FUSED) for kind in type(module).__mro__)


def _is_linear(module: nn.Module) -> bool:
    """Whether no class of a fused layer has an activation in its name: ``ConvBn2d``, and not ``ConvBnReLU2d``."""
    return not any("ReLU" in kind.__name__ or "Tanh" in kind.__name__ for kind in type(module).__mro__)


def _refuse_fused(name: str, module: nn.Module) -> None:
    """Raise if a layer is fused with what follows it, so that no hook can reach the preactivation between them."""
    if _is_fused(module):
        raise ValueError(
            f"the preactivation of {name!r} cannot be read: {type(module).__name__} of torch.ao.nn.intrinsic applies "
            "its normalization or activation inside, and its output comes after it. Leave this layer out of "
            "fuse_modules_qat, or name other layers: capture=[module names]."
        )


def _parts_of_weights(module: nn.Module) -> Iterable[nn.Module]:
    """The modules that compute a parameter of another module, such as those of ``weight_norm``: they see no samples."""
    return module.modules() if isinstance(module, ParametrizationList) else ()


def _without_uncalled(selected: dict[str, nn.Module], model: nn.Module) -> dict[str, nn.Module]:
    """The selected modules, without the output layers of attention that torch never calls."""
    modules = list(model.named_modules(remove_duplicate=False))
    by_name = dict(modules)
    called = {id(module) for name, module in modules if not _is_uncalled(name, module, by_name)}
    return {name: module for name, module in selected.items() if id(module) in called}


def _is_uncalled(name: str, module: nn.Module, modules: Mapping[str, nn.Module]) -> bool:
    """Whether a module is the output layer of torch's attention, which reads its weights without calling it."""
    parent = modules[name.rpartition(".")[0]]
    return (
        isinstance(parent, nn.MultiheadAttention)
        and module is parent.out_proj
        and type(parent).forward is nn.MultiheadAttention.forward
        and "forward" not in vars(parent)
    )


def _is_weighted(name: str, module: nn.Module) -> bool:
    return isinstance(module, _WEIGHTED)


def _without_parts(selected: dict[str, nn.Module], model: nn.Module) -> dict[str, nn.Module]:
    """The selected modules, without those that only run as parts of another selected one."""
    wholes = [name for name, module in selected.items() if next(module.children(), None) is not None]
    if not wholes:
        return selected
    own = {
        id(module)
        for name, module in model.named_modules(remove_duplicate=False)
        if not any(name != whole and name.startswith(f"{whole}." if whole else "") for whole in wholes)
    }
    return {name: module for name, module in selected.items() if id(module) in own}


def _refuse_hidden(name: str, module: nn.Module, modules: Mapping[str, nn.Module]) -> None:
    """Refuse a module that its parent never calls, because an attribute of the same name hides it.

    ``torch.nn.TransformerDecoder`` and ``torch.nn.Transformer`` make such layers from one with an activation module.
    """
    parent, _, attribute = name.rpartition(".")
    found = vars(modules[parent]).get(attribute, module) if name else module
    if found is not module:
        called = getattr(found, "__name__", type(found).__name__)
        raise ValueError(
            f"the module {name!r} never runs: its layer has an attribute {attribute!r} of the same name, and calls "
            f"{called} instead, as copies of torch.nn.TransformerDecoderLayer do. Remove the attribute: "
            f"del vars(model.get_submodule({parent!r}))[{attribute!r}]"
        )


def _target(name: str, module: nn.Module) -> Target:
    if isinstance(module, _ACTIVATIONS) and type(module).__module__.startswith("torch.nn"):
        return Target(name, module, True, NextOp.WRITES if getattr(module, "inplace", False) else NextOp.READS)
    if is_activation(module):
        return Target(name, module, True, NextOp.UNKNOWN)
    return Target(name, module, False, NextOp.UNKNOWN)


def _nothing(model: nn.Module, capture: CaptureLike) -> str:
    """The message where ``capture`` selects no module of a model."""
    kind = type(model).__name__
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        return (
            f"nothing to capture in {kind}: torch.jit has compiled its layers, which therefore run outside of Python, "
            "where no hook sees them. Attach to the model from which it was compiled."
        )
    if capture == Capture.ACTIVATIONS:
        weights = "capture='weights' or " * any(_is_weighted(name, module) for name, module in model.named_modules())
        return (
            f"nothing to capture in {kind}: it has no activation module. Functional activations (F.relu(x), x.relu()) "
            "cannot be hooked: use modules such as torch.nn.ReLU(), register your own class with "
            f"jumpstart.register_activation, or choose {weights}capture=[module names]."
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
