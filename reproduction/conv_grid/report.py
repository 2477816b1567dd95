"""The table of the grid of convolutions."""

from __future__ import annotations

import pandas as pd

from jumpstart.table import to_markdown
from reproduction.page import fill_page
from reproduction.study import Study

HELD_OUT = "held_out_acc"


def write(study: Study) -> None:
    """Write the tables into the page of the study.

    Args:
        study: The study.
    """
    results = study.results().rename(columns={"test/acc": HELD_OUT})
    published = pd.read_csv(study.folder / "published.csv")
    of_mnist = results["dataset"] == "mnist10k"
    tables = {
        "held out": accuracy_table(study, results[~of_mnist]),
        "mnist10k": accuracy_table(study, results[of_mnist]),
        "published": accuracy_table(study, published),
    }
    fill_page(study.folder / "README.md", tables)


def accuracy_table(study: Study, frame: pd.DataFrame) -> str:
    """The held-out accuracy, one row for each method and width, one column for each depth.

    Args:
        study: The study.
        frame: The results, ours or the published ones; those of several seeds are averaged.
    """
    means = frame.groupby(["method", "width", "depth"])[HELD_OUT].mean().to_dict()
    widths, depths = sorted(frame["width"].unique()), sorted(frame["depth"].unique())
    rows = [
        {"method": method, "width": str(width)}
        | {f"{depth} layers": _cell(means.get((method, width, depth))) for depth in depths}
        for method in study.methods
        for width in widths
        if any((method, width, depth) in means for depth in depths)
    ]
    return to_markdown(pd.DataFrame(rows))


def _cell(accuracy: float | None) -> str:
    return "" if accuracy is None else f"{accuracy:.3f}"
