"""IoU of objects by their size and by the scores that the models gave them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from utils.metrics.scores import Evaluation

SIDES = (0, 8, 11, 16, 23, 32, 45, 64, 91, 128, 181, 256, 362, 512, 724)
"""Lower ends of the bins of object size: the side in pixels of a square of the same area. Two bins double the side."""

SCORE_BINS = 10


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
    objects = [image.objects for image in evaluation.images]
    areas = np.concatenate([np.empty(0), *(each.true_areas for each in objects)])
    ious = np.concatenate([np.empty(0), *(each.true_best_ious for each in objects)])
    seen = areas > 0
    bins = np.searchsorted(np.square(SIDES), areas[seen], side="right") - 1
    names = [f"below {SIDES[1]}", *(f"{low} to {high}" for low, high in pairwise(SIDES[1:])), f"{SIDES[-1]} up"]
    return _binned(np.sqrt(areas[seen]), ious[seen], bins, names)


def iou_by_score(evaluation: Evaluation, kind: str) -> Curve:
    """Sort the found objects by score, those without one left out; their IoU is that with the best true object.

    Args:
        kind: `scores`, the detector's, or `mask_scores`, SAM2's.
    """
    objects = [image.objects for image in evaluation.images]
    scores = np.concatenate([np.empty(0), *(getattr(each, kind) for each in objects)])
    ious = np.concatenate([np.empty(0), *(each.best_ious for each in objects)])
    known = ~np.isnan(scores)
    bins = np.clip(scores[known] * SCORE_BINS, 0, SCORE_BINS - 1).astype(int)
    names = [f"{i / SCORE_BINS:.1f} to {(i + 1) / SCORE_BINS:.1f}" for i in range(SCORE_BINS)]
    return _binned(scores[known], ious[known], bins, names)


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
