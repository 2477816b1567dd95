"""Wording shared by messages, reports and plots: shares, counts, lists, suggestions."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import NoReturn

LONGEST_MESSAGE = 1000
"""Characters of the longest error message of a command."""


def percent(share: float) -> str:
    """A share in [0, 1] as a percentage; only 0 is ``0.0 %`` and only 1 is ``100.0 %``.

    Example:
        >>> percent(0.25), percent(0.0001), percent(0.9999)
        ('25.0 %', '< 0.1 %', '> 99.9 %')
    """
    if 0.0 < share < 0.0005:
        return "< 0.1 %"
    if 0.9995 <= share < 1.0:
        return "> 99.9 %"
    return f"{100 * share:.1f} %"


def counted(count: int, noun: str) -> str:
    """A number with its noun, in the plural where needed.

    Example:
        >>> counted(1, "unit"), counted(1200, "unit")
        ('1 unit', '1,200 units')
    """
    return f"{count:,} {noun}{'s' * (count != 1)}"


def in_seconds(seconds: float) -> str:
    """A time of at least 0.1 s, in words.

    Example:
        >>> in_seconds(0.004), in_seconds(1.25), in_seconds(160.0)
        ('0.1 s', '1.2 s', '160 s')
    """
    return f"{max(seconds, 0.1):.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def shorten(text: str, most: int) -> str:
    """The text, with ``…`` in place of its middle if it is longer than ``most`` characters.

    Example:
        >>> shorten("encoder.layers.0.linear", 9)
        'enco…near'
    """
    return text if len(text) <= most else f"{text[: most // 2]}…{text[most // 2 + 1 - most :]}"


def called(name: str) -> str:
    """The path of a module, or words for the root module, whose path is empty.

    Example:
        >>> called("encoder.0"), called("")
        ('encoder.0', 'the model itself')
    """
    return name or "the model itself"


def some(names: Sequence[str], most: int = 3) -> str:
    """The first names of a list, and how many more there are.

    Example:
        >>> some(["a", "b", "c"], most=2)
        'a, b and 1 more'
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def listed(texts: Sequence[str]) -> str:
    """Texts joined by commas and ``and``.

    Example:
        >>> listed(["a", "b", "c"])
        'a, b and c'
    """
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


def are(count: int, one: str = "is", more: str = "are") -> str:
    """The verb that agrees with a count.

    Example:
        >>> are(1), are(3), are(2, "has", "have")
        ('is', 'are', 'have')
    """
    return one if count == 1 else more


def layer_words(layers: Iterable[int]) -> str:
    """Layers by number, with consecutive ones as a range.

    Args:
        layers: Indices from 0, in any order; the text counts from 1.

    Example:
        >>> layer_words([2, 4, 3, 8])
        'layers 3-5 and 9'
    """
    numbers = sorted({layer + 1 for layer in layers})
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][-1] + 1:
            ranges[-1].append(number)
        else:
            ranges.append([number])
    if len(ranges) > 4:
        return f"{len(numbers)} layers between {numbers[0]} and {numbers[-1]}"
    texts = [str(group[0]) if len(group) == 1 else f"{group[0]}-{group[-1]}" for group in ranges]
    return f"layer{'s' * (len(numbers) != 1)} {listed(texts)}"


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
