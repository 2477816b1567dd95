"""Fixtures of all tests of runs."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _imports_frozen() -> Iterator[None]:
    """Freeze the objects of the imports, because every run collects garbage, which would scan them each time: 0.24 s."""
    import support.resnet_runs
    import support.runs  # noqa: F401

    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
