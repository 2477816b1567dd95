"""Named techniques: options that a name stands for, from ``techniques.yaml``."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

from jumpstart.choices import did_you_mean
from model.config.options import Config, Value, options
from model.errors import ConfigError

JUMPSTART = "jumpstart"
"""The technique that keeps ``lambda_``; all others train without the Jumpstart loss."""
_FILE = Path(__file__).with_name("techniques.yaml")


@functools.cache
def techniques() -> Mapping[str, Mapping[str, object]]:
    """The options of every technique by its name, as the file has them."""
    import yaml

    content: dict[str, dict[str, object]] = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    return content


def options_of(config_class: type[Config], technique: str) -> dict[str, Value]:
    """The options that a technique sets.

    Args:
        config_class: The config; options that it does not have are left out.
        technique: A name, or several joined by ``+``.

    Raises:
        ConfigError: If a name is unknown, or two names set one option to different values.

    Example:
        >>> from model.config.rectangular import RectangularConfig
        >>> options_of(RectangularConfig, "batchnorm+skip")
        {'lambda_': 0.0, 'use_batchnorm': True, 'skip_connections': 1}
        >>> options_of(RectangularConfig, "jumpstart")
        {}
    """
    table = options(config_class)
    names = [name.strip().lower() for name in technique.split("+")]
    values: dict[str, Value] = {} if JUMPSTART in names else {"lambda_": 0.0}
    for name in names:
        if name not in techniques():
            known = ", ".join(techniques())
            raise ConfigError(
                f"technique must be one of {known}, or several joined by +, got {name!r}."
                f"{did_you_mean(name, techniques())}"
            )
        for option, value in techniques()[name].items():
            if option not in table:
                continue
            cleaned = table[option].clean(value)
            if values.get(option, cleaned) != cleaned:
                raise ConfigError(
                    f"technique={technique!r} sets {option} twice, to {values[option]!r} and to {cleaned!r}."
                )
            values[option] = cleaned
    return values
