"""The tables of the depths and widths at which Jumpstart helps, and of the lambdas that it needs there."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from jumpstart.table import to_markdown
from reproduction.page import accuracy_map, fill_page, save
from reproduction.study import Study

DEFAULT = 0.01
"""The lambda of the launchers."""
NEAR = 0.01
"""Difference of accuracy below which two lambdas count as equally good."""
NETWORK = ["dataset", "depth", "width"]


def write(study: Study) -> None:
    """Write the tables into the page of the study, and the figures beside it.

    Args:
        study: The study.
    """
    results = study.results()
    frames = {method: results[results["method"] == method] for method in study.methods}
    tables = {f"accuracy on {method}": accuracy_table(frame) for method, frame in frames.items()}
    tables |= {f"status on {method}": status_table(frame) for method, frame in frames.items()}
    tables["lambda"] = lambda_table(results)
    fill_page(study.folder / "README.md", tables)
    for lambda_ in (0.0, DEFAULT):
        frame = results[(results["method"] == "moons") & (results["lambda_"] == lambda_)]
        figure = accuracy_map(frame, "test/acc", "test accuracy")
        save(figure, study.folder / "figures" / f"moons-{lambda_:g}.png")


def accuracy_table(frame: pd.DataFrame) -> str:
    """The mean test accuracy of each depth and width: with a lambda of 0, and with the default.

    Args:
        frame: The results of a method.
    """
    return _grid(frame, "test/acc")


def status_table(frame: pd.DataFrame) -> str:
    """The mean share of units that are dead or linear, for each depth and width: with a lambda of 0 and the default.

    Args:
        frame: The results of a method.
    """
    return _grid(frame.assign(idle=frame["test/unit_dead_ratio"] + frame["test/unit_linear_ratio"]), "idle")


def _grid(frame: pd.DataFrame, metric: str) -> str:
    """One row for each depth, one column for each width, and in each cell the metric of both lambdas."""
    means = frame.groupby(["lambda_", "depth", "width"])[metric].mean().to_dict()
    depths, widths = sorted(frame["depth"].unique()), sorted(frame["width"].unique())
    rows = [
        {"layers": str(depth)}
        | {
            f"width {width}": ", ".join(f"{means[lambda_, depth, width]:.3f}" for lambda_ in (0.0, DEFAULT))
            for width in widths
        }
        for depth in depths
    ]
    return to_markdown(pd.DataFrame(rows))


def lambda_table(results: pd.DataFrame) -> str:
    """In how many networks each lambda is as good as the best one, in two halves of the networks.

    A lambda is as good as the best one of a network if its mean test accuracy over the seeds is at most 0.01 lower.
    Networks are one depth and width on one data set; every second one is in the same half.

    Args:
        results: The results of all methods.

    Example:
        >>> frame = pd.DataFrame({
        ...     "dataset": "moons", "depth": [1, 1, 2, 2], "width": 4, "lambda_": [0.0, 0.1, 0.0, 0.1], "seed": 0,
        ...     "test/acc": [1.0, 0.9, 0.7, 0.9],
        ... })
        >>> print(lambda_table(frame).splitlines()[-1])
        | 0.1 | 0 of 1 | 1 of 1 | 0.900 |
    """
    means = results.pivot_table(index=NETWORK, columns="lambda_", values="test/acc")
    near = means.ge(means.max(axis=1) - NEAR, axis=0)
    rows = [
        {
            "lambda": f"{lambda_:g}",
            "as good as the best, first half": _share(near[lambda_].to_list()[::2]),
            "second half": _share(near[lambda_].to_list()[1::2]),
            "mean test accuracy": f"{means[lambda_].mean():.3f}",
        }
        for lambda_ in means.columns
    ]
    return to_markdown(pd.DataFrame(rows))


def _share(near: Sequence[bool]) -> str:
    return f"{sum(near)} of {len(near)}"
