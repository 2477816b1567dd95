"""``python -m sweep status DIR``, ``page DIR``, ``open DIR RUN`` and ``table DIR``."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from data.cache import DataError
from jumpstart.files import PathError, path_argument
from jumpstart.files.streams import command, is_dropped
from jumpstart.words import CommandParser, shorten
from model.errors import ConfigError, NonFiniteLossError
from sweep.cli import is_of_the_machine, words_for
from sweep.ledger.entry import Entry, State
from sweep.ledger.ledger import Ledger
from sweep.ledger.status import status_text
from sweep.run_directory import RunDirectoryError
from sweep.table import add_table_options, write_table

_EVERY_SECONDS = 2.0
_CLEAR = "\x1b[H\x1b[2J"
_MOST_DIGITS = 18
"""Digits of the largest number that SQLite can look for."""
_LONGEST_NAME = 100


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: The words of the command line; None: those of the process.

    Returns:
        The exit status.
    """
    parser = CommandParser(prog="python -m sweep", description="Look at a sweep.", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    status = commands.add_parser("status", help="how many runs are finished, and the time left", allow_abbrev=False)
    status.add_argument("--watch", action="store_true", help="show it again every two seconds until all runs are done")
    page = commands.add_parser("page", help="write sweep.html, the page of the sweep", allow_abbrev=False)
    opened = commands.add_parser("open", help="make the whole run directory of one run", allow_abbrev=False)
    for one in (status, page, opened):
        one.add_argument("folder", type=path_argument("DIR", "folder"), metavar="DIR", help="folder of a sweep")
    opened.add_argument("run", metavar="RUN", help="the number or the name of a run")
    table = commands.add_parser("table", help="the results as a table, or as a plot", allow_abbrev=False)
    add_table_options(table)
    options = parser.parse_args(arguments)
    if options.command == "table":
        return _table(table, options)
    try:
        with Ledger(options.folder, None) as ledger:
            if options.command == "status":
                return _status(ledger, watch=options.watch)
            if options.command == "page":
                return _page(ledger)
            return _open(ledger, options.run)
    except (RunDirectoryError, ConfigError, PathError, DataError, NonFiniteLossError) as error:
        parser.error(str(error))
    except Exception as error:
        if not is_of_the_machine(error):
            raise
        parser.error(words_for(error, None))


def _status(ledger: Ledger, *, watch: bool) -> int:
    ledger.recover()
    sys.stdout.write(f"{status_text(ledger)}\n")
    while watch and ledger.counts()[State.RUNNING] and not is_dropped(sys.stdout):
        time.sleep(_EVERY_SECONDS)
        ledger.recover()
        sys.stdout.write(f"{_CLEAR if sys.stdout.isatty() else ''}{status_text(ledger)}\n")
        sys.stdout.flush()
    return 0


def _page(ledger: Ledger) -> int:
    """Write the page of a sweep, and print its path."""
    from sweep.page.write import write_page

    ledger.recover()
    sys.stdout.write(f"{write_page(ledger)}\n")
    return 0


def _table(parser: CommandParser, options: Namespace) -> int:
    try:
        write_table(options)
    except ModuleNotFoundError as error:
        parser.error(f"{error}: pip install -r requirements.txt installs what tables need.")
    except (ValueError, OSError) as error:
        parser.error(str(error))
    return 0


def _open(ledger: Ledger, name: str) -> int:
    """Print the path of the whole run directory of a run; train it again with plots if there is none."""
    from sweep.open import whole_directory

    sys.stdout.write(f"{whole_directory(ledger, _entry(ledger, name))}\n")
    return 0


def _entry(ledger: Ledger, name: str) -> Entry:
    """The run of a number or a name."""
    if name.isdecimal() and len(name) <= _MOST_DIGITS:
        return ledger.entry(int(name))
    found = [entry for entry in ledger.entries() if entry.label == Path(name).name]
    if not found:
        short = shorten(name, _LONGEST_NAME)
        raise RunDirectoryError(
            f"{ledger.folder} has no run {short!r}: give its number or its name, as results.csv has it."
        )
    return found[0]


if __name__ == "__main__":
    sys.exit(main())
