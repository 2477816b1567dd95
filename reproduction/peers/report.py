"""The table of the peers."""

from __future__ import annotations

import pandas as pd

from jumpstart.table import to_markdown
from reproduction.page import fill_page
from reproduction.peers.cost import FILE
from reproduction.study import Study


def write(study: Study) -> None:
    """Write the table into the page of the study.

    Args:
        study: The study.
    """
    costs = pd.read_csv(FILE).set_index("method")["ratio"]
    fill_page(study.folder / "README.md", {"peers": peers_table(study, study.results(), costs)})


def peers_table(study: Study, results: pd.DataFrame, costs: pd.Series) -> str:
    """One row for each method: accuracies over the seeds, the shares of dead and of linear units, the time of a step.

    Args:
        study: The study.
        results: The results of all methods.
        costs: The time of a step by method, divided by that of the plain network.
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
                    "time of a step": f"{costs[method]:.2f}",
                }
            )
    return to_markdown(pd.DataFrame(rows))
