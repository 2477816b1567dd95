"""The runs of a grid: every combination of the values of its options."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from model.config.experiment import ExperimentConfig
from model.config.options import Config, Value, options
from model.errors import ConfigError
from sweep.grid.techniques import options_of

TECHNIQUE = "technique"
"""The name of the column of techniques, which are no option of a config."""
_PLACES = ("name", "output_dir", "data_dir")
_UNSEEN = {
    *(*_PLACES, "threads", "progress", "plot_status", "plot_every", "plot_parts", "plot_num_points"),
    *("curve_points", "checkpoint_seconds"),
}
"""Options that change nothing in the weights, and so do not make a run another one."""


@dataclass(frozen=True)
class Grid:
    """Values of options, all combinations of which are runs.

    Attributes:
        values: The values by option; an option with one value has it in all runs.
        techniques: Names of techniques; empty for none.
    """

    values: Mapping[str, Sequence[Value]]
    techniques: Sequence[str] = ()

    @property
    def count(self) -> int:
        """The number of combinations."""
        return math.prod(len(values) for values in self.values.values()) * max(1, len(self.techniques))


@dataclass(frozen=True)
class Member:
    """One run of a sweep.

    Attributes:
        config: Its config.
        technique: The name of its technique, or None.
        varied: The values of the options that have several in the grid.
        identity: A hash of what decides the result.
    """

    config: ExperimentConfig
    technique: str | None
    varied: Mapping[str, Value]
    identity: str = field(compare=False)


def expand(config_class: type[ExperimentConfig], grids: Sequence[Grid]) -> list[Member]:
    """The runs of all grids, each once: combinations that differ in nothing that decides the result are one run.

    The options vary in their order in the grid, the last one fastest.

    Args:
        config_class: The config of the runs.
        grids: The grids.

    Raises:
        ConfigError: If a combination is refused; the message names its values.

    Example:
        >>> from model.config.rectangular import RectangularConfig
        >>> grid = Grid({"depth": [2, 3], "lambda_": [0.0, 0.1]}, ["baseline", "jumpstart"])
        >>> [(run.technique, run.config.depth, run.config.lambda_) for run in expand(RectangularConfig, [grid])]
        [('baseline', 2, 0.0), ('baseline', 3, 0.0), ('jumpstart', 2, 0.1), ('jumpstart', 3, 0.1)]
    """
    members: dict[str, Member] = {}
    for grid in grids:
        for member in _members(config_class, grid):
            members.setdefault(member.identity, member)
    return list(members.values())


def options_set_by(config_class: type[Config], technique: str, grid: Grid) -> dict[str, Value]:
    """The options that a technique sets in a grid. The lambda of a technique without Jumpstart is 0 in any grid.

    Args:
        config_class: The config of the runs.
        technique: The name of the technique.
        grid: The grid, whose own values are compared.

    Raises:
        ConfigError: If the technique is unknown, or the grid sets one of its options to another value.
    """
    extra = options_of(config_class, technique)
    for name, value in extra.items():
        given = grid.values.get(name, [value])
        if name != "lambda_" and list(given) != [value]:
            raise ConfigError(
                f"technique={technique!r} sets {name} to {value!r}, and {', '.join(map(repr, given))} "
                f"{'is' if len(given) == 1 else 'are'} given for it. Leave one of them out."
            )
    return extra


def identity_of(config: Config) -> str:
    """A hash of the options that decide the result of a run."""
    content = ", ".join(_texts(config, _deciding(cast("Hashable", type(config)))))
    return hashlib.sha256(f'["{type(config).__name__}", {{{content}}}]'.encode()).hexdigest()[:20]


def json_of(config: Config) -> str:
    """The options of a run as a JSON object."""
    return f"{{{', '.join(_texts(config, tuple(options(type(config)))))}}}"


def _texts(config: Config, names: Sequence[str]) -> list[str]:
    values = vars(config)
    return [_text(name, values[name]) for name in names]


@functools.lru_cache(maxsize=None, typed=True)
def _text(name: str, value: Value) -> str:
    """One item of a JSON object; a sweep has few values in many runs."""
    return f"{json.dumps(name)}: {json.dumps(value)}"


@functools.cache
def _deciding(config_class: Any) -> tuple[str, ...]:
    return tuple(sorted(name for name in options(config_class) if name not in _UNSEEN and "wandb" not in name))


def _members(config_class: type[ExperimentConfig], grid: Grid) -> Iterator[Member]:
    several = [name for name, values in grid.values.items() if len(values) > 1]
    fixed = {name: values[0] for name, values in grid.values.items() if len(values) == 1}
    for technique in grid.techniques or (None,):
        extra = options_set_by(config_class, technique, grid) if technique else {}
        first: ExperimentConfig | None = None
        for combination in itertools.product(*(grid.values[name] for name in several)):
            varied = dict(zip(several, combination, strict=True))
            varied |= {name: value for name, value in extra.items() if name in varied}
            try:
                # All options of the first run are checked, and of each further one those that differ.
                config = first.replace(**varied) if first else _config(config_class, {**fixed, **varied, **extra})
            except ConfigError as error:
                where = ", ".join(f"{name}={value}" for name, value in {**varied, **_named(technique)}.items())
                raise ConfigError(f"{error} This is the combination {where}.") from None
            first = first or config
            yield Member(config, technique, varied, identity_of(config))


def _named(technique: str | None) -> dict[str, Value]:
    return {} if technique is None else {TECHNIQUE: technique}


def _config(config_class: type[ExperimentConfig], values: Mapping[str, Value]) -> ExperimentConfig:
    table = options(config_class)
    missing = [name for name, item in table.items() if item.required and name not in values]
    if missing:
        raise ConfigError(f"{missing[0]} is required: give {table[missing[0]].expected}.")
    return config_class(**values)  # type: ignore[arg-type]
