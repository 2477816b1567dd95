"""The machine of a run: the garbage collector."""

from __future__ import annotations

import contextlib
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
def frozen_by_tests(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The objects that the tests have frozen are not counted, as if nothing were frozen: collecting them takes 1 s."""
    count, frozen = gc.get_freeze_count, gc.get_freeze_count()
    assert frozen > 100_000
    monkeypatch.setattr(gc, "get_freeze_count", lambda: count() - frozen)
    yield frozen
    gc.freeze()


@pytest.mark.parametrize("error", [None, RuntimeError])
def test_existing_objects_are_frozen_until_the_block_ends_or_fails(
    error: type[Exception] | None, frozen_by_tests: int
) -> None:
    cycles = [Cycle() for _ in range(1000)]
    with pytest.raises(error) if error else contextlib.nullcontext(), imports_uncollected():
        assert gc.get_freeze_count() > len(cycles)
        if error:
            raise error
    assert gc.get_freeze_count() == -frozen_by_tests, "an object stays frozen"


@pytest.mark.usefixtures("frozen_by_tests")
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
