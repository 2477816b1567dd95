"""Writes the tables of ``docs/options.md`` and ``docs/data.md`` from the code: ``python -m scripts.make_tables``.

A table stands between the comments ``<!-- table: NAME -->`` and ``<!-- /table -->`` of a page. Only what is between the
two comments is replaced; the rest of the page is written by hand.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from data.data import DATASETS
from jumpstart.files import write_text
from model.config.options import GROUPS, Config, Option, options
from model.config.rectangular import RectangularConfig
from model.config.resnet import ResnetConfig

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = (DOCS / "options.md", DOCS / "data.md")

_TABLE = re.compile(r"(<!-- table: (.+?) -->\n).*?(<!-- /table -->)", re.DOTALL)
_OPTION_COLUMNS = ("flag", "default", "values", "meaning")
_DATASET_COLUMNS = ("name", "title", "source", "rows", "features", "classes", "license")


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]], numeric: Iterable[str] = ()) -> str:
    """A Markdown table.

    Args:
        columns: Column titles.
        rows: Cells of each row, as many as there are columns.
        numeric: Columns that are aligned to the right.

    Example:
        >>> print(markdown_table(["name", "rows"], [["iris", "150"]], numeric=["rows"]))
        | name | rows |
        |---|---:|
        | iris | 150 |
    """
    rule = "|".join("---:" if column in numeric else "---" for column in columns)
    lines = [" | ".join(columns), *(" | ".join(row) for row in rows)]
    head, *body = (f"| {line} |" for line in lines)
    return "\n".join([head, f"|{rule}|", *body])


def option_row(item: Option) -> tuple[str, str, str, str]:
    """Flag, default, accepted values and meaning of one option."""
    accepted = item.words or ", ".join(map(str, item.choices)) or item.range
    return f"`--{item.name}`", f"`{default_text(item)}`", accepted, item.help


def default_text(item: Option) -> str:
    """The default of an option, as it is written on the command line."""
    if isinstance(item.default, tuple):
        return ",".join(map(str, item.default)) or "none"
    return str(item.default)


def group_table(config: type[Config], group: str) -> str:
    """The options of one group of a launcher."""
    rows = [option_row(item) for item in options(config).values() if item.group == group]
    return markdown_table(_OPTION_COLUMNS, rows)


def difference_table(config: type[Config], base: type[Config]) -> str:
    """The options of ``config`` that ``base`` lacks, or has with another default, range or meaning."""
    others = options(base)
    rows = [
        option_row(item)
        for name, item in options(config).items()
        if name not in others or option_row(others[name]) != option_row(item)
    ]
    return markdown_table(_OPTION_COLUMNS, rows)


def missing_options(config: type[Config], base: type[Config]) -> str:
    """One sentence that lists the options of ``base`` that ``config`` lacks."""
    names = [f"`--{name}`" for name in options(base) if name not in options(config)]
    return f"{', '.join(names[:-1])} and {names[-1]} do not apply to ResNets."


def dataset_table() -> str:
    """Every data set of the registry."""
    rows = [
        (
            f"`{info.name}`",
            f"[{info.title}]({info.url})",
            info.source,
            str(info.rows),
            str(info.features),
            str(info.classes),
            info.license,
        )
        for info in DATASETS.values()
    ]
    return markdown_table(_DATASET_COLUMNS, rows, numeric=("rows", "features", "classes"))


TABLES: Mapping[str, Callable[[], str]] = {
    **{group: partial(group_table, RectangularConfig, group) for group in GROUPS},
    "resnet": partial(difference_table, ResnetConfig, RectangularConfig),
    "not for resnets": partial(missing_options, ResnetConfig, RectangularConfig),
    "data sets": dataset_table,
}
"""Every table by the name that stands in its comment."""


def filled(text: str) -> str:
    """The text of a page with every table made anew.

    Raises:
        KeyError: If a comment names an unknown table.
    """
    return _TABLE.sub(lambda match: f"{match[1]}\n{TABLES[match[2]]()}\n\n{match[3]}", text)


def table_names(text: str) -> list[str]:
    """The names of the tables in the text of a page."""
    return [name for _, name, _ in _TABLE.findall(text)]


def main() -> int:
    """Rewrite the tables of both pages."""
    for page in PAGES:
        write_text(page, filled(page.read_text(encoding="utf-8")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
