"""Masks on the host."""

from __future__ import annotations

import numpy as np
import pytest

from utils.masks import Mask, mask_iou

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


def test_only_masks_whose_boxes_meet_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a comparison of 5,000 objects took minutes."""
    rng, compared = np.random.default_rng(0), list[float]()
    boxes = [(*rng.integers(0, 60, 2).tolist(), *rng.integers(0, 9, 2).tolist()) for _ in range(60)]
    masks = [Mask.from_array(np.ones((height, width), bool)).moved(x, y) for x, y, height, width in boxes]
    expected = [[mask.iou(other) for other in masks[:40]] for mask in masks]
    iou = Mask.iou
    monkeypatch.setattr(Mask, "iou", lambda mask, other: compared.append(found := iou(mask, other)) or found)
    np.testing.assert_array_equal(mask_iou(masks, masks[:40]), expected)
    assert min(compared) > 0 and len(compared) == np.count_nonzero(expected)


def test_the_box_of_a_mask_is_tight() -> None:
    assert Mask.from_array(np.pad(np.ones((2, 3), bool), ((1, 0), (2, 4)))).box.tolist() == [2, 1, 5, 3]
    assert Mask.from_array(np.zeros(SIZE, bool)).box.tolist() == [0, 0, 0, 0]
