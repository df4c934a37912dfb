"""How well objects are found, by their size and by what the models thought of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from utils.metrics.scores import Evaluation

SIDES = (0, 8, 11, 16, 23, 32, 45, 64, 91, 128, 181, 256, 362, 512, 724)
"""Lower ends of the bins of object size, in pixels: the side of a square of the object's area; two double it."""

SCORE_BINS = 10


@dataclass(frozen=True)
class Curve:
    """A value of many objects, in B bins of another one; empty bins are left out.

    Attributes:
        names: of the bins.
        centres: (B,) float64 mean of what the bins divide.
        counts: (B,) int64 objects in each bin.
        means: (B,) float64 mean value.
        quarters: (2, B) float64: a quarter of the values lies below the first, a quarter above the second.
    """

    names: tuple[str, ...]
    centres: np.ndarray
    counts: np.ndarray
    means: np.ndarray
    quarters: np.ndarray


def iou_by_size(evaluation: Evaluation) -> Curve:
    """IoU of the true objects with the found ones that fit them best, 0 for a missed one, by their size."""
    areas = _joined([image.objects.true_areas for image in evaluation.images])
    ious = _joined([image.objects.true_best_ious for image in evaluation.images])
    seen = areas > 0
    bins = np.searchsorted(np.square(SIDES), areas[seen], side="right") - 1
    names = [*(f"{low} to {high}" for low, high in pairwise(SIDES[1:])), f"{SIDES[-1]} up"]
    return _binned(np.sqrt(areas[seen]), ious[seen], bins, [f"below {SIDES[1]}", *names])


def iou_by_score(evaluation: Evaluation, scores: str) -> Curve:
    """IoU of the found objects with the true ones that they fit best, by their scores; those without are left out.

    Args:
        scores: `scores`, the detector's, or `mask_scores`, SAM2's.
    """
    given = _joined([getattr(image.objects, scores) for image in evaluation.images])
    ious = _joined([image.objects.best_ious for image in evaluation.images])
    known = ~np.isnan(given)
    values = given[known]
    bins = np.clip(values * SCORE_BINS, 0, SCORE_BINS - 1).astype(int)
    names = [f"{i / SCORE_BINS:.1f} to {(i + 1) / SCORE_BINS:.1f}" for i in range(SCORE_BINS)]
    return _binned(values, ious[known], bins, names)


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.empty(0), *parts])


def _binned(places: np.ndarray, values: np.ndarray, bins: np.ndarray, names: Sequence[str]) -> Curve:
    """The curve of values at places, each in a bin of a name."""
    filled = np.unique(bins)
    groups = [values[bins == each] for each in filled]
    return Curve(
        tuple(names[each] for each in filled),
        np.array([places[bins == each].mean() for each in filled]),
        np.array([len(group) for group in groups], np.int64),
        np.array([group.mean() for group in groups]),
        np.array([np.percentile(group, (25, 75)) for group in groups]).reshape(-1, 2).T,
    )
