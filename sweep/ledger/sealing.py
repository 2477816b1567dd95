"""The results of runs in a ledger, with checksums of the results and of what their rows say of the runs."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping

from jumpstart.files.checksums import checksum

_COLUMNS = ("identity", "label", "technique", "config")
"""The columns whose checksum is stored with a result, together with that of ``seconds``."""
_SEAL = "sha256"
"""The last key of a stored result: the checksums of the columns, and of the whole text before the second one."""


class ChangedError(ValueError):
    """The result of a run is not as it was stored."""


def sealed_result(row: sqlite3.Row, summary: Mapping[str, object], seconds: float) -> str:
    """The result of a run as JSON that ends with two checksums.

    Args:
        row: The row of the run.
        summary: The result.
        seconds: What ``seconds`` will be in the row.
    """
    text = json.dumps({**summary, _SEAL: _checksum_of(row, seconds)})
    return f'{text[:-2]} {checksum(text)}"}}'


def is_whole(text: object) -> bool:
    """Whether a result is as it was stored. A result without checksums, of an earlier version, must be JSON.

    Args:
        text: The text of the result, in its row.
    """
    try:
        _opened(text)
    except ChangedError:
        return False
    return True


def result_of(row: sqlite3.Row) -> dict[str, object] | None:
    """The result in the row of a run; None if the run has none.

    Args:
        row: The row.

    Raises:
        ChangedError: If the result has changed since it was stored.
        ValueError: If another value of the row has changed since the result was stored.
    """
    if row["summary"] is None and row["state"] != "finished":
        return None
    summary, before = _opened(row["summary"])
    if before not in ("", _checksum_of(row, row["seconds"])):
        raise ValueError
    return summary


def _opened(text: object) -> tuple[dict[str, object], str]:
    """A result, and the checksum of the columns of its row; empty without checksums."""
    try:
        summary = json.loads(str(text))
        seal = summary.pop(_SEAL, "")
        before, _, own = seal.partition(" ")
    except (ValueError, AttributeError, TypeError, RecursionError):
        raise ChangedError from None
    if seal and checksum(f'{str(text)[: -len(own) - 3]}"}}') != own:
        raise ChangedError
    return summary, before


def _checksum_of(row: sqlite3.Row, seconds: float) -> str:
    return checksum("\n".join(map(str, [*map(row.__getitem__, _COLUMNS), float(seconds)])))
