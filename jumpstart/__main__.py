"""``python -m jumpstart report RUN...`` and ``python -m jumpstart doctor MODEL``."""

from __future__ import annotations

import argparse
import contextlib
import json
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
    doctor = commands.add_parser(
        "doctor",
        help="look at a model: what Jumpstart reads in it, who is dead, what a step costs, what to do",
        description="Look at a model. Exit status 0, 1 where nothing can be read in it, 2 on an error.",
        allow_abbrev=False,
    )
    doctor.add_argument("model", metavar="MODEL", help="package.module:name, a checkpoint, or a run directory")
    doctor.add_argument("--kwargs", nargs="+", default=[], metavar="NAME=VALUE", help="arguments of the class")
    doctor.add_argument("--data", default="random", metavar="NAME", help="a data set of this project, or random")
    doctor.add_argument("--input-shape", type=_shape, metavar="N,N,N", help="of one random sample (default: guessed)")
    doctor.add_argument("--batch-size", type=int, default=64, metavar="N", help="default: 64")
    doctor.add_argument("--seed", type=int, default=0, metavar="N", help="of weights and data (default: 0)")
    doctor.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    return _report(report, options) if options.command == "report" else _doctor(doctor, options)


def _report(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    from jumpstart.report.record import read_run
    from jumpstart.report.write import NotARunError, write_comparison, write_report

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


def _doctor(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    import torch

    from jumpstart.doctor.examine import DoctorError, examine
    from jumpstart.doctor.load import load_patient, parse_kwargs
    from jumpstart.doctor.text import describe

    try:
        # What a model prints while it is made or run is none of the result.
        with contextlib.redirect_stdout(sys.stderr), torch.random.fork_rng():
            torch.manual_seed(options.seed)
            patient = load_patient(options.model, parse_kwargs(options.kwargs))
            found = examine(
                patient,
                data=options.data,
                input_shape=options.input_shape,
                batch_size=options.batch_size,
                seed=options.seed,
            )
    except DoctorError as error:
        parser.error(str(error))
    _write((json.dumps(found, indent=2, allow_nan=False) if options.json else describe(found)) + "\n")
    return 0 if found["captured"] else 1


def _shape(text: str) -> tuple[int, ...]:
    try:
        shape = tuple(int(part) for part in text.split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise argparse.ArgumentTypeError(f"must be whole numbers with commas between, such as 3,224,224, got {text!r}.")
    return shape


def _write(text: str) -> None:
    sys.stdout.write(text)


if __name__ == "__main__":
    sys.exit(main())
