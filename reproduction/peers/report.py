"""The table of the peers."""

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
    fill_page(study.folder / "README.md", {"peers": peers_table(study, study.results())})


def peers_table(study: Study, results: pd.DataFrame) -> str:
    """One row for each method: accuracies over the seeds, and the shares of dead and of linear units.

    Args:
        study: The study.
        results: The results of all methods.
    """
    rows = []
    for method in study.methods:
        frame = results[results["method"] == method]
        if len(frame):
            accuracy = frame["test/acc"]
            rows.append(
                {
                    "method": method,
                    "seeds": str(len(frame)),
                    "test accuracy": f"{accuracy.mean():.3f} ± {accuracy.std(ddof=1):.3f}",
                    "worst seed": f"{accuracy.min():.3f}",
                    "train accuracy": f"{frame['train/acc'].mean():.3f}",
                    "dead units": f"{frame['test/unit_dead_ratio'].mean():.3f}",
                    "linear units": f"{frame['test/unit_linear_ratio'].mean():.3f}",
                }
            )
    return to_markdown(pd.DataFrame(rows))
