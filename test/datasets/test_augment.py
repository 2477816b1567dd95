"""Augmentation and normalization of whole batches, against a reference that sets one pixel at a time."""

from __future__ import annotations

import pytest
import torch
from support.augmentation import reference_augmentation

from data.images.augment import Normalize, ShiftAndFlip, channel_statistics


@pytest.mark.parametrize(("padding", "flip"), [(0, False), (0, True), (2, False), (3, True)])
@pytest.mark.parametrize("shape", [(6, 1, 5, 7), (6, 3, 4, 4)])
def test_augmentation_is_the_reference(padding: int, flip: bool, shape: tuple[int, ...]) -> None:
    images = torch.randint(1, 256, shape, dtype=torch.uint8)
    before = images.clone()
    augment = ShiftAndFlip(padding, flip)
    crops = augment.draw(len(images), seed=1, epoch=0)
    assert torch.equal(augment(images, crops), reference_augmentation(images, crops, padding))
    assert torch.equal(images, before)


def test_crops_cover_every_shift_and_depend_on_seed_and_epoch() -> None:
    augment = ShiftAndFlip(2, True)
    crops = augment.draw(4000, 7, 3)
    assert torch.equal(crops, augment.draw(4000, 7, 3))
    assert not torch.equal(crops, augment.draw(4000, 7, 4))
    assert not torch.equal(crops, augment.draw(4000, 8, 3))
    counts = torch.zeros(5, 5, 2)
    for row, column, mirrored in crops.tolist():
        counts[row, column, mirrored] += 1
    assert counts.min() > 40
    assert ShiftAndFlip(0, False).draw(100, 0, 0).eq(0).all()


def test_drawing_crops_does_not_change_the_global_generator() -> None:
    state = torch.get_rng_state()
    ShiftAndFlip(2, True).draw(10, 0, 0)
    assert torch.equal(torch.get_rng_state(), state)


def test_normalized_pixels_have_mean_0_and_deviation_1() -> None:
    images = torch.randint(0, 256, (50, 3, 6, 6), dtype=torch.uint8) // torch.tensor([1, 2, 3]).view(3, 1, 1).byte()
    mean, std = channel_statistics(images)
    expected = images.double() / 255
    torch.testing.assert_close(torch.tensor(mean).double(), expected.mean((0, 2, 3)), atol=1e-6, rtol=0)
    torch.testing.assert_close(torch.tensor(std).double(), expected.std((0, 2, 3), correction=0), atol=1e-6, rtol=0)
    normalized = Normalize(mean, std)(images)
    torch.testing.assert_close(normalized.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(normalized.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-5, rtol=0)


def test_a_constant_channel_becomes_zeros() -> None:
    images = torch.full((4, 1, 2, 2), 9, dtype=torch.uint8)
    normalized = Normalize(*channel_statistics(images))(images)
    torch.testing.assert_close(normalized, torch.zeros(4, 1, 2, 2), atol=1e-6, rtol=0)
