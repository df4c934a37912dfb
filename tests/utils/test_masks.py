"""Masks on the host."""

from __future__ import annotations

import numpy as np

from utils.masks import Mask

SIZE = (4, 6)


def test_a_mask_survives_its_crop() -> None:
    full = np.zeros(SIZE, bool)
    full[1, 2] = full[3, 4] = True
    mask = Mask.from_array(full)
    assert (mask.left, mask.top, mask.crop.shape, mask.area) == (2, 1, (3, 3), 2)
    np.testing.assert_array_equal(mask.to_full(SIZE), full)


def test_a_mask_of_nothing_has_no_pixels() -> None:
    empty = Mask.from_array(np.zeros(SIZE, bool))
    assert (empty.crop.shape, empty.area) == ((0, 0), 0)
    assert not empty.to_full(SIZE).any()


def test_overlap_of_two_masks() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        first, second = (rng.random((9, 12)) < rng.choice([0, 0.02, 0.3]) for _ in range(2))
        union = np.count_nonzero(first | second)
        expected = np.count_nonzero(first & second) / union if union else 0
        assert Mask.from_array(first).iou(Mask.from_array(second)) == expected


def test_the_box_of_a_mask_is_tight() -> None:
    assert Mask.from_array(np.pad(np.ones((2, 3), bool), ((1, 0), (2, 4)))).box.tolist() == [2, 1, 5, 3]
    assert Mask.from_array(np.zeros(SIZE, bool)).box.tolist() == [0, 0, 0, 0]
