"""Frozen dataclasses whose fields are options: default, meaning, type and range in one place.

The flags of a command line, the keys of a YAML file and the ``config.yaml`` of a run are made from these fields.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import numbers
import types
import typing
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePath
from typing import Any, TypeVar, cast

from jumpstart.choices import did_you_mean
from jumpstart.words import shorten
from model.config.other_names import guess
from model.errors import ConfigError

GROUPS = ("network", "optimization", "jumpstart", "data", "run")

Value = bool | int | float | str | tuple[int, ...] | tuple[float, ...] | None
"""The types of the value of an option."""
PlainValue = bool | int | float | str | list[int] | list[float] | None
"""The types of the value of an option, as YAML and JSON can store it."""
Check = Callable[[str, Any], Value]
"""Called with the name of an option and its value; returns the value to keep or raises :class:`ConfigError`."""

C = TypeVar("C", bound="Config")

_BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_LARGEST = 2**63 - 1
_NOUNS = {
    int: "an integer",
    float: "a number",
    bool: "True or False",
    str: "text",
}


def unknown_value(name: str, expected: str, value: object, known: Iterable[str]) -> ConfigError:
    """The error for a word that is not allowed; the message suggests the nearest allowed word."""
    return ConfigError(f"{name} must be {expected}, got {value!r}.{did_you_mean(value, known)}")


class Several(StrEnum):
    """How several values of an option are written in a grid."""

    COMMAS = "commas"
    """``10,50``, and ``0..9`` for integers."""
    BRACKETS = "brackets"
    """``[2,4],[3]``, because a value itself may have commas."""
    NEVER = "never"
    """Not at all: all runs of a grid share the value."""


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option: the values that a field of a config accepts.

    Attributes:
        name: Name of the field and of its flag.
        kinds: Types accepted, of int, float, bool, str and tuple.
        item: Type of each item of a tuple, int or float.
        optional: Whether None is accepted.
        default: Value if none is given; ``dataclasses.MISSING`` if a value must be given.
        help: Meaning of the option, for the help page and the documents.
        words: The accepted values in words, if types, range and choices don't say it.
        group: Heading of the help page under which the option is listed.
        choices: The only values allowed; empty for any. Texts are compared without regard to case.
        minimum: Least value allowed (of each item of a tuple).
        maximum: Greatest value allowed.
        above: Bound that the value must exceed.
        below: Bound that the value must stay under.
        check: Called after all the other checks, with (name, value); returns the value to keep.
        resumable: Whether the value can be changed when a run is resumed.
        several: How several values of the option are written in a grid.
    """

    name: str
    kinds: tuple[type, ...]
    item: type[int] | type[float]
    optional: bool
    default: object
    help: str
    words: str | None = None
    group: str = "run"
    choices: tuple[object, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    below: float | None = None
    check: Check | None = None
    resumable: bool = False
    several: Several = Several.COMMAS
    _accepted: dict[tuple[type, object], Value] = dataclasses.field(default_factory=dict, compare=False, repr=False)
    """Canonical forms by type and value, because a grid makes thousands of configs of few values."""

    @property
    def required(self) -> bool:
        """Whether a value must be given."""
        return self.default is dataclasses.MISSING

    @property
    def default_text(self) -> str:
        """The default as it is written on the command line; ``none`` for an empty tuple."""
        if isinstance(self.default, tuple):
            return ",".join(map(str, self.default)) or "none"
        return str(self.default)

    @property
    def range(self) -> str:
        """The range in words, such as ``>= 0 and < 1``; empty if there is none."""
        bounds = ((">=", self.minimum), (">", self.above), ("<=", self.maximum), ("<", self.below))
        return " and ".join(f"{sign} {bound}" for sign, bound in bounds if bound is not None)

    @property
    def values(self) -> str:
        """The accepted values, briefly: ``words``, the choices, or the range; empty if any value is accepted."""
        return self.words or ", ".join(map(str, self.choices)) or self.range

    @property
    def expected(self) -> str:
        """The accepted values as error messages describe them, such as ``an integer >= 1 or None``."""
        if self.words:
            what = self.words
        elif self.choices:
            what = "one of " + ", ".join(map(str, self.choices))
        else:
            nouns = _NOUNS | {tuple: f"comma-separated {'integers' if self.item is int else 'numbers'}"}
            what = " or ".join(nouns[kind] for kind in self.kinds) + (f" {self.range}" if self.range else "")
        return f"{what} or None" if self.optional else what

    def parse(self, text: str) -> Value:
        """The value of a text from the command line or from YAML, checked as :meth:`clean` does.

        Raises:
            ConfigError: If the text is no value of this option.
        """
        word = text.strip()
        if self.optional and word.lower() in ("none", "null"):
            return None
        for kind in self.kinds:
            try:
                value = self._read_items(word) if kind is tuple else _read(kind, word)
            except (ValueError, KeyError):
                continue
            return self.clean(value)
        raise self._wrong(text)

    def read(self, value: object) -> Value:
        """The value in its canonical form; a text is read as on the command line, unless the option itself is a text.

        Raises:
            ConfigError: If it is no value of this option.
        """
        return self.parse(value) if isinstance(value, str) and str not in self.kinds else self.clean(value)

    def clean(self, value: object) -> Value:
        """The value in its canonical form, such as a float for an integer where a number is expected.

        Raises:
            ConfigError: If its type or range is wrong, or if it is none of the choices.
        """
        if value is None and self.optional:
            return None
        if not isinstance(value, bool | int | float | str):
            return self._clean(value)
        key = (type(value), value)
        if key not in self._accepted:
            self._accepted[key] = self._clean(value)
        return self._accepted[key]

    def _clean(self, value: object) -> Value:
        if value is None and "none" in self.choices:
            value = "none"
        typed = self._typed(value)
        if self.choices:
            return self._chosen(typed)
        if typed == "":
            raise ConfigError(f"{self.name} must not be empty.")
        for item in typed if isinstance(typed, tuple) else (typed,):
            if isinstance(item, int | float) and not isinstance(item, bool):
                self._check_range(item)
        return typed

    def _typed(self, value: object) -> Value:
        if isinstance(value, PurePath):
            value = str(value)
        if isinstance(value, bool):
            if bool in self.kinds:
                return value
        elif isinstance(value, numbers.Integral) and int in self.kinds:
            return int(value)
        elif isinstance(value, numbers.Real) and float in self.kinds:
            return _as_float(value)
        elif isinstance(value, str) and str in self.kinds:
            return value
        elif isinstance(value, list | tuple) and tuple in self.kinds:
            number = numbers.Integral if self.item is int else numbers.Real
            if all(isinstance(item, number) and not isinstance(item, bool) for item in value):
                return tuple(int(item) if self.item is int else _as_float(item) for item in value)
        raise self._wrong(value)

    def _read_items(self, word: str) -> tuple[float, ...]:
        inner = "" if word.lower() in ("none", "null") else word.strip("()[] ")
        read = _read_integer if self.item is int else float
        return tuple(read(item) for item in inner.rstrip(",").split(",")) if inner else ()

    def _chosen(self, value: Value) -> Value:
        choice = value.lower() if isinstance(value, str) else value
        if choice not in self.choices:
            raise unknown_value(self.name, self.expected, value, map(str, self.choices))
        return choice

    def _check_range(self, value: float) -> None:
        if isinstance(value, int) and not -_LARGEST <= value <= _LARGEST:
            digits = math.ceil(value.bit_length() * math.log10(2))
            raise ConfigError(f"{self.name} must fit into 64 bits, got an integer of some {digits} digits.")
        if not math.isfinite(value):
            raise ConfigError(f"{self.name} must be finite, got {value}.")
        inside = (
            (self.minimum is None or value >= self.minimum)
            and (self.maximum is None or value <= self.maximum)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )
        if not inside:
            raise ConfigError(f"{self.name} must be {self.range}, got {value}.")

    def _wrong(self, value: object) -> ConfigError:
        return ConfigError(f"{self.name} must be {self.expected}, got {shorten(repr(value), 200)}.")


def _as_float(value: numbers.Real) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _read(kind: type, word: str) -> Value:
    if kind is bool:
        return _BOOLEANS[word.lower()]
    if kind is int:
        return _read_integer(word)
    if kind is float:
        return float(word)
    return word


def _read_integer(word: str) -> int:
    """An integer, also as ``1e3``."""
    try:
        return int(word)
    except ValueError:
        value = float(word)
        if not value.is_integer():
            raise
        return int(value)


def option(
    default: object,
    help: str,
    *,
    words: str | None = None,
    group: str = "run",
    choices: Iterable[object] = (),
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    below: float | None = None,
    check: Check | None = None,
    resumable: bool = False,
    several: Several | None = None,
) -> Any:
    """A field of a :class:`Config` that is also a flag; its types come from the annotation.

    Args:
        default: Its default; ``dataclasses.MISSING`` if a subclass or the caller must give one.
        help: Its meaning, in one sentence.
        words: The accepted values in words, if types, range and choices don't say it.
        group: Heading of the help page, one of :data:`GROUPS`.
        choices: The only values allowed.
        minimum: Least value allowed.
        maximum: Greatest value allowed.
        above: Bound that the value must exceed.
        below: Bound that the value must stay under.
        check: Called with (name, value) after all the other checks; returns the value to keep.
        resumable: Whether the value can be changed when a run is resumed.
        several: How several values are written in a grid; None: in brackets for a tuple, else with commas.

    Example:
        >>> @dataclass(frozen=True, kw_only=True)
        ... class Tiny(Config):
        ...     depth: int = option(50, "Number of hidden layers.", minimum=1)
        >>> Tiny(depth=0)
        Traceback (most recent call last):
        model.errors.ConfigError: depth must be >= 1, got 0.
    """
    details = {
        "help": help,
        "words": words,
        "group": group,
        "choices": tuple(choices),
        "minimum": minimum,
        "maximum": maximum,
        "above": above,
        "below": below,
        "check": check,
        "resumable": resumable,
        "several": several,
    }
    return dataclasses.field(default=default, metadata={"option": details})


def redefine(base: type[Config], name: str, default: object) -> Any:
    """A copy of the field of a base class, with another default.

    Args:
        base: The class that has the field.
        name: Name of the field.
        default: The new default.
    """
    field = next(field for field in dataclasses.fields(base) if field.name == name)
    return dataclasses.field(default=default, metadata=field.metadata)


def options(config_class: type[Config]) -> Mapping[str, Option]:
    """Every option of a config class by name, group by group.

    Example:
        >>> from model.config.rectangular import RectangularConfig
        >>> options(RectangularConfig)["depth"].expected
        'an integer >= 1'
    """
    return _options(cast("Hashable", config_class))


@functools.cache
def _options(config_class: Any) -> Mapping[str, Option]:
    hints = typing.get_type_hints(config_class)
    items = [_option_of(field, hints[field.name]) for field in dataclasses.fields(config_class)]
    items.sort(key=lambda item: GROUPS.index(item.group))
    return types.MappingProxyType({item.name: item for item in items})


def _option_of(field: dataclasses.Field[object], hint: object) -> Option:
    union = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    kinds = tuple(typing.get_origin(kind) or kind for kind in union if kind is not types.NoneType)
    (item,) = {typing.get_args(kind)[0] for kind in union if typing.get_origin(kind) is tuple} or {int}
    details = dict(field.metadata["option"])
    several = details.pop("several") or (Several.BRACKETS if tuple in kinds else Several.COMMAS)
    return Option(
        name=field.name,
        kinds=kinds,
        item=item,
        optional=types.NoneType in union,
        default=field.default,
        several=several,
        **details,
    )


def validate(config: Config) -> None:
    """Check every field of a config, then the fields together, then what takes longest to check.

    Each value is replaced by its canonical form, so that equal configs compare equal.

    Raises:
        ConfigError: At the first value that is wrong.
    """
    _validate(config, list(options(type(config)).values()))


def _validate(config: Config, changed: Iterable[Option]) -> None:
    """The same for a config whose other fields have been checked by themselves."""
    for item in changed:
        object.__setattr__(config, item.name, item.clean(getattr(config, item.name)))
    config.check_together()
    for item in changed:
        value = getattr(config, item.name)
        if item.check is not None and value is not None:
            object.__setattr__(config, item.name, item.check(item.name, value))


@dataclass(frozen=True, kw_only=True)
class Config:
    """Base class of configs: every field is made by :func:`option` and checked when a config is built."""

    def __post_init__(self) -> None:
        validate(self)

    def check_together(self) -> None:
        """Raise :class:`ConfigError` if values contradict each other."""

    @property
    def label(self) -> str:
        """A short readable name for a run with this config, without the time."""
        return type(self).__name__.removesuffix("Config").lower()

    def to_dict(self) -> dict[str, PlainValue]:
        """Every value by name, group by group, as YAML and JSON can store it."""
        values = {name: getattr(self, name) for name in options(type(self))}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls: type[C], mapping: Mapping[str, object]) -> C:
        """The config with these values, and defaults for the others.

        Args:
            mapping: Values by name. A text is read as on the command line, unless the option itself is a text.

        Raises:
            ConfigError: If a name is unknown, a value not allowed, or an option without default missing.
        """
        table = options(cls)
        refuse_unknown(cls, mapping)
        values = {name: table[name].read(value) for name, value in mapping.items()}
        for name, item in table.items():
            if item.required and name not in values:
                raise ConfigError(f"{name} is required: give {item.expected}.")
        return cls(**values)

    def replace(self: C, **changes: object) -> C:
        """A copy with other values, which are checked by themselves and together with the values that stay.

        Raises:
            ConfigError: If a name is unknown or a value not allowed.
        """
        refuse_unknown(type(self), changes)
        copy = object.__new__(type(self))
        vars(copy).update(vars(self))
        vars(copy).update(changes)
        table = options(type(self))
        _validate(copy, [table[name] for name in changes])
        return copy


def refuse_unknown(config_class: type[Config], names: Iterable[object]) -> None:
    """Raise :class:`ConfigError` at the first name that is no option; the message suggests the nearest option.

    Args:
        config_class: The config whose fields are the options.
        names: The names to check.
    """
    table = options(config_class)
    for name in names:
        if name not in table:
            meant = guess(str(name), table)
            hint = f"Did you mean {meant!r}?" if meant else f"There are: {', '.join(table)}."
            raise ConfigError(f"unknown option {name!r}. {hint}")
