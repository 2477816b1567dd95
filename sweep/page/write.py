"""The page of a sweep, in its folder: written again while the sweep runs, and by ``python -m sweep page DIR``."""

from __future__ import annotations

import datetime
import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template

from jumpstart.files import write_text
from jumpstart.literal import html_text, isolated, visible
from jumpstart.report.html import document
from jumpstart.words import are, counted, listed, shorten
from sweep.ledger.entry import State
from sweep.ledger.ledger import Ledger, LedgerError
from sweep.ledger.rows import Rows
from sweep.ledger.status import time_left
from sweep.page.payload import Payload

NAME = "sweep.html"
SECONDS = 5.0
"""Least seconds between two versions of the page."""
_SCRIPTS = ("numbers.js", "view.js", "charts.js", "table.js", "page.js")
_MOST_ERRORS = 5
_LONGEST_ERROR = 300
_MOST_OPTIONS = 12
"""Options that the subtitle names."""

logger = logging.getLogger(__name__)


class SweepPage:
    """The page of a sweep.

    Args:
        rows: The runs.
    """

    def __init__(self, rows: Rows) -> None:
        self._ledger, self._payload = rows.ledger, Payload(rows)

    @property
    def path(self) -> Path:
        """The file."""
        return self._ledger.folder / NAME

    def write(self, seconds: float | None) -> None:
        """Write the page, in place of an older one.

        Args:
            seconds: Seconds until the page is written again, after which an open page loads itself anew; None if it is
                not written again.

        Raises:
            OSError: If the page can't be written.
        """
        write_text(self.path, self._text(seconds))

    def try_to_write(self, seconds: float | None) -> None:
        """Write the page; log a warning if it can't be written, because the sweep does not need it."""
        try:
            self.write(seconds)
        except OSError as error:
            reason = error.strerror or error
            logger.warning("%s can't be written (%s); the sweep goes on without it.", self.path, reason)

    def _text(self, seconds: float | None) -> str:
        data = self._payload.make() | {"written": round(time.time()), "seconds": seconds}
        counts, name = self._ledger.counts(), self._ledger.folder.resolve().name
        left = time_left(counts, self._ledger.mean_seconds()) if seconds is not None else None
        headline = _headline(counts, left, goes_on=seconds is not None)
        values = {
            "name": html_text(name),
            "subtitle": html_text(_subtitle(self._ledger, counts, data)),
            "tone": _tone(counts, goes_on=seconds is not None),
            "headline": html_text(headline),
            "bar": _bar(counts),
            "facts": _facts(data),
            "written": f"Written {datetime.datetime.now():%Y-%m-%d %H:%M:%S}.",
        }
        body = Template(_resource("body.html")).substitute(values)
        script = "".join(map(_resource, _SCRIPTS))
        return document(f"{isolated(name)}: {headline}", [body], data, _scope(script), _resource("page.css"))


def write_page(ledger: Ledger) -> Path:
    """Write the page of any sweep, whether it runs or not.

    Args:
        ledger: The ledger.

    Returns:
        The path of the page.

    Raises:
        LedgerError: If the page can't be written, or the ledger can't be read.
    """
    page = SweepPage(Rows(ledger))
    try:
        page.write(SECONDS if ledger.counts()[State.RUNNING] else None)
    except LedgerError:
        raise
    except OSError as error:
        raise LedgerError(
            f"{page.path} can't be written: {error.strerror}. Make room, or move it away, or copy the "
            "folder to a place that can be written."
        ) from error
    return page.path


def _resource(name: str) -> str:
    return (files("sweep.page") / name).read_text(encoding="utf-8")


def _scope(script: str) -> str:
    """The scripts as one function, so that their names are in no one's way."""
    return f'(() => {{\n"use strict";\n{script}}})();\n'


def _headline(counts: Mapping[State, int], left: str | None, *, goes_on: bool) -> str:
    total, finished, failed = sum(counts.values()), counts[State.FINISHED], counts[State.FAILED]
    text = f"All {counted(total, 'run')} finished" if finished == total else f"{finished:,} of {total:,} runs finished"
    if failed:
        text += f", {failed:,} failed"
    if goes_on:
        return f"{text}; about {left} left" if left else f"{text}; the sweep runs"
    return text if finished + failed == total else f"{text}; the sweep does not run now"


def _tone(counts: Mapping[State, int], *, goes_on: bool) -> str:
    if counts[State.FAILED]:
        return "bad"
    if counts[State.FINISHED] == sum(counts.values()):
        return "good"
    return "info" if goes_on else "warn"


def _subtitle(ledger: Ledger, counts: Mapping[State, int], data: Mapping[str, object]) -> str:
    options = data["options"]
    assert isinstance(options, list)
    texts = [f"{isolated(option['name'])} ({len(option['values']):,})" for option in options[:_MOST_OPTIONS]]
    more = len(options) - len(texts)
    texts += [f"{counted(more, 'other option')}"] if more else []
    varied = f"{listed(texts)} {are(len(options), 'varies', 'vary')}" if texts else "no option varies"
    return f"{counted(sum(counts.values()), 'run')} of {ledger.family} networks · {varied}"


def _bar(counts: Mapping[State, int]) -> str:
    """The shares of the states as a bar."""
    order = (State.FINISHED, State.FAILED, State.RUNNING, State.INTERRUPTED, State.WAITING)
    shares = ((state, counts[state]) for state in order if counts[state])
    return "".join(f'<span class="{state}" style="flex-grow:{count}"></span>' for state, count in shares)


def _facts(data: Mapping[str, object]) -> str:
    """The errors that ended most runs."""
    runs, errors, states = data["runs"], data["errors"], data["states"]
    assert isinstance(runs, dict)
    assert isinstance(errors, list)
    assert isinstance(states, Sequence)
    failed = states.index(State.FAILED)
    ended = [error for error, state in zip(runs["error"], runs["state"], strict=True) if state == failed]
    found = Counter(errors[error] for error in ended if error is not None).most_common()
    lines = [f"{counted(count, 'run')} failed: {_short(error)}" for error, count in found[:_MOST_ERRORS]]
    more = len(found) - len(lines)
    lines += [f"{counted(more, 'other error')}: see the table."] if more else []
    mark = '<span class="mark" aria-hidden="true">✗</span>'
    return "".join(f'<li class="bad">{mark}{html_text(line)}</li>' for line in lines)


def _short(error: str) -> str:
    return shorten(visible(error), _LONGEST_ERROR)
