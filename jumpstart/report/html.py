"""Building blocks of the report page: document, sections, tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from jumpstart.palette import COLORS
from jumpstart.report.payload import page_data
from jumpstart.report.record import RunRecord
from jumpstart.words import percent


def document(title: str, body: Iterable[str], runs: Sequence[RunRecord]) -> str:
    """The whole page as HTML: one file with its style, script and data inside."""
    colors = {code.name.lower(): color for code, color in COLORS.items()}
    return Template(resource("page.html")).substitute(
        title=escape(title),
        style=Template(resource("page.css")).substitute(colors),
        body="\n".join(part for part in body if part),
        data=page_data(list(runs)),
        script=resource("page.js"),
    )


def resource(name: str) -> str:
    """The text of a file that is installed beside this module."""
    return (files("jumpstart.report") / name).read_text(encoding="utf-8")


def section(title: str, content: str, kind: str = "") -> str:
    """A titled section; empty if its content is."""
    return f'<section><h2>{title}</h2><div class="{kind}">{content}</div></section>' if content else ""


def data_table(head: Sequence[str], rows: Iterable[tuple[str, list[str]]], text: Sequence[int] = ()) -> str:
    """A table whose first column names the rows; columns are figures, but for those numbered in ``text``."""
    kinds = ["text" if number in text else "number" for number in range(1, len(head))]
    top = "".join(
        f'<th scope="col" class="{kind}">{escape(cell)}</th>' for cell, kind in zip(head, ["text", *kinds], strict=True)
    )
    lines = [
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(f'<td class="{kind}">{escape(cell)}</td>' for cell, kind in zip(cells, kinds, strict=True))
        + "</tr>"
        for name, cells in rows
    ]
    return f"<table><thead><tr>{top}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def pairs(content: Mapping[str, Any]) -> str:
    """Names and values as a definition list, escaped."""
    items = (
        f"<div><dt>{escape(name)}</dt><dd>{escape(plain_text(value))}</dd></div>" for name, value in content.items()
    )
    return f'<dl class="options">{"".join(items)}</dl>'


def flatten(content: Mapping[str, Any], head: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted names."""
    flat: dict[str, Any] = {}
    for name, value in content.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{head}{name}.")
        else:
            flat[f"{head}{name}"] = value
    return flat


def plain_text(value: Any) -> str:
    """A value as text; lists by commas."""
    if isinstance(value, list):
        return ", ".join(map(plain_text, value)) or "none"
    return "none" if value is None else str(value)


def text_of(part: str, value: Any) -> str:
    """The value of a metric as the page shows it: shares as percentages, losses in short form."""
    if not isinstance(value, int | float):
        return ""
    return f"{value:.4g}" if part.endswith("loss") else percent(float(value))


def number_text(value: Any, digits: int) -> str:
    """A number with this many decimals and thousands separators; empty if it is none."""
    return f"{value:,.{digits}f}" if isinstance(value, int | float) else ""


METRIC_WORDS = {
    "acc": "accuracy",
    "loss": "loss",
    "jumpstart_loss": "Jumpstart loss",
    "unit_dead_ratio": "dead units",
    "unit_linear_ratio": "linear units",
    "point_dead_ratio": "points dead in some layer",
    "point_efficiency": "point efficiency",
}


HEADLINE = ("acc", "loss", "unit_dead_ratio", "unit_linear_ratio", "point_dead_ratio", "point_efficiency")
