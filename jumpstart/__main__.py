"""``python -m jumpstart report RUN...`` and ``python -m jumpstart doctor MODEL``."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jumpstart.files import PathError, path_argument, user_path
from jumpstart.files.streams import command
from jumpstart.words import CommandParser

if TYPE_CHECKING:
    from jumpstart.doctor.examine import StatusSeen
    from jumpstart.doctor.load import LoadedModel


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: The words of the command line; None: those of the process.

    Returns:
        The exit status.
    """
    parser = CommandParser(
        prog="python -m jumpstart",
        description="Show what training does to units and points.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    report, doctor = _report_parser(commands), _doctor_parser(commands)
    options = parser.parse_args(arguments)
    return _report(report, options) if options.command == "report" else _doctor(doctor, options)


def _report_parser(commands: argparse._SubParsersAction[CommandParser]) -> CommandParser:
    parser = commands.add_parser(
        "report",
        help="write report.html into run directories, and compare them",
        description="Write report.html into each run directory and, for several runs, a page that compares them.",
        allow_abbrev=False,
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run directory")
    parser.add_argument(
        "--output",
        type=path_argument("--output", "file"),
        metavar="FILE",
        help="the file for the report of one run (default: report.html in its directory), or for the page that "
        "compares several runs (default: compare.html)",
    )
    return parser


def _doctor_parser(commands: argparse._SubParsersAction[CommandParser]) -> CommandParser:
    parser = commands.add_parser(
        "doctor",
        help="examine a model: captured layers, dead units, the cost of a step, and advice",
        description="Examine a model. The exit status is 0, 1 if nothing can be captured, and 2 after an error.",
        allow_abbrev=False,
    )
    parser.add_argument("model", metavar="MODEL", help="package.module:name, a checkpoint, or a run directory")
    parser.add_argument("--kwargs", nargs="+", default=[], metavar="NAME=VALUE", help="arguments of the class")
    parser.add_argument(
        "--weights",
        type=path_argument("--weights", "file"),
        metavar="FILE",
        help="a state_dict for the model, or a checkpoint with one",
    )
    parser.add_argument(
        "--data", default="random", metavar="NAME", help="a data set, the path of your own data, or random"
    )
    parser.add_argument("--target", metavar="COLUMN", help="the column of the classes in a file that --data names")
    parser.add_argument("--input-shape", type=_shape, metavar="N,N,N", help="of one random sample (default: guessed)")
    parser.add_argument("--batch-size", type=int, metavar="N", help="default: 64, or as many as fit into --seconds")
    parser.add_argument("--seconds", type=float, default=20.0, metavar="N", help="time of all passes (default: 20)")
    parser.add_argument("--seed", type=_seed, default=0, metavar="N", help="of weights and data (default: 0)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _report(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    from jumpstart.files.outputs import check_output
    from jumpstart.report.record import KEPT, read_run
    from jumpstart.report.write import NotARunError, write_comparison, write_report

    try:
        if options.output is not None:
            check_output(options.output, "--output", KEPT)
        runs = [read_run(run) for run in options.runs]  # all of them first: after a wrong path nothing is written
        if len(runs) == 1:
            _name(write_report(runs[0], options.output))
            return 0
        for run in runs:
            try:
                _name(write_report(run))
            except OSError as error:  # the page that compares the runs does not need their reports
                _announce(f"warning: the report of {run.path} can't be written: {error}.")
        _name(write_comparison(runs, options.output))
    except (NotARunError, PathError) as error:
        parser.error(str(error))
    except OSError as error:
        parser.error(f"the report can't be written: {error}. Make room, or name another file with --output.")
    return 0


def _doctor(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    import torch

    from jumpstart.doctor.examine import add_cost
    from jumpstart.doctor.load import DoctorError
    from jumpstart.doctor.text import describe_advice, describe_status

    stdout = sys.stdout
    try:
        # Output that a model prints while it is made or run is no part of the result.
        with contextlib.redirect_stdout(sys.stderr), torch.random.fork_rng():
            torch.manual_seed(options.seed)
            seen = _examine_status(options)
            if not options.json:  # timing the steps takes long enough to read it
                stdout.write(f"{describe_status(seen.result)}\n")
                stdout.flush()
            result = add_cost(seen)
    except DoctorError as error:
        parser.error(str(error))
    text = json.dumps(result.to_dict(), indent=2, allow_nan=False) if options.json else describe_advice(result)
    _write(f"{text}\n")
    return 0 if result.captured else 1


def _examine_status(options: argparse.Namespace) -> StatusSeen:
    """Load the model and the batch that the options name, and read the status."""
    from jumpstart.doctor.batch import check_inputs
    from jumpstart.doctor.budget import MOST_SAMPLES, Budget
    from jumpstart.doctor.examine import Plan, examine_status, first_samples
    from jumpstart.doctor.load import DoctorError
    from jumpstart.doctor.plugins import load_batch

    if options.data == "random" and options.target is not None:
        raise DoctorError("--target names a column of a file: give --data=FILE too, or leave --target out.")
    budget = Budget(options.seconds)
    loaded = _load(options)
    plan = Plan(options.data, options.input_shape, options.batch_size, options.seed, budget, _announce)
    batch = None
    if options.data != "random":
        check_inputs(getattr(loaded.model, "_orig_mod", loaded.model))  # before a data set is read for nothing
        batch = load_batch(options.data, loaded.model, options.batch_size or MOST_SAMPLES, options.seed, options.target)
        plan = dataclasses.replace(plan, budget=Budget(options.seconds))  # a download is not of the model's time
        batch = batch if options.batch_size else first_samples(loaded, batch, plan)
    return examine_status(loaded, batch, plan)


def _load(options: argparse.Namespace) -> LoadedModel:
    """The model that the options name."""
    from jumpstart.doctor.load import DoctorError, load_import, parse_kwargs
    from jumpstart.doctor.plugins import load_file
    from jumpstart.doctor.weights import load_weights

    kwargs = parse_kwargs(options.kwargs)
    path = _path_of(options.model)
    if path.exists():
        for name, value in (("kwargs", kwargs), ("weights", options.weights)):
            if value:
                raise DoctorError(f"--{name} is for an import path; a checkpoint holds its own {_OWN[name]}.")
        return load_file(path)
    loaded = load_import(options.model, kwargs)
    if options.weights:
        load_weights(loaded.model, options.weights)
    return loaded


_OWN = {"kwargs": "options", "weights": "weights"}
"""What a checkpoint holds for itself, by the flag that gives it for an import path."""


def _announce(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _path_of(model: str) -> Path:
    """The path that MODEL may be; an import path names no file."""
    from jumpstart.doctor.load import DoctorError

    try:
        return user_path(model, "MODEL")
    except PathError as error:
        raise DoctorError(str(error)) from None


def _shape(text: str) -> tuple[int, ...]:
    try:
        shape = tuple(int(part) for part in text.split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise argparse.ArgumentTypeError(f"must be whole numbers separated by commas, such as 3,224,224, got {text!r}.")
    return shape


def _seed(text: str) -> int:
    if not (text.isdecimal() and int(text) < 2**32):
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 to 4294967295, got {text!r}.")
    return int(text)


def _name(page: Path) -> None:
    """Print the path of a page, unless the page itself was printed."""
    from jumpstart.files.outputs import is_stdout

    if not is_stdout(page):
        _write(f"{page}\n")


def _write(text: str) -> None:
    sys.stdout.write(text)


if __name__ == "__main__":
    sys.exit(main())
