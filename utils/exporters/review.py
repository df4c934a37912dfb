"""Which images a person should look at first: a table of doubts, and a flag on each doubtful shape.

Four signs tell how sure an instance is, each from 0 to 1: the detector's score, SAM2's own score of the mask, the
overlap (IoU) of the box with the box around the mask, and the share of the mask that no other instance claims. An
instance is as sure as its weakest sign. The doubt of an image is 1 - the least sure of its instances, 0 without any.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from utils.exporters.exporter import Exported
from utils.exporters.table import table
from utils.masks import Mask
from utils.structures import Instances, Sample

SIGNS = ("score", "mask_score", "box_iou", "uncontested")
DIGITS = 4
"""Decimals in the table; doubts that differ by less are not worth an order."""


def signs(instances: Instances) -> np.ndarray:
    """(N, 4) float64 signs of each instance from 0 to 1, in the order of `SIGNS`.

    A shape that a person drew has no mask score, which counts as 1. An empty mask has no overlap with its box.
    """
    mask_scores = np.nan_to_num(instances.mask_scores, nan=1.0)
    overlaps = [_box_iou(box, mask) for box, mask in zip(instances.detections.boxes, instances.masks)]
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


class ReviewExporter:
    """The table `review.csv`, the most doubtful image first, ties in the order of the run.

    Args:
        names: class names, indexed by class id.
        below: the limit of `needs_review`; None counts no shapes.
    """

    def __init__(self, names: Sequence[str], below: float | None = None) -> None:
        self._names, self._below = names, below
        self._summary: list[str] = []

    def export(self, sample: Sample, instances: Instances) -> Exported:
        """The image's row; no file."""
        values = signs(instances)
        weakest = values.min(axis=1, initial=1.0)
        worst = int(weakest.argmin()) if len(instances) else None
        doubt = 0.0 if worst is None else 1 - weakest[worst]
        row: dict[str, Any] = {"doubt": round(doubt, DIGITS), "objects": len(instances)}
        if self._below is not None:
            row["needs_review"] = int(needs_review(instances, self._below).sum())
        if instances.track_ids is not None:
            row["track"] = "" if worst is None else int(instances.track_ids[worst])
        row["doubtful"] = "" if worst is None else self._names[instances.detections.class_ids[worst]]
        row |= {sign: round(least, DIGITS) for sign, least in zip(SIGNS, values.min(axis=0, initial=1.0).tolist())}
        return Exported({}, record=row)

    def assemble(self, records: Iterable[tuple[str, Mapping[str, Any]]]) -> dict[str, bytes]:
        """`review.csv`."""
        rows = [{"image_id": image_id, **row} for image_id, row in records]
        rows.sort(key=lambda row: -row["doubt"])
        flagged = [row for row in rows if row.get("needs_review")]
        count = f"; {len(flagged)} of them with shapes to review" if self._below is not None else ""
        self._summary = [f"{len(rows)} images, the most doubtful first{count}"]
        track = ["track"] if any("track" in row for row in rows) else []
        columns = ("image_id", "doubt", "objects", "needs_review", "doubtful", *track, *SIGNS)
        return {"review.csv": table(columns, rows)}

    def summary(self) -> list[str]:
        """How many images the table holds."""
        return self._summary


def _box_iou(box: np.ndarray, mask: Mask) -> float:
    """IoU of a (4,) xyxy box with the box around a mask."""
    height, width = mask.crop.shape
    around = np.array([mask.left, mask.top, mask.left + width, mask.top + height], np.float64)
    sides = np.minimum(box[2:], around[2:]) - np.maximum(box[:2], around[:2])
    both = float(np.prod(np.maximum(sides, 0)))
    return both / (float(np.prod((box[2:] - box[:2]).astype(np.float64))) + width * height - both)


def _uncontested(instances: Instances) -> np.ndarray:
    """(N,) float64: the share of each mask's pixels that belong to no other mask; 1 for an empty mask."""
    claims = np.zeros(instances.size, np.uint16)
    for mask in instances.masks:
        claims[mask.window] += mask.crop
    alone = [np.count_nonzero(claims[mask.window][mask.crop] == 1) / max(mask.area, 1) for mask in instances.masks]
    return np.array([share if mask.area else 1.0 for share, mask in zip(alone, instances.masks)], np.float64)
