"""Who lost it: the missing mean IoU, split between the detector's boxes and SAM2.

SAM2 segments the boxes that were found and the boxes of the true instances. Between the two results stand others that
might have been, each link of the chain with one fault less:

    found      the boxes as they were found
    matched    without the false ones
    placed     the others with the masks of the true boxes in their place
    true       the missed ones added, so the true boxes
    perfect    the target itself

The difference in mean IoU of two neighbours is what that fault cost: false, badly placed and missed boxes, and SAM2. So
the parts add up to 1 - Mean_IOU. A part may be negative, where a fault did good. A box of the wrong class counts as a
false and a missed one; whatever separates the masks of the true boxes from the target counts as SAM2's part.
"""

from __future__ import annotations

from collections import Counter
from threading import Lock
from typing import Any

import numpy as np

from utils.boxes import box_iou
from utils.classes import BACKGROUND, VOID
from utils.distributed import Session
from utils.matching import match_best_total
from utils.metrics.segmentation import LabelCounts, class_iou, confusion_matrix, mean_iou
from utils.structures import Detections, Instances

MATCH = 0.1
"""Boxes that overlap less are no pair but a false and a missed one; TIDE's bound of what is called badly placed."""

LINKS = ("found", "matched", "placed", "true", "perfect")

PARTS = ("false", "badly_placed", "missed", "sam2")
"""What each step along the chain was missing."""


def match(found: Detections, true: Detections) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of boxes of one class, each box in one pair at most, chosen so that their IoU is the largest in total.

    Returns:
        the positions of the paired boxes in both lists, (P,) int64 each, those of the first ascending. Each pair has an
        IoU of MATCH at least.
    """
    ious, same_class = box_iou(found.boxes, true.boxes), found.class_ids[:, None] == true.class_ids
    return match_best_total(ious, same_class & (ious >= MATCH))


class Attribution:
    """The confusion matrices of the chain, summed up over images.

    Args:
        num_classes: without the background.
    """

    def __init__(self, num_classes: int) -> None:
        self.matrices = np.zeros((len(LINKS), num_classes + 1, num_classes + 1), np.int64)
        self.boxes = Counter[str]()
        self._lock = Lock()

    def add(self, target: np.ndarray, found: Instances, true: Instances) -> None:
        """Counts an image.

        Args:
            target: (H, W) uint8 label map.
            found: what SAM2 makes of the boxes that were found.
            true: what it makes of those of the true instances.
        """
        matched, seen = match(found.detections, true.detections)
        chain = (found, found[np.sort(matched)], true[np.sort(seen)], true)
        maps = [*(instances.to_semantic() for instances in chain), np.where(target == VOID, BACKGROUND, target)]
        matrices = np.stack([confusion_matrix(prediction, target, self.matrices.shape[1]) for prediction in maps])
        counts = {"found": len(found), "true": len(true), "matched": len(matched)}
        with self._lock:
            self.matrices += matrices
            self.boxes.update(counts, false=len(found) - len(matched), missed=len(true) - len(matched))

    def result(self, session: Session) -> dict[str, Any]:
        """What all processes counted, as `attribution.json` holds it; None where no pixel was."""
        matrices, boxes = session.sum(self.matrices), session.sum_counts(self.boxes)
        counts = LabelCounts.from_matrix(matrices)
        means = mean_iou(counts).tolist()
        ious = [{str(label): _or_none(iou) for label, iou in enumerate(row)} for row in class_iou(counts).tolist()]
        return {
            "Mean_IOU": _or_none(means[0]),
            "missing": _or_none(means[-1] - means[0]),
            "detector": _or_none(means[-2] - means[0]),
            "parts": {part: _or_none(loss) for part, loss in zip(PARTS, np.diff(means))},
            "chain": [
                {"link": link, "Mean_IOU": _or_none(mean), "Class_IOU": iou}
                for link, mean, iou in zip(LINKS, means, ious)
            ],
            "boxes": {kind: boxes[kind] for kind in ("found", "true", "matched", "false", "missed")},
            "match_iou": MATCH,
        }


def _or_none(number: float) -> float | None:
    return None if np.isnan(number) else float(number)


def table(result: dict[str, Any]) -> list[str]:
    """The lines that say who lost it; none where nothing could be lost."""
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
    return [f"attribution: {name:<30} {loss:7.4f}   {remark}" for name, loss, remark in rows]
