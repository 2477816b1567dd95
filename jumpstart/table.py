"""Tables of results: from runs to pandas, Markdown, LaTeX, HTML, CSV, or lines for the terminal.

The functions are defined in :mod:`jumpstart.tables`. Their rows are runs of sweeps and run directories
(:func:`read_results`), runs of a project of Weights & Biases (:func:`read_wandb`), or any mappings from names to
values.
"""

from __future__ import annotations

from jumpstart.tables.choose import best_runs
from jumpstart.tables.compare import Draw, Ranks, rank_techniques, wins_draws_losses
from jumpstart.tables.data_sets import dataset_table
from jumpstart.tables.formats import Best, to_csv, to_html, to_latex, to_markdown
from jumpstart.tables.key_figures import key_figures
from jumpstart.tables.read import read_results
from jumpstart.tables.read_wandb import read_wandb
from jumpstart.tables.records import Record, Rows
from jumpstart.tables.spread import Spread, results_table
from jumpstart.tables.terminal import summary_table

__all__ = [
    "Best",
    "Draw",
    "Ranks",
    "Record",
    "Rows",
    "Spread",
    "best_runs",
    "dataset_table",
    "key_figures",
    "rank_techniques",
    "read_results",
    "read_wandb",
    "results_table",
    "summary_table",
    "to_csv",
    "to_html",
    "to_latex",
    "to_markdown",
    "wins_draws_losses",
]
