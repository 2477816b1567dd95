"""The table of the default recipe and its rivals."""

from __future__ import annotations

import pandas as pd
from scipy.stats import wilcoxon

from reproduction.page import fill_page
from reproduction.study import Study

DEFAULT = "default"
"""The method that all others are compared with."""
LEVELS = (0.95, 0.99)
"""Test accuracies below which seeds are counted: a bad network, and one that is not solved."""


def write(study: Study) -> None:
    """Write the table into the page of the study.

    Args:
        study: The study.
    """
    fill_page(study.folder / "README.md", {"recipes": recipes_table(study, study.results())})


def recipes_table(study: Study, results: pd.DataFrame) -> str:
    """Mean test accuracy, the worst seeds, and the test of the difference from the default, seed by seed.

    Args:
        study: The study.
        results: The results of its methods.
    """
    accuracies = results.pivot_table(index="seed", columns="method", values="test/acc")
    below = " | ".join(f"seeds below {level}" for level in LEVELS)
    lines = [
        f"| recipe | seeds | mean test accuracy | worst seed | {below} | difference from the default | p |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for method in study.methods:
        if method not in accuracies:
            continue
        pairs = accuracies[[*dict.fromkeys((DEFAULT, method))]].dropna()
        own, difference = pairs[method], pairs[method] - pairs[DEFAULT]
        p = f"{wilcoxon(difference).pvalue:.2g}" if difference.any() else "-"
        lines.append(
            f"| {method} | {len(own)} | {own.mean():.4f} | {own.min():.3f} | "
            f"{' | '.join(str((own < level).sum()) for level in LEVELS)} | "
            f"{difference.mean():+.4f} | {p} |"
        )
    return "\n".join(lines)
