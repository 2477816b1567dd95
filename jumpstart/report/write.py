"""The report of a run: one HTML file that needs no network, with a verdict in words, curves and maps.

``python -m jumpstart report RUN...`` writes it, and so does a training program at the end of a run. Needs the extra
``report``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jumpstart.files import UserPath, user_path, write_text
from jumpstart.files.outputs import check_output, write_output
from jumpstart.report.comparison import comparison_page
from jumpstart.report.page import run_page
from jumpstart.report.record import FAILURE, KEPT, NotARunError, RunRecord, read_run

__all__ = ["FAILURE", "REPORT", "NotARunError", "write_comparison", "write_report"]

REPORT = "report.html"
"""The name of the report in a run directory."""

COMPARISON = "compare.html"
"""The name of the page that compares runs, in the working folder."""


def write_report(run: UserPath | RunRecord, output: UserPath | None = None) -> Path:
    """Write the report of a run, in place of an older one.

    Args:
        run: The run directory, or its content. Files may be missing: the report names them.
        output: The file to write, which is written as :func:`~jumpstart.files.outputs.write_output` does; None:
            ``report.html`` in the run directory.

    Returns:
        The path of the report.

    Raises:
        NotARunError: If the directory holds no run.
        ValueError: If the output would replace another file of a run or of a sweep, and as
            :func:`~jumpstart.files.user_path`.
        OSError: If the report can't be written.

    Example:
        >>> write_report("runs/moons")  # doctest: +SKIP
        PosixPath('runs/moons/report.html')
    """
    path = _checked(output)
    record = _read(run)
    if path is None:
        path = record.path / REPORT
        write_text(path, run_page(record))
    else:
        write_output(path, run_page(record))
    return path


def write_comparison(runs: Sequence[UserPath | RunRecord], output: UserPath | None = None) -> Path:
    """Write one page that shows several runs side by side.

    Args:
        runs: Two or more run directories, or their contents.
        output: The file to write, as in :func:`write_report`; None: ``compare.html`` in the working folder.

    Returns:
        The path of the page.

    Raises:
        NotARunError: If a directory holds no run.
        ValueError: If there are fewer than two runs, and as :func:`write_report`.
        OSError: If the page can't be written.

    Example:
        >>> write_comparison(["runs/plain", "runs/jumpstart"], "compare.html")  # doctest: +SKIP
        PosixPath('compare.html')
    """
    if len(runs) < 2:
        raise ValueError(f"runs must name at least two run directories to compare, got {len(runs)}.")
    path = _checked(output)
    page = comparison_page([_read(run) for run in runs])
    if path is None:
        path = Path(COMPARISON)
        write_text(path, page)
    else:
        write_output(path, page)
    return path


def _checked(output: UserPath | None) -> Path | None:
    if output is None:
        return None
    path = user_path(output, "output", "file")
    check_output(path, "output", KEPT)
    return path


def _read(run: UserPath | RunRecord) -> RunRecord:
    return run if isinstance(run, RunRecord) else read_run(run)
