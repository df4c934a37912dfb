"""Semantic segmentation metrics of one split-wide confusion matrix.

Void pixels are left out; an image without detections counts as all background. Every measure needs of the matrix only
what `LabelCounts` holds, so it takes those: of a split, of an image, or of many at once along leading axes. What has
nothing to count is NaN. Means of IoU that go by one name elsewhere differ in what they average; the names here say it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from utils.classes import BACKGROUND, VOID
from utils.label_maps import pair_counts


def confusion_matrix(prediction: np.ndarray, target: np.ndarray, num_labels: int) -> np.ndarray:
    """Pixels of one image by target label (row) and predicted label (column).

    Args:
        prediction: (H, W) uint8, every value below `num_labels`.
        target: (H, W) uint8, every value below `num_labels` or VOID.
        num_labels: classes and background, at most 255.

    Returns:
        (num_labels, num_labels) int64.
    """
    counted = pair_counts(target, prediction)[np.arange(256) != VOID]
    assert counted.sum() == counted[:num_labels, :num_labels].sum(), "labels outside the classes"
    return counted[:num_labels, :num_labels]


@dataclass(frozen=True)
class LabelCounts:
    """Pixels of each label; (..., L) integers or whole floats each.

    Attributes:
        right: pixels of the label in prediction and target.
        predicted: pixels of the label in the prediction, void ones of the target left out.
        true: pixels of the label in the target.
    """

    tp: np.ndarray
    predicted: np.ndarray
    target: np.ndarray

    @property
    def union(self) -> np.ndarray:
        """(..., L) pixels of the label in prediction or target."""
        return self.predicted + self.target - self.tp

    @property
    def stacked(self) -> np.ndarray:
        """(3, ..., L) right, predicted and true pixels."""
        return np.stack([self.tp, self.predicted, self.target])

    @classmethod
    def from_matrix(cls, matrix: np.ndarray) -> LabelCounts:
        """Those of (..., L, L) confusion matrices, rows are the target."""
        return cls(matrix.diagonal(axis1=-2, axis2=-1), matrix.sum(axis=-2), matrix.sum(axis=-1))


def pixel_accuracy(counts: LabelCounts) -> np.ndarray:
    """(...) share of the pixels whose label is right."""
    return _ratio(counts.tp.sum(axis=-1), counts.target.sum(axis=-1))


def class_accuracy(counts: LabelCounts) -> np.ndarray:
    """(..., L) share of a label's true pixels that are found: its recall."""
    return _ratio(counts.tp, counts.target)


def class_precision(counts: LabelCounts) -> np.ndarray:
    """(..., L) share of a label's predicted pixels that are right."""
    return _ratio(counts.tp, counts.predicted)


def class_dice(counts: LabelCounts) -> np.ndarray:
    """(..., L) twice the right pixels over the predicted and the true ones: the F1 of accuracy and precision."""
    return _ratio(2 * counts.tp, counts.predicted + counts.target)


def class_iou(counts: LabelCounts) -> np.ndarray:
    """(..., L) intersection over union of each label; NaN for one in neither prediction nor target."""
    return _ratio(counts.tp, counts.union)


def frequency_weighted_iou(counts: LabelCounts) -> np.ndarray:
    """(...) mean IoU of the labels in the target, each weighted by its share of the target's pixels."""
    weighted = np.where(counts.target > 0, counts.target * np.nan_to_num(class_iou(counts)), 0)
    return _ratio(weighted.sum(axis=-1), counts.target.sum(axis=-1))


def mean_iou(counts: LabelCounts) -> np.ndarray:
    """(...) mean IoU of the labels, background included, whose union is not empty, as mmsegmentation."""
    return nanmean(class_iou(counts))


def mean_iou_of_target_labels(counts: LabelCounts) -> np.ndarray:
    """(...) mean IoU of the labels, background included, that the target holds, as Ultralytics."""
    return nanmean(np.where(counts.target > 0, class_iou(counts), np.nan))


def mean_iou_without_background(counts: LabelCounts) -> np.ndarray:
    """(...) mean IoU of the labels whose union is not empty, the background left out."""
    return nanmean(class_iou(counts)[..., BACKGROUND + 1 :])


def nanmean(values: np.ndarray) -> np.ndarray:
    """(...) mean along the last axis of what is not NaN; NaN where nothing is known."""
    known = ~np.isnan(values)
    return _ratio(values.sum(axis=-1, where=known), known.sum(axis=-1))


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """The quotient, float64; NaN where the whole is 0."""
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=np.asarray(whole) > 0)
