"""Where the units are after a function that moves them."""

from __future__ import annotations

import pytest
import torch

from jumpstart.capture.unit_dims import moved_dim


@pytest.mark.parametrize(
    ("dim", "before", "after", "expected"),
    [
        (1, (2, 8, 5, 5), (2, 8, 5, 5), 1),
        (1, (2, 8, 6, 6), (2, 8, 3, 3), 1),  # pooled
        (1, (2, 8, 6, 6), (2, 8, 8, 8), 1),  # resized
        (1, (2, 8, 6, 6), (2, 4, 6, 6), 1),  # cut
        (-1, (2, 5, 8), (2, 7, 16), -1),  # joined, and longer
        (1, (2, 8, 5, 7), (2, 5, 7, 8), -1),  # permuted
        (-1, (2, 5, 7, 8), (2, 5, 8, 7), 2),
        (-1, (2, 5, 7, 8), (2, 8, 5, 7), 1),
        (1, (2, 8, 8, 5), (2, 8, 5, 8), 1),  # permuted or not
        (1, (2, 8, 5, 5), (2, 25, 8), -1),  # without the places
        (-1, (2, 16, 24), (2, 4, 4, 24), -1),
        (-1, (2, 9, 8), (2, 8, 9, 8), -1),  # may be two, and the last is meant
        (2, (2, 9, 8), (2, 8, 9, 8), None),  # may be two
        (1, (2, 8, 25), (2, 5, 5, 6), 1),  # none
        (1, (2, 8, 25), (2, 200), 1),
    ],
)
def test_units_are_found_after_a_function_that_moves_them(
    dim: int, before: tuple[int, ...], after: tuple[int, ...], expected: int | None
) -> None:
    assert moved_dim(dim, torch.Size(before), torch.Size(after)) == expected
