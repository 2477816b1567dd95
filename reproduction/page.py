"""The page of a study: its tables and figures are made from the committed results, its prose is written by hand."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from jumpstart.files import atomic_path, write_text
from jumpstart.plotting import plot_heat_map
from scripts.make_tables import filled

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def fill_page(page: Path, tables: Mapping[str, str]) -> None:
    """Replace the tables of a page.

    Args:
        page: A Markdown file, with each table between ``<!-- table: NAME -->`` and ``<!-- /table -->``.
        tables: The tables by name.

    Raises:
        KeyError: If the page has a table of another name.
    """
    makers = {name: partial(str, table) for name, table in tables.items()}
    write_text(page, filled(page.read_text(encoding="utf-8"), makers))


def accuracy_map(frame: pd.DataFrame, metric: str, label: str) -> Figure:
    """A heat map of an accuracy, the mean of each width and depth.

    Args:
        frame: The results that are drawn.
        metric: The column of the accuracy.
        label: What the accuracy is called in the figure.
    """
    means = frame.pivot_table(index="width", columns="depth", values=metric)
    return plot_heat_map(
        means.to_numpy(),
        [*means.index],
        [*means.columns],
        row_label="width",
        column_label="depth",
        label=label,
        limits=(0.5, 1.0),
    )


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, the same bytes for the same figure.

    Args:
        figure: The figure, which is closed.
        path: The file; its folder is made.
    """
    from matplotlib import pyplot as plt

    path.parent.mkdir(exist_ok=True)
    with atomic_path(path) as draft:
        figure.savefig(draft, format="png", dpi=100, metadata={"Software": None})
    plt.close(figure)
