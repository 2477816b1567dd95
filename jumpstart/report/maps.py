"""The maps of units and points: the elements that the script of the page draws into, and their captions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from jumpstart.choices import Part
from jumpstart.history import StatusHistory
from jumpstart.literal import html_text
from jumpstart.palette import COLORS, LABELS
from jumpstart.report.html import document, resource
from jumpstart.report.payload import page_data, points_shown, thin_epochs
from jumpstart.report.record import RunRecord
from jumpstart.status.codes import Status

_SLIDER = (
    '<div class="slider" hidden><button type="button" id="play">Play</button><label for="epoch">Epoch</label>'
    '<input type="range" id="epoch" min="0" max="0" step="1" value="0"><output id="at" for="epoch"></output>'
    '<span id="metrics" class="soft"></span></div>'
)
_NOTE = '<p id="maps-note" class="soft"></p><noscript><p>The maps need JavaScript.</p></noscript>'


_PARTS = {
    Part.TRAIN: "Training part, in the steps that train",
    Part.TEST: "Test part, with the best weights",
}


def page_with_maps(title: str, body: Iterable[str], runs: Sequence[RunRecord]) -> str:
    """A whole page, with the script that draws the maps.

    Args:
        title: The title, not yet escaped.
        body: Sections as HTML; empty ones are left out.
        runs: The runs whose maps the script draws.
    """
    colors = "".join(f"--{code.name.lower()}: {color}; " for code, color in COLORS.items())
    return document(title, body, page_data(runs), resource("page.js"), f":root {{ {colors}}}")


def by_part(run: RunRecord) -> dict[str, RunRecord]:
    """The run once for each part of the data whose status is recorded, under a title for the part.

    Without another part than the usual one, the title is empty.

    Args:
        run: The content of the run directory.
    """
    if not run.other_histories:
        return {"": run}
    usual = {"Validation part": run} if run.history is not None else {}
    return usual | {_PARTS[part]: replace(run, history=history) for part, history in run.other_histories.items()}


def maps_section(runs: Sequence[RunRecord], names: Sequence[str] = ()) -> str:
    """The section with the maps of all runs and one slider; empty if no run has a history.

    Args:
        runs: The runs of the page.
        names: A title for each run, or none at all on the page of a single run.
    """
    if all(run.history is None for run in runs):
        return ""
    swatches = " ".join(
        f'<span><span class="swatch" style="background:{COLORS[code]}"></span>{LABELS[code]}</span>' for code in Status
    )
    legend = f'<p class="legend">{swatches}</p>'
    parts = [_maps(index, run) for index, run in enumerate(runs)]
    if names:
        parts = [f"<div><h3>{html_text(name)}</h3>{part}</div>" for name, part in zip(names, parts, strict=True)]
    return (
        f"<section><h2>Every unit and every point</h2>{_SLIDER}{legend}{_NOTE}{_about_thinning(runs)}"
        f'<div class="maps{" beside" if names else ""}">{"".join(parts)}</div></section>'
    )


def _maps(index: int, run: RunRecord) -> str:
    if run.history is None:
        return '<p class="soft">The status of units and points is not recorded.</p>'
    units = _map(index, "units", "Units: each column is a layer, from the input on the left")
    has_points = run.history.point_status.shape[1] > 0
    return units + (_map(index, "points", _about_points(run.history)) if has_points else "")


def _map(index: int, kind: str, caption: str) -> str:
    return (
        f'<figure class="map" data-run="{index}" data-kind="{kind}"><figcaption>{html_text(caption)}</figcaption>'
        f'<canvas role="img" aria-label="Map of the status of all {kind}"></canvas>'
        '<p class="caption"></p><p class="readout" aria-hidden="true"></p></figure>'
    )


def _about_points(history: StatusHistory) -> str:
    shown, recorded = len(points_shown(history)[0]), history.point_status.shape[1]
    sample = f" ({shown:,} of the {recorded:,} recorded)" if shown < recorded else ""
    by_class = "by class, then " if history.labels is not None else ""
    return f"Points{sample}: each row is a point, sorted {by_class}by the first layer in which it is dead at the end"


def _about_thinning(runs: Sequence[RunRecord]) -> str:
    for run in runs:
        if run.history is not None and len(thin_epochs(run.history)) < len(run.history):
            shown, recorded = len(thin_epochs(run.history)), len(run.history)
            return (
                f'<p class="soft">The maps show {shown:,} of the {recorded:,} recorded epochs; the text above covers '
                "all of them.</p>"
            )
    return ""
