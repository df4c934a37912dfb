"""Boundary IoU against the paper's own function, label by label."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pytest

from tests.helpers.evaluate import Pair, needs_photos, photos, random_pairs
from utils.classes import VOID
from utils.metrics.boundary import boundary_counts
from utils.metrics.segmentation import class_iou


def mask_to_boundary(mask: np.ndarray, dilation_ratio: float = 0.02) -> np.ndarray:
    """As in https://github.com/bowenc0221/boundary-iou-api, boundary_iou/utils/boundary_utils.py."""
    h, w = mask.shape
    img_diag = np.sqrt(h**2 + w**2)
    dilation = round(dilation_ratio * img_diag)
    if dilation < 1:
        dilation = 1
    # Pad image so mask truncated by the image border is also considered as boundary.
    new_mask = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    kernel = np.ones((3, 3), dtype=np.uint8)
    new_mask_erode = cv2.erode(new_mask, kernel, iterations=dilation)
    mask_erode = new_mask_erode[1 : h + 1, 1 : w + 1]
    # G_d intersects G in the paper.
    return mask - mask_erode


def paper_counts(prediction: np.ndarray, target: np.ndarray, num_labels: int) -> np.ndarray:
    """(3, num_labels) intersection, predicted and true pixels near the edges of each label."""
    counts = np.zeros((3, num_labels), np.int64)
    for label in np.setdiff1d([prediction, target], [VOID]):
        ours = mask_to_boundary(((prediction == label) & (target != VOID)).astype(np.uint8))
        theirs = mask_to_boundary((target == label).astype(np.uint8))
        counts[:, label] = (ours & theirs).sum(), ours.sum(), theirs.sum()
    return counts


def assert_equal(pairs: Sequence[Pair], num_labels: int) -> None:
    for sample, instances in pairs:
        prediction = instances.to_semantic()
        expected = paper_counts(prediction, sample.gt_mask, num_labels)
        np.testing.assert_array_equal(boundary_counts(prediction, sample.gt_mask, num_labels).stacked, expected)


def test_every_label_has_the_paper_s_boundary() -> None:
    assert_equal(random_pairs(40), 7)


@needs_photos
@pytest.mark.parametrize("name", ["voc", "coco"])
def test_every_label_of_photographs_has_the_paper_s_boundary(name: str) -> None:
    assert_equal(photos(name), 21)


def test_the_width_follows_the_diagonal() -> None:
    """In 300 x 400 pixels, 2 % of the diagonal are 10: of a square of 40, a ring of 10 counts."""
    target = np.zeros((300, 400), np.uint8)
    target[100:140, 100:140] = 1
    counts = boundary_counts(target, target, 2)
    assert counts.target[1] == counts.tp[1] == 40**2 - 20**2
    shrunk = np.zeros_like(target)
    shrunk[105:135, 105:135] = 1
    counts = boundary_counts(shrunk, target, 2)
    ring, inner = 40**2 - 20**2, 30**2 - 10**2
    assert class_iou(counts)[1] == (30**2 - 20**2) / (ring + inner - (30**2 - 20**2))


@pytest.mark.parametrize("label", [1, 3])
def test_a_flawless_prediction_scores_1_beside_void(label: int) -> None:
    target = np.zeros((60, 80), np.uint8)
    target[10:40, 10:50] = VOID
    target[13:37, 13:47] = label
    prediction = np.where(target == VOID, np.uint8(label), target)
    assert class_iou(boundary_counts(prediction, target, 4))[label] == 1
