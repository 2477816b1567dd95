"""Finished runs that the tests damage: one of each engine."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # pytest can read this file first, and `support.fresh` needs a process without the project
    from sweep.run_directory import RunDirectory


@pytest.fixture(scope="session", params=["compiled", "lightning"])
def whole_run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A finished run of each engine, which no test may change."""
    from support.runs import run_tiny

    folder = tmp_path_factory.mktemp(request.param)
    directory, _ = run_tiny(folder, engine=request.param, epochs=4, depth=2, num_points=40)
    return directory


@pytest.fixture
def finished(whole_run: RunDirectory, tmp_path: Path) -> RunDirectory:
    """A copy of the finished run."""
    from sweep.run_directory import RunDirectory

    return RunDirectory(shutil.copytree(whole_run.path, tmp_path / "a run"))
