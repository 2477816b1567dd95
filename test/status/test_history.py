"""The status history: files hold every entry, and wrong entries and files are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jumpstart.history import StatusHistory
from jumpstart.status.codes import status_of


def make(epochs: list[int], points: int = 5, labels: bool = True, seed: int = 0) -> StatusHistory:
    """A history of three layers of unequal width with random content."""
    random = np.random.default_rng(seed)
    history = StatusHistory(["first", "second.0", "second.0#2"], [3, 4, 2])
    classes = random.integers(0, 3, points) if labels else None
    for epoch in epochs:
        ends = np.sort(random.normal(size=(2, 9)), axis=0)
        history.append(epoch, ends[1], ends[0], random.integers(0, 3, (points, 3)), classes)
    return history


def same(one: StatusHistory, other: StatusHistory) -> bool:
    """Whether two histories are equal."""
    return (
        (one.layers, one.units, one.epochs) == (other.layers, other.units, other.epochs)
        and all(
            np.array_equal(getattr(one, name), getattr(other, name), equal_nan=name.startswith("unit_m"))
            for name in ("unit_max", "unit_min", "unit_status", "point_status")
        )
        and (one.labels is None) == (other.labels is None)
        and (one.labels is None or np.array_equal(one.labels, other.labels))
    )


@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize("epochs", [[], [0], [0, 10, 25]])
def test_a_file_holds_the_whole_history(epochs: list[int], labels: bool, tmp_path: Path) -> None:
    history = make(epochs, labels=labels)
    history.save(tmp_path / "status.npz")
    again = StatusHistory.load(tmp_path / "status.npz")
    assert same(history, again)
    assert again.unit_max.dtype == again.unit_min.dtype == np.float32
    assert again.point_status.dtype == again.unit_status.dtype == np.int8
    assert again.point_status.shape == (len(epochs), 5 if epochs else 0, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["status.npz"]


def test_the_status_is_that_of_status_of() -> None:
    history = StatusHistory(["a"], [7])
    largest = [-1.0, 0.0, 1.0, 1.0, 1.0, np.nan, 0.0]
    smallest = [-2.0, -1.0, -1.0, 0.0, 0.5, np.nan, 0.0]
    history.append(0, largest, smallest, np.zeros((0, 1), dtype=int))
    expected = status_of(torch.tensor(largest), torch.tensor(smallest), check=False)
    assert history.unit_status.tolist() == [expected.tolist()] == [[0, 0, 2, 2, 1, 0, 0]]


def test_a_resumed_run_replaces_the_epochs_it_repeats() -> None:
    whole, resumed = make([0, 10, 20], seed=1), make([0, 10, 20, 30], seed=1)
    assert not same(whole, resumed)
    resumed.append(20, whole.unit_max[2], whole.unit_min[2], whole.point_status[2])
    assert same(whole, resumed)
    resumed.append(5, whole.unit_max[1], whole.unit_min[1], whole.point_status[1], whole.labels)
    assert resumed.epochs == [0, 5]


def test_a_run_that_begins_again_may_have_other_points() -> None:
    history = make([0, 10])
    history.append(0, history.unit_max[0], history.unit_min[0], np.zeros((2, 3), dtype=int))
    assert history.point_status.shape == (1, 2, 3)
    assert history.labels is None


def test_tensors_are_accepted_and_memory_is_not_shared() -> None:
    history = StatusHistory(["a"], [2])
    largest = torch.tensor([1.0, 2.0], requires_grad=True)
    points = np.ones((1, 1), dtype=np.int8)
    history.append(0, largest, -largest.detach(), points, torch.tensor([4]))
    with torch.no_grad():
        largest.zero_()
    points[:] = 0
    assert history.unit_max.tolist() == [[1.0, 2.0]]
    assert history.point_status.tolist() == [[[1]]]
    assert history.labels is not None
    assert history.labels.tolist() == [4]


@pytest.mark.parametrize("name", ["n" * 246 + ".npz", "\U0001f331" * 60 + ".npz"], ids=["letters", "4 bytes each"])
def test_a_file_may_have_a_long_name(name: str, tmp_path: Path) -> None:
    make([0]).save(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_file_is_replaced_atomically(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "status.npz"
    history = make([0])
    history.save(path)

    def fail(*args: object, **kwargs: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez_compressed", fail)
    with pytest.raises(OSError, match="disk full"):
        make([0, 1]).save(path)
    assert same(StatusHistory.load(path), history)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1, [1.0] * 9, [0.0] * 9, [[0, 0, 0]] * 5), "epoch must be"),
        ((1.5, [1.0] * 9, [0.0] * 9, [[0, 0, 0]] * 5), "epoch must be"),
        ((2, [1.0] * 8, [0.0] * 9, [[0, 0, 0]] * 5), "unit_max must have one value for each of the 9 units"),
        ((2, [1.0] * 9, [[0.0] * 9], [[0, 0, 0]] * 5), "unit_min must"),
        ((2, [1.0] * 9, [0.0] * 8 + [2.0], [[0, 0, 0]] * 5), "unit_max must be >= unit_min .* got 1 < 2 for unit 8"),
        ((2, [1.0] * 9, [0.0] * 9, [[0, 0]] * 5), r"point_status must be \(5, 3 layers\)"),
        ((2, [1.0] * 9, [0.0] * 9, [[0, 0, 0]] * 4), r"point_status must be \(5, 3 layers\)"),
        ((2, [1.0] * 9, [0.0] * 9, [[0, 0, 3]] * 5), "codes 0, 1 and 2"),
        ((2, [1.0] * 9, [0.0] * 9, [[0, 0, 0]] * 5, [1, 2]), "labels must be one whole number"),
        ((2, [1.0] * 9, [0.0] * 9, [[0, 0, 0]] * 5, [0.5] * 5), "labels must be one whole number"),
        ((2, [1.0] * 9, [0.0] * 9, [[0, 0, 0]] * 5, [9] * 5), "labels must equal those of the epochs before"),
    ],
)
def test_wrong_entries_are_refused_and_change_nothing(arguments: tuple[object, ...], message: str) -> None:
    history = make([0, 1])
    with pytest.raises(ValueError, match=message):
        history.append(*arguments)
    assert same(history, make([0, 1]))


@pytest.mark.parametrize(("layers", "units"), [([], []), (["a"], [1, 2]), (["a"], [0]), (["a"], [1.5])])
def test_wrong_layers_are_refused(layers: list[str], units: list[Any]) -> None:
    with pytest.raises(ValueError, match="layers and units must"):
        StatusHistory(layers, units)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        StatusHistory.load(tmp_path / "none.npz")
    path = tmp_path / "status.npz"
    path.write_bytes(b"no archive")
    with pytest.raises(ValueError, match="no status history"):
        StatusHistory.load(path)
    np.savez(path, layers=np.array(["a"]))
    with pytest.raises(ValueError, match="it has no units, epochs"):
        StatusHistory.load(path)
    history = make([0, 1])
    history.save(path)
    whole = path.read_bytes()
    for end in range(0, len(whole), 97):
        path.write_bytes(whole[:end])
        with pytest.raises(ValueError, match=r"status\.npz"):
            StatusHistory.load(path)


@pytest.mark.parametrize(
    ("name", "value"), [("epochs", [1, 0]), ("epochs", [0]), ("unit_max", [[1.0], [1.0]]), ("units", [9])]
)
def test_damaged_content_is_refused(name: str, value: object, tmp_path: Path) -> None:
    path = tmp_path / "status.npz"
    make([0, 1]).save(path)
    with np.load(path) as stored:
        content = {key: stored[key] for key in stored.files}
    np.savez(path, **{**content, name: np.array(value)})
    with pytest.raises(ValueError, match="is damaged"):
        StatusHistory.load(path)
