"""The tables of the parts of the method, each changed alone."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from jumpstart.table import to_markdown
from reproduction.page import fill_page
from reproduction.study import Study

NEVER_LEARNED = 0.6
"""Test accuracy below which a network is called constant: half of the points of `moons`, and some by chance."""
VARIED = {
    "terms": ["terms"],
    "margin": ["margin"],
    "negative_margin": ["negative_margin"],
    "aggregate": ["aggregate", "lambda_"],
    "ties": ["ties"],
    "capture": ["capture", "lambda_"],
    "batch": ["batch_size", "lambda_"],
    "rate": ["lr", "lambda_"],
}
"""The options that vary in each method and have a table of rows."""


def write(study: Study) -> None:
    """Write the tables into the page of the study.

    Args:
        study: The study.
    """
    results = study.results()
    tables = {method: rows_table(results[results["method"] == method], names) for method, names in VARIED.items()}
    tables["lambda"] = lambda_table(results[results["method"] == "lambda"])
    fill_page(study.folder / "README.md", tables)


def rows_table(frame: pd.DataFrame, options: Sequence[str]) -> str:
    """One row for each combination of some options: accuracies over the seeds, and the status of units and points.

    Args:
        frame: The results of a method.
        options: The options.

    Example:
        >>> frame = pd.DataFrame({
        ...     "margin": [1, 1], "test/acc": [1.0, 0.5], "test/unit_dead_ratio": [0.0, 0.5],
        ...     "test/unit_linear_ratio": [0.0, 0.0], "test/point_dead_ratio": [0.0, 0.0],
        ... })
        >>> print(rows_table(frame, ["margin"]).splitlines()[-1])
        | 1 | 0.750 ± 0.354 | 0.500 | 1 of 2 | 0.250 | 0.000 | 0.000 |
    """
    rows = []
    for values, part in frame.groupby([*options], sort=False, dropna=False):
        accuracy = part["test/acc"]
        ratios = {
            f"{status} {of}s": f"{part[f'test/{of}_{status}_ratio'].mean():.3f}"
            for status, of in (("dead", "unit"), ("linear", "unit"), ("dead", "point"))
        }
        rows.append(
            {name: _text(value) for name, value in zip(options, values, strict=True)}
            | {
                "test accuracy": f"{accuracy.mean():.3f} ± {accuracy.std(ddof=1):.3f}",
                "worst seed": f"{accuracy.min():.3f}",
                "below 0.6": f"{(accuracy < NEVER_LEARNED).sum()} of {len(accuracy)}",
            }
            | ratios
        )
    return to_markdown(pd.DataFrame(rows))


def lambda_table(frame: pd.DataFrame) -> str:
    """The mean test accuracy of each lambda and each initialization.

    Args:
        frame: The results of the method.

    Example:
        >>> frame = pd.DataFrame({"lambda_": [0.0, 1e-4], "init": ["torch", "torch"], "test/acc": [0.5, 1.0]})
        >>> print(lambda_table(frame).splitlines()[-1])
        | 0.0001 | 1.000 |
    """
    means = frame.pivot_table(index="lambda_", columns="init", values="test/acc", sort=False)
    rows = [
        {"lambda_": _text(value), **{init: f"{mean:.3f}" for init, mean in row.items()}}
        for value, row in means.iterrows()
    ]
    return to_markdown(pd.DataFrame(rows))


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
