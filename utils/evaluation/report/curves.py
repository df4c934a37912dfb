"""IoU of objects by their size and by the scores that the models gave them; precision, recall and F1 of boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from utils.metrics.scores import object_values
from utils.metrics.summary import Evaluation

SIDES = (0, 8, 11, 16, 23, 32, 45, 64, 91, 128, 181, 256, 362, 512, 724)
"""Lower ends of the bins of object size: the side in pixels of a square of the same area. Two bins double the side."""

SCORE_BINS = 10

BOX_IOU = 0.5
"""A box is right if its IoU with a true one of its class, which no better box has taken, is at least this."""

RECALLS = np.linspace(0, 1, 101)
"""COCO's."""

THRESHOLDS = np.linspace(0, 1, 201)


@dataclass(frozen=True)
class Curve:
    """A value of many objects, in B bins of another value; empty bins are left out.

    Attributes:
        names: of the bins.
        centers: (B,) float64 mean of the value that is divided into bins.
        counts: (B,) int64 objects in each bin.
        means: (B,) float64 mean value.
        quarters: (2, B) float64 first and third quartile of the values.
    """

    names: tuple[str, ...]
    centers: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]
    means: npt.NDArray[np.float64]
    quarters: npt.NDArray[np.float64]


def iou_by_size(evaluation: Evaluation) -> Curve:
    """Sort the true objects by size; their IoU is that with the best found object, 0 for a missed one."""
    areas, ious = (object_values(evaluation.images, name) for name in ("true_areas", "true_best_ious"))
    seen = areas > 0
    bins = np.searchsorted(np.square(SIDES), areas[seen], side="right") - 1
    names = [f"below {SIDES[1]}", *(f"{low} to {high}" for low, high in pairwise(SIDES[1:])), f"{SIDES[-1]} up"]
    return _binned(np.sqrt(areas[seen]), ious[seen], bins, names)


def iou_by_score(evaluation: Evaluation, kind: str) -> Curve:
    """Sort the found objects by score, those without one left out; their IoU is that with the best true object.

    Args:
        kind: `scores`, the detector's, or `mask_scores`, SAM2's.
    """
    scores, ious = (object_values(evaluation.images, name) for name in (kind, "best_ious"))
    known = ~np.isnan(scores)
    bins = np.clip(scores[known] * SCORE_BINS, 0, SCORE_BINS - 1).astype(int)
    names = [f"{i / SCORE_BINS:.1f} to {(i + 1) / SCORE_BINS:.1f}" for i in range(SCORE_BINS)]
    return _binned(scores[known], ious[known], bins, names)


@dataclass(frozen=True)
class BoxCurves:
    """How good boxes are at every score, for each of the C classes that have true objects.

    Attributes:
        class_ids: (C,) int64.
        precision: (C, 101) float64, at each of `RECALLS` the highest at this recall or a higher one, as COCO has it.
        f1: (C, 201) float64, of the boxes that score at least each of `THRESHOLDS`.
    """

    class_ids: npt.NDArray[np.int64]
    precision: npt.NDArray[np.float64]
    f1: npt.NDArray[np.float64]

    @property
    def best(self) -> tuple[float, float]:
        """The highest mean F1 over classes and the score at which it is reached."""
        return best_threshold(self.f1.mean(axis=0))


def best_threshold(f1: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Return the highest of (201,) values at `THRESHOLDS` and the last threshold that has it."""
    last = len(f1) - 1 - f1[::-1].argmax()
    return float(f1[last]), float(THRESHOLDS[last])


def box_curves(evaluation: Evaluation) -> BoxCurves | None:
    """Compare found boxes with true ones; None without true objects, or where all scores are alike."""
    images = evaluation.images
    true, found = (object_values(images, name, np.int64) for name in ("true_class_ids", "class_ids"))
    scores = object_values(images, "scores")
    if not len(true) or len(np.unique(scores)) < 2:
        return None
    hits = np.concatenate([_hits(each.box_ious, each.scores) for each in (image.objects for image in images)])
    class_ids = np.unique(true)
    curves = [_class_curves(scores[found == i], hits[found == i], int(np.count_nonzero(true == i))) for i in class_ids]
    precision, f1 = (np.stack(each) for each in zip(*curves))
    return BoxCurves(class_ids, precision, f1)


def _hits(ious: npt.NDArray[np.float64], scores: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Give each found box, the best score first, the free true one that it fits best: (N,), which ones got one."""
    hits, free = np.zeros(len(ious), bool), ious.copy()
    for i in np.argsort(-scores, kind="stable") if ious.shape[1] else ():
        j = free[i].argmax()
        if free[i, j] >= BOX_IOU:
            hits[i], free[:, j] = True, 0
    return hits


def _class_curves(
    scores: npt.NDArray[np.float64], hits: npt.NDArray[np.bool_], true: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return precision at `RECALLS` and F1 at `THRESHOLDS` of the (N,) boxes of a class that has `true` objects."""
    order = np.argsort(-scores, kind="stable")
    right = np.concatenate([[0], hits[order].cumsum()])  # among the first so many boxes
    ends = np.arange(1, len(order) + 1)
    highest = np.maximum.accumulate((right[1:] / ends)[::-1])[::-1]
    places = np.searchsorted(right[1:] / true, RECALLS)
    precision = np.concatenate([highest, [0]])[places]
    kept = np.searchsorted(-scores[order], -THRESHOLDS, side="right")
    return precision, 2 * right[kept] / (kept + true)


def _binned(
    places: npt.NDArray[np.float64], values: npt.NDArray[np.float64], bins: npt.NDArray[Any], names: Sequence[str]
) -> Curve:
    """Make the curve of (N,) values at (N,) places, each in one of the named bins."""
    filled = np.unique(bins)
    groups = [values[bins == each] for each in filled]
    return Curve(
        tuple(names[each] for each in filled),
        np.array([places[bins == each].mean() for each in filled]),
        np.array([len(group) for group in groups], np.int64),
        np.array([group.mean() for group in groups]),
        np.array([np.percentile(group, (25, 75)) for group in groups]).reshape(-1, 2).T,
    )
