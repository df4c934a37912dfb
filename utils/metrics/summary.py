"""The numbers of an evaluation under the names that files and tables give them."""

from __future__ import annotations

import math

import numpy as np

from utils.metrics.scores import Evaluation
from utils.metrics.segmentation import (
    class_accuracy,
    class_dice,
    class_iou,
    class_precision,
    frequency_weighted_iou,
    mean_iou,
    mean_iou_of_target_labels,
    mean_iou_without_background,
    nanmean,
    pixel_accuracy,
)

DIGITS = 4
"""Of measures in tables of files; `metrics.json` has full precision."""


def rounded(measure: float) -> float | str:
    """A measure as a table has it; empty for NaN."""
    return "" if math.isnan(measure) else round(measure, DIGITS)


def label_measures(evaluation: Evaluation) -> dict[str, np.ndarray]:
    """(L,) float64 each: the measures of every label in the whole split."""
    counts = evaluation.counts
    return {
        "iou": class_iou(counts),
        "accuracy": class_accuracy(counts),
        "precision": class_precision(counts),
        "dice": class_dice(counts),
        "boundary_iou": class_iou(evaluation.boundary),
    }


def mean_ious(evaluation: Evaluation) -> dict[str, float]:
    """Mean IoU under each convention in use; the first is the contract's Mean_IOU."""
    counts = evaluation.counts
    return {
        "non_empty_union": float(mean_iou(counts)),
        "present_in_target": float(mean_iou_of_target_labels(counts)),
        "without_background": float(mean_iou_without_background(counts)),
        "mean_over_images": evaluation.mean_iou_over_images,
        "mean_over_images_and_labels": evaluation.mean_iou_over_images_and_labels,
    }


def split_measures(evaluation: Evaluation) -> dict[str, float]:
    """Single measures of the whole split; means are over the labels for which a measure is defined."""
    means = {f"mean_{name}": float(nanmean(values)) for name, values in label_measures(evaluation).items()}
    del means["mean_iou"]  # says too little: `mean_ious` has its conventions
    return {
        "pixel_accuracy": float(pixel_accuracy(evaluation.counts)),
        "frequency_weighted_iou": float(frequency_weighted_iou(evaluation.counts)),
        **means,
    }
