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
from utils.label_maps import pair_counts
from utils.metrics.segmentation import LabelCounts

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
    ours = _edges(prediction | _where(target == VOID))
    pairs = pair_counts(_edges(target), ours)
    return LabelCounts(*(each[:num_labels] for each in (pairs.diagonal(), pairs.sum(axis=0), pairs.sum(axis=1))))


def _edges(labels: np.ndarray) -> np.ndarray:
    """(H, W) uint8: the label of each pixel that has another label, or the image's border, near it; VOID elsewhere."""
    reach = max(1, round(DILATION_RATIO * math.hypot(*labels.shape)))
    # The way to the nearest other label leaves a pixel's own label beside it: one step less is a pixel that differs
    # from a neighbour.
    least = cv2.erode(labels, _square(1), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    greatest = cv2.dilate(labels, _square(1), borderType=cv2.BORDER_CONSTANT, borderValue=VOID)
    far = _where(cv2.dilate((least != greatest).view(np.uint8), _square(reach - 1)) == 0)
    return labels | far


def _square(reach: int) -> np.ndarray:
    """The pixels up to this far from one, to all sides."""
    return np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)


def _where(chosen: np.ndarray) -> np.ndarray:
    """uint8: VOID in the chosen pixels, so that any label `|` it is VOID; 0 elsewhere."""
    return chosen.view(np.uint8) * np.uint8(VOID)
