"""The sections of a report page, as HTML. Everything that comes from a run is escaped here, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

import numpy as np

from jumpstart.canvas import COLOURS, LABELS, percent
from jumpstart.report_charts import Curves, curves_svg, shares_svg
from jumpstart.report_data import page_data, points_shown, thin_epochs
from jumpstart.report_run import RunRecord
from jumpstart.report_verdict import Tone, Verdict, chance, judge, layer_of_unit, since
from jumpstart.status import Status

_MARKS = {Tone.GOOD: "✓", Tone.WARN: "!", Tone.BAD: "✗", Tone.INFO: "i"}
_HEADLINE = ("acc", "loss", "unit_dead_ratio", "unit_linear_ratio", "point_dead_ratio", "point_efficiency")
_WORDS = {
    "acc": "accuracy",
    "loss": "loss",
    "jumpstart_loss": "Jumpstart loss",
    "unit_dead_ratio": "dead units",
    "unit_linear_ratio": "linear units",
    "point_dead_ratio": "points dead in some layer",
    "point_efficiency": "point efficiency",
}
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
        _section("Curves", "".join(_charts(run)), "charts"),
        _layers(run),
        _options(run),
        _environment(run),
        _notes(run),
    ]
    return _page(f"{run.name}: {verdict.headline}", body, [run])


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
        _section("Curves", "".join(_overlaid(names, runs)), "charts"),
        _maps(runs, names),
    ]
    return _page(f"{len(runs)} runs compared", body, runs)


def _page(title: str, body: Iterable[str], runs: Sequence[RunRecord]) -> str:
    colours = {code.name.lower(): colour for code, colour in COLOURS.items()}
    return Template(_resource("report.html")).substitute(
        title=escape(title),
        style=Template(_resource("report.css")).substitute(colours),
        body="\n".join(part for part in body if part),
        data=page_data(list(runs)),
        script=_resource("report.js"),
    )


def _resource(name: str) -> str:
    return (files("jumpstart") / name).read_text(encoding="utf-8")


def _section(title: str, content: str, kind: str = "") -> str:
    return f'<section><h2>{title}</h2><div class="{kind}">{content}</div></section>' if content else ""


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
        (_WORDS[part], [_text(part, source.get(f"{stage}/{part}")) for stage in stages])
        for part in _HEADLINE
        if any(f"{stage}/{part}" in source for stage in stages)
    ]
    facts = [
        f"{text} {name}"
        for name, digits in (("epochs", 0), ("seconds", 1), ("parameters", 0))
        if (text := _number(run.summary.get(name), digits))
    ]
    foot = f'<p class="soft">{escape(" · ".join([note, *facts]))}</p>'
    return _section("Figures", _table(["", *stages], rows) + foot, "scroll")


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
    table = _table(head, rows, text=(1, 3, 4))
    summary = f"<summary>Layer by layer, epoch {history.epochs[-1]:,}</summary>"
    return f'<details>{summary}<div class="scroll">{table}</div></details>'


def _options(run: RunRecord) -> str:
    if not run.config:
        return ""
    return f"<details open><summary>Configuration</summary>{_pairs(run.config)}</details>"


def _environment(run: RunRecord) -> str:
    if not run.environment:
        return ""
    return f"<details open><summary>Environment</summary>{_pairs(_flat(run.environment))}</details>"


def _notes(run: RunRecord) -> str:
    items = "".join(f"<li>{escape(note)}</li>" for note in run.notes)
    return f"<section><h2>What is missing</h2><ul>{items}</ul></section>" if items else ""


# Maps -------------------------------------------------------------------------------------------


def _maps(runs: Sequence[RunRecord], names: Sequence[str] | None = None) -> str:
    if all(run.history is None for run in runs):
        return ""
    swatches = " ".join(
        f'<span><span class="swatch" style="background:{COLOURS[code]}"></span>{LABELS[code]}</span>' for code in Status
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


def _comparison_table(names: Sequence[str], runs: Sequence[RunRecord]) -> str:
    rows: list[tuple[str, list[str]]] = []
    for part in ("acc", "loss"):
        found = [run.series(f"val/{part}") for run in runs]
        if part == "acc":
            at = [run.best("val/acc") for run in runs]
        else:
            at = [int(y.argmin()) if len(y) else None for _, y in found]
        best = [_text(part, float(y[i])) if i is not None else "" for (_, y), i in zip(found, at, strict=True)]
        rows.append((f"best validation {_WORDS[part]}", best))
        when = [f"{int(x[i]):,}" if i is not None else "" for (x, _), i in zip(found, at, strict=True)]
        rows.append(("in epoch", when))
    for name in ("test/acc", *(f"val/{part}" for part in _HEADLINE[2:])):
        part = name.partition("/")[2]
        word = "test accuracy" if name == "test/acc" else _WORDS[part]
        rows.append((word, [_text(part, run.summary.get(name, run.last(name))) for run in runs]))
    rows.append(("epochs", [f"{run.epochs:,}" for run in runs]))
    for name in ("seconds", "parameters"):
        values = [run.summary.get(name) for run in runs]
        rows.append(
            (name, [f"{v:,.{0 if name == 'parameters' else 1}f}" if isinstance(v, int | float) else "" for v in values])
        )
    rows.append(("ended", ["early" if run.failure else "well" if run.summary else "not yet" for run in runs]))
    kept = [row for row in rows if any(row[1])]
    return _section("Figures", _table(["", *names], kept), "scroll")


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
        return _section("Options that differ", "<p>None.</p>") if options else ""
    return _section("Options that differ", _table(["", *names], rows), "scroll")


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


# Tables -----------------------------------------------------------------------------------------


def _table(head: Sequence[str], rows: Iterable[tuple[str, list[str]]], text: Sequence[int] = ()) -> str:
    """A table whose first column names the rows; columns are figures, but for those numbered in ``text``."""
    kinds = ["text" if number in text else "number" for number in range(1, len(head))]
    top = "".join(
        f'<th scope="col" class="{kind}">{escape(cell)}</th>' for cell, kind in zip(head, ["text", *kinds], strict=True)
    )
    lines = [
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(f'<td class="{kind}">{escape(cell)}</td>' for cell, kind in zip(cells, kinds, strict=True))
        + "</tr>"
        for name, cells in rows
    ]
    return f"<table><thead><tr>{top}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _pairs(content: Mapping[str, Any]) -> str:
    items = (f"<div><dt>{escape(name)}</dt><dd>{escape(_plain(value))}</dd></div>" for name, value in content.items())
    return f'<dl class="options">{"".join(items)}</dl>'


def _flat(content: Mapping[str, Any], head: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in content.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{head}{name}.")
        else:
            flat[f"{head}{name}"] = value
    return flat


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_plain, value)) or "none"
    return "none" if value is None else str(value)


def _text(part: str, value: Any) -> str:
    if not isinstance(value, int | float):
        return ""
    return f"{value:.4g}" if part.endswith("loss") else percent(float(value))


def _number(value: Any, digits: int) -> str:
    return f"{value:,.{digits}f}" if isinstance(value, int | float) else ""
