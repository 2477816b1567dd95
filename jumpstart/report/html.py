"""Building blocks of pages: document, sections, tables. Text from a run is escaped here.

Imports no torch, so that the page of a sweep is written without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from string import Template

from jumpstart.literal import html_text, script_json
from jumpstart.words import percent

METRIC_WORDS = {
    "acc": "accuracy",
    "loss": "loss",
    "jumpstart_loss": "Jumpstart loss",
    "unit_dead_ratio": "dead units",
    "unit_linear_ratio": "linear units",
    "point_dead_ratio": "points dead in some layer",
    "point_efficiency": "point efficiency",
}
"""The words for each metric, by its name without the part of the data."""

METRICS_SHOWN = ("acc", "loss", "unit_dead_ratio", "unit_linear_ratio", "point_dead_ratio", "point_efficiency")
"""The metrics in the tables, in order."""


def document(title: str, body: Iterable[str], data: object, script: str, style: str) -> str:
    """A whole page as HTML: one file that contains its style, script and data.

    Args:
        title: The title, not yet escaped.
        body: Sections as HTML; empty ones are left out.
        data: What the script reads from the element ``data``, as JSON can store it.
        script: The script of the page, which finds ``words.js`` in front of it.
        style: The style of the page alone, after that of all pages.
    """
    return Template(resource("page.html")).substitute(
        title=html_text(title),
        style=f"{resource('page.css')}{style}",
        body="\n".join(part for part in body if part),
        data=script_json(data),
        script=f"{resource('words.js')}{script}",
    )


def resource(name: str) -> str:
    """The content of a file of the report pages.

    Args:
        name: The name of the file.
    """
    return (files("jumpstart.report") / name).read_text(encoding="utf-8")


def section(title: str, content: str, kind: str = "") -> str:
    """A section with a title; empty if its content is empty.

    Args:
        title: The title as HTML.
        content: The content as HTML.
        kind: The class of the content in the style sheet.
    """
    return f'<section><h2>{title}</h2><div class="{kind}">{content}</div></section>' if content else ""


def data_table(head: Sequence[str], rows: Iterable[tuple[str, list[str]]], text: Sequence[int] = ()) -> str:
    """A table whose first column names the rows.

    Args:
        head: The names of all columns.
        rows: The name of each row, and the cells of the other columns.
        text: Indices of the columns that hold text; the others hold numbers and are aligned to the right.
    """
    kinds = ["text" if number in text else "number" for number in range(1, len(head))]
    top = "".join(
        f'<th scope="col" class="{kind}">{html_text(cell)}</th>'
        for cell, kind in zip(head, ["text", *kinds], strict=True)
    )
    lines = [
        f'<tr><th scope="row">{html_text(name)}</th>'
        + "".join(f'<td class="{kind}">{html_text(cell)}</td>' for cell, kind in zip(cells, kinds, strict=True))
        + "</tr>"
        for name, cells in rows
    ]
    return f"<table><thead><tr>{top}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def definition_list(content: Mapping[str, object]) -> str:
    """Names and values as a definition list."""
    items = (
        f"<div><dt>{html_text(name)}</dt><dd>{html_text(value_text(value))}</dd></div>"
        for name, value in content.items()
    )
    return f'<dl class="options">{"".join(items)}</dl>'


def flatten(content: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Nested mappings as one mapping with dotted names.

    Example:
        >>> flatten({"git": {"commit": "1f033bf"}, "cpus": 2})
        {'git.commit': '1f033bf', 'cpus': 2}
    """
    flat: dict[str, object] = {}
    for name, value in content.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def value_text(value: object) -> str:
    """An option or a fact as text.

    Example:
        >>> value_text([2, 4]), value_text(None)
        ('2, 4', 'none')
    """
    if isinstance(value, list):
        return ", ".join(map(value_text, value)) or "none"
    return "none" if value is None else str(value)


def metric_text(metric: str, value: object) -> str:
    """A metric as text: a loss with four digits, any other as a percentage; empty if it is no number.

    Example:
        >>> metric_text("loss", 0.123456), metric_text("acc", 0.5)
        ('0.1235', '50.0 %')
    """
    if not isinstance(value, int | float):
        return ""
    return f"{value:.4g}" if metric.endswith("loss") else percent(float(value))


def number_text(value: object, decimals: int) -> str:
    """A number with thousands separators; empty if the value is no number.

    Example:
        >>> number_text(1234.56, 1)
        '1,234.6'
    """
    return f"{value:,.{decimals}f}" if isinstance(value, int | float) else ""
