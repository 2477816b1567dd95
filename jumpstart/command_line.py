"""Parsers of command lines whose errors are one line."""

from __future__ import annotations

import argparse
from typing import NoReturn


class CommandParser(argparse.ArgumentParser):
    """A parser whose errors are one line, and which takes no ``--`` as a value.

    :mod:`argparse` removes ``--`` from the values of ``--name=--`` and returns an empty list. Its subparsers are of the
    same class.

    Example:
        >>> parser = CommandParser(prog="tool")
        >>> _ = parser.add_argument("--size", type=int)
        >>> parser.parse_args(["--size=3"]).size
        3
    """

    def error(self, message: str) -> NoReturn:
        """End the process with status 2 after one line on the standard error.

        Args:
            message: What is wrong, and the remedy.
        """
        self.exit(2, f"{self.prog}: {' '.join(message.split())}\n")

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> object:
        if action.option_strings and "--" in arg_strings:
            self.error(f"{action.option_strings[0]} must not be '--': give a value, or leave the option out.")
        return super()._get_values(action, arg_strings)
