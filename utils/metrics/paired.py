"""The difference of two runs over the same images, with its interval: a paired bootstrap.

Both runs saw the same images, and an image that is hard for one is hard for the other. So the images, or the clips that
they are frames of, are drawn once for both runs, and the measures of the two are subtracted in each draw (Efron and
Tibshirani 1993, chapter 13). The interval of the difference is much narrower than those of the runs suggest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from utils.metrics.bootstrap import percentile_limits, resampled
from utils.metrics.segmentation import LabelCounts, nanmean
from utils.metrics.summary import HEADLINE, LABEL_MEASURES, MEAN_IOUS, SPLIT_MEASURES, SplitMeasure

MEAN_IOU = "mean_iou"
"""The main measure: of the labels in prediction or target, as `Mean_IOU`."""


@dataclass(frozen=True)
class Difference:
    """A measure of two runs, as shares of 1.

    Attributes:
        key: of the measure.
        title: for tables.
        label: which label it is of; None: of the whole split.
        before, after: of the first and the second run; NaN where it is undefined.
        limits: (low, high), the 95 % interval of `gain`; NaN where fewer than two units have the label.
    """

    key: str
    title: str
    label: int | None
    before: float
    after: float
    limits: tuple[float, float]

    @property
    def gain(self) -> float:
        """The second run minus the first."""
        return self.after - self.before

    @property
    def is_clear(self) -> bool:
        """Whether the interval lies on one side of 0."""
        return self.limits[0] > 0 or self.limits[1] < 0


def count_measures() -> dict[str, tuple[str, SplitMeasure]]:
    """Return the measures of a split that follow from sums of pixels: key -> title and measure, the main one first."""
    table = {MEAN_IOU: ("Mean IoU", MEAN_IOUS[HEADLINE])}
    ious = {key: each for key, each in MEAN_IOUS.items() if each.of_counts and key != HEADLINE}
    table |= {f"mean_iou_{key}": (f"Mean IoU, {each.title.lower()}", each) for key, each in ious.items()}
    single = {key: each for key, each in SPLIT_MEASURES.items() if each.of_counts}
    return table | {key: (each.text[:1].upper() + each.text[1:], each) for key, each in single.items()}


def titles() -> dict[str, str]:
    """Return the titles of the measures of a split, means over labels included, by key."""
    means = {f"mean_{key}": f"Mean {each.title}" for key, each in LABEL_MEASURES.items() if key != "iou"}
    return {key: title for key, (title, _) in count_measures().items()} | means


def measures(counts: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Compute the measures of sums of pixels.

    Args:
        counts: (..., 2, 3, L): of all pixels, and of those near edges, what `LabelCounts.pixels` holds.

    Returns:
        (..., S) of the split, in the order of `titles`, and (..., M, L) of its labels, in that of `LABEL_MEASURES`.
    """
    whole, edges = (LabelCounts(counts[..., i, :, :]) for i in range(2))
    labels = {key: each.compute(edges if each.near_edges else whole) for key, each in LABEL_MEASURES.items()}
    single = [each.compute(whole) for _, each in count_measures().values()]
    means = [nanmean(values) for key, values in labels.items() if key != "iou"]
    return np.stack([*single, *means], axis=-1), np.stack([*labels.values()], axis=-2)


def compare(units: npt.NDArray[np.float64]) -> list[Difference]:
    """Compare two runs: the measures of the split, the mean IoU first, then those of each label that occurs.

    Args:
        units: (U, 2, 2, 3, L) sums of each image, or each clip, of both runs, as `measures` takes them.
    """
    drawn = [measures(sums) for sums in resampled(units)]
    sums = units.sum(axis=0)
    whole, labels = measures(sums)
    samples = [np.empty((0, *each.shape)) for each in (whole, labels)]
    if drawn:
        samples = [np.concatenate(part) for part in zip(*drawn)]
    of_split, of_labels = (percentile_limits(each[:, 1] - each[:, 0]) for each in samples)
    table = [
        Difference(key, title, None, float(whole[0, i]), float(whole[1, i]), _pair(of_split[:, i]))
        for i, (key, title) in enumerate(titles().items())
    ]
    occurs = np.count_nonzero(units.any(axis=(1, 2, 3)), axis=0)
    of_labels[..., occurs < 2] = np.nan
    for label in np.flatnonzero(occurs).tolist():
        for i, (key, each) in enumerate(LABEL_MEASURES.items()):
            before, after = labels[:, i, label].tolist()
            table.append(Difference(key, each.title, label, before, after, _pair(of_labels[:, i, label])))
    return table


def _pair(limits: npt.NDArray[np.float64]) -> tuple[float, float]:
    low, high = limits.tolist()
    return low, high


def sentence(difference: Difference, names: Sequence[str]) -> str:
    """Say which of two runs has the better mean IoU, and by how much."""
    (before, after), points = names, 100 * difference.gain
    low, high = (100 * limit for limit in difference.limits)
    interval = "too few images for an interval" if np.isnan(low) else f"95 %: {low:.1f} to {high:.1f}"
    if difference.is_clear:
        low, high = sorted(map(abs, (low, high)))
        better = "better" if points > 0 else "worse"
        return f"{after} is {better} than {before} by {abs(points):.1f} points of mIoU (95 %: {low:.1f} to {high:.1f})"
    return f"{after} and {before} cannot be told apart: {points:+.1f} points of mIoU ({interval})"
