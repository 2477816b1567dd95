"""Data modules of tables: split, encoding, batches and errors."""

from __future__ import annotations

import json
import logging
import os
import pickle

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torchvision.transforms import v2

from data.cache import FOLDER_VARIABLE
from data.data import DATASETS, make_datamodule
from data.datamodules import TabularDataModule
from data.datasets import TABLES
from data.encoding import Encoder, _scales
from data.tables import Table, no_categories

Rows = npt.NDArray[np.int64]

BUILT_IN = [name for name in TABLES if DATASETS[name].source != "UCI"]


# Encoding ------------------------------------------------------------------------------------------


def mixed_table(seed: int = 0, rows: int = 120) -> Table:
    rng = np.random.default_rng(seed)
    numbers = rng.normal(5.0, [1.0, 100.0, 0.0], (rows, 3))
    numbers[rng.random((rows, 3)) < 0.1] = np.nan
    numbers[:, 2] = 7.0
    words = np.array(["red", "green", "blue", np.nan], dtype=object)
    sides = np.array(["left", "right", np.nan], dtype=object)
    categories = np.stack(
        [
            rng.choice(words, rows, p=[0.5, 0.2, 0.2, 0.1]),
            rng.choice(sides, rows, p=[0.6, 0.3, 0.1]),
            np.full(rows, "same", dtype=object),
        ],
        axis=1,
    )
    return Table(numbers, categories, rng.integers(0, 2, rows), ("0", "1"), ("a", "b", "c"), ("d", "e", "f"))


def reference_encoding(table: Table, train: Rows, rows: Rows) -> list[list[float]]:
    """The encoding, computed in Python row by row and column by column."""
    encoded = []
    for row in rows:
        values: list[float] = []
        for column in table.numbers.T:
            known = sorted(v for v in column[train] if v == v)
            middle = (known[(len(known) - 1) // 2] + known[len(known) // 2]) / 2
            filled = [v if v == v else middle for v in column[train]]
            mean = sum(filled) / len(filled)
            deviation = (sum((v - mean) ** 2 for v in filled) / len(filled)) ** 0.5
            value = column[row] if column[row] == column[row] else middle
            values.append((value - mean) / (deviation or 1.0))
        for column in table.categories.T:
            present = [v for v in column[train] if v == v]
            kinds = sorted(set(present))
            usual = max(kinds, key=present.count)
            value = column[row] if column[row] == column[row] else usual
            values += [float(value == kind) for kind in (kinds[1:] if len(kinds) == 2 else kinds)]
        encoded.append(values)
    return encoded


@pytest.mark.parametrize("seed", range(5))
def test_encoding_is_the_reference(seed: int) -> None:
    table = mixed_table(seed)
    train, held = np.arange(0, 80), np.arange(80, 120)
    encoder = Encoder(table, train)
    for rows in (train, held):
        encoded = encoder.encode(table, rows)
        assert encoded.dtype == np.float32
        np.testing.assert_allclose(encoded, reference_encoding(table, train, rows), rtol=1e-5, atol=1e-5)
    assert encoder.names == ("a", "b", "c", "d_blue", "d_green", "d_red", "e_right", "f_same")


def test_held_out_rows_do_not_change_the_encoding() -> None:
    table, train = mixed_table(), np.arange(80)
    expected = Encoder(table, train).encode(table, train)
    numbers, categories = table.numbers.copy(), table.categories.copy()
    numbers[80:] = 1e6
    categories[80:] = "another"
    other = Table(numbers, categories, table.labels, ("0", "1"), ("a", "b", "c"), ("d", "e", "f"))
    encoder = Encoder(other, train)
    np.testing.assert_array_equal(encoder.encode(other, train), expected)


def test_unknown_categories_are_zeros_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    table = mixed_table()
    table.categories[80:, :2] = "unknown"
    encoder = Encoder(table, np.arange(80))
    with caplog.at_level(logging.INFO, logger="data.encoding"):
        encoded = encoder.encode(table, np.arange(80, 120))
    assert not encoded[:, 3:7].any()
    assert "d: unknown" in caplog.text
    assert "e: unknown" in caplog.text


def test_columns_without_a_value_in_training_give_no_nan() -> None:
    table = mixed_table()
    table.numbers[:80, 0] = np.nan
    table.categories[:80, 1] = np.nan
    encoder = Encoder(table, np.arange(80))
    for rows in (np.arange(80), np.arange(80, 120)):
        assert np.isfinite(encoder.encode(table, rows)).all()


def test_a_common_scale_keeps_pixels_comparable() -> None:
    module = make_datamodule("digits")
    module.setup()
    x = module.x_train
    assert abs(float(x.mean())) < 1e-5
    assert float(x.std(correction=0)) == pytest.approx(1.0, abs=1e-5)
    assert len(set(x.flatten().tolist())) == 17


# The data module ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_built_in_set_is_served(name: str) -> None:
    module, info = make_datamodule(name, batch_size=32), DATASETS[name]
    module.prepare_data()
    module.setup("fit")
    parts = [(module.x_train, module.y_train), (module.x_val, module.y_val)]
    parts.append((module.x_test, module.y_test))
    assert sum(len(x) for x, _ in parts) == info.rows
    for x, y in parts:
        assert x.dtype == torch.float32
        assert y.dtype == torch.int64
        assert x.shape == (len(y), *module.input_shape)
        assert torch.isfinite(x).all()
        assert set(y.tolist()) == set(range(info.classes))
    assert module.num_features == info.features == len(module.feature_names)
    assert module.num_classes == info.classes == len(module.class_names)
    rows = [{tuple(row.tolist()) for row in x} for x, _ in parts]
    assert not rows[0] & rows[1]
    assert not rows[1] & rows[2]
    assert not rows[0] & rows[2]
    summary = module.describe()
    assert json.loads(json.dumps(summary)) == summary
    assert [part["rows"] for part in summary["parts"].values()] == [len(x) for x, _ in parts]
    assert len(module.train_dataloader()) == -(-len(module.x_train) // 32)


def test_a_second_setup_changes_nothing() -> None:
    module = make_datamodule("iris")
    module.setup("fit")
    x = module.x_train
    module.setup("test")
    assert module.x_train is x


def test_the_seed_decides_points_and_split() -> None:
    def x_train(**options: object) -> Tensor:
        module = make_datamodule("moons", **options)
        module.setup()
        return module.x_train

    assert torch.equal(x_train(seed=0), x_train(seed=0))
    assert not torch.equal(x_train(seed=0), x_train(seed=1))
    points = [make_datamodule("moons", seed=seed)._load().numbers for seed in (0, 0, 1)]
    np.testing.assert_array_equal(points[0], points[1])
    assert not np.array_equal(points[0], points[2])
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]
    x_train()
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # type: ignore[index]


def test_images_and_vectors_hold_the_same_values() -> None:
    vectors, images = make_datamodule("digits"), make_datamodule("digits", as_images=True)
    vectors.setup()
    images.setup()
    assert images.input_shape == (1, 8, 8)
    assert images.num_features == vectors.num_features == 64
    assert torch.equal(images.x_test.flatten(1), vectors.x_test)


@pytest.mark.parametrize("size", [4, 8, 16])
def test_digits_are_resized_as_asked(size: int) -> None:
    own, images = make_datamodule("digits", as_images=True), make_datamodule("digits", as_images=True, image_size=size)
    vectors = make_datamodule("digits", image_size=size)
    for module in (own, images, vectors):
        module.setup()
    assert images.input_shape == (1, size, size)
    assert vectors.num_features == len(vectors.feature_names) == size**2
    assert torch.equal(images.x_test.flatten(1), vectors.x_test)
    # Resizing does not change which images are in which part.
    assert torch.equal(images.y_train, own.y_train)
    scaled = [(x - x.mean()) / x.std() for x in (v2.functional.resize(own.x_train, [size, size]), images.x_train)]
    torch.testing.assert_close(*scaled, atol=1e-4, rtol=1e-4)


def test_digits_are_never_augmented() -> None:
    plain, changed = (make_datamodule("digits", as_images=True, augment=augment) for augment in (False, True))
    plain.setup()
    changed.setup()
    assert torch.equal(next(iter(plain.train_dataloader()))[0], next(iter(changed.train_dataloader()))[0])


def test_duplicates_are_counted_and_kept_together() -> None:
    table = mixed_table(rows=90)
    twice = Table(
        np.concatenate([table.numbers, table.numbers[:30]]),
        np.concatenate([table.categories, table.categories[:30]]),
        np.concatenate([table.labels, 1 - table.labels[:30]]),
        *(("0", "1"), ("a", "b", "c"), ("d", "e", "f")),
    )
    module = TabularDataModule(lambda: twice, name="twice")
    module.setup()
    summary = module.describe()
    assert module.num_duplicates == summary["duplicate_rows"] == 30
    assert summary["distinct_rows"] == 90
    assert summary["distinct_rows_of_several_classes"] == 30
    parts = [{tuple(r.tolist()) for r in x} for x in (module.x_train, module.x_val, module.x_test)]
    assert len(set.union(*parts)) == sum(len(part) for part in parts)


def test_classes_too_small_for_a_split_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    labels = np.repeat([0, 1, 2], [40, 40, 2])
    numbers = np.arange(82.0)[:, None]
    table = Table(numbers, no_categories(82), labels, ("a", "b", "rare"), ("x",))
    module = TabularDataModule(lambda: table, name="mine")
    with caplog.at_level(logging.INFO, logger="data.tabular"):
        module.setup()
    assert "mine: classes in fewer than three distinct rows stay in training: rare" in caplog.text
    assert module.describe()["classes_kept_in_train"] == ["rare"]
    assert module.num_classes == 3
    assert 2 not in module.y_val.tolist() + module.y_test.tolist()


def test_data_before_setup_is_an_error() -> None:
    module = make_datamodule("iris")
    for ask in (lambda: module.x_train, lambda: module.num_classes, module.describe):
        with pytest.raises(RuntimeError, match=r"iris is not loaded yet: call setup\(\) first"):
            ask()


def test_a_module_can_be_pickled() -> None:
    module = pickle.loads(pickle.dumps(make_datamodule("iris")))
    module.setup()
    assert module.num_classes == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "moon"}, "Did you mean 'moons'"),
        ({"batch_size": 0}, "batch_size must be an integer >= 1, or None .*, got 0"),
        ({"batch_size": 2.5}, "batch_size must be an integer"),
        ({"batch_size": True}, "batch_size must be an integer"),
        ({"batch_size": "all"}, "batch_size must be an integer"),
        ({"seed": -1}, "seed must be an integer"),
        ({"seed": 2**32}, "seed must be an integer"),
        ({"seed": None}, "seed must be an integer"),
        ({"val_size": 1.0}, "val_size must be a share"),
        ({"val_size": 0.5, "test_size": 0.6}, "must be < 1"),
        ({"name": "iris", "val_size": 0.001}, "val_size must leave each part a row"),
        ({"num_points": 13}, "num_points must be >= 14"),
        ({"name": "blobs", "num_points": 19}, "num_points must be >= 20"),
        ({"noise": -1}, "noise must be a number >= 0"),
        ({"as_images": True}, "as_images needs"),
        ({"image_size": 8}, "image_size needs a data set of images .* got 'moons': leave it out"),
        ({"name": "digits", "image_size": 3}, "image_size must be an integer >= 4, got 3"),
        ({"name": "digits", "image_size": "8"}, "image_size must be an integer >= 4, got '8'"),
    ],
)
def test_bad_input_is_refused_at_construction(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_datamodule(**{"name": "moons", **options})


@pytest.mark.parametrize("value", ["no", "False", None, 0])
@pytest.mark.parametrize("name", ["augment", "as_images"])
@pytest.mark.parametrize("dataset", ["digits", "fake"])
def test_flags_other_than_true_and_false_are_refused(dataset: str, name: str, value: object) -> None:
    with pytest.raises(TypeError, match=f"{name} must be True or False, got {value!r}"):
        make_datamodule(dataset, **{name: value})


@pytest.mark.parametrize(("name", "least"), [("moons", 14), ("circles", 14), ("blobs", 20)])
def test_the_fewest_accepted_points_fill_every_part(name: str, least: int) -> None:
    module = make_datamodule(name, num_points=least)
    module.setup()
    for y in (module.y_train, module.y_val, module.y_test):
        assert len(set(y.tolist())) == DATASETS[name].classes


# UCI's own files, if they are cached ---------------------------------------------------------------

REAL = os.environ.get(FOLDER_VARIABLE, "")

if REAL:

    @pytest.mark.uci
    @pytest.mark.parametrize("name", [name for name in TABLES if name not in BUILT_IN])
    def test_every_uci_set_is_served(name: str) -> None:
        module, info = make_datamodule(name, data_dir=REAL), DATASETS[name]
        module.prepare_data()
        module.setup()
        parts = [(module.x_train, module.y_train), (module.x_val, module.y_val)]
        parts.append((module.x_test, module.y_test))
        assert sum(len(y) for _, y in parts) == info.rows
        assert all(torch.isfinite(x).all() for x, _ in parts)
        assert int(module.y_train.max()) == module.num_classes - 1 == info.classes - 1
        for _, y in parts[1:]:
            assert 0.10 * info.rows < len(y) < 0.20 * info.rows


def test_columns_are_scaled_as_by_scikit_learn_bit_for_bit() -> None:
    random = np.random.default_rng(0)
    for rows in (1, 2, 7, 500):
        numbers = random.normal([0.0, 1e8, -5.0, 3.0, 0.1], [1.0, 1e-3, 0.0, 1e-200, 1e-17], (rows, 5))
        numbers[:, 4] = 0.1
        for layout in (np.ascontiguousarray, np.asfortranarray):
            scaler = StandardScaler().fit(layout(numbers))
            mean, scale = _scales(layout(numbers))
            assert np.array_equal(mean, scaler.mean_)
            assert np.array_equal(scale, scaler.scale_)
            assert np.array_equal((numbers - mean) / scale, scaler.transform(numbers))
