"""Several values of one option, as they are written on the command line and in YAML."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from jumpstart.files import is_path
from model.config.options import Option, Several, Value
from model.errors import ConfigError

_RANGE = re.compile(r"([+-]?\d{1,18})\.\.([+-]?\d{1,18})(?:\.\.([+-]?\d{1,18}))?")
_BRACKETS = re.compile(r"\[([^\[\]]*)\]")
_MOST_IN_RANGE = 1_000_000


def values_of(option: Option, text: str) -> list[Value]:
    """The values that a text gives to an option, each once, in their order.

    Args:
        option: The option.
        text: Values separated by commas, of which ``first..last`` or ``first..last..step`` stands for several
            integers. Values that have commas themselves are written in brackets: ``[2,4],[3]``. Brackets around all
            values, and quotes around each, as Python writes a list, are left out.

    Raises:
        ConfigError: If a value is none of the option, or a range is empty.

    Example:
        >>> from model.config.options import options
        >>> from model.config.rectangular import RectangularConfig
        >>> table = options(RectangularConfig)
        >>> values_of(table["depth"], "10,50..90..20"), values_of(table["lambda_"], "0,1e-2")
        ([10, 50, 70, 90], [0.0, 0.01])
        >>> values_of(table["pool_at"], "[2,4],[3]"), values_of(table["pool_at"], "2,4")
        ([(2, 4), (3,)], [(2, 4)])
    """
    values: list[Value] = []
    for part in _parts(option, text):
        values += _range(option, part) or [option.parse(part)]
    return list(dict.fromkeys(values))


def values_in_yaml(option: Option, content: object) -> list[Value]:
    """The values that a YAML file gives to an option.

    Args:
        option: The option.
        content: A text, which is read as on the command line, or a list of values. For an option whose value is a list
            itself, a list of lists gives several values.

    Raises:
        ConfigError: If a value is none of the option.
    """
    if isinstance(content, str):
        return values_of(option, content)
    if not isinstance(content, list):
        return [option.clean(content)]
    if option.several is Several.COMMAS and not content:
        raise ConfigError(f"{option.name} must have at least one value, got an empty list.")
    if option.several is Several.COMMAS:
        return list(dict.fromkeys(value for item in content for value in _in_list(option, item)))
    if content and all(isinstance(item, list) for item in content):
        return list(dict.fromkeys(_one(option, item) for item in content))
    return [_one(option, content)]


def _in_list(option: Option, item: object) -> Sequence[Value]:
    return values_of(option, item) if isinstance(item, str) else [option.clean(item)]


def _one(option: Option, content: Sequence[object]) -> Value:
    if all(isinstance(part, str) for part in content):
        return option.parse(",".join(map(str, content)))
    return option.clean(content)


def _parts(option: Option, text: str) -> list[str]:
    """The texts of the single values."""
    word = text.strip()
    if option.several is Several.NEVER or _is_existing_path(word):
        return [text]
    groups = _BRACKETS.findall(word)
    listed = bool(groups) and ",".join(f"[{group}]" for group in groups) == re.sub(r"\]\s*,\s*\[", "],[", word)
    if option.several is Several.BRACKETS:
        return [_unquoted(group) for group in groups] if listed else [text]
    if listed and len(groups) == 1:
        word = _unquoted(groups[0])
    parts = [part.strip() for part in word.split(",")] if "," in word else [word if listed else text]
    if len(parts) > 1 and "" in parts:
        raise ConfigError(f"{option.name} must have a value between two commas, got {text!r}.")
    return parts


def _unquoted(group: str) -> str:
    """The items of a list as Python and YAML write it, without quotes around each."""
    return ",".join(re.sub(r"""^(['"])(.*)\1$""", r"\2", item.strip()) for item in group.split(","))


def _is_existing_path(word: str) -> bool:
    """Whether a text with a comma is a file or folder as a whole."""
    return "," in word and is_path(word) and os.path.exists(os.path.expanduser(word))


def _range(option: Option, part: str) -> list[Value]:
    """The integers of a range; none if the text is no range."""
    found = _RANGE.fullmatch(part.strip()) if int in option.kinds and option.several is Several.COMMAS else None
    if found is None:
        return []
    first, last, step = int(found[1]), int(found[2]), int(found[3] or 1)
    if step < 1:
        raise ConfigError(f"{option.name}: the step of a range must be >= 1, got {step} in {part!r}.")
    if first > last:
        raise ConfigError(f"{option.name}: the range {part!r} is empty; write it as {last}..{first}.")
    if (last - first) // step >= _MOST_IN_RANGE:
        raise ConfigError(f"{option.name}: the range {part!r} has more than {_MOST_IN_RANGE:,} values.")
    return [option.clean(number) for number in range(first, last + 1, step)]
