"""The command line of a run, made from the fields of its config.

:func:`parse` turns flags, a YAML file or the run to resume into one checked config. :func:`main` runs the config and
prints every error that the user can correct as one line on stderr.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shlex
import shutil
import sys
import textwrap
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, NoReturn, TypeVar

from jumpstart.files import PathError, UserPath, load_yaml, user_path
from jumpstart.words import LONGEST_MESSAGE, CommandParser, shorten
from model.config.optimization import ENDLESS
from model.config.options import GROUPS, Config, Option, options, refuse_unknown
from model.config.other_names import guess
from model.errors import ConfigError, NonFiniteLossError
from sweep.grid.command import OWN_FLAGS, GridCommand, SingleRun, canonical, grids_in_file, read_grids
from sweep.grid.expand import Grid
from sweep.grid.options import SweepConfig
from sweep.run_directory import RunDirectory, RunDirectoryError
from sweep.signals import StoppedBySignal, stopped_by_signals

C = TypeVar("C", bound=Config)

_OWN_FLAGS = (*OWN_FLAGS, "help")


@dataclass
class Parsed(Generic[C]):
    """A parsed command line.

    Attributes:
        config: Every option of the run, checked.
        resume: Run directory to continue, or None.
        given: Names of the options that were given by hand: by flags, or in a file with other values than the default.
        unused: What was given beside these options and has no effect, as it is written, with the condition that is
            missing.
        run_directory: The folder that the run writes. The function that runs sets this attribute as soon as the folder
            exists, so that :func:`main` can print the command that continues an interrupted run.
    """

    config: C
    resume: Path | None = None
    given: tuple[str, ...] = ()
    unused: Mapping[str, str] = field(default_factory=dict)
    run_directory: Path | None = None


def parse(
    config_class: type[C],
    argv: Sequence[str],
    *,
    description: str,
    prog: str | None = None,
    examples: Sequence[str] = (),
) -> Parsed[C]:
    """Read a command line. A flag overrides the YAML file, which overrides the default.

    Args:
        config_class: Dataclass whose fields are the flags.
        argv: Arguments without the name of the program: ``--flag=value`` or ``--flag value``, with underscores or
            dashes. The last of several equal flags counts. A boolean flag without a value means True.
        description: First lines of the help page.
        prog: Name of the program; by default that of the script.
        examples: Commands that end the help page, without ``python`` and the name of the script.

    Raises:
        ConfigError: If an argument is unknown, malformed, out of range, or contradicts another one.
        RunDirectoryError: If ``--resume`` names no run.
        PathError: If ``--config`` or ``--resume`` is no local path; see :func:`~jumpstart.files.user_path`.
        SystemExit: With code 0 after ``--help``.
    """
    return read_command(config_class, argv, description=description, prog=prog, examples=examples).single_run()


@dataclass(frozen=True)
class Command(Generic[C]):
    """A command line that has been read: one run, or a grid of them.

    Attributes:
        config_class: The config of the runs.
        grid: The values of all options, and the options of a sweep.
        flags: Names of the options that were given by flags.
        resume: The run directory to continue, or None.
    """

    config_class: type[C]
    grid: GridCommand
    flags: tuple[str, ...]
    resume: str | None

    def single_run(self) -> Parsed[C]:
        """The run of a command line whose options have one value each.

        Raises:
            ConfigError: If an option is out of range, contradicts another one, or can't be changed in a resumed run.
            RunDirectoryError: If there is no run to resume.
        """
        return _parsed(self.config_class, self.grid.single_run(self.config_class), self.flags, self.resume)


def read_command(
    config_class: type[C],
    argv: Sequence[str],
    *,
    description: str,
    prog: str | None = None,
    examples: Sequence[str] = (),
) -> Command[C]:
    """Read a command line, with one value or several for each flag; the arguments are those of :func:`parse`.

    Raises:
        ConfigError: If an argument is unknown or malformed, or if a run is resumed with several values.
        PathError: If ``--config`` is no local path.
        SystemExit: With code 0 after ``--help``.
    """
    parser = _make_parser(config_class, description, prog, examples)
    texts = vars(parser.parse_args(list(_checked_arguments(config_class, argv))))
    config_file, resume = texts.pop("config", None), texts.pop("resume", None)
    sweep = {name: texts.pop(name) for name in options(SweepConfig) if name in texts}
    in_file = _grids_of_file(config_class, config_file) if config_file is not None else [Grid({})]
    grid = read_grids(config_class, texts, sweep, in_file)
    if resume is not None and grid.options.dry_run:
        raise ConfigError("--dry_run prints the runs of a grid, and --resume continues one run: leave one of them out.")
    if resume is not None and not grid.is_single:
        raise ConfigError("--resume continues one run. A sweep goes on when its command is given again.")
    return Command(config_class, grid, tuple(texts), resume)


def combine(
    config_class: type[C],
    values: Mapping[str, object],
    *,
    config_file: UserPath | None = None,
    resume: UserPath | None = None,
) -> Parsed[C]:
    """The config of given values, which override a YAML file, which overrides the run to resume or the defaults.

    Args:
        config_class: The config.
        values: Values by name; a text is read as on the command line, unless the option itself is a text.
        config_file: A YAML file of options.
        resume: The run directory to continue.

    Raises:
        ConfigError: If an option is unknown or wrong, or can't be changed when a run is resumed.
        RunDirectoryError: If there is no run to resume.
        PathError: If a path is no local path.
    """
    in_file = _grids_of_file(config_class, config_file) if config_file is not None else [Grid({})]
    for name in values.keys() & options(SweepConfig).keys():
        raise ConfigError(f"{name} is an option of a sweep, and this function trains one run. Leave it out.")
    refuse_unknown(config_class, values)
    by_hand = {name: [options(config_class)[name].read(value)] for name, value in values.items()}
    grids = [Grid({**grid.values, **by_hand}, grid.techniques) for grid in in_file]
    return _parsed(config_class, GridCommand(grids, SweepConfig()).single_run(config_class), values, resume)


def _parsed(config_class: type[C], run: SingleRun, by_hand: Collection[str], resume: UserPath | None) -> Parsed[C]:
    """The checked config of a run, of whose options some were given by hand, and the others in a file."""
    table = options(config_class)
    changed = {*by_hand, *(name for name, value in run.given.items() if value != table[name].default)}
    given = tuple(name for name in table if name in changed or name in run.of_technique)
    values = {**run.given, **run.of_technique}
    unused = {f"{name}={run.given[name]}": need for name, need in run.unused.items() if name in changed}
    unused |= {f"{name}={value}": "several runs" for name, value in run.of_sweep.items()}
    if resume is None:
        return Parsed(config_class.from_dict(values), given=given, unused=unused)
    directory = RunDirectory.open(user_path(resume, "resume"))
    config = _resumed_config(config_class, directory, values)
    return Parsed(config, directory.path, given, unused, directory.path)


def main(
    run: Callable[[Parsed[C]], object],
    config_class: type[C],
    argv: Sequence[str] | None = None,
    *,
    description: str,
    examples: Sequence[str] = (),
    user_errors: tuple[type[Exception], ...] = (),
    sweep: Callable[[GridCommand], int] | None = None,
) -> int:
    """Parse the command line, run, and print an error that the user can correct as one line.

    Args:
        run: Runs the parsed command line, and sets ``parsed.run_directory`` as soon as the directory exists.
        config_class: Dataclass whose fields are the flags.
        argv: Arguments; by default those of the process.
        description: First lines of the help page.
        examples: Commands that end the help page.
        user_errors: Further exceptions that the user can correct, besides those of configs, run directories, files
            and memory. Any other exception is a defect and keeps its traceback.
        sweep: Runs a grid and returns the exit code; None if there are no grids.

    Returns:
        Exit code: 0 after success, 1 if training diverged or runs of a sweep failed, 2 after an error that the user can
        correct, 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP.
    """
    parsed: Parsed[C] | None = None
    correctable: tuple[type[Exception], ...] = (ConfigError, RunDirectoryError, PathError, *user_errors)
    try:
        arguments = sys.argv[1:] if argv is None else argv
        command = read_command(config_class, arguments, description=description, examples=examples)
        if sweep is not None and (command.grid.options.dry_run or not command.grid.is_single):
            return sweep(command.grid)
        command.grid.refuse_executor()
        parsed = command.single_run()
        with stopped_by_signals():
            run(parsed)
    except correctable as error:
        _print_error(f"error: {error}")
        return 2
    except NonFiniteLossError as error:
        _print_error(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        return _interrupted(parsed)
    except SystemExit as error:
        # Lightning's handler of Ctrl-C calls sys.exit(1).
        if isinstance(error.__context__, KeyboardInterrupt):
            return _interrupted(parsed)
        if isinstance(error, StoppedBySignal):
            return _interrupted(parsed, int(str(error.code)))
        if _is_termination(error):
            return _interrupted(parsed, 143)
        raise
    except Exception as error:
        if not is_of_the_machine(error):
            raise
        _print_error(f"error: {words_for(error, parsed.run_directory if parsed else None)}")
        return 2
    return 0


def is_of_the_machine(error: Exception) -> bool:
    """Whether the machine lacks memory, or refuses a file, which is no defect of the program.

    Args:
        error: What ended a command.
    """
    # torch raises a RuntimeError where the memory of the CPU is too small, and a subclass of it for a GPU.
    return isinstance(error, MemoryError | OSError) or (
        isinstance(error, RuntimeError)
        and any(words in str(error) for words in ("can't allocate memory", "not enough memory", "out of memory"))
    )


def words_for(error: Exception, run: Path | None) -> str:
    """A message about memory or a file, without the lines that torch adds, and how the run goes on.

    Args:
        error: An error that :func:`is_of_the_machine` recognizes.
        run: The directory of the run, if there is one.
    """
    reason = next(iter(str(error).splitlines()), "") or type(error).__name__
    if isinstance(error, OSError):
        if run is not None and not os.path.isdir(run):
            return f"{run} was deleted while the run wrote its files there. Run the same command again."
        remedy = "Run the same command again when this is mended."
        if run is not None and RunDirectory(run).last_checkpoint.is_file():
            remedy = f"When this is mended, continue with: {_resume_command(run)}"
        elif run is not None:
            remedy = "No epoch was stored yet: when this is mended, start the run again with another --name."
        return f"a file can't be read or written: {reason.rstrip('.')}. {remedy}"
    what = f"the memory of this machine does not suffice: {reason.rstrip('.')}"
    return f"{what}. Choose a smaller network, batch_size or data set."


def _is_termination(error: SystemExit) -> bool:
    """Whether Lightning raised this at SIGTERM; uncaught, the exception would end the process with code 0."""
    if "pytorch_lightning" not in sys.modules:
        return False
    from pytorch_lightning.utilities.exceptions import SIGTERMException

    return isinstance(error, SIGTERMException)


def _interrupted(parsed: Parsed[C] | None, code: int = 130) -> int:
    """Print how to continue the run, and return the exit code."""
    where = parsed.run_directory if parsed else None
    if where is None:
        _print_error("interrupted before the run began.")
    else:
        _print_error(f"interrupted; continue with: {_resume_command(where)}")
    return code


def _resume_command(run: Path) -> str:
    return f"python {shlex.quote(sys.argv[0])} --resume={shlex.quote(str(run))}"


def _print_error(message: str) -> None:
    """Write a message to stderr as one line, without the middle of a very long one."""
    sys.stderr.write(shorten(" ".join(message.split()), LONGEST_MESSAGE) + "\n")


def _checked_arguments(config_class: type[Config], argv: Sequence[str]) -> Iterator[str]:
    """The arguments in the one form ``--name=value``, with errors that argparse alone would not raise."""
    table = options(config_class)
    own = options(SweepConfig)
    known = dict.fromkeys((*table, *own, *_OWN_FLAGS))
    if any(word in ("-h", "--help") for word in argv):
        yield "--help"
        return
    words = list(argv)
    while words:
        word = words.pop(0)
        if not word.startswith("-"):
            raise ConfigError(f"unexpected argument {word!r}; write options as --name=value.")
        flag, equals, value = word.partition("=")
        name = canonical(known, flag.removeprefix("--"))
        if not flag.startswith("--") or name not in known:
            raise _unknown_flag(flag, known)
        if not equals:
            if words and not words[0].startswith("--"):
                value = words.pop(0)
            elif name in {**table, **own} and bool in {**table, **own}[name].kinds:
                value = "True"
            else:
                raise ConfigError(f"--{name} needs a value: write --{name}=VALUE.")
        yield f"--{name}={value}"


def _unknown_flag(flag: str, known: Mapping[str, object]) -> ConfigError:
    name = flag.lstrip("-").replace("-", "_")
    positive = name.removeprefix("no_")
    if positive != name and positive in known:
        return ConfigError(f"unknown flag {flag}. Did you mean '--{positive}=False'?")
    meant = guess(name, known)
    hint = f"Did you mean '--{meant}'?" if meant else "--help lists them all."
    return ConfigError(f"unknown flag {flag}. {hint}")


def _grids_of_file(config_class: type[Config], path: UserPath) -> list[Grid]:
    try:
        return grids_in_file(config_class, _load_yaml(path))
    except ConfigError as error:
        message = str(error)
        raise ConfigError(message if message.startswith("config file") else f"config file {path}: {message}") from None


def _load_yaml(path: UserPath) -> object:
    """The content of a YAML file, with scalars as text."""
    file = user_path(path, "config", "file")
    try:
        return load_yaml(file.read_text(encoding="utf-8"), as_text=True)
    except OSError as error:
        raise ConfigError(f"config file {path} can't be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"config file {path} is not YAML: it is no text in UTF-8: {error}.") from None
    except ValueError as error:
        raise ConfigError(f"config file {path}: {error}") from None


def _resumed_config(config_class: type[C], run: RunDirectory, values: Mapping[str, object]) -> C:
    """The stored config with the resumable options replaced.

    Raises:
        ConfigError: If another option differs from the stored one, or ``epochs`` is smaller, or differs with fresh
            starts.
    """
    try:
        stored = config_class.from_dict(run.read_config())
    except ConfigError as error:
        raise ConfigError(f"{run.config}: {error}") from None
    changed = config_class.from_dict({**stored.to_dict(), **values})
    for name, item in options(config_class).items():
        before, after = getattr(stored, name), getattr(changed, name)
        if before != after and not item.resumable:
            raise ConfigError(
                f"{name} can't be changed when a run is resumed: {run.path} has {before!r}, "
                f"got {after!r}. Leave it out, or start a new run."
            )
        starts = getattr(stored, "fresh_starts", 1)
        if name == "epochs" and before != after and starts > 1:
            raise ConfigError(
                f"epochs can't be changed when a run with fresh_starts={starts} is resumed, because each "
                f"start has an equal share: {run.path} has {before}, got {after}. Start a new run."
            )
        if name == "epochs" and before > after != ENDLESS:
            raise ConfigError(f"epochs can only grow when a run is resumed: {run.path} has {before}, got {after}.")
    return changed


class _Parser(CommandParser):
    """A parser that raises ConfigError instead of ending the process."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(message)


def _make_parser(
    config_class: type[Config], description: str, prog: str | None, examples: Sequence[str]
) -> argparse.ArgumentParser:
    prog = prog or Path(sys.argv[0]).name
    commands = list(examples) or ["--config=run.yaml --seed=1", "--resume=runs/NAME"]
    epilog = "examples:\n" + "\n".join(f"  python {prog} {command}" for command in commands)
    width = min(100, shutil.get_terminal_size().columns)

    def formatter(prog: str) -> argparse.HelpFormatter:
        return argparse.RawDescriptionHelpFormatter(prog, max_help_position=30, width=width)

    parser = _Parser(
        prog=prog,
        usage=f"python {prog} [--name=value ...]".replace("%", "%%"),
        description=textwrap.fill(description, width),
        epilog=epilog,
        formatter_class=formatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
        add_help=False,
    )
    for group in GROUPS:
        members = [item for item in options(config_class).values() if item.group == group]
        section = parser.add_argument_group(group)
        for item in members:
            section.add_argument(f"--{item.name}", metavar=_metavar(item), help=_help(item))
    section = parser.add_argument_group("sweep", "A flag with several values, such as --depth=10,50 --seed=0..9.")
    for item in options(SweepConfig).values():
        section.add_argument(f"--{item.name}", metavar=_metavar(item), help=_help(item))
    own = parser.add_argument_group("command line")
    own.add_argument("--config", metavar="FILE", help="YAML file of options; flags override it.")
    own.add_argument(
        "--resume",
        metavar="RUN_DIRECTORY",
        help="Continue an interrupted run with its stored options; only "
        + ", ".join(item.name for item in options(config_class).values() if item.resumable)
        + " can be changed.",
    )
    own.add_argument("-h", "--help", action="help", help="Show this page and exit.")
    return parser


def _metavar(item: Option) -> str:
    names = {int: "N", float: "X", bool: "BOOL", str: "TEXT", tuple: "N,N,..."}
    if item.choices:
        return "CHOICE"
    return "|".join(names[kind] for kind in item.kinds) + ("|None" if item.optional else "")


def _help(item: Option) -> str:
    if item.default is dataclasses.MISSING:
        default = "must be given"
    elif isinstance(item.default, tuple):
        default = f"default: {','.join(map(str, item.default)) or 'none'}"
    else:
        default = f"default: {item.default}"
    accepted = item.words or ", ".join(map(str, item.choices)) or item.range
    return f"{item.help} [{accepted + '; ' if accepted else ''}{default}]".replace("%", "%%")
