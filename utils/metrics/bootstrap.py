"""How far measures can be trusted: a percentile bootstrap over images.

A split is one draw of images. Drawing as many again from it, with repetition, many times shows how much a measure
depends on the draw: 95 % of the draws give a value within the interval. Frames of one clip resemble each other, so
there the true interval is wider.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from utils.metrics.scores import ImageScore, Intervals
from utils.metrics.segmentation import LabelCounts, class_iou, nanmean, pixel_accuracy

RESAMPLES = 1000

SEED = 0

PERCENTILES = (2.5, 97.5)
"""Between them lie 95 % of the resamples."""

BLOCK = 2**20
"""Images drawn at a time, over several resamples; bounds the memory."""


def bootstrap(images: Sequence[ImageScore], num_labels: int) -> Intervals:
    """Compute the intervals of pixel accuracy, mean IoU and class IoU; the same for the same images in the same order.

    Resamples without a label do not count for its IoU. A label that occurs in a single image has no interval.
    """
    counts = np.zeros((len(images), 3, num_labels))  # whole numbers, so sums are exact
    for row, image in zip(counts, images):
        row[:, image.labels] = image.counts.stacked
    samples = [np.empty((0, 2 + num_labels))]
    for drawn in _resampled(counts) if len(images) > 1 else ():
        ious = class_iou(drawn)
        samples.append(np.column_stack([pixel_accuracy(drawn), nanmean(ious), ious]))
    values = np.concatenate(samples)
    known = ~np.isnan(values).all(axis=0)
    limits = np.full((2, values.shape[1]), np.nan)
    limits[:, known] = np.nanpercentile(values[:, known], PERCENTILES, axis=0)
    occurs = np.count_nonzero(counts.any(axis=1), axis=0)
    return Intervals(limits[:, 0], limits[:, 1], np.where(occurs > 1, limits[:, 2:], np.nan), RESAMPLES, SEED)


def _resampled(counts: npt.NDArray[np.float64]) -> Iterator[LabelCounts]:
    """Yield (R, L) pixels of each label in R resamples of images with (N, 3, L) counts; all RESAMPLES, in blocks."""
    n, rng = len(counts), np.random.default_rng(SEED)
    for start in range(0, RESAMPLES, step := max(1, BLOCK // n)):
        rows = min(step, RESAMPLES - start)
        # How often each image was drawn in each resample, times its counts: a matrix product sums up a whole block.
        drawn = rng.integers(n, size=(rows, n)) + n * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n)
        sums = times.astype(np.float64) @ counts.reshape(n, -1)
        yield LabelCounts(*sums.reshape(rows, *counts.shape[1:]).swapaxes(0, 1))
