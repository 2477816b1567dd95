"""The tables of ResNets of dense layers."""

from __future__ import annotations

import pandas as pd

from jumpstart.table import to_markdown
from reproduction.page import fill_page
from reproduction.study import Study


def write(study: Study) -> None:
    """Write the tables into the page of the study.

    Args:
        study: The study.
    """
    results = study.results()
    fill_page(study.folder / "README.md", {"means": means(study, results), "datasets": by_dataset(study, results)})


def means(study: Study, results: pd.DataFrame) -> str:
    """Means over the data sets and seeds, one row for each number of layers and method.

    Args:
        study: The study.
        results: Its results.
    """
    rows = []
    for depth, of_depth in results.groupby("depth"):
        for method in study.methods:
            runs = of_depth[of_depth["method"] == method]
            if runs.empty:
                continue
            rows.append(
                {
                    "layers": str(depth),
                    "method": method,
                    "runs": str(len(runs)),
                    "training accuracy": f"{runs['train/acc'].mean():.3f}",
                    "test accuracy": f"{runs['test/acc'].mean():.3f}",
                    "dead units": f"{runs['test/unit_dead_ratio'].mean():.3f}",
                    "linear units": f"{runs['test/unit_linear_ratio'].mean():.3f}",
                }
            )
    return to_markdown(pd.DataFrame(rows))


def by_dataset(study: Study, results: pd.DataFrame) -> str:
    """Mean test accuracy over the seeds, one row for each data set and number of layers.

    Args:
        study: The study.
        results: Its results.
    """
    accuracy = results.pivot_table(index=["dataset", "depth"], columns="method", values="test/acc")
    methods = [method for method in study.methods if method in accuracy]
    table = accuracy[methods].reset_index().rename(columns={"dataset": "data set", "depth": "layers"})
    cells = {name: table[name].map(lambda value: f"{value:.3f}") for name in methods}
    return to_markdown(table.assign(layers=table["layers"].astype(str), **cells).rename_axis(columns=None))
