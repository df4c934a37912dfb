"""Masks on the host."""

from __future__ import annotations

import numpy as np

from utils.masks import Mask

SIZE = (4, 6)


def test_a_mask_survives_its_crop() -> None:
    full = np.zeros(SIZE, bool)
    full[1, 2] = full[3, 4] = True
    mask = Mask.of(full)
    assert (mask.left, mask.top, mask.crop.shape, mask.area) == (2, 1, (3, 3), 2)
    np.testing.assert_array_equal(mask.full(SIZE), full)


def test_a_mask_of_nothing_has_no_pixels() -> None:
    empty = Mask.of(np.zeros(SIZE, bool))
    assert (empty.crop.shape, empty.area) == ((0, 0), 0)
    assert not empty.full(SIZE).any()


def test_overlap_of_two_masks() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        first, second = (rng.random((9, 12)) < rng.choice([0, 0.02, 0.3]) for _ in range(2))
        union = np.count_nonzero(first | second)
        expected = np.count_nonzero(first & second) / union if union else 0
        assert Mask.of(first).iou(Mask.of(second)) == expected
