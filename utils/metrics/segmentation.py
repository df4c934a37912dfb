"""Semantic segmentation metrics from pixel counts: of whole label maps, and of their pixels near edges.

Void pixels are left out; an image without detections counts as all background. A measure is a function of
`LabelCounts`: those of a split, of an image, or of many at once along leading axes. It is NaN where nothing can be
counted. Means of IoU that share one name in the literature differ in what they average; the names here say it.

Boundary IoU (Cheng et al. 2021, https://arxiv.org/abs/2103.16562) counts only the pixels of a mask near its edge, so
the contours of large objects matter as much as those of small ones. Near means within 2 % of the image's diagonal; the
border of the image is an edge, as in the paper. Void pixels are removed from prediction and target, so the border of a
void region is an edge in both and a perfect prediction scores 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from utils.classes import BACKGROUND, VOID
from utils.label_maps import pair_counts

DILATION_RATIO = 0.02
"""How far from its edge the pixels of a mask count, as a share of the image's diagonal."""


def confusion_matrix(
    prediction: npt.NDArray[np.uint8], target: npt.NDArray[np.uint8], num_labels: int
) -> npt.NDArray[np.int64]:
    """Count the pixels of one image by target label (row) and predicted label (column).

    Args:
        prediction: (H, W) label map, every value below `num_labels`.
        target: (H, W) label map, every value below `num_labels` or VOID.
        num_labels: classes and background, at most 255.

    Returns:
        (num_labels, num_labels) pixels.
    """
    counted = pair_counts(target, prediction)[np.arange(256) != VOID]
    assert counted.sum() == counted[:num_labels, :num_labels].sum(), "labels outside the classes"
    return counted[:num_labels, :num_labels]


@dataclass(frozen=True)
class LabelCounts:
    """Pixels of each of L labels.

    Attributes:
        pixels: (..., 3, L) integers or whole floats, which are `tp`, `predicted` and `target`.
    """

    pixels: npt.NDArray[Any]

    @property
    def tp(self) -> npt.NDArray[Any]:
        """(..., L) pixels of the label in prediction and target (true positives)."""
        return self.pixels[..., 0, :]

    @property
    def predicted(self) -> npt.NDArray[Any]:
        """(..., L) pixels of the label in the prediction, without those that are void in the target."""
        return self.pixels[..., 1, :]

    @property
    def target(self) -> npt.NDArray[Any]:
        """(..., L) pixels of the label in the target."""
        return self.pixels[..., 2, :]

    @property
    def union(self) -> npt.NDArray[Any]:
        """(..., L) pixels of the label in prediction or target."""
        return self.predicted + self.target - self.tp

    @classmethod
    def from_matrix(cls, matrix: npt.NDArray[Any]) -> LabelCounts:
        """Take the counts from (..., L, L) confusion matrices (rows: target, columns: prediction)."""
        right = matrix.diagonal(axis1=-2, axis2=-1)
        return cls(np.stack([right, matrix.sum(axis=-2), matrix.sum(axis=-1)], axis=-2))


def boundary_counts(prediction: npt.NDArray[np.uint8], target: npt.NDArray[np.uint8], num_labels: int) -> LabelCounts:
    """Count the (num_labels,) pixels of each label near its edges in one image; their IoU is the boundary IoU.

    Arguments as in `confusion_matrix`.
    """
    pairs = pair_counts(_edges(target), _edges(prediction | _void_where(target == VOID)))
    return LabelCounts(LabelCounts.from_matrix(pairs).pixels[:, :num_labels])


def pixel_accuracy(counts: LabelCounts) -> npt.NDArray[np.float64]:
    """Compute the share of pixels whose label is right: (...)."""
    return _ratio(counts.tp.sum(axis=-1), counts.target.sum(axis=-1))


def class_accuracy(counts: LabelCounts) -> npt.NDArray[np.float64]:
    """Compute the recall of each label, the share of its target pixels that are found: (..., L)."""
    return _ratio(counts.tp, counts.target)


def class_precision(counts: LabelCounts) -> npt.NDArray[np.float64]:
    """Compute the precision of each label, the share of its predicted pixels that are right: (..., L)."""
    return _ratio(counts.tp, counts.predicted)


def class_dice(counts: LabelCounts) -> npt.NDArray[np.float64]:
    """Compute the Dice coefficient of each label, which is its F1 score: (..., L)."""
    return _ratio(2 * counts.tp, counts.predicted + counts.target)


def class_iou(counts: LabelCounts) -> npt.NDArray[np.float64]:
    """Compute the IoU of each label: (..., L); NaN for a label in neither prediction nor target."""
    return _ratio(counts.tp, counts.union)


def frequency_weighted_iou(counts: LabelCounts) -> npt.NDArray[np.float64]:
    """Compute the mean IoU of the labels in the target, weighted by their share of its pixels: (...)."""
    weighted = np.where(counts.target > 0, counts.target * np.nan_to_num(class_iou(counts)), 0)
    return _ratio(weighted.sum(axis=-1), counts.target.sum(axis=-1))


def mean_iou(counts: LabelCounts) -> npt.NDArray[np.float64]:
    """Compute the mean IoU over labels with a non-empty union, background included, as mmsegmentation: (...)."""
    return nanmean(class_iou(counts))


def mean_iou_of_target_labels(counts: LabelCounts) -> npt.NDArray[np.float64]:
    """Compute the mean IoU over labels that occur in the target, background included, as Ultralytics: (...)."""
    return nanmean(np.where(counts.target > 0, class_iou(counts), np.nan))


def mean_iou_without_background(counts: LabelCounts) -> npt.NDArray[np.float64]:
    """Compute the mean IoU over labels with a non-empty union, without the background: (...)."""
    return nanmean(class_iou(counts)[..., BACKGROUND + 1 :])


def nanmean(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Compute the mean along the last axis without NaNs; NaN, and no warning as numpy's, where all are NaN."""
    known = ~np.isnan(values)
    return _ratio(values.sum(axis=-1, where=known), known.sum(axis=-1))


def _ratio(part: npt.NDArray[Any], whole: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Divide; NaN where the whole is 0."""
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=np.asarray(whole) > 0)


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
