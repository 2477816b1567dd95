"""The tables and figures of the networks of 50 layers of 4 units on tables."""

from __future__ import annotations

import pandas as pd

from jumpstart.plotting import plot_critical_difference
from jumpstart.table import Ranks, best_runs, key_figures, rank_techniques, to_markdown, wins_draws_losses
from reproduction.page import fill_page, save
from reproduction.study import Study

REFERENCE = "jumpstart"
"""The method that all others are compared with."""
DEPTH = ("two_thin_layers", "two_layers", "logistic", "boosting")
"""Methods that are no networks of 50 layers."""


def write(study: Study) -> None:
    """Write the tables into the page of the study, and the figure beside it.

    Args:
        study: The study.
    """
    chosen = chosen_runs(study.results())
    deep = chosen[~chosen["method"].isin(DEPTH)]
    ranks = rank_techniques(deep, technique="method")
    fill_page(
        study.folder / "README.md",
        {
            "accuracies": accuracies_table(study, chosen),
            "key figures": figures_table(deep),
            "wins": wins_table(deep),
            "ranks": ranks_table(ranks),
        },
    )
    save(plot_critical_difference(ranks.mean, ranks.pairs), study.folder / "figures" / "ranks.png")


def chosen_runs(results: pd.DataFrame) -> pd.DataFrame:
    """The runs of each method and table with the lambda of the best validation accuracy, mean over seeds and splits.

    Args:
        results: The runs of all methods.
    """
    return best_runs(results, ["method", "dataset"], tuned="lambda_")


def accuracies_table(study: Study, chosen: pd.DataFrame) -> str:
    """The mean test accuracy of each method on each table, and over all tables.

    Args:
        study: The study.
        chosen: The runs with the chosen lambdas.
    """
    means = chosen.pivot_table(index="dataset", columns="method", values="test/acc")
    methods = [method for method in study.methods if method in means.columns]
    means = means[methods]
    counts = chosen.groupby("method").size() // chosen["dataset"].nunique()
    lines = [f"| data set | {' | '.join(methods)} |", "|---" * (len(methods) + 1) + "|"]
    lines += [f"| {name} | {' | '.join(f'{value:.3f}' for value in row)} |" for name, row in means.iterrows()]
    lines.append(f"| **mean** | {' | '.join(f'{value:.3f}' for value in means.mean())} |")
    lines.append(f"| runs on each | {' | '.join(str(counts[method]) for method in methods)} |")
    return "\n".join(lines)


def figures_table(deep: pd.DataFrame) -> str:
    """The four key figures of the article, of the test part.

    Args:
        deep: The runs of the networks of 50 layers.
    """
    found = key_figures(deep, part="test", on="val/acc", technique="method")
    return to_markdown(found.round(3))


def ranks_table(ranks: Ranks) -> str:
    """The mean ranks, with the Friedman test and the critical difference.

    Args:
        ranks: The ranks of the networks of 50 layers.
    """
    test = f"Friedman test: p = {ranks.p_value:.2g}. Critical difference: {ranks.critical_difference:.2f}."
    rows = [{"method": method, "mean rank": f"{rank:.2f}"} for method, rank in ranks.mean.items()]
    return f"{test}\n\n{to_markdown(pd.DataFrame(rows))}"


def wins_table(deep: pd.DataFrame) -> str:
    """On how many tables Jumpstart wins, draws and loses against each other method.

    Args:
        deep: The runs of the networks of 50 layers.
    """
    found = wins_draws_losses(deep, technique="method")
    return to_markdown(found[found["method"] == REFERENCE])
