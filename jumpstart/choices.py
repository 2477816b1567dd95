"""Options of the loss: an enum for each option, the defaults, and the checks that refuse a wrong value.

Imports no torch, so that command lines can read the options before torch is loaded.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from enum import Enum, Flag, StrEnum
from typing import TypeAlias, TypeVar

E = TypeVar("E", bound=Enum)

Margins: TypeAlias = tuple[float, float]
"""Distances from zero that the extrema of every unit and point must reach: on the positive and the negative side."""

MARGIN = 1.0
"""Default margin of either side."""

DEAD_NETWORK_SHARE = 0.2
"""Share of dead (or linear) units above which a network counts as dead (or linear), as in the paper's key figures."""


class Capture(StrEnum):
    """Which tensors of a model are preactivations."""

    ACTIVATIONS = "activations"
    """The input of every activation module, in call order."""
    WEIGHTS = "weights"
    """The output of every linear and convolutional layer except the last one that is called."""


class Part(StrEnum):
    """A part of a data set."""

    TRAIN = "train"
    """The rows that are trained on."""
    VAL = "val"
    """The rows that decide which weights are kept."""
    TEST = "test"
    """The rows that are read after training alone."""


class Ties(StrEnum):
    """Which entries receive the gradient when several attain an extremum."""

    SINGLE = "single"
    """The first of them."""
    AVERAGE = "average"
    """All of them, in equal shares."""
    RANDOM = "random"
    """One of them, drawn in every backward pass from the global generator of torch."""


class PointMode(StrEnum):
    """What counts as one point in a tensor with positions in space or time."""

    SAMPLE = "sample"
    """One sample, with all its positions."""
    LOCATION = "location"
    """One position of one sample."""


class Terms(Flag):
    """The four hinges. Any non-empty union is a mode: ``Terms.ALL & ~Terms.UNIT_POSITIVE``.

    Example:
        >>> Terms.parse("unit, point_negative") == Terms.UNIT | Terms.POINT_NEGATIVE
        True
    """

    UNIT_POSITIVE = 1
    UNIT_NEGATIVE = 2
    POINT_POSITIVE = 4
    POINT_NEGATIVE = 8
    UNIT = UNIT_POSITIVE | UNIT_NEGATIVE
    POINT = POINT_POSITIVE | POINT_NEGATIVE
    POSITIVE = UNIT_POSITIVE | POINT_POSITIVE
    NEGATIVE = UNIT_NEGATIVE | POINT_NEGATIVE
    ALL = UNIT | POINT

    def __str__(self) -> str:
        """The names as :meth:`parse` reads them."""
        return str(self.name).lower().replace("|", ",")

    @classmethod
    def parse(cls, terms: Terms | str | Iterable[str]) -> Terms:
        """A union from names: ``"all"``, ``"unit"``, ``"unit_positive,point"`` or a list of names.

        Args:
            terms: A union, which is returned as it is, or names.

        Raises:
            ValueError: On an unknown name or an empty union.
        """
        if isinstance(terms, Terms):
            union = terms
        else:
            names = terms.split(",") if isinstance(terms, str) else terms if isinstance(terms, Iterable) else [terms]
            union = cls(0)
            for name in names:
                key = name.strip() if isinstance(name, str) else name
                if not isinstance(key, str) or key.upper() not in cls.__members__:
                    known = [member.lower() for member in cls.__members__]
                    raise ValueError(
                        f"terms must be a union of {', '.join(known)}, got {key!r}.{did_you_mean(key, known)}"
                    )
                union |= cls[key.upper()]
        if not union:
            raise ValueError("terms must name at least one hinge, got none. Use terms='all' for all four.")
        return union


class Aggregate(StrEnum):
    """How the losses of units (U) and points (P) become one number."""

    BALANCED = "balanced"
    """mean(U) + mean(P), as in the published pseudocode."""
    MEAN = "mean"
    """The mean of U and P in one vector."""
    NORM = "norm"
    """The L2 norm of U and P in one vector."""
    SUM_OF_SQUARES = "sum_of_squares"
    """The sum of the squares of U and P, as in the grids of the 2022 paper."""
    SUM_OF_SQUARED_HINGES = "sum_of_squared_hinges"
    """The sum of the squares of all hinges: the two of a unit or a point are squared one by one."""


def choose(kind: type[E], value: E | str, name: str) -> E:
    """The member of an enum for the value of an option.

    Args:
        kind: The enum of the option.
        value: A member, or its value as a string.
        name: The parameter, for the message.

    Raises:
        ValueError: If there is no such member; the message suggests the nearest.
    """
    if isinstance(value, kind):
        return value
    known = [str(member.value) for member in kind]
    if isinstance(value, str) and value in known:
        return kind(value)
    raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}.{did_you_mean(value, known)}")


def check_flag(name: str, value: object) -> None:
    """Refuse anything but True and False, such as the text "False", which Python takes for true.

    Raises:
        TypeError: If the value is neither True nor False.

    Example:
        >>> check_flag("use_batchnorm", "False")
        Traceback (most recent call last):
        TypeError: use_batchnorm must be True or False, got 'False'.
    """
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {value!r}.")


def is_finite(value: object) -> bool:
    """Whether a value is a finite number. False for anything that is no number, such as a text or None."""
    try:
        return math.isfinite(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError, RuntimeError):  # of None, arrays, huge integers, tensors
        return False


def check_margins(margin: float, negative_margin: float | None = None) -> Margins:
    """The margins of the positive and of the negative side, if they are finite numbers above 0.

    Args:
        margin: The margin of the positive side.
        negative_margin: The margin of the negative side; None for that of the positive side.

    Raises:
        ValueError: If one of them is not.

    Example:
        >>> check_margins(0.5), check_margins(1.0, 0.1)
        ((0.5, 0.5), (1.0, 0.1))
    """
    margins = margin, margin if negative_margin is None else negative_margin
    for name, value in zip(("margin", "negative_margin"), margins, strict=True):
        if not (is_finite(value) and value > 0):
            raise ValueError(f"{name} must be a finite number > 0, got {value!r}. The published value is 1.")
    return float(margins[0]), float(margins[1])


def margin_arguments(margins: Margins) -> str:
    """The margins as arguments of a call, for messages.

    Example:
        >>> margin_arguments((0.5, 0.5)), margin_arguments((1.0, 0.1))
        ('margin=0.5', 'margin=1, negative_margin=0.1')
    """
    positive, negative = margins
    return f"margin={positive:g}" + (f", negative_margin={negative:g}" if negative != positive else "")


def nearest(value: object, known: Iterable[str]) -> str | None:
    """The known word that a misspelled one is meant to be, or None if no word, or more than one, is near enough.

    A word is near if it differs by a few letters, such as one in a word of five and two in a word of ten, or if it is
    the only one that begins with the misspelled one. Case, dashes and underscores are ignored. Other digits, as in
    ``cifar100`` and ``cifar10``, or another first letter make another word.

    Example:
        >>> nearest("Leaky-ReLU", ["leakyrelu", "relu"])
        'leakyrelu'
        >>> nearest("n_samples", ["name", "num_points"]) is None
        True
    """
    given = _without_signs(str(value))
    words = {_without_signs(word): word for word in known}
    if given in words:
        return words[given]
    distances = {word: _edits(given, word) for word in words if word and _may_be_meant(given, word)}
    near = {word: edits for word, edits in distances.items() if edits <= max(len(given), len(word), 5) // 5}
    if near:
        least = min(near.values())
        best = [word for word, edits in near.items() if edits == least]
        return words[best[0]] if len(best) == 1 else None
    longer = [word for word in words if len(given) > 2 and word.startswith(given)]
    return words[longer[0]] if len(longer) == 1 else None


def _may_be_meant(given: str, word: str) -> bool:
    """Whether two different words can be spellings of one, judged by their digits, lengths and first letters."""
    if [mark for mark in given if mark.isdigit()] != [mark for mark in word if mark.isdigit()]:
        return False
    if min(len(given), len(word)) < 3:
        return sorted(given) == sorted(word)
    return given[0] == word[0] or given[1::-1] == word[:2]


def _edits(one: str, other: str) -> int:
    """The least number of letters to add, drop, replace, or swap with their neighbor, to turn one word into another."""
    before, last = [0] * (len(other) + 1), list(range(len(other) + 1))
    for row, letter in enumerate(one, 1):
        now = [row]
        for column, wanted in enumerate(other, 1):
            cost = min(last[column] + 1, now[-1] + 1, last[column - 1] + (letter != wanted))
            if row > 1 and column > 1 and (letter, one[row - 2]) == (other[column - 2], wanted):
                cost = min(cost, before[column - 2] + 1)
            now.append(cost)
        before, last = last, now
    return last[-1]


def did_you_mean(value: object, known: Iterable[str]) -> str:
    """A sentence that suggests the nearest known word, with a leading space; empty if none is near.

    Example:
        >>> did_you_mean("blanced", ["balanced", "mean"])
        " Did you mean 'balanced'?"
        >>> did_you_mean("xyz", ["balanced", "mean"])
        ''
    """
    guess = nearest(value, known)
    return f" Did you mean {guess!r}?" if guess is not None else ""


def _without_signs(word: str) -> str:
    """A word in lower case, without spaces around it, dashes and underscores."""
    return word.strip().lower().replace("-", "").replace("_", "")
