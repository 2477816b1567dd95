"""``python -m jumpstart report RUN...`` and ``python -m jumpstart doctor MODEL``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {' '.join(message.split())}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit status.

    Args:
        arguments: By default those of the process.
    """
    parser = _Parser(
        prog="python -m jumpstart",
        description="Look at what training does to units and points.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    report = commands.add_parser(
        "report",
        help="write report.html into run directories, and compare them",
        description="Write report.html into each run directory; of several runs also a page that compares them.",
        allow_abbrev=False,
    )
    report.add_argument("runs", nargs="+", metavar="RUN", help="a run directory")
    report.add_argument("--output", metavar="FILE", help="the page that compares several runs (default: compare.html)")
    options = parser.parse_args(arguments)
    return _report(report, options)


def _report(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    from jumpstart.report import NotARunError, write_comparison, write_report
    from jumpstart.report_run import read_run

    if options.output is not None and len(options.runs) < 2:
        parser.error(f"--output is for a page that compares runs: give two or more, got {len(options.runs)}.")
    try:
        runs = [read_run(run) for run in options.runs]  # a wrong name is told before anything is written
        for run in runs:
            _write(f"{write_report(run)}\n")
        if len(runs) > 1:
            _write(f"{write_comparison(runs, Path(options.output or 'compare.html'))}\n")
    except NotARunError as error:
        parser.error(str(error))
    except OSError as error:
        parser.error(f"the report can't be written: {error}")
    return 0


def _write(text: str) -> None:
    sys.stdout.write(text)


if __name__ == "__main__":
    sys.exit(main())
