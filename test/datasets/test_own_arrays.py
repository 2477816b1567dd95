"""Arrays and data frames of the user as data modules: every container, given parts, and what is refused."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch

from data.data import make_datamodule
from data.datamodules import TabularDataModule
from model.config.rectangular import RectangularConfig
from model.rectangular_experiment import RectangularExperiment
from sweep.machine import quiet_lightning

ROWS = 60
X = np.random.default_rng(0).normal(5, 3, (ROWS, 3)).astype(np.float32)
Y = np.arange(ROWS) % 3
FRAME = pd.DataFrame(X, columns=["a", "b", "c"], index=np.arange(ROWS)[::-1])
NAMES = np.array(["low", "mid", "top"])


def served(source: object, **options: object) -> TabularDataModule:
    module = make_datamodule(source, **{"batch_size": 16, "seed": 1, **options})
    module.setup()
    assert isinstance(module, TabularDataModule)
    return module


CONTAINERS: dict[str, Callable[[], object]] = {
    "lists": lambda: (X.tolist(), Y.tolist()),
    "tensors": lambda: (torch.from_numpy(X).requires_grad_(), torch.from_numpy(Y)),
    "a list as a pair": lambda: [X, Y],
    "a data frame and a series": lambda: (FRAME, pd.Series(Y, name="a", index=np.arange(ROWS) + 7)),
    "a data frame and an array": lambda: (FRAME, Y.astype(np.uint8)),
}


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_gives_the_same_parts(container: str) -> None:
    module, plain = served(CONTAINERS[container]()), served((X, Y))
    for part in ("x_train", "y_train", "x_val", "y_val", "x_test", "y_test"):
        assert getattr(module, part).equal(getattr(plain, part))
    assert [plain.num_rows(part) for part in ("train", "val", "test")] == [42, 9, 9]
    assert float(plain.x_train.mean(0).abs().max()) < 1e-5
    x, y = next(iter(plain.train_dataloader()))
    assert (x.shape, x.dtype, y.dtype) == ((16, 3), torch.float32, torch.int64)


def test_the_target_can_be_a_column_of_the_data_frame() -> None:
    frame = FRAME.assign(kind=NAMES[Y], color=pd.Categorical(["red", "blue"] * 30))
    module = served(frame, target="kind", drop_columns=["c"])
    assert module.feature_names == ("a", "b", "color_red")
    assert module.class_names == ("low", "mid", "top")
    assert "left out" in module.found()
    same = served((frame.drop(columns="kind"), NAMES[Y]), drop_columns="c")
    assert module.x_train.equal(same.x_train)


def test_a_name_comes_before_a_position() -> None:
    frame = pd.DataFrame({1: X[:, 0], 0: NAMES[Y]})
    for target in (0, "0", -1):
        assert served(frame, target=target).class_names == ("low", "mid", "top")
    with pytest.raises(ValueError, match="regression"):
        served(frame, target=1)


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (Y + 1, ("1", "2", "3")),
        (Y * 0.5, ("0", "0.5", "1")),
        (10 - Y, ("8", "9", "10")),
        (Y > 0, ("False", "True")),
        (NAMES[Y], ("low", "mid", "top")),
        (list(NAMES[2 - Y]), ("low", "mid", "top")),
        (pd.Series(pd.Categorical(NAMES[Y], ["top", "mid", "low", "never"])), ("top", "mid", "low")),
        (torch.from_numpy(Y).to(torch.bfloat16), ("0", "1", "2")),
    ],
)
def test_labels_of_every_kind_become_class_numbers(labels: object, names: tuple[str, ...]) -> None:
    module = served((X, labels), test=(X, labels))
    assert module.class_names == names
    assert module.describe()["class_names"] == list(names)
    words = labels.float().numpy() if isinstance(labels, torch.Tensor) else np.asarray(labels)
    expected = [f"{word:g}" if isinstance(word, np.number) else str(word) for word in words]
    assert [names[number] for number in module.y_test] == expected


def test_images_keep_their_shape_and_are_scaled_together() -> None:
    images = np.random.default_rng(0).integers(0, 256, (ROWS, 3, 4, 5), dtype=np.uint8)
    module = served((images, Y))
    assert module.input_shape == (3, 4, 5)
    pixels = module.x_train
    assert float(pixels.mean()) == pytest.approx(0, abs=1e-5)
    assert float(pixels.std(correction=0)) == pytest.approx(1, abs=1e-5)
    given = served((images, Y), test=(images, Y)).x_test.numpy()
    np.testing.assert_allclose(np.corrcoef(given.ravel(), images.ravel())[0, 1], 1, atol=1e-6)


def test_given_parts_are_kept_in_their_order() -> None:
    module = served((X, Y), val=(X[::-1].copy(), Y[::-1]), test=(X + 100, Y))
    assert module.x_val.flip(0).equal(module.x_train)
    assert module.y_val.flip(0).equal(module.y_train)
    assert float(module.x_test.mean()) > 20
    assert module.describe()["rows_shared_with_train"] == {"val": 60, "test": 0}


def test_a_data_module_of_arrays_trains_a_network() -> None:
    module = pickle.loads(pickle.dumps(make_datamodule((X, NAMES[Y]), batch_size=16)))
    module.setup()
    config = RectangularConfig(depth=2, epochs=1)
    experiment = RectangularExperiment(config, module.input_shape, module.num_classes)
    quiet_lightning()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(experiment, datamodule=module)
    assert trainer.global_step == 3


HOLES = np.where(X > 8, np.nan, X)


def test_nan_is_a_missing_value_in_a_data_frame_alone() -> None:
    module = served((pd.DataFrame(HOLES), Y))
    assert module.describe()["missing_values"] == np.isnan(HOLES).sum() > 0
    assert torch.isfinite(module.x_train).all()


REFUSED: dict[str, tuple[object, dict[str, object], str]] = {
    "NaN": ((HOLES, Y), {}, r"x must hold finite numbers .* got nan at \[\d+, \d\]: .*data frame"),
    "infinity": ((np.where(X > 8, -np.inf, X), Y), {}, r"x must hold finite numbers .* got -inf at"),
    "one dimension": ((X[:, 0], Y), {}, r"x must have the shape \(rows, features\) .* got \(60,\). One feature"),
    "three dimensions": ((X[:, :, None], Y), {}, r"got \(60, 3, 1\). Images of one channel: x\[:, None\]"),
    "channels last": ((np.zeros((60, 8, 8, 3)), Y), {}, r"channels before height and width.*transpose\(0, 3, 1, 2\)"),
    "no rows": ((X[:0], Y[:0]), {}, r"x must not be empty, got the shape \(0, 3\)"),
    "no columns": ((X[:, :0], Y), {}, r"x must not be empty, got the shape \(60, 0\)"),
    "texts": ((X.astype(str), Y), {}, "x must hold real numbers, got the type <U.*data frame"),
    "complex numbers": ((X * 1j, Y), {}, "x must hold real numbers, got the type complex"),
    "a column of lists": (
        pd.DataFrame({"a": [[1]] * 60, "y": Y}),
        {"target": "y"},
        "column 'a' .* got a list in row 0",
    ),
    "a class that is a list": (
        pd.DataFrame({"a": X[:, 0], "y": [1, {2}] * 30}),
        {"target": "y"},
        "'y' .* set in row 1",
    ),
    "numbers as objects": ((X.astype(object), Y), {}, r"got the type object: give x.astype\(float\), or a pandas"),
    "a mask": ((np.ma.masked_equal([[1, 2], [-9, 3]], -9), [0, 1]), {}, "x must have no masked values, got 1: fill"),
    "a mask of labels": (([[1], [2]], np.ma.masked_equal([0, 9], 9)), {}, "y must have no masked values, got 1: fill"),
    "ragged lists": (([[1, 2], [3]], [0, 1]), {}, "x must have rows of one length"),
    "too few labels": ((X, Y[1:]), {}, "y must have as many rows as x, 60, got 59"),
    "a column of labels": ((X, Y[:, None]), {}, r"y must have the shape \(rows,\), got \(60, 1\). Give y.ravel"),
    "one-hot labels": ((X, np.eye(3)[Y]), {}, r"got \(60, 3\). One column for each class: .*argmax"),
    "a missing label": ((X, np.where(Y, Y, np.nan)), {}, "'y' of the data is missing in 20 rows, first in row 0"),
    "one class": ((X, Y * 0), {}, "has one class, '0', in all 60 rows"),
    "measurements": ((X, X[:, 0]), {}, "has 60 different values in 60 rows: .*regression"),
    "an array alone": (X, {}, r"the data must be a pair \(x, y\) of inputs and labels, got ndarray"),
    "three arrays": ((X, Y, Y), {}, "the data must be a pair .* got 3 items"),
    "None": (None, {}, "the data must be a pair .* got NoneType"),
    "a target": ((X, Y), {"target": "y"}, "target must be left out with a pair"),
    "a column to drop": ((X, Y), {"drop_columns": "a"}, "drop_columns needs a data frame as x"),
    "no target": (FRAME, {}, "target must name the column of the classes: the data has the columns a, b, c"),
    "dates": ((FRAME.assign(d=pd.Timestamp(0)), Y), {}, "column 'd' of the data has the type datetime64"),
    "an array for a frame": ((FRAME, Y), {"val": (X, Y)}, "x of val must be a data frame like x, got ndarray"),
    "another shape": (
        (X, Y),
        {"val": (X[:, 1:], Y)},
        r"x of val must have the shape \(rows, 3\) like x, got \(60, 2\)",
    ),
    "another length": ((X, Y), {"test": (X, Y[:5])}, "y of test must have as many rows as x of test, 60, got 5"),
    "another class": ((X, Y), {"test": (X, Y + 1)}, "'y' of test has the class '3' in row 2, which the data lacks"),
    "a part without labels": ((X, Y), {"val": X}, "val must be a pair .* got ndarray"),
    "a path": ((X, Y), {"val": "val.csv"}, "val must be a pair .* got str"),
    "NaN in a part": ((X, Y), {"val": (HOLES, Y)}, "x of val must hold finite numbers"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_data_that_cannot_be_used_are_refused_in_one_line(fault: str) -> None:
    source, options, message = REFUSED[fault]
    with pytest.raises(ValueError, match=message) as error:
        served(source, **options)
    assert "\n" not in str(error.value)


def test_texts_of_missing_values_and_blanks_are_read_as_in_files_except_in_categories() -> None:
    countries = ["NA", "DE", "FR ", "FR"] * 15
    texts = pd.DataFrame({"country": countries, "number": np.linspace(0, 1, 60)})
    answers = ["yes", "yes ", "no", "no"] * 15
    data = served((texts, answers))
    assert (data.feature_names, data.class_names) == (("number", "country_FR"), ("no", "yes"))
    categories = texts.assign(country=pd.Categorical(countries), answer=pd.Categorical(answers))
    data = served(categories, target="answer")
    assert data.feature_names == ("number", "country_DE", "country_FR", "country_FR ", "country_NA")
    assert data.class_names == ("no", "yes", "yes ")
