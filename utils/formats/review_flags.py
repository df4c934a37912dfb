"""Which instances a person should look at."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from utils.boxes import box_iou
from utils.structures import Instances

CONFIDENCE_TERMS = ("score", "mask_score", "box_iou", "uncontested")
"""Detector score, SAM2's own estimate of the mask's IoU, IoU of the box with the box around the mask, and the share of
the mask's pixels that no other mask has."""

DIGITS = 4
"""Decimals in the table."""


def confidence_terms(instances: Instances) -> npt.NDArray[np.float64]:
    """Compute the (N, 4) float64 confidence terms of each instance from 0 to 1, in the order of `CONFIDENCE_TERMS`.

    A shape that a person drew has no mask score, which counts as 1. An empty mask has no overlap with its box.
    """
    mask_scores = np.nan_to_num(instances.mask_scores, nan=1.0)
    boxes = zip(instances.detections.boxes, instances.masks)
    overlaps = [float(box_iou(box[None], mask.box[None])[0, 0]) for box, mask in boxes]
    columns = np.stack([instances.detections.scores, mask_scores, overlaps, _uncontested(instances)], axis=1)
    return np.clip(columns.astype(np.float64), 0, 1)


def review_flags(instances: Instances, below: float | None) -> list[dict[str, bool]]:
    """Make the labelme flags of each instance: `needs_review`, on or off, or none without a limit."""
    if below is None:
        return [{} for _ in range(len(instances))]
    return [{"needs_review": needed} for needed in needs_review(instances, below).tolist()]


def needs_review(instances: Instances, below: float) -> npt.NDArray[np.bool_]:
    """Find the instances with a confidence term below the limit: (N,) bool."""
    return np.any(confidence_terms(instances) < below, axis=1)


def _uncontested(instances: Instances) -> np.ndarray:
    """(N,) float64: the share of each mask's pixels that belong to no other mask; 1 for an empty mask."""
    claims = np.zeros(instances.size, np.uint16)
    for mask in instances.masks:
        claims[mask.slices] += mask.crop
    alone = [np.count_nonzero(claims[mask.slices][mask.crop] == 1) / max(mask.area, 1) for mask in instances.masks]
    return np.array([share if mask.area else 1.0 for share, mask in zip(alone, instances.masks)], np.float64)
