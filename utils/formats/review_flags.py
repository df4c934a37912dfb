"""Which instances a person should look at."""

from __future__ import annotations

import numpy as np

from utils.boxes import box_iou
from utils.structures import Instances

SIGNS = ("score", "mask_score", "box_iou", "uncontested")

DIGITS = 4
"""Decimals in the table; doubts that differ by less are not worth an order."""


def signs(instances: Instances) -> np.ndarray:
    """(N, 4) float64 signs of each instance from 0 to 1, in the order of `SIGNS`.

    A shape that a person drew has no mask score, which counts as 1. An empty mask has no overlap with its box.
    """
    mask_scores = np.nan_to_num(instances.mask_scores, nan=1.0)
    boxes = zip(instances.detections.boxes, instances.masks)
    overlaps = [float(box_iou(box[None], mask.box[None])[0, 0]) for box, mask in boxes]
    columns = np.stack([instances.detections.scores, mask_scores, overlaps, _uncontested(instances)], axis=1)
    return np.clip(columns.astype(np.float64), 0, 1)


def review_flags(instances: Instances, below: float | None) -> list[dict[str, bool]]:
    """The labelme flags of each instance: `needs_review`, on or off, or none without a limit."""
    if below is None:
        return [{} for _ in range(len(instances))]
    return [{"needs_review": doubtful} for doubtful in needs_review(instances, below).tolist()]


def needs_review(instances: Instances, below: float) -> np.ndarray:
    """(N,) bool: the instances with a sign below the limit."""
    return np.any(signs(instances) < below, axis=1)


def _uncontested(instances: Instances) -> np.ndarray:
    """(N,) float64: the share of each mask's pixels that belong to no other mask; 1 for an empty mask."""
    claims = np.zeros(instances.size, np.uint16)
    for mask in instances.masks:
        claims[mask.slices] += mask.crop
    alone = [np.count_nonzero(claims[mask.slices][mask.crop] == 1) / max(mask.area, 1) for mask in instances.masks]
    return np.array([share if mask.area else 1.0 for share, mask in zip(alone, instances.masks)], np.float64)
