"""The parity gates pass what is right and fail what is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import plain
from benchmarks.gates import (
    Evidence,
    Found,
    coverage_gate,
    difference,
    exact_gate,
    fair_gate,
    files_gate,
    matrix_gate,
)
from utils.masks import Mask
from utils.metrics.segmentation import confusion_matrix
from utils.structures import Detections, Instances

SIZE = (60, 100)
SCORES = np.array([0.5, 0.9, 0.5, 0.7], np.float32)
CLASS_IDS = np.array([0, 1, 2, 1])


@pytest.fixture
def masks() -> np.ndarray:
    """(4, H, W) bool: overlapping rectangles, the last one empty."""
    masks = np.zeros((4, *SIZE), bool)
    for mask, (top, left) in zip(masks[:3], [(5, 10), (20, 30), (8, 15)]):
        mask[top : top + 30, left : left + 50] = True
    return masks


def found(masks: np.ndarray) -> list[Found]:
    return [Found.of(masks, SCORES, CLASS_IDS)]


def flipped(masks: np.ndarray, pixels: int) -> np.ndarray:
    """A copy of which each mask but the empty one differs in so many pixels."""
    changed = masks.copy()
    changed.reshape(len(masks), -1)[:3, :pixels] ^= True
    return changed


def test_masks_survive_packing(masks: np.ndarray) -> None:
    np.testing.assert_array_equal(found(masks.astype(np.float32))[0].masks(), masks)


def test_equal_masks_pass_and_tampered_ones_fail(masks: np.ndarray) -> None:
    assert exact_gate(found(masks), found(masks)).passed
    assert not exact_gate(found(flipped(masks, 1)), found(masks)).passed  # 1 of 6,000 pixels
    assert not exact_gate(found(masks[::-1]), found(masks)).passed
    assert not exact_gate(found(masks[:3]), found(masks)).passed
    swapped = difference(found(np.roll(masks, 1, axis=0)), found(masks))
    assert swapped is not None
    assert swapped.swapped.any()


def test_our_low_precision_error_may_not_exceed_the_plain_loops(masks: np.ndarray) -> None:
    official, loop = found(masks), found(flipped(masks, 100))
    assert fair_gate("bf16", found(flipped(masks, 100)), loop, official).passed
    assert fair_gate("bf16", official, loop, official).passed
    assert not fair_gate("bf16", found(flipped(masks, 200)), loop, official).passed
    assert not fair_gate("bf16", found(masks[:3]), loop, official).passed


def test_our_confusion_matrix_is_the_plain_loops(masks: np.ndarray) -> None:
    target = np.random.default_rng(0).choice(np.array([0, 1, 2, 3, 255], np.uint8), SIZE)
    boxes = Detections.from_arrays(np.zeros((4, 4)), np.ones(4), CLASS_IDS)
    semantic = Instances(SIZE, boxes, [Mask.from_array(mask) for mask in masks], SCORES).to_semantic()
    matrix = confusion_matrix(semantic, target, 4)
    assert matrix_gate(Evidence(found(masks), matrix), [target], 4).passed
    matrix[0, 0] -= 1
    matrix[0, 1] += 1
    assert not matrix_gate(Evidence(found(masks), matrix), [target], 4).passed


def test_the_masks_in_our_files_are_our_masks(masks: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    boxes = plain.Boxes(np.zeros((4, 4)), SCORES, CLASS_IDS)
    plain.annotate(path, Path("a.jpg"), masks.astype(np.float32), boxes, ("a", "b", "c"))
    assert files_gate(Evidence(found(masks), annotations=[path])).passed
    assert not files_gate(Evidence(found(flipped(masks, 1)), annotations=[path])).passed
    assert not files_gate(Evidence(found(masks))).passed


def test_masks_that_cover_nothing_mean_nothing(masks: np.ndarray) -> None:
    assert coverage_gate(found(masks)).passed
    assert not coverage_gate(found(masks & False)).passed
