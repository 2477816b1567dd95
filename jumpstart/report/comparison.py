"""The report page that compares several runs, as HTML."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from jumpstart.literal import isolated
from jumpstart.report.charts import curves_svg
from jumpstart.report.html import METRIC_WORDS, METRICS_SHOWN, data_table, metric_text, number_text, section
from jumpstart.report.maps import maps_section, page_with_maps
from jumpstart.report.page import verdict_section
from jumpstart.report.record import RunRecord
from jumpstart.report.verdict import judge

Row = tuple[str, list[str]]

_CURVES = {
    "val/loss": "Validation loss",
    "val/acc": "Validation accuracy",
    "val/jumpstart_loss": "Jumpstart loss (validation)",
    "val/unit_dead_ratio": "Dead units (validation)",
    "val/unit_linear_ratio": "Linear units (validation)",
    "val/point_efficiency": "Point efficiency (validation)",
}


def comparison_page(runs: Sequence[RunRecord]) -> str:
    """The whole page that shows several runs side by side.

    Args:
        runs: The contents of at least two run directories.
    """
    names = _distinct_names(runs)
    titles = [f"{isolated(name)}: " for name in names]
    verdicts = [verdict_section(judge(run), title=title, advice=False) for title, run in zip(titles, runs, strict=True)]
    body = [
        f"<header><h1>{len(runs)} runs compared</h1></header>",
        f'<section class="verdicts">{"".join(verdicts)}</section>',
        _comparison_table(names, runs),
        _differences(names, runs),
        section("Curves", "".join(_overlaid(names, runs)), "charts"),
        maps_section(runs, names),
    ]
    return page_with_maps(f"{len(runs)} runs compared", body, runs)


def _comparison_table(names: Sequence[str], runs: Sequence[RunRecord]) -> str:
    rows = [
        *_epoch_rows("best", "acc", [_of_validation(run, run.best("val/acc")) for run in runs]),
        *_epoch_rows("lowest", "loss", [_of_validation(run, _lowest(run, "val/loss")) for run in runs]),
        *_metric_rows(runs),
        *_fact_rows(runs),
    ]
    return section("Metrics", data_table(["", *names], [row for row in rows if any(row[1])]), "scroll")


def _epoch_rows(word: str, metric: str, chosen: Sequence[tuple[int, float] | None]) -> Iterable[Row]:
    """A value of a validation metric in every run, and the epoch that it belongs to."""
    yield f"{word} validation {METRIC_WORDS[metric]}", [metric_text(metric, pair[1]) if pair else "" for pair in chosen]
    yield "in epoch", [f"{pair[0]:,}" if pair else "" for pair in chosen]


def _of_validation(run: RunRecord, pair: tuple[int, float] | None) -> tuple[int, float] | None:
    """A value of a metric with ``val`` in its name; None if there is no validation part."""
    return pair if run.held_out == "validation" else None


def _lowest(run: RunRecord, name: str) -> tuple[int, float] | None:
    epochs, values = run.series(name)
    return (int(epochs[values.argmin()]), float(values.min())) if len(values) else None


def _metric_rows(runs: Sequence[RunRecord]) -> Iterable[Row]:
    """The test accuracy, and the status of units and points in the validation part."""
    words = {"test/acc": "test accuracy", **{f"val/{metric}": METRIC_WORDS[metric] for metric in METRICS_SHOWN[2:]}}
    for name, word in words.items():
        yield word, [metric_text(name, run.summary.get(name, run.last(name))) for run in runs]


def _fact_rows(runs: Sequence[RunRecord]) -> Iterable[Row]:
    yield "epochs", [f"{run.epochs:,}" for run in runs]
    for name, decimals in (("seconds", 1), ("parameters", 0)):
        yield name, [number_text(run.summary.get(name), decimals) for run in runs]
    yield "ended", ["early" if run.failure else "as planned" if run.summary else "not yet" for run in runs]


def _differences(names: Sequence[str], runs: Sequence[RunRecord]) -> str:
    """The options whose values differ; those that name a run differ always and are left out."""
    naming = {option for run in runs for option in run.description.naming_options}
    options = [option for option in dict.fromkeys(name for run in runs for name in run.config) if option not in naming]
    missing = object()
    rows = []
    for option in options:
        values = [run.config.get(option, missing) for run in runs]
        known = [value for value, run in zip(values, runs, strict=True) if run.config]
        if any(value != known[0] for value in known):
            rows.append((option, ["" if value is missing else str(value) for value in values]))
    if not rows:
        return section("Options that differ", "<p>None.</p>") if options else ""
    return section("Options that differ", data_table(["", *names], rows), "scroll")


def _overlaid(names: Sequence[str], runs: Sequence[RunRecord]) -> Iterable[str]:
    for name, title in _CURVES.items():
        labels = [
            f"{label} (test part)" if run.held_out == "test" else label for label, run in zip(names, runs, strict=True)
        ]
        curves = {label: run.series(name) for label, run in zip(labels, runs, strict=True)}
        yield curves_svg(title, curves, shares=not name.endswith("loss"))


def _distinct_names(runs: Sequence[RunRecord]) -> list[str]:
    """The name of each run directory, or its whole path if another has the same name."""
    names = [run.name for run in runs]
    return [name if names.count(name) == 1 else str(run.path) for name, run in zip(names, runs, strict=True)]
