"""Tables in memory: groups of equal rows, and columns that do not fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from data.tables import Table, no_categories


def test_groups_are_rows_with_the_same_features() -> None:
    rng = np.random.default_rng(0)
    numbers = rng.choice([0.0, -0.0, 1.5, np.nan], (200, 2))
    categories = rng.choice(np.array(["a", "nan", "", np.nan], dtype=object), (200, 2))
    table = Table(numbers, categories, rng.integers(0, 2, 200), ("0", "1"), ("p", "q"), ("r", "s"))
    groups = table.groups()
    known: dict[str, int] = {}
    for row, group in zip(np.concatenate([numbers + 0.0, categories], axis=1), groups, strict=True):
        key = repr([value if value == value else None for value in row])
        assert known.setdefault(key, group) == group
    assert sorted(known.values()) == list(range(len(known)))
    assert table.num_missing == sum(v != v for v in (*numbers.flat, *categories.flat))


@pytest.mark.parametrize("seed", range(20))
def test_groups_are_numbered_in_the_order_of_the_sorted_rows(seed: int) -> None:
    # The split draws from the numbers, so their order must not change.
    rng = np.random.default_rng(seed)
    rows, columns = int(rng.integers(1, 50)), int(rng.integers(1, 5))
    numbers = (
        rng.choice([0.0, -0.0, 1.5, -3.0, np.nan], (rows, columns)) if seed % 2 else rng.normal(size=(rows, columns))
    )
    words = rng.choice(np.array(["b", "a", "", np.nan], dtype=object), (rows, 1))
    codes = np.array([["b", "a", ""].index(word) if word == word else 9 for word in words[:, 0]])
    order = np.array([3.0, 2.0, 1.0, *[0.0] * 7])[codes]
    table = Table(numbers, words, np.zeros(rows, np.int64), ("0",), tuple("pqrs"[:columns]), ("w",))
    sortable = np.column_stack([np.where(np.isnan(numbers), np.inf, numbers), order])
    expected = np.unique(sortable, axis=0, return_inverse=True)[1].reshape(-1)
    np.testing.assert_array_equal(table.groups(), expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"numbers": np.zeros((2, 1))}, "numbers and categories must have shapes"),
        ({"labels": np.array([0, 1, 2])}, r"labels must lie in 0\.\.1"),
        ({"labels": np.array([0, 1, -1])}, r"labels must lie in 0\.\.1"),
        ({"image_shape": (1, 2, 2)}, "image_shape"),
    ],
)
def test_columns_that_do_not_fit_are_refused(changes: dict[str, object], message: str) -> None:
    table = Table(np.zeros((3, 1)), no_categories(3), np.array([0, 1, 1]), ("a", "b"), ("x",))
    with pytest.raises(ValueError, match=message):
        replace(table, **changes)  # type: ignore[arg-type]
