"""Tables of ``docs/options.md`` and ``docs/data.md``, made from the code: ``python -m scripts.make_tables``.

A table stands between the comments ``<!-- table: NAME -->`` and ``<!-- /table -->`` of a page. Only the text between
the two comments is replaced; the rest of the page is written by hand.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from data.datasets import markdown_table as dataset_table
from jumpstart.files import write_text
from jumpstart.words import listed
from model.config.options import GROUPS, options
from model.config.rectangular import RectangularConfig
from model.config.resnet import ResnetConfig
from model.config.tables import markdown_table as option_table
from sweep.grid.options import SweepConfig

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = (DOCS / "options.md", DOCS / "data.md", DOCS / "sweeps.md")
"""The pages with tables."""

_TABLE = re.compile(r"(<!-- table: (.+?) -->\n).*?(<!-- /table -->)", re.DOTALL)


def inapplicable_options() -> str:
    """One sentence that lists the options of rectangular networks that ResNets lack."""
    names = [f"`--{name}`" for name in options(RectangularConfig) if name not in options(ResnetConfig)]
    return f"{listed(names)} do not apply to ResNets."


TABLES: Mapping[str, Callable[[], str]] = {
    **{group: partial(option_table, RectangularConfig, group) for group in GROUPS},
    "resnet": partial(option_table, ResnetConfig, differing_from=RectangularConfig),
    "not for resnets": inapplicable_options,
    "sweep": partial(option_table, SweepConfig),
    "data sets": dataset_table,
}
"""Every table by the name in its comment."""


def filled(text: str, tables: Mapping[str, Callable[[], str]] = TABLES) -> str:
    r"""The text of a page, with every table made anew.

    Args:
        text: The page.
        tables: What makes each table, by its name.

    Raises:
        KeyError: If a comment names an unknown table.

    Example:
        >>> filled("<!-- table: not for resnets -->\n<!-- /table -->").splitlines()[2][:13]
        '`--width`, `-'
    """
    return _TABLE.sub(lambda match: f"{match[1]}\n{tables[match[2]]()}\n\n{match[3]}", text)


def table_names(text: str) -> list[str]:
    r"""The names of the tables of a page, in order.

    Example:
        >>> table_names("<!-- table: run -->\n<!-- /table -->")
        ['run']
    """
    return [name for _, name, _ in _TABLE.findall(text)]


def main() -> int:
    """Rewrite the tables of all pages."""
    for page in PAGES:
        write_text(page, filled(page.read_text(encoding="utf-8")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
