"""The report page of one run, as HTML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from jumpstart.history import StatusHistory
from jumpstart.literal import html_text, isolated
from jumpstart.report.charts import Curves, curves_svg, shares_svg
from jumpstart.report.findings import Tone, chance, layer_of_unit, since
from jumpstart.report.html import (
    METRIC_WORDS,
    METRICS_SHOWN,
    data_table,
    definition_list,
    flatten,
    metric_text,
    number_text,
    section,
    value_text,
)
from jumpstart.report.maps import by_part, maps_section, page_with_maps
from jumpstart.report.record import RunRecord
from jumpstart.report.verdict import Verdict, judge
from jumpstart.status.codes import Status
from jumpstart.words import percent

_MARKS = {Tone.GOOD: "✓", Tone.WARN: "!", Tone.BAD: "✗", Tone.INFO: "i"}
_MOST_UNITS = 12
"""Units of a layer that the table of layers names."""
_MOST_COLUMNS = 200
"""Columns of the data that the table of columns lists."""


def run_page(run: RunRecord) -> str:
    """The whole page of one run.

    Args:
        run: The content of the run directory.
    """
    verdict = judge(run)
    parts = by_part(run)
    body = [
        f"<header><h1>{html_text(run.name)}</h1>{_subtitle(run)}</header>",
        verdict_section(verdict, advice=True),
        _metrics_table(run),
        maps_section(list(parts.values()), [title for title in parts if title]),
        section("Curves", "".join(_charts(run)), "charts"),
        _layers(run.history) if run.history is not None else "",
        _columns(run),
        _details("Configuration", run.config),
        _details("Environment", flatten(run.environment)),
        _notes(run),
    ]
    return page_with_maps(f"{isolated(run.name)}: {verdict.headline}", body, list(parts.values()))


def verdict_section(verdict: Verdict, *, advice: bool, title: str = "") -> str:
    """The headline and the findings of a verdict.

    Args:
        verdict: The verdict.
        advice: Whether to show the advice, too.
        title: Text in front of the headline.
    """
    findings = "".join(
        f'<li class="{finding.tone}"><span class="mark" aria-hidden="true">{_MARKS[finding.tone]}</span>'
        f'<span class="hidden">{finding.tone}: </span>{html_text(finding.text)}</li>'
        for finding in verdict.findings
    )
    steps = "".join(f"<li>{html_text(text)}</li>" for text in verdict.advice)
    tail = f"<h3>What to do next</h3><ol>{steps}</ol>" if advice else ""
    return (
        f'<section class="verdict {verdict.tone}"><h2>{html_text(title + verdict.headline)}</h2>'
        f"<ul>{findings}</ul>{tail}</section>"
    )


def _subtitle(run: RunRecord) -> str:
    description = run.description
    parts = [text for text in (isolated(description.dataset), description.network) if text]
    parts += [f"{name} {value_text(value)}" for name, value in description.settings.items()]
    if "started" in run.environment:
        parts.append(f"started {run.environment['started']}")
    command = run.environment.get("command")
    text = f'<p class="soft">{html_text(" · ".join(parts))}</p>' if parts else ""
    return text + (f"<p><code>{html_text(str(command))}</code></p>" if command else "")


def _metrics_table(run: RunRecord) -> str:
    source: Mapping[str, object] = run.summary
    part = "training" if run.best_by == "train" else "validation"
    note = f"Metrics of the weights with the best {part} accuracy, which the run keeps."
    if not any("/" in name for name in source):
        source = {name: value for name in run.metrics if (value := run.last(name)) is not None}
        note = "Metrics of the last recorded epoch."
    stages = [stage for stage in ("train", "val", "test") if any(name.startswith(f"{stage}/") for name in source)]
    if not stages:
        return ""
    rows = [
        (METRIC_WORDS[metric], [metric_text(metric, source.get(f"{stage}/{metric}")) for stage in stages])
        for metric in METRICS_SHOWN
        if any(f"{stage}/{metric}" in source for stage in stages)
    ]
    facts = [
        f"{text} {name}"
        for name, decimals in (("epochs", 0), ("seconds", 1), ("parameters", 0))
        if (text := number_text(run.summary.get(name), decimals))
    ]
    if run.held_out == "test":
        note += " There is no validation part: the test part takes its place in curves and maps, and decides nothing."
    foot = f'<p class="soft">{html_text(" · ".join([note, *facts]))}</p>'
    return section("Metrics", data_table(["", *stages], rows) + foot, "scroll")


# Curves -----------------------------------------------------------------------------------------


def _charts(run: RunRecord) -> Iterable[str]:
    baseline = chance(run)
    yield curves_svg("Loss", _train_and_val(run, "loss"))
    level = ("chance", baseline[0]) if baseline else None
    yield curves_svg("Accuracy", _train_and_val(run, "acc"), shares=True, level=level)
    yield curves_svg("Jumpstart loss", _train_and_val(run, "jumpstart_loss"))
    units = ("unit_dead_ratio", "unit_linear_ratio", "unit_nonlinear_ratio")
    yield _status_chart(run, "Units: share of each status", units)
    yield _status_chart(run, "Points in layers: share of each status", ("deadness", "linearity", "nonlinearity"))
    limit = ", except through skip connections" if run.description.has_skips else ""
    yield curves_svg(
        f"Point efficiency: pairs of point and layer that a gradient reaches{limit}",
        _train_and_val(run, "point_efficiency"),
        shares=True,
    )


def _train_and_val(run: RunRecord, metric: str) -> Curves:
    return {"train": run.series(f"train/{metric}"), _val(run): run.series(f"val/{metric}")}


def _val(run: RunRecord) -> str:
    """The label of the part whose metrics have names with ``val``."""
    return "test" if run.held_out == "test" else "val"


def _status_chart(run: RunRecord, title: str, metrics: tuple[str, str, str]) -> str:
    names = [run.stage(metric) for metric in metrics]
    if not all(name in run.metrics for name in names):
        return ""
    table = np.array([run.metrics["epoch"], *(run.metrics[name] for name in names)])
    epochs, *shares = table[:, np.isfinite(table).all(axis=0)]
    part = "train" if names[0].startswith("train/") else _val(run)
    return shares_svg(f"{title} ({part})", epochs, dict(zip(Status, shares, strict=True)))


# Tables -----------------------------------------------------------------------------------------


def _layers(history: StatusHistory) -> str:
    """The table of layers: which units are dead or linear, and since when."""
    status, owner = history.unit_status, layer_of_unit(history)
    firsts = np.cumsum([0, *history.units])
    begins = [since(status == code) for code in (Status.DEAD, Status.LINEAR)]
    dead_points = (history.point_status[-1] == Status.DEAD).mean(axis=0) if history.point_status.shape[1] else None
    rows = []
    for layer, (name, units) in enumerate(zip(history.layers, history.units, strict=True)):
        own = owner == layer
        low, high = history.unit_min[-1][own].min(), history.unit_max[-1][own].max()
        marked = [
            {
                int(unit - firsts[layer]): history.epochs[begin[unit]]
                for unit in np.flatnonzero(own & (begin < len(status)))
            }
            for begin in begins
        ]
        dead = percent(float(dead_points[layer])) if dead_points is not None else ""
        cells = [name, f"{units:,}", *map(_units_text, marked), dead, f"{low:.3g} to {high:.3g}"]
        rows.append((str(layer + 1), cells))
    head = ["layer", "name", "units", "dead units (since epoch)", "linear units (since epoch)", "points dead", "range"]
    table = data_table(head, rows, text=(1, 3, 4))
    summary = f"<summary>Layer by layer, epoch {history.epochs[-1]:,}</summary>"
    return f'<details>{summary}<div class="scroll">{table}</div></details>'


def _units_text(epochs: Mapping[int, int]) -> str:
    """Units by number, each with the epoch since when it has its status."""
    if not epochs:
        return "none"
    texts = [f"{unit} (since {epoch:,})" for unit, epoch in list(epochs.items())[:_MOST_UNITS]]
    more = f" and {len(epochs) - _MOST_UNITS:,} more" if len(epochs) > _MOST_UNITS else ""
    return f"{len(epochs):,}: {', '.join(texts)}{more}"


def _columns(run: RunRecord) -> str:
    """The table of the columns in data of the user, with the files that the columns come from."""
    columns, files = (_mappings(run.data.get(name)) for name in ("columns", "files"))
    if not columns:
        return ""
    rows = [
        (str(column.get("name")), [str(column.get(key)) for key in ("kind", "missing", "values")])
        for column in columns[:_MOST_COLUMNS]
    ]
    title = f"Columns of the data: {len(columns):,}"
    if len(columns) > _MOST_COLUMNS:
        title += f", of which the first {_MOST_COLUMNS} are listed"
    sources = [f"{file.get('path')}: {value_text(file.get('facts'))}" for file in files]
    lines = "".join(f'<p class="soft">{html_text(source)}</p>' for source in sources)
    table = data_table(["column", "type", "missing", "values"], rows, text=(1, 3))
    return f'<details open><summary>{title}</summary>{lines}<div class="scroll">{table}</div></details>'


def _mappings(value: object) -> list[dict[str, object]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _details(title: str, content: Mapping[str, object]) -> str:
    if not content:
        return ""
    return f"<details open><summary>{title}</summary>{definition_list(content)}</details>"


def _notes(run: RunRecord) -> str:
    items = "".join(f"<li>{html_text(note)}</li>" for note in run.notes)
    return f"<section><h2>What is missing</h2><ul>{items}</ul></section>" if items else ""
