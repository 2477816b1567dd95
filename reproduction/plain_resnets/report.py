"""The tables of plain and standard ResNets."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from jumpstart.table import to_markdown
from reproduction.page import fill_page
from reproduction.study import Study

SHORT = "accuracy"
"""The table of the methods that train for 12 epochs and have no ending."""
ENDINGS = ("deeper", "long", "mnist10k", "muon", "muon_mnist10k", "muon_mnist10k_long", "muon_28px")
"""The other tables: the endings of the names of their methods."""


def write(study: Study) -> None:
    """Write the tables into the page of the study.

    Args:
        study: The study.
    """
    tables = {
        name: accuracy_table(study, [method for method in study.methods if _table_of(method) == name])
        for name in (SHORT, *ENDINGS)
    }
    fill_page(study.folder / "README.md", tables)


def _table_of(method: str) -> str:
    return max((ending for ending in ENDINGS if method.endswith(f"_{ending}")), key=len, default=SHORT)


def accuracy_table(study: Study, methods: Iterable[str]) -> str:
    """Training and test accuracy, one row for each method and depth.

    Args:
        study: The study.
        methods: The methods of the table.
    """
    results = study.results()
    rows = []
    for method in methods:
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
