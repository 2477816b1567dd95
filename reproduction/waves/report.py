"""The table of the waves."""

from __future__ import annotations

from pathlib import PurePosixPath

import pandas as pd

from jumpstart.table import to_markdown
from reproduction.page import fill_page
from reproduction.study import Study

NETWORK = ["method", "depth", "width", "lambda_"]


def write(study: Study) -> None:
    """Write the table into the page of the study.

    Args:
        study: The study.
    """
    fill_page(study.folder / "README.md", {"waves": waves_table(study.results())})


def waves_table(results: pd.DataFrame) -> str:
    """The test accuracy of each network on both tasks, over the seeds.

    Args:
        results: The results of all methods.

    Example:
        >>> frame = pd.DataFrame({
        ...     "method": "plain", "dataset": "waves/line.csv", "depth": 10, "width": 4, "lambda_": 0.0,
        ...     "test/acc": [0.5, 0.7],
        ... })
        >>> print(waves_table(frame).splitlines()[-1])
        | plain | 10 | 4 | 0 | 0.600 ± 0.141, best 0.700 |
    """
    rows = []
    for (method, depth, width, lambda_), frame in results.groupby(NETWORK, sort=False):
        accuracies = {
            PurePosixPath(str(dataset)).stem: f"{part.mean():.3f} ± {part.std(ddof=1):.3f}, best {part.max():.3f}"
            for dataset, part in frame.groupby("dataset")["test/acc"]
        }
        rows.append(
            {"method": method, "layers": str(depth), "units": str(width), "lambda": f"{lambda_:g}"} | accuracies
        )
    return to_markdown(pd.DataFrame(rows))
