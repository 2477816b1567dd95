"""The report page that compares several runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from jumpstart.report.charts import curves_svg
from jumpstart.report.html import (
    HEADLINE,
    METRIC_WORDS,
    data_table,
    document,
    section,
    text_of,
)
from jumpstart.report.page import _maps, _verdict
from jumpstart.report.record import RunRecord
from jumpstart.report.verdict import judge


def comparison_page(runs: Sequence[RunRecord]) -> str:
    """The whole page of several runs, side by side.

    Args:
        runs: At least two.
    """
    names = _distinct(runs)
    verdicts = [_verdict(judge(run), title=f"{name}: ", advice=False) for name, run in zip(names, runs, strict=True)]
    body = [
        f"<header><h1>{len(runs)} runs compared</h1></header>",
        f'<section class="verdicts">{"".join(verdicts)}</section>',
        _comparison_table(names, runs),
        _differences(names, runs),
        section("Curves", "".join(_overlaid(names, runs)), "charts"),
        _maps(runs, names),
    ]
    return document(f"{len(runs)} runs compared", body, runs)


def _comparison_table(names: Sequence[str], runs: Sequence[RunRecord]) -> str:
    rows: list[tuple[str, list[str]]] = []
    for part in ("acc", "loss"):
        found = [run.series(f"val/{part}") for run in runs]
        if part == "acc":
            at = [run.best("val/acc") for run in runs]
        else:
            at = [int(y.argmin()) if len(y) else None for _, y in found]
        best = [text_of(part, float(y[i])) if i is not None else "" for (_, y), i in zip(found, at, strict=True)]
        rows.append((f"best validation {METRIC_WORDS[part]}", best))
        when = [f"{int(x[i]):,}" if i is not None else "" for (x, _), i in zip(found, at, strict=True)]
        rows.append(("in epoch", when))
    for name in ("test/acc", *(f"val/{part}" for part in HEADLINE[2:])):
        part = name.partition("/")[2]
        word = "test accuracy" if name == "test/acc" else METRIC_WORDS[part]
        rows.append((word, [text_of(part, run.summary.get(name, run.last(name))) for run in runs]))
    rows.append(("epochs", [f"{run.epochs:,}" for run in runs]))
    for name in ("seconds", "parameters"):
        values = [run.summary.get(name) for run in runs]
        rows.append(
            (name, [f"{v:,.{0 if name == 'parameters' else 1}f}" if isinstance(v, int | float) else "" for v in values])
        )
    rows.append(("ended", ["early" if run.failure else "well" if run.summary else "not yet" for run in runs]))
    kept = [row for row in rows if any(row[1])]
    return section("Figures", data_table(["", *names], kept), "scroll")


def _differences(names: Sequence[str], runs: Sequence[RunRecord]) -> str:
    options = list(dict.fromkeys(option for run in runs for option in run.config))
    missing = object()
    rows = []
    for option in options:
        values = [run.config.get(option, missing) for run in runs]
        known = [value for value, run in zip(values, runs, strict=True) if run.config]
        if any(value != known[0] for value in known) and option not in ("name", "output_dir"):
            rows.append((option, ["" if value is missing else str(value) for value in values]))
    if not rows:
        return section("Options that differ", "<p>None.</p>") if options else ""
    return section("Options that differ", data_table(["", *names], rows), "scroll")


def _overlaid(names: Sequence[str], runs: Sequence[RunRecord]) -> Iterable[str]:
    titles = {
        "val/loss": "Validation loss",
        "val/acc": "Validation accuracy",
        "val/jumpstart_loss": "Jumpstart loss (validation)",
        "val/unit_dead_ratio": "Dead units (validation)",
        "val/unit_linear_ratio": "Linear units (validation)",
        "val/point_efficiency": "Point efficiency (validation)",
    }
    for name, title in titles.items():
        curves = {label: run.series(name) for label, run in zip(names, runs, strict=True)}
        yield curves_svg(title, curves, shares=not name.endswith("loss"))


def _distinct(runs: Sequence[RunRecord]) -> list[str]:
    """A name for each: that of the directory, or the whole path where two are called the same."""
    names = [run.name for run in runs]
    return [name if names.count(name) == 1 else str(run.path) for name, run in zip(names, runs, strict=True)]
