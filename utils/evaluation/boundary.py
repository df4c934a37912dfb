"""Boundary IoU (Cheng et al. 2021, https://arxiv.org/abs/2103.16562), of every label of a map at once.

Of each mask only the pixels near its edge count, so that the contours of large objects matter as much as those of small
ones. Near is 2 % of the image's diagonal; the image's border is an edge, as in the paper. Void pixels are cut out of
prediction and target, so the edge of a void region is an edge of both, and a flawless prediction scores 1.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from utils.classes import VOID
from utils.metrics import LabelCounts

DILATION_RATIO = 0.02
"""How far from its edge a mask's pixels count, as a share of the image's diagonal."""


def boundary_counts(prediction: np.ndarray, target: np.ndarray, num_labels: int) -> LabelCounts:
    """The pixels of each label near its edges in one image; their IoU is the boundary IoU.

    Args:
        prediction: (H, W) uint8, every value below `num_labels`.
        target: (H, W) uint8, every value below `num_labels` or VOID.
        num_labels: classes and background, at most 255.

    Returns:
        (num_labels,) int64 each.
    """
    ours = _edges(np.where(target == VOID, np.uint8(VOID), prediction))
    theirs = _edges(target)
    maps = ours[ours == theirs], ours, theirs
    return LabelCounts(*(np.bincount(each.ravel(), minlength=VOID + 1)[:num_labels] for each in maps))


def _edges(labels: np.ndarray) -> np.ndarray:
    """(H, W) uint8: the label of each pixel that has another label, or the image's border, near it; VOID elsewhere."""
    reach = max(1, round(DILATION_RATIO * math.hypot(*labels.shape)))
    window = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    # Eroding each label's mask keeps the pixels whose window holds one label: there the least is the greatest label.
    least = cv2.erode(labels, window, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    greatest = cv2.dilate(labels, window, borderType=cv2.BORDER_CONSTANT, borderValue=VOID)
    return np.where(least == greatest, np.uint8(VOID), labels)
