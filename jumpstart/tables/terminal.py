"""The summary of one run as lines for the terminal."""

from __future__ import annotations

from numbers import Integral, Real

from jumpstart.choices import Part
from jumpstart.literal import visible
from jumpstart.tables.records import Record, flattened

_PARTS = tuple(Part)


def summary_table(summary: Record) -> str:
    """The results of one run as lines for the terminal.

    Args:
        summary: Names and values. ``train/x``, ``val/x`` and ``test/x`` share a line. All other
            values follow, one line each. Names within nested mappings are joined by dots.

    Raises:
        ValueError: If there is no value.

    Example:
        >>> print(summary_table({"train/acc": 1.0, "test/acc": 0.975, "epochs": 4000}))
                  train     test
        acc      1.0000   0.9750
        <BLANKLINE>
        epochs   4000
    """
    results: dict[str, dict[str, str]] = {}
    rest: dict[str, str] = {}
    for name, value in flattened(summary):
        name = visible(name)
        split, _, metric = name.partition("/")
        if split in _PARTS and metric:
            results.setdefault(metric, {})[split] = _short(value)
        else:
            rest[name] = _short(value)
    if not results and not rest:
        raise ValueError("summary must hold at least one value, got none.")
    first = max(map(len, (*results, *rest)))
    splits = [split for split in _PARTS if any(split in line for line in results.values())]
    lines = []
    if results:
        cells = [text for line in results.values() for text in line.values()]
        width = max(map(len, (*cells, *splits))) + 3
        lines.append(" " * first + "".join(split.rjust(width) for split in splits))
        for metric, line in results.items():
            texts = (line.get(split, "-").rjust(width) for split in splits)
            lines.append(metric.ljust(first) + "".join(texts))
    if results and rest:
        lines.append("")
    return "\n".join([*lines, *(f"{name.ljust(first)}   {text}" for name, text in rest.items())])


def _short(value: object) -> str:
    """A value for the terminal: real numbers with four decimals, or three significant digits if very large or small."""
    if value is None:
        return "-"
    if isinstance(value, Real) and not isinstance(value, Integral):
        number = float(value)
        readable = number == 0 or 1e-3 <= abs(number) < 1e5
        return f"{number:.4f}" if readable else f"{number:.3g}"
    return visible(value)
