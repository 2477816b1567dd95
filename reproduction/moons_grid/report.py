"""The tables and plots of the moons grid."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from reproduction.page import accuracy_map, fill_page, save
from reproduction.study import Study

BEST = {"train": "best_row/train/acc", "held out": "test/acc"}
LAST = {"train": "last/train/acc", "held out": "last/val/acc"}
"""Column of the results by what it is: the epoch of the best training accuracy, and the last epoch."""
NEVER_LEARNED = 0.6
"""Training accuracy below which the paper's networks are constant: half of the points, and some by chance."""


def write(study: Study) -> None:
    """Write the tables into the page of the study, and the plots beside it.

    Args:
        study: The study.
    """
    results = study.results()
    # Without batch normalization, the accuracy of the best weights is that of the row of the best epoch.
    results[BEST["train"]] = results[BEST["train"]].fillna(results["train/acc"])
    published = pd.read_csv(study.folder / "published.csv")
    tables = {"methods": methods_table(study, results, published), "widths": widths_table(study, results)}
    fill_page(study.folder / "README.md", tables)
    for method in results["method"].unique():
        figure = accuracy_map(results[results["method"] == method], BEST["train"], "training accuracy")
        save(figure, study.folder / "figures" / f"{method}.png")


def key_figures(frame: pd.DataFrame, columns: Mapping[str, str]) -> dict[str, float]:
    """The four numbers of a grid, for one seed: mean accuracies, and how many networks are at both ends.

    Args:
        frame: One row for each network.
        columns: The columns of the training and of the held-out accuracy.

    Example:
        >>> frame = pd.DataFrame({"best_row/train/acc": [1.0, 0.5], "test/acc": [0.9, 0.5]})
        >>> key_figures(frame, BEST)
        {'mean': 0.75, 'never': 1, 'perfect': 1, 'held out': 0.7}
    """
    train = frame[columns["train"]]
    return {
        "mean": float(train.mean()),
        "never": int((train < NEVER_LEARNED).sum()),
        "perfect": int((train == 1).sum()),
        "held out": float(frame[columns["held out"]].mean()),
    }


def methods_table(study: Study, results: pd.DataFrame, published: pd.DataFrame) -> str:
    """The four numbers of each method: the published ones, and ours at the best and at the last epoch.

    Args:
        study: The study.
        results: The results of its methods.
        published: The published accuracies of each network.
    """
    lines = [
        "| method | epoch | seeds | training accuracy | networks below 0.6 | networks at 1.0 | held-out accuracy |",
        "|---|---|---|---|---|---|---|",
    ]
    theirs = {"train": "train_acc", "held out": "held_out_acc"}
    for method in study.methods:
        of_paper = published[published["method"] == method]
        if len(of_paper):
            found = key_figures(of_paper, theirs)
            lines.append(
                f"| {method} | published | 1 | {found['mean']:.3f} | {found['never']} | {found['perfect']} | "
                f"{found['held out']:.3f} |"
            )
        own = results[results["method"] == method]
        for epoch, columns in (("best", BEST), ("last", LAST)):
            if len(own):
                lines.append(f"| {method} | {epoch} | {own['seed'].nunique()} | {_over_seeds(own, columns)} |")
    return "\n".join(lines)


def _over_seeds(frame: pd.DataFrame, columns: Mapping[str, str]) -> str:
    """The four numbers as cells: mean over the seeds, and the standard deviation or the range between them.

    Example:
        >>> frame = pd.DataFrame({"seed": [0, 1], "best_row/train/acc": [1.0, 0.5], "test/acc": [0.9, 0.5]})
        >>> _over_seeds(frame, BEST)
        '0.750 ± 0.354 | 0.5 (0 to 1) | 0.5 (0 to 1) | 0.700 ± 0.283'
        >>> _over_seeds(frame[:1], BEST)  # one seed has no deviation and no range
        '1.000 | 0 | 1 | 0.900'
    """
    seeds = pd.DataFrame([key_figures(part, columns) for _, part in frame.groupby("seed")])
    if len(seeds) == 1:
        only = seeds.iloc[0]
        return f"{only['mean']:.3f} | {only['never']:.0f} | {only['perfect']:.0f} | {only['held out']:.3f}"
    spread = seeds.std(ddof=1)
    counts = [
        f"{seeds[name].mean():.1f} ({seeds[name].min():.0f} to {seeds[name].max():.0f})"
        for name in ("never", "perfect")
    ]
    means = [f"{seeds[name].mean():.3f} ± {spread[name]:.3f}" for name in ("mean", "held out")]
    return " | ".join([means[0], *counts, means[1]])


def widths_table(study: Study, results: pd.DataFrame) -> str:
    """The mean training accuracy at the best epoch by width, for each method.

    Args:
        study: The study.
        results: The results of its methods.
    """
    means = results.pivot_table(index="method", columns="width", values=BEST["train"])
    widths = [*means.columns]
    lines = [f"| method | {' | '.join(f'width {width}' for width in widths)} |", "|---" * (len(widths) + 1) + "|"]
    for method in study.methods:
        if method in means.index:
            lines.append(f"| {method} | {' | '.join(f'{value:.3f}' for value in means.loc[method])} |")
    return "\n".join(lines)
