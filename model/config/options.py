"""Frozen dataclasses whose fields are options: default, meaning, type and range in one place.

The command line, the YAML file and the stored ``config.yaml`` of a run are made from these fields.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import numbers
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from model.errors import ConfigError

GROUPS = ("network", "optimization", "jumpstart", "data", "run")

_BOOLEANS = {"true": True, "yes": True, "on": True, "1": True} | {
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}
_NOUNS = {
    int: "an integer",
    float: "a number",
    bool: "True or False",
    str: "text",
    tuple: "comma-separated integers",
}

C = TypeVar("C", bound="Config")


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate most like a misspelled word, or None.

    Example:
        >>> nearest("widht", ["depth", "width"])
        'width'
    """
    found = difflib.get_close_matches(word.lower(), list(candidates), n=1)
    return found[0] if found else None


def show(value: object) -> str:
    """A value as error messages write it: text in double quotes, the rest as Python writes it."""
    return f'"{value}"' if isinstance(value, str) else repr(value)


def unknown_value(name: str, expected: str, value: object, candidates: Iterable[str]) -> ConfigError:
    """The error for a word that is none of those allowed, with the nearest that is."""
    guess = nearest(str(value), candidates)
    hint = f' Did you mean "{guess}"?' if guess else ""
    return ConfigError(f"{name} must be {expected}, got {show(value)}.{hint}")


@dataclass(frozen=True, kw_only=True)
class Option:
    """What one field accepts.

    Attributes:
        name: Name of the field and of its flag.
        kinds: Types accepted, of int, float, bool, str and tuple (of integers).
        optional: Whether None is accepted.
        default: Value when none is given; ``dataclasses.MISSING`` where one must be given.
        help: What the option means.
        words: What is accepted, in words, where types, range and choices don't say it.
        group: Heading of the help page under which it stands.
        choices: The only values allowed; empty for any. Words match whatever their case.
        minimum: Least value allowed (of each item of a tuple).
        maximum: Greatest value allowed.
        above: Bound that the value must exceed.
        below: Bound that the value must stay under.
        check: Called last with (name, value); returns the value to keep or raises ConfigError.
        resumable: Whether a run that is resumed may be given another value.
    """

    name: str
    kinds: tuple[type, ...]
    optional: bool
    default: Any
    help: str
    words: str | None = None
    group: str = "run"
    choices: tuple[Any, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    below: float | None = None
    check: Callable[[str, Any], Any] | None = None
    resumable: bool = False

    @property
    def range(self) -> str:
        """The range in words, such as ``>= 0 and < 1``; empty where there is none."""
        bounds = ((">=", self.minimum), (">", self.above), ("<=", self.maximum), ("<", self.below))
        return " and ".join(f"{sign} {bound}" for sign, bound in bounds if bound is not None)

    @property
    def values(self) -> str:
        """The accepted values in few words: the own words of the option, its choices or its range, else nothing."""
        return self.words or ", ".join(map(str, self.choices)) or self.range

    @property
    def default_text(self) -> str:
        """The default as it would be written on the command line; ``none`` for an empty tuple."""
        if isinstance(self.default, tuple):
            return ",".join(map(str, self.default)) or "none"
        return str(self.default)

    @property
    def expected(self) -> str:
        """What is accepted, in words, such as ``an integer >= 1 or None``."""
        if self.words:
            what = self.words
        elif self.choices:
            what = "one of " + ", ".join(map(str, self.choices))
        else:
            what = " or ".join(_NOUNS[kind] for kind in self.kinds) + (f" {self.range}" if self.range else "")
        return f"{what} or None" if self.optional else what

    def parse(self, text: str) -> Any:
        """The value that a flag or a line of YAML means, checked as :meth:`clean` does.

        Raises:
            ConfigError: If the text means no value of this option.
        """
        word = text.strip()
        if self.optional and word.lower() in ("none", "null"):
            return None
        for kind in self.kinds:
            try:
                value = _read(kind, word)
            except (ValueError, KeyError):
                continue
            return self.clean(value)
        raise self._wrong(text)

    def clean(self, value: Any) -> Any:
        """The value in its one spelling: an integer as a float where a number is asked.

        Raises:
            ConfigError: If its type, its range or the choices forbid it.
        """
        if value is None and self.optional:
            return None
        if value is None and "none" in self.choices:
            value = "none"
        value = self._typed(value)
        if self.choices:
            chosen = value.lower() if isinstance(value, str) else value
            if chosen not in self.choices:
                raise unknown_value(self.name, self.expected, value, map(str, self.choices))
            return chosen
        if value == "":
            raise ConfigError(f"{self.name} must not be empty.")
        for item in value if isinstance(value, tuple) else (value,):
            self._in_range(item)
        return value

    def _typed(self, value: Any) -> Any:
        is_bool = isinstance(value, bool)
        if is_bool and bool in self.kinds:
            return value
        if isinstance(value, numbers.Integral) and not is_bool and int in self.kinds:
            return int(value)
        if isinstance(value, numbers.Real) and not is_bool and float in self.kinds:
            return _as_float(value)
        if isinstance(value, str) and str in self.kinds:
            return value
        is_row = isinstance(value, list | tuple) and tuple in self.kinds
        if is_row and all(isinstance(item, numbers.Integral) and not isinstance(item, bool) for item in value):
            return tuple(int(item) for item in value)
        raise self._wrong(value)

    def _in_range(self, value: Any) -> None:
        if isinstance(value, bool | str):
            return
        if isinstance(value, float) and not math.isfinite(value):
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
        return ConfigError(f"{self.name} must be {self.expected}, got {show(value)}.")


def _as_float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _read(kind: type, word: str) -> Any:
    if kind is bool:
        return _BOOLEANS[word.lower()]
    if kind is int:
        return _read_integer(word)
    if kind is tuple:
        inner = "" if word.lower() in ("none", "null") else word.strip("()[] ")
        return tuple(_read_integer(item) for item in inner.rstrip(",").split(",")) if inner else ()
    return kind(word)


def _read_integer(word: str) -> int:
    try:
        return int(word)
    except ValueError:
        value = float(word)
        if not value.is_integer():
            raise
        return int(value)


def option(default: Any, help: str, **details: Any) -> Any:
    """A dataclass field that is also a flag.

    Args:
        default: Its default; ``dataclasses.MISSING`` if a subclass or the caller must give one.
        help: What it means, in one sentence.
        **details: The other attributes of :class:`Option`: words, group, choices, minimum, maximum,
            above, below, check, resumable. The types come from the annotation.

    Example:
        >>> @dataclass(frozen=True, kw_only=True)
        ... class Tiny(Config):
        ...     depth: int = option(50, "Hidden layers.", minimum=1)
        >>> Tiny(depth=0)
        Traceback (most recent call last):
        model.errors.ConfigError: depth must be >= 1, got 0.
    """
    unknown = details.keys() - {field.name for field in dataclasses.fields(Option)}
    if unknown:
        raise TypeError(f"option() has no argument {sorted(unknown)}.")
    return dataclasses.field(default=default, metadata={"option": {"help": help, **details}})


def redefine(base: type[Config], name: str, default: Any) -> Any:
    """The field of a base class again, with another default."""
    field = next(field for field in dataclasses.fields(base) if field.name == name)
    return dataclasses.field(default=default, metadata=field.metadata)


def options(config_class: type[Config]) -> Mapping[str, Option]:
    """Every option of a config class by name, group by group."""
    hints = typing.get_type_hints(config_class)
    found = []
    for field in dataclasses.fields(config_class):
        hint = hints[field.name]
        union = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
        kinds = tuple(typing.get_origin(kind) or kind for kind in union if kind is not types.NoneType)
        found.append(
            Option(
                name=field.name,
                kinds=kinds,
                optional=types.NoneType in union,
                default=field.default,
                **field.metadata["option"],
            )
        )
    found.sort(key=lambda item: GROUPS.index(item.group))
    return types.MappingProxyType({item.name: item for item in found})


def validate(config: Config) -> None:
    """Check every field of a config, then the fields together, then what takes longest to check.

    Values are put in their one spelling, so that equal configs compare equal.

    Raises:
        ConfigError: At the first value that can't be.
    """
    table = options(type(config))
    for name, item in table.items():
        object.__setattr__(config, name, item.clean(getattr(config, name)))
    config.check_together()
    for name, item in table.items():
        value = getattr(config, name)
        if item.check is not None and value is not None:
            object.__setattr__(config, name, item.check(name, value))


@dataclass(frozen=True, kw_only=True)
class Config:
    """Base of every config: fields made by :func:`option`, checked when it is built."""

    def __post_init__(self) -> None:
        validate(self)

    def check_together(self) -> None:
        """Refuse values that are right alone and wrong together."""

    @property
    def label(self) -> str:
        """A short readable name for a run with this config, without the time."""
        return type(self).__name__.removesuffix("Config").lower()

    def to_dict(self) -> dict[str, Any]:
        """Every value by name, group by group, as YAML and JSON can hold it."""
        values = {name: getattr(self, name) for name in options(type(self))}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls: type[C], mapping: Mapping[str, Any]) -> C:
        """The config with these values, and defaults for the rest.

        Text is read as on the command line wherever the option itself is not text.

        Raises:
            ConfigError: If a name is unknown, a value not allowed, or one without default missing.
        """
        table = options(cls)
        refuse_unknown(cls, mapping)
        values = {
            name: table[name].parse(value) if isinstance(value, str) and str not in table[name].kinds else value
            for name, value in mapping.items()
        }
        for name, item in table.items():
            if item.default is dataclasses.MISSING and name not in values:
                raise ConfigError(f"{name} is required: give {item.expected}.")
        return cls(**values)

    def replace(self: C, **changes: Any) -> C:
        """The same config with other values, checked again."""
        refuse_unknown(type(self), changes)
        return dataclasses.replace(self, **changes)


def refuse_unknown(config_class: type[Config], names: Iterable[object]) -> None:
    """Raise :class:`ConfigError` at the first name that is no option, with the nearest that is."""
    table = options(config_class)
    for name in names:
        if name not in table:
            guess = nearest(str(name), table)
            hint = f'did you mean "{guess}"?' if guess else f"there are: {', '.join(table)}."
            raise ConfigError(f"unknown option {show(name)}; {hint}")
