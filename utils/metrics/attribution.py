"""Error attribution: the missing mean IoU, split between the detector's boxes and SAM2.

SAM2 segments the detected boxes and the boxes of the true instances. Between the two results lie others, each with one
kind of error less than the one before:

    found      the boxes as detected
    matched    without the false ones
    placed     the others with the masks of the true boxes in their place
    true       the missed ones added, so all true boxes
    perfect    the target itself

The difference in mean IoU of two neighbors is the cost of that error: false, badly placed and missed boxes, and SAM2.
So the errors add up to 1 - Mean_IOU. The split depends on this fixed order; a part can be negative if an error happens
to raise the mean IoU. A box of the wrong class counts as a false and a missed one; whatever separates the masks of the
true boxes from the target counts as SAM2's error. Without a map of objects, connected parts of a class stand for them,
and specks are left out.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Mapping
from threading import Lock
from typing import Any

import numpy as np

from utils.boxes import box_iou
from utils.classes import BACKGROUND, VOID
from utils.distributed import Session
from utils.label_maps import SPECK, count_specks
from utils.matching import match_best_total
from utils.metrics.segmentation import LabelCounts, class_iou, confusion_matrix, mean_iou
from utils.metrics.summary import nan_to_none
from utils.structures import Detections, Instances, Sample

MATCH = 0.1
"""Boxes that overlap less are no pair but a false and a missed one; TIDE's bound of what is called badly placed."""

STAGES = ("found", "matched", "placed", "true", "perfect")

ERRORS = ("false", "badly_placed", "missed", "sam2")
"""The error that each stage but the last still has, and the next one has not."""


def match(found: Detections, true: Detections) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of boxes of one class, each box in one pair at most, chosen so that their IoU is the largest in total.

    Returns:
        the positions of the paired boxes in both lists, (P,) int64 each, those of the first ascending. Each pair has an
        IoU of MATCH at least.
    """
    ious, same_class = box_iou(found.boxes, true.boxes), found.class_ids[:, None] == true.class_ids
    return match_best_total(ious, same_class & (ious >= MATCH))


class Attribution:
    """Sum up the confusion matrices of the stages over images.

    Args:
        num_classes: without the background.
    """

    def __init__(self, num_classes: int) -> None:
        self.matrices = np.zeros((len(STAGES), num_classes + 1, num_classes + 1), np.int64)
        self.boxes, self.parts = Counter[str](), Counter[str]()
        self._lock = Lock()

    def add(self, sample: Sample, found: Instances, from_true_boxes: Instances) -> None:
        """Count an image; threads may do so at the same time.

        Args:
            sample: with its target.
            found: what SAM2 makes of the detected boxes.
            from_true_boxes: what it makes of the boxes of the true instances.
        """
        assert sample.gt_mask is not None, sample.image_id
        matched, true_matched = match(found.detections, from_true_boxes.detections)
        stages = (found, found[np.sort(matched)], from_true_boxes[np.sort(true_matched)], from_true_boxes)
        perfect = np.where(sample.gt_mask == VOID, BACKGROUND, sample.gt_mask)
        maps = [*(instances.to_semantic() for instances in stages), perfect]
        matrices = [confusion_matrix(prediction, sample.gt_mask, self.matrices.shape[1]) for prediction in maps]
        counts = {"found": len(found), "true": len(from_true_boxes), "matched": len(matched)}
        parts = {} if sample.has_instance_ids else {"images": 1, "specks": count_specks(sample.gt_mask)}
        with self._lock:
            self.matrices += matrices
            self.parts.update(parts)
            self.boxes.update(counts, false=len(found) - len(matched), missed=len(from_true_boxes) - len(matched))

    def result(self, session: Session) -> dict[str, Any]:
        """Sum up all processes and return the content of `attribution.json`; None for what was not counted."""
        counts, boxes = LabelCounts.from_matrix(session.sum(self.matrices)), session.sum_counts(self.boxes)
        parts = session.sum_counts(self.parts)
        means = mean_iou(counts)
        ious = [{str(label): iou for label, iou in enumerate(row)} for row in class_iou(counts).tolist()]
        content = {
            "Mean_IOU": float(means[0]),
            "missing": float(means[-1] - means[0]),
            "detector": float(means[-2] - means[0]),
            "parts": dict(zip(ERRORS, np.diff(means).tolist())),
            "chain": [
                {"link": stage, "Mean_IOU": mean, "Class_IOU": iou}
                for stage, mean, iou in zip(STAGES, means.tolist(), ious)
            ],
            "boxes": {kind: boxes[kind] for kind in ("found", "true", "matched", "false", "missed")},
            "connected_parts": {"images": parts["images"], "specks": parts["specks"]},
            "match_iou": MATCH,
        }
        return nan_to_none(content)


def attribution_lines(result: dict[str, Any]) -> list[str]:
    """Format the result as lines for the console; none where no pixel was counted."""
    if result["missing"] is None:
        return []
    boxes, parts = result["boxes"], result["parts"]
    rows = [
        ("missing in Mean_IOU", result["missing"], f"{result['Mean_IOU']:.4f} of 1"),
        ("  the detector", result["detector"], f"{boxes['found']} boxes for {boxes['true']} objects"),
        ("    false boxes", parts["false"], f"{boxes['false']} boxes"),
        ("    badly placed boxes", parts["badly_placed"], f"{boxes['matched']} boxes that have an object"),
        ("    missed objects", parts["missed"], f"{boxes['missed']} objects"),
        ("  SAM2, given the true boxes", parts["sam2"], f"{boxes['true']} objects"),
    ]
    lines = [f"attribution: {name:<30} {loss:7.4f}   {remark}" for name, loss, remark in rows]
    remark = textwrap.wrap(connected_parts(result), 80 - len("attribution: "))
    return [*lines, *(f"attribution: {line}" for line in remark)]


def connected_parts(result: Mapping[str, Any]) -> str:
    """Say that connected parts stand for objects, and how many are too small; empty if they do not."""
    images, specks = result["connected_parts"]["images"], result["connected_parts"]["specks"]
    some = f"{images} image has" if images == 1 else f"{images} images have"
    left_out = f"{specks} speck" if specks == 1 else f"{specks} specks"
    said = f"{some} no SegmentationObject: connected parts stand for objects; {left_out} below {SPECK} pixels left out"
    return said if images else ""
