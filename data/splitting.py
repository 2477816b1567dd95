"""Seeded, stratified splits that never divide equal rows: into three parts, or into two."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from data.checks import check_share
from data.tables import Floats, Integers

PARTS = ("train", "val", "test")

DEFAULT_SHARE = 0.15
"""Share of the validation part and of the test part, where neither the caller nor the data set gives another."""


@dataclass(frozen=True, eq=False)
class Split:
    """Row numbers of the three parts, each in a seeded random order.

    Attributes:
        train: Row numbers of the training part.
        val: Row numbers of the validation part.
        test: Row numbers of the test part; the same array as ``val`` if there is no validation part.
        kept_in_train: Classes that are too small for three parts and are in training only.
    """

    train: Integers
    val: Integers
    test: Integers
    kept_in_train: tuple[int, ...]

    @property
    def has_validation(self) -> bool:
        """Whether the validation part has rows of its own, and the test part does not take its place."""
        return self.val is not self.test

    @property
    def held_out(self) -> dict[str, Integers]:
        """Row numbers of the validation part, if there is one, and of the test part, by name."""
        return {"val": self.val, "test": self.test} if self.has_validation else {"test": self.test}


def check_sizes(val_size: float, test_size: float, rows: int | None = None) -> None:
    """Refuse sizes that leave a part without rows.

    Args:
        val_size: Share of the validation part, in (0, 1), or 0 for the test part in its place.
        test_size: Share of the test part, in (0, 1).
        rows: Number of rows in all three parts, if it is known.

    Raises:
        ValueError: With the parameter, its value, and the least share that would do.

    Example:
        >>> check_sizes(0.5, 0.5)
        Traceback (most recent call last):
        ValueError: val_size + test_size must be < 1 to leave a training part, got 0.5 + 0.5.
    """
    if val_size != 0:
        check_share("val_size", val_size)
    check_share("test_size", test_size)
    train_size = 1 - val_size - test_size
    if train_size <= 1e-9:
        raise ValueError(f"val_size + test_size must be < 1 to leave a training part, got {val_size} + {test_size}.")
    if rows is None:
        return
    for name, size in (("val_size", val_size), ("test_size", test_size), ("val_size + test_size", train_size)):
        if size and math.floor(rows * size + 1e-9) < 1:
            raise ValueError(
                f"{name} must leave each part a row, got a share of {size:.4g} of {rows} rows: at "
                f"least {1 / rows:.4g} would do."
            )


def holdout(labels: Integers, *, size: float, seed: int, groups: Integers | None = None) -> tuple[Integers, Integers]:
    """Split off a stratified share of the rows, without a loop over rows or classes.

    Groups stay whole; a group counts for the class of its first row. Every class is divided in proportion, up to the
    size of its groups, and keeps at least one row.

    Args:
        labels: Class of each row.
        size: Share of the rows that is set apart, in (0, 1).
        seed: Seed of every choice that these rules leave open.
        groups: Group of each row, numbered from 0 without gaps; ``None`` if each row is its own group.

    Returns:
        Row numbers that are kept and row numbers that are set apart, each in a seeded random order.

    Raises:
        ValueError: If ``size`` is out of range, or either result would be empty.

    Example:
        >>> kept, held = holdout(np.arange(20) % 2, size=0.2, seed=0)
        >>> len(kept), np.bincount(held % 2).tolist()
        (16, [2, 2])
    """
    check_share("size", size)
    rng = np.random.default_rng(seed)
    groups = np.arange(len(labels)) if groups is None else groups
    _, first, sizes = np.unique(groups, return_index=True, return_counts=True)
    held_groups = _held_groups(labels[first], sizes, size, rng)
    held = np.isin(groups, held_groups)
    if not held.any() or held.all():
        rows = f"{len(labels)} rows"
        if len(first) < len(labels):
            rows += f", of which {len(first)} are distinct, and equal ones stay together"
        raise ValueError(f"val_size and test_size must leave each part a row, got a share of {size:.4g} of {rows}.")
    return rng.permutation(np.flatnonzero(~held)), rng.permutation(np.flatnonzero(held))


def _held_groups(classes: Integers, sizes: Integers, share: float, rng: np.random.Generator) -> Integers:
    """Groups that :func:`holdout` sets apart.

    Args:
        classes: Class of each group.
        sizes: Rows of each group.
        share: Share of the rows of each class.
        rng: Source of every choice that is left open.
    """
    totals = np.bincount(classes, weights=sizes).astype(np.float64)
    quota = _holdout_quota(totals, share, rng)
    order = rng.permutation(len(sizes))
    order = order[np.argsort(classes[order], kind="stable")]
    running = np.cumsum(sizes[order])
    begin = np.cumsum(totals) - totals
    held: Integers = order[running - begin[classes[order]] <= quota[classes[order]]]
    return held


def _holdout_quota(totals: Floats, share: float, rng: np.random.Generator) -> Floats:
    """Most rows that :func:`holdout` sets apart from each class, given the rows of each class."""
    exact = totals * share
    quota: Floats = np.floor(exact)
    # The rows that remain after rounding down are given to the classes that lost most.
    remaining = max(0, round(exact.sum()) - int(quota.sum()))
    tie = rng.permutation(len(quota))
    quota[tie[np.argsort(-(exact - quota)[tie], kind="stable")[:remaining]]] += 1
    return np.minimum(quota, totals - 1)


def stratified_split(labels: Integers, groups: Integers, *, val_size: float, test_size: float, seed: int) -> Split:
    """Split rows into three parts so that groups stay whole and every class is divided in proportion.

    Groups of several rows are placed first, the largest first, each into the part that lacks most rows of the classes
    in the group; single rows then fill each part to its exact share. A class in fewer than three groups cannot be in
    all three parts: it stays in training, with every group that holds one of its rows.

    Args:
        labels: Class of each row.
        groups: Group of each row, numbered from 0 without gaps.
        val_size: Share of the validation part; 0 for the test part in its place, so that there are two parts.
        test_size: Share of the test part.
        seed: Seed of every choice that these rules leave open.

    Raises:
        ValueError: If there are too few groups to fill the parts.

    Example:
        >>> rows = np.arange(20)
        >>> split = stratified_split(rows % 2, rows, val_size=0.2, test_size=0.2, seed=0)
        >>> len(split.train), sorted((split.val % 2).tolist())
        (12, [0, 0, 1, 1])
    """
    check_sizes(val_size, test_size)
    if val_size == 0:
        rest, held = holdout(labels, size=test_size, seed=seed, groups=groups)
        return Split(rest, held, held, kept_in_train=())
    rng = np.random.default_rng(seed)
    counts = np.zeros((int(groups.max(initial=-1)) + 1, int(labels.max(initial=-1)) + 1), dtype=np.int64)
    np.add.at(counts, (groups, labels), 1)
    holders = (counts > 0).sum(axis=0)
    kept = np.flatnonzero((holders > 0) & (holders < len(PARTS)))
    part_of = np.full(len(counts), -1)
    part_of[(counts[:, kept] > 0).any(axis=1)] = 0
    wanted = _wanted(counts.sum(axis=0), np.array([val_size, test_size]), set(kept.tolist()))
    wanted[0] -= counts[part_of == 0].sum(axis=0)
    _place_multiples(counts, part_of, wanted, rng)
    _place_singles(counts, part_of, wanted, rng)
    _fill_empty(counts, part_of, np.setdiff1d(np.flatnonzero(holders), kept))
    parts = [rng.permutation(np.flatnonzero(part_of[groups] == part)) for part in range(len(PARTS))]
    for name, part in zip(PARTS, parts, strict=True):
        if not len(part):
            raise ValueError(
                f"the {name} part is empty: {len(counts)} distinct rows of {len(holders)} classes "
                "are too few for three parts; a class needs three to be in each."
            )
    train, val, test = parts
    return Split(train, val, test, tuple(kept.tolist()))


# In the steps below: counts is (groups, classes), the rows of each class in each group; part_of is (groups,), the part
# of each group, -1 if it is not placed yet; wanted is (3, classes), the rows that each part still lacks.


def _wanted(totals: Integers, shares: Floats, kept: set[int]) -> Integers:
    """Rows of each class that each part should have: ``(3, classes)``."""
    wanted = np.zeros((len(PARTS), len(totals)), dtype=np.int64)
    carry = np.zeros(2)
    for c, total in enumerate(totals):
        held = np.zeros(2, dtype=np.int64)
        if total and c not in kept:
            # The error of rounding is carried to the next class, so that many small classes do not add up to parts of
            # the wrong size.
            quota = total * shares + carry
            held = np.rint(quota).astype(np.int64)
            while held.sum() > total - 1:
                held[np.argmax(held)] -= 1
            carry = np.clip(quota - held, -0.5, 0.5)
        wanted[:, c] = total - held.sum(), *held
    return wanted


def _place_multiples(counts: Integers, part_of: Integers, wanted: Integers, rng: np.random.Generator) -> None:
    """Place groups of several rows, the largest first, each where most rows of its classes are wanted."""
    multiples = rng.permutation(np.flatnonzero((part_of < 0) & (counts.sum(axis=1) > 1)))
    for group in multiples[np.argsort(-counts[multiples].sum(axis=1), kind="stable")]:
        part = int(np.argmax(wanted @ counts[group]))
        part_of[group] = part
        wanted[part] -= counts[group]


def _place_singles(counts: Integers, part_of: Integers, wanted: Integers, rng: np.random.Generator) -> None:
    """Place groups of one row, so that each part has as many rows of each class as are wanted.

    In total, as many rows are wanted as are left; a part that has more than it should leaves fewer for the others.
    """
    for c in range(counts.shape[1]):
        singles = rng.permutation(np.flatnonzero((part_of < 0) & (counts[:, c] > 0)))
        share = np.maximum(wanted[:, c], 0)
        while share.sum() > len(singles):
            share[np.argmax(share)] -= 1
        for part, members in enumerate(np.split(singles, np.cumsum(share)[:-1])):
            part_of[members] = part


def _fill_empty(counts: Integers, part_of: Integers, classes: Integers) -> None:
    """Move a group of each class into each part without one, from the part with most groups of the class."""
    pure = (counts > 0).sum(axis=1) == 1
    for c in classes:
        holds = counts[:, c] > 0
        for part in range(len(PARTS)):
            groups = np.bincount(part_of[holds], minlength=len(PARTS))
            if groups[part]:
                continue
            donor = int(np.argmax(groups))  # has two groups or more, because the class has three or more
            movable = np.flatnonzero(holds & pure & (part_of == donor))
            if len(movable):
                part_of[movable[np.argmin(counts[movable, c])]] = part
