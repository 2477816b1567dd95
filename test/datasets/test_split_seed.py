"""The seed of the split: with it, other seeds leave the parts as they are."""

from __future__ import annotations

import pytest
import torch

from data.data import make_data
from model.config.rectangular import RectangularConfig
from sweep.rectangular import make_data as data_of

SETS = {
    "generated": ("moons", {"num_points": 60}),
    "table": ("iris", {}),
    "images": ("fake", {"num_points": 80, "image_size": 8}),
}


def parts(name: str, seed: int, split_seed: int | None) -> tuple[list[torch.Tensor], torch.Tensor]:
    """The inputs of the three parts in their fixed order, and the first training batch of epoch 0."""
    data_set, options = SETS[name]
    data = make_data(data_set, seed=seed, split_seed=split_seed, batch_size=16, augment=False, **options)
    data.setup()
    fixed = [torch.cat([x for x, _ in data.batches(part)]) for part in ("train", "val", "test")]
    return fixed, next(iter(data.batches("train", shuffle=True)))[0]


@pytest.mark.parametrize("name", SETS)
def test_the_parts_depend_on_the_seed_of_the_split_and_the_order_on_the_other(name: str) -> None:
    first, order = parts(name, 1, 7)
    second, other_order = parts(name, 2, 7)
    assert all(map(torch.equal, first, second))
    assert not torch.equal(order, other_order)
    assert not all(map(torch.equal, first, parts(name, 1, 8)[0]))


@pytest.mark.parametrize("name", SETS)
def test_without_it_the_seed_decides_both(name: str) -> None:
    (first, order), (second, other_order) = parts(name, 3, None), parts(name, 3, 3)
    assert all(map(torch.equal, first, second))
    assert torch.equal(order, other_order)


def test_a_run_hands_it_to_its_data() -> None:
    data = data_of(RectangularConfig(dataset="iris", seed=1, split_seed=7))
    assert (data.seed, data.split_seed) == (1, 7)


def test_a_wrong_seed_is_refused_by_its_name() -> None:
    with pytest.raises(ValueError, match=r"split_seed must be an integer in 0\.\.2\*\*32 - 1, got -1"):
        make_data("iris", split_seed=-1)
