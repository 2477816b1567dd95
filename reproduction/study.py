"""A study: one published result, the methods that are compared in it, and the runs of each method."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jumpstart.choices import did_you_mean
from jumpstart.files import load_yaml
from model.errors import ConfigError
from sweep.families import Family, family_named
from sweep.grid.command import grids_in_file
from sweep.grid.expand import Grid

if TYPE_CHECKING:
    import pandas as pd

    from model.config.experiment import ExperimentConfig

ROOT = Path(__file__).parent
FILE = "study.yaml"
"""The file of a study, in its folder."""
RECIPE = "recipe"
"""The column of the results with the recipe by which a row was made."""
YARDSTICK = "yardstick"
"""The key of a method that no launcher trains; ``yardsticks.py`` in the folder of the study measures it."""


@dataclass(frozen=True)
class Study:
    """One published result.

    Attributes:
        name: The name of its folder.
        launcher: ``"rectangular"`` or ``"resnet"``.
        by: The options that tell the runs of a method apart.
        metrics: The metrics that are kept of each run.
        shared: The values of the options that all methods share, as texts.
        methods: The values of the options of each method, beside those that are shared.
    """

    name: str
    launcher: str
    by: Sequence[str]
    metrics: Sequence[str]
    shared: Mapping[str, object]
    methods: Mapping[str, Mapping[str, object]]

    @property
    def folder(self) -> Path:
        """The folder with the file, the results and the page."""
        return ROOT / self.name

    @property
    def family(self) -> Family[ExperimentConfig]:
        """The networks, and how one of their runs is made."""
        return family_named(self.launcher)

    def grids(self, method: str, seeds: str | None = None) -> list[Grid]:
        """The grid of a method.

        Args:
            method: Its name.
            seeds: Seeds in place of those of the study, as on the command line: ``0..9``.

        Raises:
            ConfigError: If there is no such method, or a value is none of its option.
        """
        if method not in self.methods:
            known = ", ".join(self.methods)
            raise ConfigError(f"method must be one of {known}, got {method!r}.{did_you_mean(method, self.methods)}")
        own = {name: value for name, value in self.methods[method].items() if name != YARDSTICK}
        # A method with a seed of its own depends on no other.
        options = {**self.shared, **({} if seeds is None else {"seed": seeds}), **own}
        return grids_in_file(self.family.config_class, options)

    def recipe(self, method: str) -> str:
        """Eight digits that differ if any option but the seed differs.

        Args:
            method: Its name.
        """
        values = [
            sorted((name, value) for name, value in grid.values.items() if name != "seed")
            for grid in self.grids(method)
        ]
        return hashlib.sha256(repr(values).encode()).hexdigest()[:8]

    def columns(self) -> list[str]:
        """The columns of the results of a method."""
        return [RECIPE, *self.by, *self.metrics]

    def yardstick(self, method: str) -> str | None:
        """The name of what ``yardsticks.py`` measures; None if a launcher trains the method.

        Args:
            method: Its name.
        """
        name = self.methods[method].get(YARDSTICK)
        return None if name is None else str(name)

    def results_of(self, method: str) -> Path:
        """The file with the committed results of a method.

        Args:
            method: Its name.
        """
        return self.folder / "results" / f"{method}.csv"

    def read(self, method: str) -> pd.DataFrame | None:
        """The committed results of a method, or None if there are none.

        Args:
            method: Its name.
        """
        import pandas as pd

        path = self.results_of(method)
        # A recipe such as 12345678 or 1e123456 is a text.
        return pd.read_csv(path, dtype={RECIPE: str}) if path.is_file() else None

    def results(self) -> pd.DataFrame:
        """The committed results of all methods that have any, with a column ``method``."""
        import pandas as pd

        found = {method: self.read(method) for method in self.methods}
        parts = [frame.assign(method=method) for method, frame in found.items() if frame is not None]
        if not parts:
            raise ConfigError(f"{self.name} has no results yet: run python -m reproduction {self.name}.")
        return pd.concat(parts, ignore_index=True)


@functools.cache
def study_named(name: str) -> Study:
    """The study of a name.

    Args:
        name: The name of its folder.

    Raises:
        ConfigError: If there is no such study.

    Example:
        >>> study_named("moons_grid").by
        ['width', 'depth', 'seed']
    """
    if name not in studies():
        raise ConfigError(f"study must be one of {', '.join(studies())}, got {name!r}.{did_you_mean(name, studies())}")
    content = load_yaml((ROOT / name / FILE).read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return Study(name=name, **content)


def studies() -> list[str]:
    """The names of all studies."""
    return sorted(path.parent.name for path in ROOT.glob(f"*/{FILE}"))
