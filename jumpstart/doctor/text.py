"""The result of an examination as text: a table of the captured layers, lists of modules, and advice."""

from __future__ import annotations

from collections.abc import Sequence

from jumpstart.doctor.examination import Cost, Examination, Layer
from jumpstart.words import called, counted, percent, some

_MOST_ROWS = 60
_MOST_NAMES = 8


def describe(result: Examination) -> str:
    """The whole result as text.

    Args:
        result: What :func:`~jumpstart.doctor.examine` returns.
    """
    return f"{describe_status(result)}\n{describe_advice(result)}"


def describe_status(result: Examination) -> str:
    """The first part of the text: captured layers and their status.

    Args:
        result: The result, with or without the cost.
    """
    lines = [
        f"{result.model}: {result.kind}, {result.parameters:,} parameters, in {result.mode} mode",
        f"data: {result.data.source}, {_by_x(result.data.shape)}, seed {result.data.seed}",
        "",
    ]
    if result.captured:
        lines += [*_table(result.captured), "", *_totals(result), ""]
    else:
        lines += ["captured: nothing", ""]
    noted = [f"{name}: {text}" for name, text in _lists(result).items() if text]
    return "\n".join([*lines, *noted, ""] if noted else lines)


def describe_advice(result: Examination) -> str:
    """The second part of the text: the cost of a step, and what to do.

    Args:
        result: The result.
    """
    cost = [_cost_words(result.cost), ""] if result.cost is not None else []
    advice = [f"  {number}. {text}" for number, text in enumerate(result.advice, 1)]
    return "\n".join([*cost, "what to do", *advice])


def _table(layers: Sequence[Layer]) -> list[str]:
    head = ("layer", "type", "shape", "units", "dead", "linear", "points dead", "range")
    rows = [_row(layer) for layer in layers]
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


def _row(layer: Layer) -> tuple[str, ...]:
    return (
        layer.name,
        layer.type,
        _by_x(layer.shape),
        f"{layer.units:,}",
        percent(layer.dead_units / layer.units),
        percent(layer.linear_units / layer.units),
        percent(layer.dead_points),
        f"{_end(layer.minimum)} to {_end(layer.maximum)}",
    )


def _totals(result: Examination) -> list[str]:
    total, first = result.total, result.first_death
    assert total is not None
    where = f", first in {first.layer} ({percent(first.dead_points)})" if first else ""
    return [
        f"units: {total.units:,}, dead {total.dead_units:,} ({percent(total.dead_units / total.units)}), "
        f"linear {total.linear_units:,} ({percent(total.linear_units / total.units)}), on this one batch",
        f"points: {percent(total.dead_points)} dead in at least one layer{where}",
    ]


def _cost_words(cost: Cost) -> str:
    return (
        f"cost: a step takes {cost.jumpstart_ms:.1f} ms with Jumpstart, {cost.plain_ms:.1f} ms without: "
        f"x{cost.ratio:.2f} (x{cost.lowest_ratio:.2f} to x{cost.highest_ratio:.2f} in {counted(cost.rounds, 'round')} "
        f"of {counted(cost.samples, 'sample')}, {cost.device}, threads: {cost.threads})"
    )


def _lists(result: Examination) -> dict[str, str]:
    functional = [
        f"{call.function} in {called(call.module)}" + (f" ({call.calls} times)" if call.calls > 1 else "")
        for call in result.functional
    ]
    checkpointed = [f"{called(entry.module)}{' (reentrant)' * entry.reentrant}" for entry in result.checkpointed]
    lists = {
        "functions, not captured": functional,
        "called several times": [f"{name} ({calls} times)" for name, calls in result.shared.items()],
        "in place": result.in_place,
        "not called": result.not_called,
        "without a gradient": [f"{name} ({reason})" for name, reason in result.no_gradient.items()],
        "checkpointed": checkpointed,
        "time-major": result.time_major,
        "compiled": [called(name) for name in result.compiled],
    }
    return {name: some(items, _MOST_NAMES) for name, items in lists.items()}


def _by_x(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _end(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.3g}"
