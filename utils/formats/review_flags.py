"""Which instances a person should look at."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from utils.boxes import paired_box_iou
from utils.structures import Instances

CONFIDENCE_TERMS = ("score", "mask_score", "box_iou", "uncontested")
"""Detector score, SAM2's own estimate of the mask's IoU, IoU of the box with the box around the mask, and the share of
the mask's pixels that no other mask has."""

REVIEW_FLAG = "needs_review"

DIGITS = 4
"""Decimals in the table."""


def confidence_terms(instances: Instances) -> npt.NDArray[np.float64]:
    """Compute the (N, 4) float64 confidence terms of each instance from 0 to 1, in the order of `CONFIDENCE_TERMS`.

    A shape that a person drew has no mask score, which counts as 1. An empty mask has no overlap with its box.
    """
    mask_scores = np.nan_to_num(instances.mask_scores, nan=1.0)
    tight = np.array([mask.box for mask in instances.masks]).reshape(-1, 4)
    overlaps = paired_box_iou(instances.detections.boxes, tight)
    columns = np.stack([instances.detections.scores, mask_scores, overlaps, instances.uncontested], axis=1)
    return np.clip(columns.astype(np.float64), 0, 1)


def confidences(instances: Instances) -> list[float]:
    """Return the expected IoU of each instance or, without a calibration, its smallest confidence term."""
    if instances.expected_ious is not None:
        return np.nan_to_num(instances.expected_ious, nan=1.0).tolist()
    return confidence_terms(instances).min(axis=1, initial=1.0).tolist()


def flags_of(confidence: float | None, below: float | None) -> dict[str, bool]:
    """Make the labelme flags of an instance: `needs_review`, on or off, or none without a limit."""
    return {} if below is None or confidence is None else {REVIEW_FLAG: confidence < below}
