"""The command line of a run, made from the fields of its config.

:func:`parse` turns flags, a YAML file or the run to resume into one checked config; :func:`main`
runs it and turns whatever the user can mend into one line on stderr.
"""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar

from jumpstart.words import did_you_mean
from model.config.options import GROUPS, Config, Option, options, refuse_unknown
from model.errors import ConfigError, NonFiniteLossError
from sweep.run_directory import RunDirectory, RunDirectoryError

C = TypeVar("C", bound=Config)

_OWN_FLAGS = ("config", "resume", "help")


@dataclass
class Parsed(Generic[C]):
    """What the command line asks for.

    Attributes:
        config: The whole run, checked.
        resume: Run directory to continue, or None.
        run_directory: Where the run writes. Set it as soon as it is known, so that :func:`main` can
            say how to continue after an interruption.
    """

    config: C
    resume: Path | None = None
    run_directory: Path | None = None


def parse(
    config_class: type[C],
    argv: Sequence[str],
    *,
    description: str,
    prog: str | None = None,
    examples: Sequence[str] = (),
) -> Parsed[C]:
    """Read a command line. A flag counts before the YAML file, and that before the default.

    Args:
        config_class: Dataclass whose fields are the flags.
        argv: Arguments without the name of the program: ``--flag=value`` or ``--flag value``, with
            underscores or dashes; of a repeated flag the last counts; a flag without value sets a
            yes-or-no option.
        description: First lines of the help page.
        prog: Name of the program; by default that of the script.
        examples: Commands that end the help page, without ``python`` and the name of the script.

    Raises:
        ConfigError: If anything given is unknown, malformed, out of range or contradictory.
        SystemExit: With code 0 after ``--help``.
    """
    parser = _make_parser(config_class, description, prog, examples)
    texts = vars(parser.parse_args(list(_plain(config_class, argv))))
    table = options(config_class)
    config_file, resume = texts.pop("config", None), texts.pop("resume", None)
    values = _read_yaml(config_class, config_file) if config_file is not None else {}
    values |= {name: table[name].parse(text) for name, text in texts.items()}
    if resume is None:
        return Parsed(config_class.from_dict(values))
    run = RunDirectory.open(resume)
    config = _resumed(config_class, run, values)
    return Parsed(config, run.path, run.path)


def main(
    run: Callable[[Parsed[C]], object],
    config_class: type[C],
    argv: Sequence[str] | None = None,
    *,
    description: str,
    examples: Sequence[str] = (),
    user_errors: tuple[type[Exception], ...] = (),
) -> int:
    """Parse, run, and say in one line what went wrong if the user can mend it.

    Args:
        run: Does the work. It sets ``parsed.run_directory`` once there is one.
        config_class: Dataclass whose fields are the flags.
        argv: Arguments; by default those of the process.
        description: First lines of the help page.
        examples: Commands that end the help page.
        user_errors: Further exceptions that are the user's to mend, besides those of configs and
            run directories. Anything else is a defect and keeps its traceback.

    Returns:
        Exit code: 0, 1 if training diverged, 2 after an error of the user's, 130 after an interruption from the
        keyboard, 143 after a signal to terminate.
    """
    parsed: Parsed[C] | None = None
    mendable: tuple[type[Exception], ...] = (ConfigError, RunDirectoryError, *user_errors)
    try:
        arguments = sys.argv[1:] if argv is None else argv
        parsed = parse(config_class, arguments, description=description, examples=examples)
        run(parsed)
    except mendable as error:
        _complain(f"error: {error}")
        return 2
    except NonFiniteLossError as error:
        _complain(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        return _interrupted(parsed)
    except SystemExit as error:
        # Lightning answers Ctrl-C with sys.exit(1) from within its handler.
        if isinstance(error.__context__, KeyboardInterrupt):
            return _interrupted(parsed)
        if _is_termination(error):
            return _interrupted(parsed, 143)
        raise
    return 0


def _is_termination(error: SystemExit) -> bool:
    """Whether Lightning ends a run with this at a signal to terminate: it would exit with 0."""
    if "pytorch_lightning" not in sys.modules:
        return False
    from pytorch_lightning.utilities.exceptions import SIGTERMException

    return isinstance(error, SIGTERMException)


def _interrupted(parsed: Parsed[Any] | None, code: int = 130) -> int:
    where = parsed.run_directory if parsed else None
    if where is None:
        _complain("interrupted before the run began.")
    else:
        script = shlex.quote(sys.argv[0])
        _complain(f"interrupted; continue with: python {script} --resume={shlex.quote(str(where))}")
    return code


def _complain(message: str) -> None:
    sys.stderr.write(" ".join(message.split()) + "\n")


def _canonical(names: Mapping[str, object], flag: str) -> str:
    """The option that a flag or a key means: dashes as underscores, ``lambda`` as ``lambda_``."""
    name = flag.strip().replace("-", "_")
    return f"{name}_" if name not in names and f"{name}_" in names else name


def _plain(config_class: type[Config], argv: Sequence[str]) -> Iterator[str]:
    """The arguments as ``--name=value``, checked, as argparse alone would not."""
    table = options(config_class)
    known = dict.fromkeys((*table, *_OWN_FLAGS))
    if any(word in ("-h", "--help") for word in argv):
        yield "--help"
        return
    words = list(argv)
    while words:
        word = words.pop(0)
        if not word.startswith("-"):
            raise ConfigError(f"unexpected argument {word!r}; write options as --name=value.")
        flag, equals, value = word.partition("=")
        name = _canonical(known, flag.removeprefix("--"))
        if not flag.startswith("--") or name not in known:
            raise _unknown_flag(flag, known)
        if not equals:
            if words and not words[0].startswith("--"):
                value = words.pop(0)
            elif name in table and bool in table[name].kinds:
                value = "True"
            else:
                raise ConfigError(f"--{name} needs a value: write --{name}=VALUE.")
        yield f"--{name}={value}"


def _unknown_flag(flag: str, known: Mapping[str, object]) -> ConfigError:
    name = flag.lstrip("-").replace("-", "_")
    positive = name.removeprefix("no_")
    if positive != name and positive in known:
        return ConfigError(f"unknown flag {flag}. Did you mean '--{positive}=False'?")
    hint = did_you_mean(flag, [f"--{option}" for option in known]) or " --help lists them all."
    return ConfigError(f"unknown flag {flag}.{hint}")


def _read_yaml(config_class: type[Config], path: str) -> dict[str, Any]:
    """The values in a YAML file, each read exactly as its text would be on the command line."""
    import yaml

    class Loader(yaml.SafeLoader):
        """Leaves scalars as text, but for null: YAML takes 1e-3 for text and 1:30 for a number."""

        yaml_implicit_resolvers = {  # noqa: RUF012 - the name is PyYAML's
            first: [(tag, pattern) for tag, pattern in resolvers if tag.endswith(":null")]
            for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

    try:
        text = Path(path).read_text(encoding="utf-8")
        content = yaml.load(text, Loader)
    except OSError as error:
        raise ConfigError(f"config file {path} can't be read: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise ConfigError(f"config file {path} is not YAML: {' '.join(str(error).split())}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        kind = "a list" if isinstance(content, list) else repr(content)
        raise ConfigError(f'config file {path} must hold "name: value" lines, got {kind}.')
    table = options(config_class)
    named = {_canonical(table, str(key)): value for key, value in content.items()}
    try:
        refuse_unknown(config_class, named)
        return {name: _read_value(table[name], value) for name, value in named.items()}
    except ConfigError as error:
        raise ConfigError(f"config file {path}: {error}") from None


def _read_value(item: Option, value: Any) -> Any:
    if isinstance(value, str):
        return item.parse(value)
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return item.parse(",".join(value))
    return item.clean(value)


def _resumed(config_class: type[C], run: RunDirectory, values: Mapping[str, Any]) -> C:
    """The stored config with the few options that may change; any other that differs is refused."""
    try:
        stored = config_class.from_dict(run.read_config())
    except ConfigError as error:
        raise ConfigError(f"{run.config}: {error}") from None
    wanted = stored.replace(**values)
    for name, item in options(config_class).items():
        before, after = getattr(stored, name), getattr(wanted, name)
        if before != after and not item.resumable:
            raise ConfigError(
                f"{name} can't change when a run is resumed: {run.path} has {before!r}, "
                f"got {after!r}. Leave it out, or start a new run."
            )
        if name == "epochs" and after < before:
            raise ConfigError(f"epochs can only grow when a run is resumed: {run.path} has {before}, got {after}.")
    return wanted


class _Parser(argparse.ArgumentParser):
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
    own = parser.add_argument_group("command line")
    own.add_argument("--config", metavar="FILE", help="YAML file of options; flags count before it.")
    own.add_argument(
        "--resume",
        metavar="RUN_DIRECTORY",
        help="Continue an interrupted run with its own options; "
        + ", ".join(item.name for item in options(config_class).values() if item.resumable)
        + " may be given anew.",
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
