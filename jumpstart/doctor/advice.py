"""Advice on the result of an examination."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from jumpstart.capture.targets import select_targets
from jumpstart.choices import DEAD_NETWORK_SHARE, Capture
from jumpstart.doctor.examination import Cost, Examination, FunctionCall, NoGradient
from jumpstart.words import are, called, counted, in_seconds, percent, some

_STEADY = 1.5
"""Ratio of the slowest round to the fastest above which the load of the machine, not the loss, decides the times."""
_EXPENSIVE = 1.5
"""Ratio of the times with and without the loss from which the advice says how to make the loss cheaper."""

_GATES = ("sigmoid", "hardsigmoid", "tanh")
"""Functions that often are gates and not activations."""
_MOST_NAMES = 12
"""Names that an advice lists."""
_DEEP_AND_THIN = ((10, 4), (20, 16))
"""Number of layers, and largest number of their units, from which on plain networks fail: docs/when-to-use-it.md."""
_NORMALIZATIONS = (
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, nn.InstanceNorm1d, nn.InstanceNorm2d,
    nn.InstanceNorm3d, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.LocalResponseNorm,
)  # fmt: skip

_WEIGHTS = "Or read the outputs of the weighted layers instead: JumpstartRegularization(model, capture='weights')."


def advise(result: Examination, model: nn.Module) -> list[str]:
    """Sentences about what to do, the most useful first; at least one.

    Args:
        result: The examination, without advice.
        model: The model itself.
    """
    advice = _about_functions(result.functional, model, bool(result.captured))
    if not result.captured:
        return advice + _about_nothing(result, model)
    advice += _about_gradients(result) + _about_capture(result) + _about_status(result) + _about_depth(result, model)
    busy = result.cost is not None and not _is_steady(result.cost)
    if result.cost is not None and not busy and result.cost.ratio > _EXPENSIVE:
        advice.append(
            f"The loss makes a step {result.cost.ratio:.2f} times as long on this batch: a larger batch or fewer "
            "layers (capture=[names]) make it cheaper."
        )
    advice = advice or ["Nothing needs to be done: attach the loss with JumpstartRegularization(model)."]
    if result.cost is not None and busy:
        advice.append(
            "The cost of the loss can't be measured: the machine is too busy, and the rounds lie between "
            f"x{result.cost.lowest_ratio:.2f} and x{result.cost.highest_ratio:.2f}. Run this again when it is idle."
        )
    if result.too_slow is not None:
        advice.append(
            f"The cost of the loss was not measured: a step with it and one without take about "
            f"{in_seconds(result.too_slow.seconds)} on {counted(result.too_slow.samples, 'sample')}, and no time was "
            "left for two rounds. Give more time (--seconds)."
        )
    return advice


def _about_nothing(result: Examination, model: nn.Module) -> list[str]:
    return [
        *([] if result.functional else [f"Nothing can be captured. {result.nothing}"]),
        *(_about_reading(result, model) if (result.nothing or "").startswith("nothing to capture") else []),
    ]


def _about_weights(model: nn.Module) -> list[str]:
    """The advice to read the outputs of the weighted layers, if the model has such layers."""
    try:
        select_targets(model, Capture.WEIGHTS, skip_last=True)
    except ValueError:
        return []
    return [_WEIGHTS]


def _about_reading(result: Examination, model: nn.Module) -> list[str]:
    """How to read the preactivations of functions without a change of the model, if there is a way."""
    calls = [call for call in result.functional if call.function not in _GATES] or result.functional
    if not calls or not all(call.before for call in calls):
        return _about_weights(model)
    names = list(dict.fromkeys(name for call in calls for name in call.before))
    ends = tuple(dict.fromkeys(_last(name) for name in names))
    if len(names) <= _MOST_NAMES:
        capture = repr(names)
    elif len(ends) <= _MOST_NAMES and {name for name, _ in model.named_modules() if _last(name) in ends} == set(names):
        capture = f"lambda name, module: name.rpartition('.')[2] in {ends!r}"
    else:
        return _about_weights(model)
    return [
        "Or read the outputs of the layers before the functions, which are their preactivations: "
        f"JumpstartRegularization(model, capture={capture})."
    ]


def _about_capture(result: Examination) -> list[str]:
    """Advice on what keeps layers out of the loss."""
    advice = []
    if any(module.reentrant for module in result.checkpointed):
        advice.append(
            "Call torch.utils.checkpoint.checkpoint(..., use_reentrant=False): Jumpstart refuses reentrant "
            "checkpoints, because no gradient of its loss can pass through them."
        )
    if result.compiled:
        advice.append(
            "Attach Jumpstart before torch.compile, never after it, because a compiled model ignores new hooks. This "
            "examination ran the model uncompiled."
        )
    if result.not_called:
        advice.append(
            f"{some(result.not_called)} did not run on this batch and will not enter the loss. If you call the parts "
            "of the model yourself, wrap the calls in `with jumpstart.recording():`."
        )
    if result.time_major and not result.doubts:
        advice.append(
            f"{some(result.time_major)} {are(len(result.time_major), 'has', 'have')} batch_first=False, so dimension 1 "
            "of the tensors inside holds the samples, and that is how they are read. Check that your batches have that "
            "layout, or set batch_first=True."
        )
    return advice + [doubt[0].upper() + doubt[1:] for doubt in result.doubts]


def _about_gradients(result: Examination) -> list[str]:
    """Advice on captured layers whose loss has no gradient."""
    off = [name for name, reason in result.no_gradient.items() if reason is NoGradient.OFF]
    constant = [name for name, reason in result.no_gradient.items() if reason is NoGradient.CONSTANT]
    advice = []
    if off:
        advice.append(
            f"No gradient can come from {some(off)}: the forward pass runs under torch.no_grad() or "
            "torch.inference_mode() there. Remove it from the model before training."
        )
    if constant:
        advice.append(
            f"The loss of {some(constant)} has no gradient, because its preactivations depend on no parameter with "
            "requires_grad=True: layers before are frozen, or their output is detached. Leave these layers out "
            "(capture=[names]), or train the layers before them."
        )
    return advice


def _about_status(result: Examination) -> list[str]:
    """Advice on dead and linear units, and on values that are not finite."""
    total, first = result.total, result.first_death
    assert total is not None
    advice = []
    if any(layer.minimum is None or layer.maximum is None for layer in result.captured):
        advice.append("Preactivations are not finite: lower the learning rate, or check the data.")
    dead, linear = total.dead_units / total.units, total.linear_units / total.units
    if max(dead, linear, total.dead_points) > DEAD_NETWORK_SHARE:
        advice.append("Units or points are dead or linear: add 0.01 * jumpstart.loss to the loss, and examine again.")
        if first is not None:
            advice.append(
                f"Points die first in {first.layer} ({percent(first.dead_points)} of them), so no layer before it "
                "learns from these points. Check its initialization and its input first."
            )
    elif dead or linear:
        advice.append(
            "A few units are dead or linear on this batch. Check whether they stay so in training: jumpstart.monitor."
        )
    return advice


def _about_depth(result: Examination, model: nn.Module) -> list[str]:
    """Advice on networks that are so deep and thin that they usually do not learn without the loss."""
    if any(isinstance(module, _NORMALIZATIONS) for module in model.modules()):
        return []
    for layers, units in _DEEP_AND_THIN:
        found = sum(layer.units <= units for layer in result.captured)
        if found >= layers:
            return [
                f"The network has {found} layers of at most {units} units, and no normalization. Without skip "
                "connections, such networks usually answer with one class, or learn much less, unless the loss is "
                "added: begin with 0.01 * jumpstart.loss. If the depth is not needed, two or three layers do as well."
            ]
    return []


def _is_steady(cost: Cost) -> bool:
    return cost.highest_ratio <= _STEADY * cost.lowest_ratio


def _about_functions(functional: Sequence[FunctionCall], model: nn.Module, captures: bool) -> list[str]:
    """How to replace activations that are functions."""
    layers = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)
    inside = [call for call in functional if isinstance(_submodule(model, call.module), layers)]
    own = {type(part): None for call in functional if (part := _submodule(model, call.module)) and _only_computes(part)}
    others = [call for call in functional if call not in inside and type(_submodule(model, call.module)) not in own]
    advice = []
    if own:
        names = some([f"{kind.__module__}.{kind.__qualname__}" for kind in own])
        advice.append(
            f"Register {names} as an activation before you attach: jumpstart.register_activation(the class). Its input "
            "is then read like that of an activation of torch.nn."
        )
    if inside:
        name = inside[0].function
        module = {"relu": "ReLU", "gelu": "GELU"}.get(name, name)
        advice.append(
            f"Give the transformer layers a module as their activation: activation=torch.nn.{module}(). With the "
            f"function {name} there is nothing to hook in {some([called(call.module) for call in inside])}."
        )
    if others:
        words = [f"{call.function} in {called(call.module)}" for call in others]
        effect = "so these layers do not enter the loss" if captures else "so nothing can be captured"
        advice.append(
            f"Call a module such as torch.nn.ReLU() instead of a function ({some(words)}): a function can't be "
            f"hooked, {effect}. Sigmoids and tanhs that are gates may stay."
        )
    return advice


def _only_computes(module: nn.Module) -> bool:
    """Whether a module has neither parts nor parameters, as the activations of torch.nn."""
    return next(module.children(), None) is None and next(module.parameters(), None) is None


def _submodule(model: nn.Module, path: str) -> nn.Module | None:
    try:
        return model.get_submodule(path)
    except AttributeError:
        return None


def _last(path: str) -> str:
    """The last part of the path of a module."""
    return path.rpartition(".")[2]
