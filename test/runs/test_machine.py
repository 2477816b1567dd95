"""The machine of a run: the garbage collector."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from sweep.machine import imports_uncollected


class Cycle:
    """An object that only the garbage collector can free."""

    def __init__(self) -> None:
        self.me = self


@pytest.fixture(autouse=True)
def _every_frozen_object_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gc, "get_freeze_count", gc.get_freeze_count.__wrapped__)


@pytest.fixture
def unfrozen() -> Iterator[None]:
    """A process in which nothing is frozen, as outside these tests."""
    gc.unfreeze()
    yield
    gc.collect()
    gc.freeze()


@pytest.mark.usefixtures("unfrozen")
def test_existing_objects_are_frozen_until_the_block_ends_or_fails() -> None:
    for error in (None, RuntimeError):
        try:
            with imports_uncollected():
                assert gc.get_freeze_count() > 100_000
                if error is not None:
                    raise error
        except RuntimeError:
            pass
        assert gc.get_freeze_count() == 0


@pytest.mark.usefixtures("unfrozen")
def test_garbage_is_freed_before_the_block() -> None:
    garbage = weakref.ref(Cycle())
    with imports_uncollected():
        assert garbage() is None


def test_objects_that_the_caller_has_frozen_stay_frozen() -> None:
    frozen = gc.get_freeze_count()
    assert frozen > 0
    with imports_uncollected():
        assert gc.get_freeze_count() == frozen
    assert gc.get_freeze_count() == frozen
