"""The sections of a report page, as HTML. Everything that comes from a run is escaped here, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from jumpstart.palette import COLORS, LABELS
from jumpstart.report.charts import Curves, curves_svg, shares_svg
from jumpstart.report.findings import Tone, Verdict
from jumpstart.report.html import (
    HEADLINE,
    METRIC_WORDS,
    data_table,
    document,
    flatten,
    number_text,
    pairs,
    section,
    text_of,
)
from jumpstart.report.payload import points_shown, thin_epochs
from jumpstart.report.record import RunRecord
from jumpstart.report.verdict import chance, judge, layer_of_unit, since
from jumpstart.status.codes import Status
from jumpstart.words import percent

_MARKS = {Tone.GOOD: "✓", Tone.WARN: "!", Tone.BAD: "✗", Tone.INFO: "i"}
_LISTED = 12


def run_page(run: RunRecord) -> str:
    """The whole page of one run.

    Args:
        run: As far as it is on record.
    """
    verdict = judge(run)
    body = [
        f"<header><h1>{escape(run.name)}</h1>{_subtitle(run)}</header>",
        _verdict(verdict, advice=True),
        _figures(run),
        _maps([run]),
        section("Curves", "".join(_charts(run)), "charts"),
        _layers(run),
        _options(run),
        _environment(run),
        _notes(run),
    ]
    return document(f"{run.name}: {verdict.headline}", body, [run])


# One run ----------------------------------------------------------------------------------------


def _subtitle(run: RunRecord) -> str:
    config = run.config
    parts = [str(config[name]) for name in ("dataset",) if name in config]
    parts += [run.network] if run.network else []
    parts += [
        f"{name.rstrip('_')} {config[name]}" for name in ("activation", "lambda_", "lr", "seed") if name in config
    ]
    if "started" in run.environment:
        parts.append(f"started {run.environment['started']}")
    command = run.environment.get("command")
    text = f'<p class="soft">{escape(" · ".join(parts))}</p>' if parts else ""
    return text + (f"<p><code>{escape(str(command))}</code></p>" if command else "")


def _verdict(verdict: Verdict, *, advice: bool, title: str = "") -> str:
    findings = "".join(
        f'<li class="{finding.tone}"><span class="mark" aria-hidden="true">{_MARKS[finding.tone]}</span>'
        f'<span class="hidden">{finding.tone}: </span>{escape(finding.text)}</li>'
        for finding in verdict.findings
    )
    steps = "".join(f"<li>{escape(text)}</li>" for text in verdict.advice)
    tail = f"<h3>What to do next</h3><ol>{steps}</ol>" if advice else ""
    return (
        f'<section class="verdict {verdict.tone}"><h2>{escape(title + verdict.headline)}</h2>'
        f"<ul>{findings}</ul>{tail}</section>"
    )


def _figures(run: RunRecord) -> str:
    source: Mapping[str, Any] = run.summary
    note = "Of the weights that are kept: those with the best validation accuracy."
    if not any("/" in name for name in source):
        source = {name: value for name in run.metrics if (value := run.last(name)) is not None}
        note = "Of the last epoch on record."
    stages = [stage for stage in ("train", "val", "test") if any(name.startswith(f"{stage}/") for name in source)]
    if not stages:
        return ""
    rows = [
        (METRIC_WORDS[part], [text_of(part, source.get(f"{stage}/{part}")) for stage in stages])
        for part in HEADLINE
        if any(f"{stage}/{part}" in source for stage in stages)
    ]
    facts = [
        f"{text} {name}"
        for name, digits in (("epochs", 0), ("seconds", 1), ("parameters", 0))
        if (text := number_text(run.summary.get(name), digits))
    ]
    foot = f'<p class="soft">{escape(" · ".join([note, *facts]))}</p>'
    return section("Figures", data_table(["", *stages], rows) + foot, "scroll")


def _charts(run: RunRecord) -> Iterable[str]:
    def pair(name: str) -> Curves:
        return {part: run.series(f"{part}/{name}") for part in ("train", "val")}

    guess = chance(run)
    yield curves_svg("Loss", pair("loss"))
    yield curves_svg("Accuracy", pair("acc"), shares=True, level=("chance", guess[0]) if guess else None)
    yield curves_svg("Jumpstart loss", pair("jumpstart_loss"))
    for title, names in (
        ("Units: share of each status", ("unit_dead_ratio", "unit_linear_ratio", "unit_nonlinear_ratio")),
        ("Points in layers: share of each status", ("deadness", "linearity", "nonlinearity")),
    ):
        full = [run.stage(name) for name in names]
        if all(name in run.metrics for name in full):
            table = np.array([run.metrics["epoch"], *(run.metrics[name] for name in full)])
            epochs, *shares = table[:, np.isfinite(table).all(axis=0)]
            yield shares_svg(f"{title} ({full[0].partition('/')[0]})", epochs, dict(zip(Status, shares, strict=True)))
    beside = ", what skip connections carry left out" if run.has_skips else ""
    yield curves_svg(
        f"Point efficiency: pairs of point and layer that a gradient reaches{beside}",
        pair("point_efficiency"),
        shares=True,
    )


def _layers(run: RunRecord) -> str:
    """Layer by layer: which units are dead or linear, and since when."""
    history = run.history
    if history is None:
        return ""
    status, owner = history.unit_status, layer_of_unit(history)
    firsts = np.cumsum([0, *history.units])
    began = {code: since(status == code) for code in (Status.DEAD, Status.LINEAR)}
    dead_points = (history.point_status[-1] == Status.DEAD).mean(axis=0) if history.point_status.shape[1] else None
    rows = []
    for layer, (name, units) in enumerate(zip(history.layers, history.units, strict=True)):
        mine = owner == layer
        ends = history.unit_min[-1][mine].min(), history.unit_max[-1][mine].max()
        listed = []
        for begins in began.values():
            numbers = np.flatnonzero(mine & (begins < len(status)))
            texts = [f"{unit - firsts[layer]} (since {history.epochs[begins[unit]]:,})" for unit in numbers[:_LISTED]]
            more = f" and {len(numbers) - _LISTED:,} more" if len(numbers) > _LISTED else ""
            listed.append(f"{len(numbers):,}: {', '.join(texts)}{more}" if len(numbers) else "none")
        blocked = percent(float(dead_points[layer])) if dead_points is not None else ""
        rows.append((str(layer + 1), [name, f"{units:,}", *listed, blocked, f"{ends[0]:.3g} to {ends[1]:.3g}"]))
    head = ["layer", "name", "units", "dead units (since epoch)", "linear units (since epoch)", "points dead", "range"]
    table = data_table(head, rows, text=(1, 3, 4))
    summary = f"<summary>Layer by layer, epoch {history.epochs[-1]:,}</summary>"
    return f'<details>{summary}<div class="scroll">{table}</div></details>'


def _options(run: RunRecord) -> str:
    if not run.config:
        return ""
    return f"<details open><summary>Configuration</summary>{pairs(run.config)}</details>"


def _environment(run: RunRecord) -> str:
    if not run.environment:
        return ""
    return f"<details open><summary>Environment</summary>{pairs(flatten(run.environment))}</details>"


def _notes(run: RunRecord) -> str:
    items = "".join(f"<li>{escape(note)}</li>" for note in run.notes)
    return f"<section><h2>What is missing</h2><ul>{items}</ul></section>" if items else ""


# Maps -------------------------------------------------------------------------------------------


def _maps(runs: Sequence[RunRecord], names: Sequence[str] | None = None) -> str:
    if all(run.history is None for run in runs):
        return ""
    swatches = " ".join(
        f'<span><span class="swatch" style="background:{COLORS[code]}"></span>{LABELS[code]}</span>' for code in Status
    )
    slider = (
        '<div class="slider" hidden><button type="button" id="play">Play</button><label for="epoch">Epoch</label>'
        '<input type="range" id="epoch" min="0" max="0" step="1" value="0"><output id="at" for="epoch"></output>'
        '<span id="figures" class="soft"></span></div>'
    )
    legend = f'<p class="legend">{swatches}</p>'
    parts = []
    for index, run in enumerate(runs):
        title = f"<h3>{escape(names[index])}</h3>" if names else ""
        if run.history is None:
            parts.append(f'<div>{title}<p class="soft">No status is on record.</p></div>')
            continue
        maps = [_map(index, "units", "Units: a column is a layer, from the input on the left")]
        if run.history.point_status.shape[1]:
            maps.append(_map(index, "points", _about_points(run)))
        parts.append(f"<div>{title}{''.join(maps)}</div>" if names else "".join(maps))
    note = '<p id="maps-note" class="soft"></p><noscript><p>The maps need JavaScript.</p></noscript>'
    few = _left_out(runs)
    return (
        f"<section><h2>Every unit and every point</h2>{slider}{legend}{note}{few}"
        f'<div class="maps{" beside" if names else ""}">{"".join(parts)}</div></section>'
    )


def _map(index: int, kind: str, caption: str) -> str:
    return (
        f'<figure class="map" data-run="{index}" data-kind="{kind}"><figcaption>{escape(caption)}</figcaption>'
        f'<canvas role="img" aria-label="Map of the status of all {kind}"></canvas>'
        '<p class="caption"></p><p class="readout" aria-hidden="true"></p></figure>'
    )


def _about_points(run: RunRecord) -> str:
    assert run.history is not None
    shown, every = len(points_shown(run.history)[0]), run.history.point_status.shape[1]
    by_class = " by class," if run.history.labels is not None else ""
    some = f" ({shown:,} of the {every:,} drawn)" if shown < every else ""
    return f"Points{some}: a row is a point,{by_class} in the order in which they die at the end"


def _left_out(runs: Sequence[RunRecord]) -> str:
    for run in runs:
        if run.history is not None and len(thin_epochs(run.history)) < len(run.history):
            shown, every = len(thin_epochs(run.history)), len(run.history)
            return (
                f'<p class="soft">{shown:,} of {every:,} drawn epochs are in this page; the words above know all.</p>'
            )
    return ""


# Several runs -----------------------------------------------------------------------------------


# Tables -----------------------------------------------------------------------------------------
