"""What the doctor found, in words: advice and a table for eyes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jumpstart.words import called, some

_MOST_ROWS = 60


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
        f"{entry['function']} in {called(entry['module'])}"
        + (f" ({entry['calls']} times)" if entry["calls"] > 1 else "")
        for entry in found["functional"]
    ]
    kinds = [f"{called(entry['module'])}{' (reentrant)' * entry['reentrant']}" for entry in found["checkpointed"]]
    return {
        "functions, not captured": some(functional, 8),
        "called several times": some([f"{name} ({calls} times)" for name, calls in found["shared"].items()], 8),
        "in place": some(found["in_place"], 8),
        "not called": some(found["not_called"], 8),
        "checkpointed": some(kinds, 8),
        "compiled": some([called(name) for name in found["compiled"]], 8),
    }


def _percent(share: float) -> str:
    """Only none is 0.0 % and only all are 100.0 %."""
    if 0 < share < 0.0005:
        return "< 0.1 %"
    return "> 99.9 %" if 0.9995 <= share < 1 else f"{100 * share:.1f} %"


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.3g}"
