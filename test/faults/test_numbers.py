"""Numbers at the limits of data and options: a finite result or one clear line, the same with both engines."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from data.cache import DataError
from data.data import make_datamodule
from model.divergence import NonFiniteLossError
from model.errors import ConfigError
from sweep.rectangular import run_rectangular

GOOD = [f"{math.sin(i):.4f},{math.cos(3 * i):.4f},{'xy'[i % 2]}" for i in range(60)]


def moved(pattern: str) -> list[str]:
    """The good rows with another first cell."""
    return [f"{pattern.format(sign='-' * (i % 2), i=i)},{row.split(',', 1)[1]}" for i, row in enumerate(GOOD)]


def table(folder: Path, rows: list[str], head: str = "a,b,kind") -> Path:
    path = folder / "table.csv"
    path.write_text("\n".join([head, *rows]) + "\n")
    return path


@pytest.mark.parametrize(
    "rows",
    [
        ["NaN,1,x", "nan,2,y", *GOOD],
        ["", *moved("")],
        moved("{sign}1e39"),
        moved("{sign}1e-310"),
        moved("{sign}5e-324"),
        moved("7"),
        [*GOOD, "1,2,rare"],
    ],
    ids=["missing", "a column that is missing", "large", "denormal", "smallest", "constant", "one row of a class"],
)
def test_odd_columns_become_finite_features(rows: list[str], tmp_path: Path) -> None:
    module = make_datamodule(table(tmp_path, rows), target="kind")
    module.setup()
    assert module.num_classes == len({row.rsplit(",", 1)[1] for row in rows if row})
    for loader in (module.train_dataloader(), module.val_dataloader(), module.test_dataloader()):
        for features, labels in loader:
            assert torch.isfinite(features).all()
            assert labels.min() >= 0
            assert labels.max() < module.num_classes


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["inf,1,x", *GOOD], "infinite in line 2"),
        ([*GOOD, "-Infinity,1,x"], "infinite in line 62"),
        (["1e400,1,x", *GOOD], "infinite in line 2"),
        (["1e200,1,x", *GOOD], "too large to be scaled"),
        ([row[:-1] for row in GOOD], "is missing in 60 rows"),
        ([f"{row[:-1]}x" for row in GOOD], "has one class"),
        ([f"{row[:-1]}c{i}" for i, row in enumerate(GOOD)], "fewer classes"),
        (["1,2,x"], "1 row of data"),
        (["1,2,x", "2,1,y", "0,0,x"], "val_size must leave each part a row"),
        (["1,2,x", "1,2,y"] * 30, "1 distinct rows"),
    ],
)
def test_columns_that_cannot_be_learned_are_refused(rows: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises((DataError, ValueError, ConfigError), match=message) as error:
        make_datamodule(table(tmp_path, rows), target="kind").setup()
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 300


def test_a_class_that_training_lacks_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "val"
    other.mkdir()
    val = table(other, [*GOOD, "1,2,new"])
    with pytest.raises(DataError, match="has the class 'new' in line 62"):
        make_datamodule(table(tmp_path, GOOD), target="kind", val=val).setup()


SMALL: dict[str, object] = {"depth": 2, "width": 3, "epochs": 1, "plot_status": False, "progress": False}
LOCAL: dict[str, object] = {"gpus": 0, "wandb": False, "scheduler": "none", "target": "kind"}


def outcome(engine: str, folder: Path, **options: object) -> dict[str, object] | str:
    """The summary of a tiny run, or the line that says what is not finite."""
    given = {**SMALL, **LOCAL, "dataset": str(table(folder, GOOD)), "output_dir": str(folder), **options}
    try:
        return run_rectangular(engine=engine, name=engine, **given).summary
    except NonFiniteLossError as error:
        return str(error)


@pytest.mark.parametrize(
    ("options", "ends"),
    [
        ({"batch_size": 1}, True),
        ({"batch_size": 10**9, "width": 1}, True),
        ({"lr": 1e-45, "margin": 1e-40}, True),
        ({"lambda_": 1e30, "margin": 1e30}, True),
        ({"lr": 1e30, "epochs": 2}, False),
        ({"lambda_": 1e308}, False),
    ],
    ids=str,
)
def test_extreme_options_have_one_outcome_with_both_engines(
    options: dict[str, object], ends: bool, tmp_path: Path
) -> None:
    one, other = (outcome(engine, tmp_path, **options) for engine in ("compiled", "lightning"))
    if not ends:
        assert one == other
        assert "is not finite" in str(one)
        assert str(one).isprintable()
        return
    assert isinstance(one, dict)
    assert isinstance(other, dict)
    for name in ("train/loss", "val/acc", "test/acc"):
        assert math.isfinite(one[name])
        assert one[name] == pytest.approx(other[name], rel=1e-3)


def test_a_network_of_500_layers_ends(tmp_path: Path) -> None:
    summary = outcome("compiled", tmp_path, depth=500, width=1)
    assert isinstance(summary, dict)
    assert math.isfinite(summary["train/loss"])
