"""``python -m sweep status DIR``, ``python -m sweep page DIR`` and ``python -m sweep open DIR RUN``."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from jumpstart.files import PathError, path_argument
from jumpstart.words import CommandParser
from model.errors import ConfigError
from sweep.ledger.ledger import Entry, Ledger, State
from sweep.ledger.status import status_text
from sweep.run_directory import RunDirectoryError

_EVERY_SECONDS = 2.0
_CLEAR = "\x1b[H\x1b[2J"


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
    for command in (status, page, opened):
        command.add_argument("folder", type=path_argument("DIR", "folder"), metavar="DIR", help="folder of a sweep")
    opened.add_argument("run", metavar="RUN", help="the number or the name of a run")
    options = parser.parse_args(arguments)
    try:
        with Ledger(options.folder, None) as ledger:
            if options.command == "status":
                return _status(ledger, watch=options.watch)
            if options.command == "page":
                return _page(ledger)
            return _open(ledger, options.run)
    except (RunDirectoryError, ConfigError, PathError) as error:
        parser.error(str(error))


def _status(ledger: Ledger, *, watch: bool) -> int:
    ledger.recover()
    sys.stdout.write(f"{status_text(ledger)}\n")
    while watch and ledger.counts()[State.RUNNING]:
        time.sleep(_EVERY_SECONDS)
        ledger.recover()
        sys.stdout.write(f"{_CLEAR if sys.stdout.isatty() else ''}{status_text(ledger)}\n")
    return 0


def _page(ledger: Ledger) -> int:
    """Write the page of a sweep, and print its path."""
    from sweep.page.write import write_page

    ledger.recover()
    sys.stdout.write(f"{write_page(ledger)}\n")
    return 0


def _open(ledger: Ledger, name: str) -> int:
    """Print the path of the whole run directory of a run; train it again with plots if there is none."""
    from sweep.open import whole_directory

    sys.stdout.write(f"{whole_directory(ledger, _entry(ledger, name))}\n")
    return 0


def _entry(ledger: Ledger, name: str) -> Entry:
    """The run of a number or a name."""
    if name.isdecimal():
        return ledger.entry(int(name))
    found = [entry for entry in ledger.entries() if entry.label == Path(name).name]
    if not found:
        raise RunDirectoryError(
            f"{ledger.folder} has no run {name!r}: give its number or its name, as results.csv has it."
        )
    return found[0]


if __name__ == "__main__":
    sys.exit(main())
