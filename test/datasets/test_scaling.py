"""Scaling by the range of each column, and tables without a validation part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data.data import make_data
from data.encoding import Encoder
from data.scaling import SCALINGS
from data.splitting import stratified_split
from data.tables import Floats, Table, no_categories
from model.choices import Scaling


def table_of(numbers: Floats, *, common: bool = False) -> Table:
    rows, columns = numbers.shape
    names = tuple(f"c{column}" for column in range(columns))
    labels = np.arange(rows) % 2
    return Table(numbers, no_categories(rows), labels, ("a", "b"), names, common_scale=common)


def by_hand(numbers: Floats, rows: list[int], *, common: bool) -> Floats:
    """The slow reference: each value divided by the range in the training rows, constant columns at zero."""
    scaled = np.zeros_like(numbers)
    for column in range(numbers.shape[1]):
        seen = [numbers[row, c] for row in rows for c in range(numbers.shape[1]) if common or c == column]
        least, greatest = min(seen), max(seen)
        for row in range(len(numbers)):
            constant = greatest == least
            value = numbers[row, column]
            scaled[row, column] = value - least if constant else value / (greatest - least)
    return scaled


@pytest.mark.parametrize("common", [False, True])
def test_the_range_is_that_of_the_training_rows(common: bool) -> None:
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(12, 4)) * [1.0, 50.0, 1e-3, 0.0] + [0.0, 9.0, 0.0, 7.0]
    numbers[11] = [100.0, -900.0, 8.0, 7.5]  # in no training row
    rows = [2, 3, 5, 7, 9]
    table = table_of(numbers, common=common)
    found = Encoder(table, np.array(rows), "range").encode(table, np.arange(12))
    np.testing.assert_allclose(found, by_hand(numbers, rows, common=common), rtol=1e-6, atol=1e-7)
    ranges = np.ptp(found[rows], axis=None if common else 0)
    np.testing.assert_allclose(ranges, 1 if common else [1, 1, 1, 0], rtol=1e-6)


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("value", [0.1, 0.3, 0.7, 5.0])
def test_equal_numbers_with_one_scale_become_zeros(scaling: str, value: float) -> None:
    numbers = np.full((8, 3), value)
    numbers[7] += 0.5  # in no training row
    table = table_of(numbers, common=True)
    found = Encoder(table, np.arange(7), scaling).encode(table, np.arange(8))
    np.testing.assert_array_equal(found[:7], 0)
    np.testing.assert_allclose(found[7], 0.5)


def test_a_missing_value_does_not_change_the_range() -> None:
    numbers = np.array([[1.0], [np.nan], [5.0], [2.0]])
    table = table_of(numbers)
    found = Encoder(table, np.arange(4), "range").encode(table, np.arange(4))
    np.testing.assert_allclose(found[:, 0], [0.25, 0.5, 1.25, 0.5])


def test_the_option_has_the_values_of_the_data() -> None:
    assert tuple(Scaling) == SCALINGS
    scaled, usual = (make_data("iris", scaling=scaling) for scaling in ("range", "standard"))
    for data in (scaled, usual):
        data.setup()
    np.testing.assert_allclose(np.ptp(scaled.x_train.numpy(), axis=0), 1, rtol=1e-6)
    assert usual.x_train.std() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("name", ["fake", "mnist"])
def test_images_have_neither(name: str) -> None:
    with pytest.raises(ValueError, match="scaling has an effect for tables only"):
        make_data(name, scaling="range")
    with pytest.raises(ValueError, match="val_size must be > 0 for images, got 0"):
        make_data(name, val_size=0)
    with pytest.raises(ValueError, match=r"scaling must be one of standard, range, got 'minmax'\."):
        make_data("moons", scaling="minmax")


@pytest.mark.parametrize("seed", range(4))
def test_without_a_validation_part_there_are_two_parts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, groups = rng.integers(0, 3, 90), np.unique(rng.integers(0, 70, 90), return_inverse=True)[1]
    split = stratified_split(labels, groups, val_size=0, test_size=0.2, seed=seed)
    assert sorted([*split.train, *split.test]) == list(range(90))
    assert not {*groups[split.train]} & {*groups[split.test]}
    assert split.val is split.test
    assert not split.has_validation
    assert [*split.held_out] == ["test"]
    assert len(split.test) == pytest.approx(18, abs=3)
    assert stratified_split(labels, groups, val_size=0.2, test_size=0.2, seed=seed).has_validation


def test_rows_of_a_table_without_a_validation_part_are_counted_once() -> None:
    data = make_data("moons", val_size=0, test_size=0.2, num_points=100)
    data.setup()
    described = data.describe()
    assert {part: found["rows"] for part, found in described["parts"].items()} == {"train": 80, "test": 20}
    assert (described["rows"], data.has_validation) == (100, False)
    assert data.x_val.equal(data.x_test)


@pytest.mark.parametrize("given", [(), ("val",), ("test",), ("val", "test")])
def test_parts_of_the_user_stay_as_they_were_given(given: tuple[str, ...]) -> None:
    rng = np.random.default_rng(0)
    parts = {part: (rng.normal(size=(rows, 2)), np.arange(rows) % 2) for part, rows in (("val", 10), ("test", 14))}
    data = make_data((rng.normal(size=(60, 2)), np.arange(60) % 2), val_size=0, **{part: parts[part] for part in given})
    data.setup()
    assert data.has_validation is ("val" in given)
    test = 14 if "test" in given else 9
    assert data.num_rows("val") == (10 if "val" in given else test)
    assert data.num_rows("test") == test
    assert data.num_rows("train") == (60 if "test" in given else 51)


def test_what_was_found_says_that_there_is_no_validation_part(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_text("x,y\n" + "".join(f"{row / 10},{'ab'[row % 2]}\n" for row in range(40)))
    for val_size in (0, 0.15):
        data = make_data(file, target="y", val_size=val_size)
        data.setup()
        assert ("no validation part" in data.found()) is (val_size == 0)
