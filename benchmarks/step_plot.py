"""The plot of docs/cost.md: ``python -m benchmarks.step_plot RESULTS.json docs/cost.svg``."""

from __future__ import annotations

import argparse
import json
from typing import TypedDict

import matplotlib
from matplotlib.figure import Figure

from jumpstart.files import path_argument

COLORS = {
    "empty hooks": "#999999",
    "pseudocode": "#CC79A7",
    "jumpstart": "#56B4E9",
    "jumpstart, kernel": "#0072B2",
    "jumpstart, compiled": "#009E73",
}


class Row(TypedDict):
    """A row that :mod:`benchmarks.step` writes: median and quartiles of the ratios of one way to train one case."""

    case: str
    way: str
    ratio: float
    low: float
    high: float


def draw(rows: list[Row]) -> Figure:
    """Draw bars of the time that each way to train adds to the bare step, with the middle half of the rounds."""
    cases = list(dict.fromkeys(row["case"] for row in rows))
    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    axes = figure.add_subplot()
    named: set[str] = set()
    for index, case in enumerate(cases):
        bars = [row for row in rows if row["case"] == case and row["way"] in COLORS]
        for place, row in enumerate(bars):
            added = 100 * (row["ratio"] - 1)
            spread = [[100 * (row["ratio"] - row["low"])], [100 * (row["high"] - row["ratio"])]]
            label = row["way"] if row["way"] not in named else None
            named.add(row["way"])
            x = index + (place - (len(bars) - 1) / 2) * 0.16
            axes.bar(x, max(added, 0.1), 0.15, color=COLORS[row["way"]], label=label)
            axes.errorbar(x, max(added, 0.1), spread, color="#333333", linewidth=0.8)
    axes.set_yscale("log")
    axes.set_ylim(0.3, 400)
    axes.set_yticks([1, 3, 10, 30, 100, 300], ["1 %", "3 %", "10 %", "30 %", "100 %", "300 %"])
    axes.set_xticks(range(len(cases)), [case.replace(", ", "\n") for case in cases], fontsize=8)
    axes.set_ylabel("time added to a bare step")
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, ncols=5, loc="upper center", bbox_to_anchor=(0.5, 1.12))
    return figure


def main() -> None:
    """Read the results, draw the plot and write the SVG."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=path_argument("results", "file"))
    parser.add_argument("plot", type=path_argument("plot", "file"))
    arguments = parser.parse_args()
    rows = json.loads(arguments.results.read_text(encoding="utf-8"))["rows"]
    with matplotlib.rc_context({"svg.hashsalt": "jumpstart", "svg.fonttype": "path"}):
        draw(rows).savefig(arguments.plot, metadata={"Date": None})


if __name__ == "__main__":
    main()
