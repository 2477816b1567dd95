"""The sample of points depends on the seed alone, is uniform and bounded, and keeps classes with their points."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jumpstart.status.sample import PointSample


def chosen(points: int, size: int, num_points: int, seed: int) -> list[int]:
    sample = PointSample(num_points, seed)
    for part in torch.arange(points).unsqueeze(1).split(size):
        sample.update(part)
    assert sample.seen == points
    assert sample.rows[:, 0].equal(sample.index)  # a row stays with its point
    return sample.index.tolist()


@pytest.mark.parametrize("num_points", [1, 7, 50, 99, 100, 500])
@pytest.mark.parametrize("size", [1, 3, 64, 100])
def test_the_smallest_priorities_are_kept_however_batches_are_cut(num_points: int, size: int) -> None:
    expected = np.sort(np.random.default_rng(5).random(100).argsort()[:num_points])
    assert chosen(100, size, num_points, seed=5) == expected.tolist()


def test_by_default_500_points_are_drawn_with_seed_0() -> None:
    usual, given = PointSample(), PointSample(500, 0)
    for sample in (usual, given):
        sample.update(torch.arange(600).unsqueeze(1))
    assert len(usual.index) == 500
    assert usual.index.equal(given.index)


def test_every_point_has_the_same_probability() -> None:
    counts = np.zeros(40)
    for seed in range(600):
        counts[chosen(40, 16, 10, seed)] += 1
    assert abs(counts - 150).max() < 5 * np.sqrt(600 * 0.25 * 0.75)


def test_the_next_epoch_has_the_same_points() -> None:
    sample = PointSample(4, 1)
    found = []
    for _ in range(2):
        sample.update(torch.arange(30).unsqueeze(1))
        found.append(sample.rows.tolist())
        sample.reset()
    assert found[0] == found[1]
    with pytest.raises(RuntimeError, match="there is no point yet"):
        _ = sample.rows


@pytest.mark.parametrize("early", [True, False])
@pytest.mark.parametrize(("size", "label_size"), [(100, 100), (7, 7), (7, 30), (30, 7)])
def test_classes_stay_with_their_points(size: int, label_size: int, early: bool) -> None:
    sample, points = PointSample(20, 3), torch.arange(100)
    for _ in range(2):
        sample.reset()
        for rows in [] if early else points.unsqueeze(1).split(size):
            sample.update(rows)
        for labels in points.split(label_size):
            sample.label(labels % 7)
        for rows in points.unsqueeze(1).split(size) if early else []:
            sample.update(rows)
        assert sample.labels is not None
        assert sample.labels.equal(sample.index % 7)


def test_there_are_no_classes_unless_every_point_has_one() -> None:
    sample, points = PointSample(20, 3), torch.arange(50).unsqueeze(1)
    sample.update(points)
    assert sample.labels is None
    sample.label(torch.zeros(50, dtype=torch.long))
    assert sample.labels is not None
    sample.update(points)
    assert sample.labels is None
    sample.label(None)
    sample.label(torch.zeros(50, dtype=torch.long))
    assert sample.labels is None
    sample.reset()
    sample.update(points)
    sample.label(torch.zeros(50, dtype=torch.long))
    assert sample.labels is not None
