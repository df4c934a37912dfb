"""How far measures can be trusted: a percentile bootstrap over images, and over clips as wholes.

A split is one draw of images. Drawing as many again from it, with repetition, many times shows how much a measure
depends on the draw: 95 % of the draws give a value within the interval (Efron 1979). Frames of one clip resemble each
other, so drawn one by one they would make the interval too narrow; a clip is drawn as a whole (Davison and Hinkley
1997, section 3.8).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from utils.metrics.scores import ImageScore
from utils.metrics.segmentation import LabelCounts, class_iou, nanmean, pixel_accuracy

RESAMPLES = 1000

SEED = 0

PERCENTILES = (2.5, 97.5)
"""Between them lie 95 % of the resamples."""

BLOCK = 2**20
"""Images and clips drawn at a time, over several resamples; bounds the memory."""


@dataclass(frozen=True)
class Intervals:
    """95 % intervals, (lower, upper), of a percentile bootstrap; NaN for fewer than two images or clips.

    Attributes:
        pixel_accuracy: (2,) float64.
        mean_iou: (2,) float64, of the mean over labels with a non-empty union.
        class_iou: (2, L) float64; NaN for a label in neither prediction nor target.
        drawn: how many clips, and images in none, are drawn as wholes in each resample.
    """

    pixel_accuracy: npt.NDArray[np.float64]
    mean_iou: npt.NDArray[np.float64]
    class_iou: npt.NDArray[np.float64]
    drawn: int


def bootstrap(images: Sequence[ImageScore], num_labels: int) -> Intervals:
    """Compute the intervals of pixel accuracy, mean IoU and class IoU; the same for the same images in the same order.

    Clips are drawn as wholes. Resamples without a label do not count for its IoU. A label that occurs in a single clip,
    or in a single image that is in none, has no interval.
    """
    units = units_of([image.image_id for image in images])
    counts = np.zeros((units.max(initial=-1) + 1, 3, num_labels))  # whole numbers, so sums are exact
    for unit, image in zip(units, images):
        counts[unit][:, image.labels] += image.counts.pixels
    samples = [np.empty((0, 2 + num_labels))]
    for sums in resampled(counts):
        drawn = LabelCounts(sums)
        ious = class_iou(drawn)
        samples.append(np.column_stack([pixel_accuracy(drawn), nanmean(ious), ious]))
    limits = percentile_limits(np.concatenate(samples))
    occurs = np.count_nonzero(counts.any(axis=1), axis=0)
    class_limits = np.where(occurs > 1, limits[:, 2:], np.nan)
    return Intervals(limits[:, 0], limits[:, 1], class_limits, len(counts))


def resampled(counts: npt.NDArray[np.float64]) -> Iterator[npt.NDArray[np.float64]]:
    """Draw as many of (N, ...) counts as there are, with repetition, and sum them up, RESAMPLES times.

    Calls with the same N make the same draws, so that what is computed from several of them is paired.

    Yields:
        (R, ...) sums in blocks, RESAMPLES in all; nothing for N < 2, since one unit tells nothing of others.
    """
    n, rng = len(counts), np.random.default_rng(SEED)
    for start in range(0, RESAMPLES if n > 1 else 0, step := max(1, BLOCK // max(n, 1))):
        rows = min(step, RESAMPLES - start)
        # How often each unit was drawn in each resample, times its counts: a matrix product sums up a whole block.
        drawn = rng.integers(n, size=(rows, n)) + n * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n)
        sums = times.astype(np.float64) @ counts.reshape(n, -1)
        yield sums.reshape(rows, *counts.shape[1:])


def percentile_limits(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Compute the 95 % limits, (2, ...), of (R, ...) resamples, NaNs left out; NaN where there is nothing else."""
    known = ~np.isnan(values).all(axis=0)
    limits = np.full((2, *values.shape[1:]), np.nan)
    limits[:, known] = np.nanpercentile(values[:, known], PERCENTILES, axis=0)
    return limits


def clip_of(image_id: str) -> str:
    """Return the clip of an image: the folder in its id, since a clip is a folder of frames; empty for none."""
    return image_id.rpartition("/")[0]


def unit_of(image_id: str) -> str:
    """Name what an image is drawn with: its clip, or the image itself where it is in none."""
    return clip_of(image_id) or f"/{image_id}"


def units_of(image_ids: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return the (N,) numbers of what N images are drawn with, from 0, in the order in which they first occur."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(unit_of(each), len(numbers)) for each in image_ids], np.int64)


def sum_by_unit(image_ids: Sequence[str], counts: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Sum up the (N, ...) counts of images by what they are drawn with: (U, ...) whole numbers, see `units_of`."""
    units = units_of(image_ids)
    sums = np.zeros((units.max(initial=-1) + 1, *counts.shape[1:]))
    np.add.at(sums, units, counts)
    return sums
