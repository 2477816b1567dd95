"""Advice on what an examination has found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from jumpstart.doctor.text import _percent
from jumpstart.words import called, some

SICK = 0.2


_STEADY = 1.5
"""Rounds that differ by a larger factor tell of the machine, not of the loss."""


def advise(found: Mapping[str, Any], model: nn.Module) -> list[str]:
    """What to do, told from what was found.

    Args:
        found: What :func:`~jumpstart.doctor.examine` gives, without the advice.
        model: The model itself.
    """
    advice = []
    captured, functional, total = found["captured"], found["functional"], found["total"]
    if functional:
        advice += _about_functions(functional, model, bool(captured))
    if not captured:
        if not functional:
            advice.append(f"Nothing can be read. {found['nothing']}")
        advice.append(
            "Or read the outputs of the weighted layers instead: JumpstartRegularization(model, capture='weights')."
        )
        return advice
    if any(entry["reentrant"] for entry in found["checkpointed"]):
        advice.append(
            "Call torch.utils.checkpoint.checkpoint(..., use_reentrant=False): through a reentrant checkpoint no "
            "gradient of the Jumpstart loss can pass, so it is refused."
        )
    if found["compiled"]:
        advice.append(
            "Attach Jumpstart before torch.compile, never after it: a compiled model does not see new hooks. It was "
            "looked at uncompiled here."
        )
    if found["not_called"]:
        advice.append(
            f"{some(found['not_called'])} did not run on this batch and will not enter the loss. If the model is "
            "called by its parts, wrap the calls in `with jumpstart.recording():`."
        )
    dead, linear = total["dead_units"] / total["units"], total["linear_units"] / total["units"]
    if any(layer["minimum"] is None or layer["maximum"] is None for layer in captured):
        advice.append("Preactivations are not finite: lower the learning rate, or look at the data.")
    if dead > SICK or linear > SICK or total["dead_points"] > SICK:
        advice.append("Units or points are dead or linear: add 0.01 * jumpstart.loss to the loss, and look again.")
        first = found["first_death"]
        if first is not None:
            advice.append(
                f"Points die first in {first['layer']} ({_percent(first['dead_points'])} of them): nothing before it "
                "learns from these. Its initialization and what feeds it come first."
            )
    elif dead or linear:
        advice.append("A few units are dead or linear on this batch. See whether that lasts: jumpstart.monitor.")
    cost = found["cost"]
    steady = cost is None or cost["highest_ratio"] <= _STEADY * cost["lowest_ratio"]
    if cost is not None and steady and cost["ratio"] > 1.5:
        advice.append(
            f"The loss makes a step {cost['ratio']:.2f} times as long on this batch: a larger batch or fewer layers "
            "(capture=[names]) make it cheaper."
        )
    advice = advice or ["Nothing needs to be done: attach it with JumpstartRegularization(model)."]
    if cost is not None and not steady:
        advice.append(
            f"What the loss costs can't be told: the machine is too busy, and the rounds lie between "
            f"x{cost['lowest_ratio']:.2f} and x{cost['highest_ratio']:.2f}. Run this again when it is idle."
        )
    return advice


def _about_functions(functional: Sequence[Mapping[str, Any]], model: nn.Module, some: bool) -> list[str]:
    advice = []
    layers = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)
    inside = [entry for entry in functional if isinstance(_part(model, entry["module"]), layers)]
    others = [entry for entry in functional if entry not in inside]
    if inside:
        name = inside[0]["function"]
        module = {"relu": "ReLU", "gelu": "GELU"}.get(name, name)
        advice.append(
            f"Give the transformer layers a module as their activation: activation=torch.nn.{module}(). With the "
            f"function {name} there is nothing to hook in {some([called(entry['module']) for entry in inside])}."
        )
    if others:
        words = [f"{entry['function']} in {called(entry['module'])}" for entry in others]
        effect = "these layers do not enter the loss" if some else "so nothing can be read"
        advice.append(
            f"Call a module such as torch.nn.ReLU() instead of a function ({some(words)}): a function can't be "
            f"hooked, {effect}. Sigmoids and tanhs that are gates may stay."
        )
    return advice


def _part(model: nn.Module, name: str) -> nn.Module | None:
    try:
        return model.get_submodule(name)
    except AttributeError:
        return None
