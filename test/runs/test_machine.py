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
def nothing_frozen(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The objects that the tests have frozen are not counted, as if nothing were frozen: collecting them takes 1 s."""
    count, frozen = gc.get_freeze_count, gc.get_freeze_count()
    assert frozen > 100_000
    monkeypatch.setattr(gc, "get_freeze_count", lambda: max(0, count() - frozen))
    yield
    gc.freeze()


@pytest.mark.usefixtures("nothing_frozen")
@pytest.mark.parametrize("error", [None, RuntimeError])
def test_existing_objects_are_frozen_until_the_block_ends_or_fails(error: type[Exception] | None) -> None:
    cycles = [Cycle() for _ in range(5000)]
    with pytest.raises(error) if error else contextlib.nullcontext(), imports_uncollected():
        assert gc.get_freeze_count() > len(cycles) // 2  # of the objects frozen before, some are freed
        if error:
            raise error
    assert gc.get_freeze_count() == 0


@pytest.mark.usefixtures("nothing_frozen")
def test_garbage_is_freed_before_the_block() -> None:
    garbage = weakref.ref(Cycle())
    with imports_uncollected():
        assert garbage() is None


def test_objects_that_the_caller_has_frozen_stay_frozen_and_no_others_are() -> None:
    def is_frozen(item: object) -> bool:
        return all(item is not other for other in gc.get_objects())

    old: list[object] = []
    gc.freeze()
    new: list[object] = []
    with imports_uncollected():
        assert is_frozen(old)
        assert not is_frozen(new)
    assert is_frozen(old)
    assert not is_frozen(new)
