"""Seeded, stratified splits that keep equal rows together."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from data.splitting import Split, check_sizes, holdout, stratified_split


def rows_of(split: Split) -> dict[str, np.ndarray]:
    return {"train": split.train, "val": split.val, "test": split.test}


def random_case(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Random labels and groups: few or many classes and duplicates, some groups with several labels."""
    rng = np.random.default_rng(seed)
    rows = int(rng.integers(60, 400))
    classes = int(rng.integers(2, 9))
    labels = rng.choice(classes, rows, p=rng.dirichlet(np.full(classes, 0.7)))
    labels = np.unique(labels, return_inverse=True)[1]
    groups = np.arange(rows)
    for _ in range(int(rng.integers(0, rows))):
        groups[rng.integers(rows)] = groups[rng.integers(rows)]
    return labels, np.unique(groups, return_inverse=True)[1]


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("sizes", [(0.15, 0.15), (0.1, 0.3), (0.4, 0.4)])
def test_parts_are_disjoint_complete_and_whole(seed: int, sizes: tuple[float, float]) -> None:
    labels, groups = random_case(seed)
    split = stratified_split(labels, groups, val_size=sizes[0], test_size=sizes[1], seed=seed)
    parts = rows_of(split)
    assert sorted(np.concatenate(list(parts.values()))) == list(range(len(labels)))
    for part, rows in parts.items():
        others = np.concatenate([groups[r] for name, r in parts.items() if name != part])
        assert len(rows) > 0
        assert not set(groups[rows]) & set(others)
    for c in range(labels.max() + 1):
        holders = len(np.unique(groups[labels == c]))
        assert (c in split.kept_in_train) == (holders < 3)
        if holders < 3:
            assert (labels[split.train] == c).sum() == (labels == c).sum()


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("sizes", [(0.15, 0.15), (0.1, 0.3), (0.4, 0.4)])
def test_shares_are_exact_without_duplicates(seed: int, sizes: tuple[float, float]) -> None:
    labels, _ = random_case(seed)
    split = stratified_split(labels, np.arange(len(labels)), val_size=sizes[0], test_size=sizes[1], seed=seed)
    free = [c for c in range(labels.max() + 1) if c not in split.kept_in_train]
    for rows, size in ((split.val, sizes[0]), (split.test, sizes[1])):
        for c in free:
            held, wanted = (labels[rows] == c).sum(), size * (labels == c).sum()
            assert held >= 1
            assert abs(held - wanted) <= 1 or held == 1
        small = sum((labels == c).sum() * size < 1 for c in free)
        assert abs(len(rows) - size * np.isin(labels, free).sum()) <= 1 + small / 2


@pytest.mark.parametrize("seed", range(30))
def test_shares_are_approximate_with_duplicates(seed: int) -> None:
    labels, groups = random_case(seed)
    split = stratified_split(labels, groups, val_size=0.2, test_size=0.2, seed=seed)
    largest = np.bincount(groups).max()
    for rows in (split.val, split.test):
        for c in set(range(labels.max() + 1)) - set(split.kept_in_train):
            wanted = 0.2 * (labels == c).sum()
            assert abs((labels[rows] == c).sum() - wanted) <= 2 + largest


def test_few_large_groups_reach_every_part() -> None:
    sizes = [81, 43, 40, 23, 22, 22, 18, 18, 13, 13, 12, 11, 2, 2, 2]
    label = [1, 0, 1, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 1, 1]
    groups = np.repeat(np.arange(15), sizes)
    labels = np.repeat(label, sizes)
    for seed in range(20):
        split = stratified_split(labels, groups, val_size=0.15, test_size=0.15, seed=seed)
        for rows in (split.val, split.test):
            assert 0.10 < len(rows) / 322 < 0.20
            assert set(labels[rows]) == {0, 1}


def test_groups_of_equal_size_fill_every_part() -> None:
    labels, groups = np.repeat([0, 1], 60), np.repeat(np.arange(6), 20)
    split = stratified_split(labels, groups, val_size=0.15, test_size=0.15, seed=0)
    for rows in rows_of(split).values():
        assert np.bincount(labels[rows]).tolist() == [20, 20]


def test_single_rows_fill_the_parts_that_lack_rows() -> None:
    groups = np.repeat(np.arange(8), [25, 25, 25, 25, 1, 1, 1, 1])
    labels = np.zeros_like(groups)
    split = stratified_split(labels, groups, val_size=0.15, test_size=0.15, seed=0)
    assert [len(rows) for rows in rows_of(split).values()] == [75, 25, 4]


def test_too_few_single_rows_are_divided_by_what_the_parts_lack() -> None:
    groups = np.repeat(np.arange(9), [84, 10, 10, 1, 1, 1, 1, 1, 1])
    split = stratified_split(np.zeros_like(groups), groups, val_size=20 / 110, test_size=14 / 110, seed=0)
    assert [len(rows) for rows in rows_of(split).values()] == [84, 13, 13]


def test_the_smallest_group_moves_into_an_empty_part() -> None:
    groups = np.repeat(np.arange(3), [50, 30, 20])
    split = stratified_split(np.zeros_like(groups), groups, val_size=0.15, test_size=0.15, seed=0)
    assert [len(rows) for rows in rows_of(split).values()] == [50, 20, 30]


def test_the_split_depends_on_the_seed_alone() -> None:
    labels, groups = random_case(7)
    make = partial(stratified_split, labels, groups, val_size=0.2, test_size=0.2)
    first, again, other = make(seed=0), make(seed=0), make(seed=1)
    np.random.seed(5)
    for part in ("train", "val", "test"):
        np.testing.assert_array_equal(rows_of(first)[part], rows_of(again)[part])
    assert set(first.val.tolist()) != set(other.val.tolist())


def test_rows_are_not_sorted_by_class() -> None:
    labels = np.repeat([0, 1, 2], 100)
    split = stratified_split(labels, np.arange(300), val_size=0.2, test_size=0.2, seed=0)
    for rows in rows_of(split).values():
        assert (np.diff(labels[rows]) != 0).mean() > 0.4


def test_too_few_distinct_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="the val part is empty: 2 distinct rows of 2 classes"):
        stratified_split(np.repeat([0, 1], 50), np.repeat([0, 1], 50), val_size=0.2, test_size=0.2, seed=0)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((0.2, 0), "test_size must be a share between 0 and 1, exclusive, got 0"),
        ((0, 0.001), "test_size must leave each part a row"),
        ((-0.1, 0.2), "val_size must be a share"),
        ((0.2, 1.0), "test_size must be a share"),
        ((0.2, -0.1), "test_size must be a share"),
        ((0.2, float("nan")), "test_size must be a share"),
        (("a", 0.1), "val_size must be a share"),
        ((0.5, 0.5), r"val_size \+ test_size must be < 1"),
        ((0.005, 0.2), "val_size must leave each part a row"),
        ((0.49, 0.505), r"val_size \+ test_size must leave each part a row"),
    ],
)
def test_sizes_that_leave_an_empty_part_are_refused(sizes: tuple[object, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_sizes(*sizes, rows=100)


# Holdout --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_holdout_is_stratified_and_keeps_groups_whole(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 7, 500)
    groups = np.unique(rng.integers(0, 400, 500), return_inverse=True)[1]
    kept, held = holdout(labels, size=0.2, seed=seed)
    assert sorted([*kept, *held]) == list(range(500))
    assert len(held) == 100
    for c in range(7):
        assert abs((labels[held] == c).sum() - 0.2 * (labels == c).sum()) < 1
    kept, held = holdout(labels, size=0.2, seed=seed, groups=groups)
    assert sorted([*kept, *held]) == list(range(500))
    assert not set(groups[kept]) & set(groups[held])
    assert 60 < len(held) <= 101
    again = holdout(labels, size=0.2, seed=seed, groups=groups)
    np.testing.assert_array_equal(held, again[1])
    assert not np.array_equal(held, holdout(labels, size=0.2, seed=seed + 1, groups=groups)[1])


def test_holdout_leaves_every_class_a_row() -> None:
    kept, held = holdout(np.repeat(np.arange(4), 2), size=0.9, seed=0)
    assert sorted(np.repeat(np.arange(4), 2)[kept]) == [0, 1, 2, 3]
    assert len(held) == 4


@pytest.mark.parametrize("size", [0, 1, -0.1, 1.5, True, "much"])
def test_holdout_refuses_sizes_that_are_not_shares(size: object) -> None:
    with pytest.raises(ValueError, match="size must be a share"):
        holdout(np.zeros(9, dtype=np.int64), size=size, seed=0)


def test_holdout_refuses_an_empty_part() -> None:
    with pytest.raises(ValueError, match="must leave each part a row"):
        holdout(np.arange(5), size=0.5, seed=0)


def test_rows_that_are_all_equal_are_the_reason_of_a_part_without_rows() -> None:
    with pytest.raises(ValueError, match=r"a share of 0.5 of 24 rows, of which 1 are distinct, and equal ones stay"):
        holdout(np.arange(24) % 2, size=0.5, seed=0, groups=np.zeros(24, dtype=np.int64))


@pytest.mark.parametrize("val_size", [0.4, 0.2])
def test_rows_that_follow_a_rare_class_into_training_count_there(val_size: float) -> None:
    """Ten rows of class 0 equal the only row of class 1, so all eleven are in the training part."""
    labels = np.array([0] * 50 + [1])
    groups = np.array([0] * 10 + list(range(1, 41)) + [0])
    split = stratified_split(labels, groups, val_size=val_size, test_size=0.4, seed=3)
    assert split.kept_in_train == (1,)
    counts = [int((labels[rows] == 0).sum()) for rows in (split.train, split.val, split.test)]
    assert counts == [30 - 50 * val_size, 50 * val_size, 20]
    assert set(np.flatnonzero(groups == 0)) <= set(split.train)


def test_a_class_without_rows_is_kept_nowhere() -> None:
    labels = np.array([0, 2] * 20)
    split = stratified_split(labels, np.arange(40), val_size=0.2, test_size=0.2, seed=0)
    assert split.kept_in_train == ()
    assert [len(rows) for rows in rows_of(split).values()] == [24, 8, 8]


def test_no_rows_are_too_few() -> None:
    nothing = np.zeros(0, dtype=np.int64)
    with pytest.raises(ValueError, match=r"train part is empty: 0 distinct rows of 0 classes"):
        stratified_split(nothing, nothing, val_size=0.2, test_size=0.2, seed=0)
    with pytest.raises(ValueError, match=r"val_size \+ test_size must be < 1"):
        stratified_split(np.arange(9) % 2, np.arange(9), val_size=0.5, test_size=0.5, seed=0)


def test_a_share_of_one_row_is_enough_whatever_its_rounding_error() -> None:
    for rows in range(3, 200):
        check_sizes(1 / rows, 1 / rows, rows)  # 1 / 49 * 49 < 1
        with pytest.raises(ValueError, match=f"got a share of .* of {rows} rows"):
            check_sizes(1 / rows, 0.99 / rows, rows)


def test_rows_that_all_differ_are_not_called_equal() -> None:
    with pytest.raises(ValueError, match=r"of 2 rows\.$"):
        holdout(np.array([0, 1]), size=0.4, seed=0)
