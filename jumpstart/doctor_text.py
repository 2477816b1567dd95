"""What the doctor found, in words: advice and a table for eyes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

SICK = 0.2
_MOST_ROWS = 60
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
            f"{_some(found['not_called'])} did not run on this batch and will not enter the loss. If the model is "
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
                "learns from these. Its initialisation and what feeds it come first."
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
            f"function {name} there is nothing to hook in {_some([_called(entry['module']) for entry in inside])}."
        )
    if others:
        words = [f"{entry['function']} in {_called(entry['module'])}" for entry in others]
        effect = "these layers do not enter the loss" if some else "so nothing can be read"
        advice.append(
            f"Call a module such as torch.nn.ReLU() instead of a function ({_some(words)}): a function can't be "
            f"hooked, {effect}. Sigmoids and tanhs that are gates may stay."
        )
    return advice


def _part(model: nn.Module, name: str) -> nn.Module | None:
    try:
        return model.get_submodule(name)
    except AttributeError:
        return None


def describe(found: Mapping[str, Any]) -> str:
    """All that was found, as text for eyes.

    Args:
        found: What :func:`~jumpstart.doctor.examine` gives.
    """
    shape = "x".join(map(str, found["data"]["shape"]))
    lines = [
        f"{found['model']}: {found['kind']}, {found['parameters']:,} parameters, in {found['mode']} mode",
        f"data: {found['data']['source']}, {shape}, seed {found['data']['seed']}",
        "",
    ]
    if found["captured"]:
        lines += [*_table(found["captured"]), "", *_totals(found), ""]
    else:
        lines += ["captured: nothing", ""]
    noted = [f"{name}: {text}" for name, text in _lists(found).items() if text]
    lines += [*noted, ""] if noted else []
    lines.append("what to do")
    lines += [f"  {number}. {text}" for number, text in enumerate(found["advice"], 1)]
    return "\n".join(lines)


def _table(layers: Sequence[Mapping[str, Any]]) -> list[str]:
    head = ("layer", "type", "shape", "units", "dead", "linear", "points dead", "range")
    rows = [
        (
            layer["name"],
            layer["type"],
            "x".join(map(str, layer["shape"])),
            f"{layer['units']:,}",
            _percent(layer["dead_units"] / layer["units"]),
            _percent(layer["linear_units"] / layer["units"]),
            _percent(layer["dead_points"]),
            f"{_number(layer['minimum'])} to {_number(layer['maximum'])}",
        )
        for layer in layers
    ]
    left_out = len(rows) - _MOST_ROWS
    shown = rows if left_out <= 0 else [*rows[: _MOST_ROWS // 2], *rows[-_MOST_ROWS // 2 :]]
    widths = [max(map(len, column)) for column in zip(head, *shown, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if number < 3 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (head, tuple("-" * width for width in widths), *shown)
    ]
    if left_out > 0:
        lines.insert(2 + _MOST_ROWS // 2, f"... {left_out} more, see --json ...")
    return lines


def _totals(found: Mapping[str, Any]) -> list[str]:
    total, first, cost = found["total"], found["first_death"], found["cost"]
    lines = [
        f"units: {total['units']:,}, dead {total['dead_units']:,} ({_percent(total['dead_units'] / total['units'])}), "
        f"linear {total['linear_units']:,} ({_percent(total['linear_units'] / total['units'])}), on this one batch",
        f"points: {_percent(total['dead_points'])} dead in at least one layer"
        + (f", first in {first['layer']} ({_percent(first['dead_points'])})" if first else ""),
    ]
    if cost is not None:
        lines.append(
            f"cost: a step takes {cost['jumpstart_ms']:.1f} ms with Jumpstart, {cost['plain_ms']:.1f} ms without: "
            f"x{cost['ratio']:.2f} (x{cost['lowest_ratio']:.2f} to x{cost['highest_ratio']:.2f} in {cost['rounds']} "
            f"rounds, {cost['device']}, threads: {cost['threads']})"
        )
    return lines


def _lists(found: Mapping[str, Any]) -> dict[str, str]:
    functional = [
        f"{entry['function']} in {_called(entry['module'])}"
        + (f" ({entry['calls']} times)" if entry["calls"] > 1 else "")
        for entry in found["functional"]
    ]
    kinds = [f"{_called(entry['module'])}{' (reentrant)' * entry['reentrant']}" for entry in found["checkpointed"]]
    return {
        "functions, not captured": _some(functional, 8),
        "called several times": _some([f"{name} ({calls} times)" for name, calls in found["shared"].items()], 8),
        "in place": _some(found["in_place"], 8),
        "not called": _some(found["not_called"], 8),
        "checkpointed": _some(kinds, 8),
        "compiled": _some([_called(name) for name in found["compiled"]], 8),
    }


def _called(name: str) -> str:
    return name or "the model itself"


def _some(names: Sequence[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def _percent(share: float) -> str:
    """Only none is 0.0 % and only all are 100.0 %."""
    if 0 < share < 0.0005:
        return "< 0.1 %"
    return "> 99.9 %" if 0.9995 <= share < 1 else f"{100 * share:.1f} %"


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.3g}"
