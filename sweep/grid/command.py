"""The grids of a command line: several values of flags, a YAML file of grids, and named techniques."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from model.config.options import Config, Value, options, refuse_unknown
from model.errors import ConfigError
from sweep.grid.expand import TECHNIQUE, Grid, options_set_by
from sweep.grid.options import ExecutorName, SweepConfig
from sweep.grid.techniques import options_of
from sweep.grid.values import values_in_yaml, values_of

GRIDS = "grids"
"""The key of a YAML file under which several grids are listed, each on top of the options beside the key."""
OWN_FLAGS = ("config", "resume")
"""The flags of a command that are options neither of its runs nor of a sweep."""
_FOR_SEVERAL_RUNS = ("keep", "retries", "workers", "gpus_per_run", "max_runs")
"""The options of a sweep that have no effect on a single run, and do not contradict it."""


@dataclass(frozen=True)
class SingleRun:
    """The only run of a command.

    Attributes:
        given: The values that were given, by option.
        of_technique: The values that its technique sets, which hold.
        unused: The names of those given values that have no effect, each with the condition that is missing.
        of_sweep: The given values of options of a sweep, which have no effect.
    """

    given: Mapping[str, Value]
    of_technique: Mapping[str, Value]
    unused: Mapping[str, str]
    of_sweep: Mapping[str, Value]


@dataclass(frozen=True)
class GridCommand:
    """The grids of a command line.

    Attributes:
        grids: The grids, at least one.
        options: The options of the sweep.
        flags: Names of the options of the sweep that were given.
    """

    grids: Sequence[Grid]
    options: SweepConfig
    flags: Collection[str] = ()

    @property
    def is_single(self) -> bool:
        """Whether the command is one run."""
        return len(self.grids) == 1 and self.grids[0].count == 1

    def refuse_executor(self) -> None:
        """Raise :class:`ConfigError` if the single run of the command is meant for a cluster."""
        if self.options.executor != ExecutorName.LOCAL:
            raise ConfigError(
                f"executor={self.options.executor} trains the runs of a sweep, got one run: give a flag several "
                "values, such as --seed=0..4, or leave the executor out."
            )

    def single_run(self, config_class: type[Config]) -> SingleRun:
        """The single run of the command.

        Args:
            config_class: The config of the run.

        Raises:
            ConfigError: If there are several runs, the technique is unknown, or an option of the technique is given
                another value.
        """
        if not self.is_single:
            raise ConfigError(f"one run is meant here, got a grid of {sum(grid.count for grid in self.grids)}.")
        (grid,) = self.grids
        values = {name: values[0] for name, values in grid.values.items()}
        extra = options_set_by(config_class, grid.techniques[0], grid) if grid.techniques else {}
        unused = {name: "technique=jumpstart" for name, value in extra.items() if values.get(name, value) != value}
        of_sweep = {name: getattr(self.options, name) for name in _FOR_SEVERAL_RUNS if name in self.flags}
        return SingleRun(values, extra, unused, of_sweep)


def read_grids(
    config_class: type[Config], texts: Mapping[str, str], sweep: Mapping[str, str], in_file: Sequence[Grid]
) -> GridCommand:
    """The grids of flags, which override those of a file.

    Args:
        config_class: The config of the runs.
        texts: The texts of the flags by option.
        sweep: The texts of the flags of the sweep by option.
        in_file: The grids of a YAML file; an empty one without a file.

    Raises:
        ConfigError: If a value is none of the option.
    """
    table, own = options(config_class), options(SweepConfig)
    flags = {name: values_of(table[name], text) for name, text in texts.items()}
    sweep_values = {name: own[name].parse(text) for name, text in sweep.items()}
    techniques = _techniques(sweep_values.get(TECHNIQUE))
    for technique in techniques:
        options_of(config_class, technique)
    grids = [Grid({**grid.values, **flags}, techniques or grid.techniques) for grid in in_file]
    return GridCommand(grids, SweepConfig(**sweep_values), tuple(sweep))  # type: ignore[arg-type]


def grids_in_file(config_class: type[Config], content: object) -> list[Grid]:
    """The grids of a YAML file.

    Args:
        config_class: The config of the runs.
        content: The content of the file, with scalars as text: options, a list of grids, or options with a list of
            grids under ``grids``.

    Raises:
        ConfigError: If an option is unknown or given twice, or a value is none of the option.

    Example:
        >>> from model.config.rectangular import RectangularConfig
        >>> content = {"seed": "0..2", "grids": [{"technique": "baseline"}, {"lambda": ["0.01", "0.1"]}]}
        >>> [grid.count for grid in grids_in_file(RectangularConfig, content)]
        [3, 6]
    """
    if content is None:
        return [Grid({})]
    if isinstance(content, list):
        return [_one_grid(config_class, {}, part) for part in _mappings(content, "the list")]
    if not isinstance(content, dict):
        raise ConfigError(f'must hold "name: value" lines, got {content!r}.')
    if GRIDS not in content:
        return [_one_grid(config_class, {}, content)]
    shared = {name: value for name, value in content.items() if name != GRIDS}
    return [_one_grid(config_class, shared, part) for part in _mappings(content[GRIDS], GRIDS)]


def canonical(names: Iterable[str], flag: str) -> str:
    """The name of the option behind a flag or a YAML key: dashes become underscores, ``lambda`` becomes ``lambda_``.

    Args:
        names: The names of all options.
        flag: The flag without its dashes, or the key.
    """
    name = flag.strip().replace("-", "_")
    return f"{name}_" if name not in names and f"{name}_" in names else name


def canonical_names(names: Iterable[str], content: Mapping[Any, object]) -> dict[str, object]:
    """The values of a YAML mapping by canonical name.

    Args:
        names: The names of all options.
        content: The mapping.

    Raises:
        ConfigError: If two keys are spellings of the same name.
    """
    spelled: dict[str, object] = {}
    for key in content:
        other = spelled.setdefault(canonical(names, str(key)), key)
        if other is not key:
            raise ConfigError(f"{other} and {key} are the same option, given twice: keep one of them.")
    return {name: content[key] for name, key in spelled.items()}


def _mappings(parts: object, where: str) -> list[dict[str, object]]:
    """The entries of a list of grids."""
    if parts is None or parts in ([], ""):
        raise ConfigError(f'{where} is empty: write a grid such as "- seed: 0..4" there.')
    if not isinstance(parts, list):
        raise ConfigError(f'{where} must hold a list of grids such as "- seed: 0..4", got {parts!r}.')
    for number, part in enumerate(parts, 1):
        if part is None or part == "":
            raise ConfigError(f'entry {number} of {where} is empty: write "name: value" lines, or leave it out.')
        if not isinstance(part, dict):
            raise ConfigError(f'entry {number} of {where} must hold "name: value" lines, got {part!r}.')
    return parts


def _refuse_flags(names: Mapping[str, object]) -> None:
    """Refuse what belongs to the command, and not to its runs."""
    for flag in (*options(SweepConfig), *OWN_FLAGS):
        if flag in names:
            value = names[flag]
            text = value if isinstance(value, str) and value else "VALUE"
            raise ConfigError(f"{flag} is a flag of the command, not an option of a file: write --{flag}={text}.")


def _one_grid(config_class: type[Config], shared: Mapping[str, object], part: Mapping[str, object]) -> Grid:
    table = options(config_class)
    named = {**canonical_names(table, shared), **canonical_names(table, part)}
    techniques = _techniques(named.pop(TECHNIQUE, None))
    for technique in techniques:
        options_of(config_class, technique)
    _refuse_flags(named)
    refuse_unknown(config_class, named)
    return Grid({name: values_in_yaml(table[name], value) for name, value in named.items()}, techniques)


def _techniques(value: object) -> tuple[str, ...]:
    """The names in a text or a list, each once."""
    if value is None:
        return ()
    words = value.split(",") if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) and word.strip() for word in words):
        raise ConfigError(f"{TECHNIQUE} must be names separated by commas, got {value!r}.")
    return tuple(dict.fromkeys(word.strip().lower() for word in words))
