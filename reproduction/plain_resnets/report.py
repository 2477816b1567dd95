"""The table of plain and standard ResNets."""

from __future__ import annotations

import pandas as pd

from jumpstart.table import to_markdown
from reproduction.page import fill_page
from reproduction.study import Study


def write(study: Study) -> None:
    """Write the table into the page of the study.

    Args:
        study: The study.
    """
    fill_page(study.folder / "README.md", {"accuracy": accuracy_table(study)})


def accuracy_table(study: Study) -> str:
    """Training and test accuracy, one row for each method and depth.

    Args:
        study: The study.
    """
    results = study.results()
    rows = []
    for method in study.methods:
        for depth, runs in results[results["method"] == method].groupby("depth"):
            test = runs["test/acc"]
            rows.append(
                {
                    "method": method,
                    "layers": str(depth),
                    "seeds": str(len(runs)),
                    "training accuracy": f"{runs['train/acc'].mean():.3f}",
                    "test accuracy": f"{test.mean():.3f}",
                    "worst seed": f"{test.min():.3f}",
                    "dead units": f"{runs['test/unit_dead_ratio'].mean():.3f}",
                    "linear units": f"{runs['test/unit_linear_ratio'].mean():.3f}",
                }
            )
    return to_markdown(pd.DataFrame(rows))
