"""Fixtures of all tests of runs."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _imports_frozen() -> Iterator[None]:
    """Freeze the objects of the imports, because every run collects garbage and would scan them: 0.24 s each time."""
    import support.resnet_runs
    import support.runs  # noqa: F401

    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
