"""How far measures can be trusted: a percentile bootstrap over images.

A split is one draw of images. Drawing as many anew from it, with repeats, again and again shows how much a measure
depends on the draw; 95 % of the draws give a value within the interval. Frames of one clip resemble each other, so
there the true interval is wider.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from utils.metrics.scores import ImageScore, Intervals
from utils.metrics.segmentation import LabelCounts, class_iou, nanmean, pixel_accuracy

RESAMPLES = 1000

SEED = 0

LIMITS = (2.5, 97.5)
"""Percentiles between which 95 % of the resamples lie."""

BLOCK = 2**20
"""Images drawn at a time, over several resamples; this bounds the memory."""


def bootstrap(images: Sequence[ImageScore], num_labels: int) -> Intervals:
    """The intervals of the main measures; the same for the same images in the same order.

    Resamples without a label do not count for its IoU. A label in a single image has no interval.
    """
    counts = np.zeros((len(images), 3, num_labels))
    for row, image in zip(counts, images):
        row[:, image.labels] = image.counts.stacked
    samples = [_measures(each) for each in _resampled(counts)] if len(images) > 1 else []
    limits = _limits(np.concatenate([np.empty((0, 2 + num_labels)), *samples]))
    occurs = np.count_nonzero(counts.any(axis=1), axis=0)
    return Intervals(limits[:, 0], limits[:, 1], np.where(occurs > 1, limits[:, 2:], np.nan), RESAMPLES, SEED)


def _resampled(counts: np.ndarray) -> Iterator[LabelCounts]:
    """(R, L) pixels of each label in R resamples of the images; all resamples together, part by part.

    Args:
        counts: (N, 3, L) float64 of the images, whole numbers, so that sums are exact.
    """
    n, rng = len(counts), np.random.default_rng(SEED)
    for start in range(0, RESAMPLES, step := max(1, BLOCK // n)):
        rows = min(step, RESAMPLES - start)
        drawn = rng.integers(n, size=(rows, n)) + n * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n)
        sums = times.astype(np.float64) @ counts.reshape(n, -1)
        yield LabelCounts(*sums.reshape(rows, *counts.shape[1:]).swapaxes(0, 1))


def _measures(counts: LabelCounts) -> np.ndarray:
    """(R, 2 + L) pixel accuracy, mean IoU and the IoU of each label in R resamples."""
    ious = class_iou(counts)
    return np.column_stack([pixel_accuracy(counts), nanmean(ious), ious])


def _limits(samples: np.ndarray) -> np.ndarray:
    """(2, K) lower and upper ends of the intervals of (R, K) values; NaN where no value is known."""
    known = ~np.isnan(samples).all(axis=0)
    limits = np.full((2, samples.shape[1]), np.nan)
    limits[:, known] = np.nanpercentile(samples[:, known], LIMITS, axis=0)
    return limits
