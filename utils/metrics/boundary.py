"""Boundary IoU (Cheng et al. 2021, https://arxiv.org/abs/2103.16562) of all labels of a map at once.

Only the pixels of a mask near its edge count, so the contours of large objects matter as much as those of small ones.
Near means within 2 % of the image's diagonal; the border of the image is an edge, as in the paper. Void pixels are
removed from prediction and target, so the border of a void region is an edge in both and a perfect prediction scores 1.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from utils.classes import VOID
from utils.label_maps import pair_counts
from utils.metrics.segmentation import LabelCounts

DILATION_RATIO = 0.02
"""How far from its edge the pixels of a mask count, as a share of the image's diagonal."""


def boundary_counts(prediction: npt.NDArray[np.uint8], target: npt.NDArray[np.uint8], num_labels: int) -> LabelCounts:
    """Count the pixels of each label near its edges in one image; the IoU of these counts is the boundary IoU.

    Args:
        prediction: (H, W) label map, every value below `num_labels`.
        target: (H, W) label map, every value below `num_labels` or VOID.
        num_labels: classes and background, at most 255.

    Returns:
        (num_labels,) int64 counts.
    """
    pairs = pair_counts(_edges(target), _edges(prediction | _void_where(target == VOID)))
    return LabelCounts(*(each[:num_labels] for each in (pairs.diagonal(), pairs.sum(axis=0), pairs.sum(axis=1))))


def _edges(labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Keep the labels of pixels that have another label, or the image's border, near them; VOID elsewhere."""
    distance = max(1, round(DILATION_RATIO * math.hypot(*labels.shape)))
    # A pixel differs from one of its neighbours if the minimum and the maximum around it differ; outside the image lie
    # both 0 and VOID, so that the border differs from every label. The first step away from the other label is done
    # by that comparison, the dilation does the rest.
    around, rest = np.ones((3, 3), np.uint8), np.ones((2 * distance - 1, 2 * distance - 1), np.uint8)
    low = cv2.erode(labels, around, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    high = cv2.dilate(labels, around, borderType=cv2.BORDER_CONSTANT, borderValue=VOID)
    return labels | _void_where(cv2.dilate((low != high).view(np.uint8), rest) == 0)


def _void_where(chosen: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Return VOID in the chosen pixels and 0 elsewhere: VOID has all bits set, so any label `|` it is VOID."""
    return chosen.view(np.uint8) * np.uint8(VOID)
