"""The columns of a table of the user in words, shown before training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data.tables import Kind

MOST_LINES = 40
"""Columns that are shown one by one; of wider tables, only columns that are not plain numbers come first."""


def overview(description: Mapping[str, Any]) -> str:
    """The files, the columns and the parts of a table, as lines of text.

    Args:
        description: The description of a data module; see :meth:`~data.datamodules.TabularDataModule.describe`.

    Returns:
        Lines without a final line break; empty unless the table is one of the user's.
    """
    columns: Sequence[Mapping[str, Any]] = description.get("columns", ())
    if not columns:
        return ""
    lines = [
        f"{Path(file['path']).name}{_part(file['part'])}: {', '.join(file['facts'])}"
        for file in description.get("files", ())
    ]
    lines += _column_lines(columns)
    parts = ", ".join(f"{name} {part['rows']:,}" for name, part in description["parts"].items())
    lines.append(f"rows: {parts}; inputs of the network: {description['inputs']:,}; classes: {description['classes']}")
    if "val" not in description["parts"]:
        lines.append("no validation part: the metrics under val are those of the test part")
    kept = description["classes_kept_in_train"]
    if kept:
        lines.append(f"in fewer than three distinct rows, so in training only: {', '.join(kept)}")
    lines += [
        f"{rows:,} rows of the {part} part have the features of rows of the training part"
        for part, rows in description["rows_shared_with_train"].items()
        if rows
    ]
    return "\n".join(lines)


def _part(part: str) -> str:
    return "" if part == "all" else f" ({part})"


def _column_lines(columns: Sequence[Mapping[str, Any]]) -> list[str]:
    shown = list(columns)
    if len(shown) > MOST_LINES:
        # The order is stable: what is special comes first, then numbers in their order.
        shown = sorted(shown, key=lambda column: column["kind"] == Kind.NUMBER)[:MOST_LINES]
    cells = [("column", "type", "missing", "values")]
    cells += [(_short(c["name"]), c["kind"], f"{c['missing']:,}", _short(c["values"], 70)) for c in shown]
    widths = [max(len(row[i]) for row in cells) for i in range(3)]
    lines = [
        f"  {name:<{widths[0]}}  {kind:<{widths[1]}}  {missing:>{widths[2]}}  {values}".rstrip()
        for name, kind, missing, values in cells
    ]
    if len(shown) < len(columns):
        lines.append(f"  ... and {len(columns) - len(shown):,} more columns")
    return lines


def _short(text: str, most: int = 30) -> str:
    """One line of printable characters, cut where it is too long."""
    plain = "".join(mark if mark.isprintable() else " " for mark in text)
    return plain if len(plain) <= most else f"{plain[: most - 3]}..."
