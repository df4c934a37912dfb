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
from utils.metrics.summary import HEADLINE, LABEL_MEASURES, MEAN_IOUS, SPLIT_MEASURES

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


Measures = dict[tuple[str, str], npt.NDArray[np.float64]]
"""Key and title of measures -> their values."""


def measures(counts: npt.NDArray[np.float64]) -> tuple[Measures, Measures]:
    """Compute the measures that follow from sums of pixels.

    Args:
        counts: (..., 2, 3, L): of all pixels, and of those near edges, what `LabelCounts.pixels` holds.

    Returns:
        (...) of the split, the main one first, and (..., L) of its labels.
    """
    whole, edges = (LabelCounts(counts[..., i, :, :]) for i in range(2))
    labels = {
        (key, each.title): each.compute(edges if each.near_edges else whole) for key, each in LABEL_MEASURES.items()
    }
    means = {(f"mean_{key}", f"Mean {title}"): nanmean(values) for (key, title), values in labels.items()}
    main = MEAN_IOU, "Mean IoU"
    split = {main: means[main]}
    for key, each in MEAN_IOUS.items():
        if each.of_counts and key != HEADLINE:
            split[f"mean_iou_{key}", f"Mean IoU, {each.title.lower()}"] = np.asarray(each.compute(whole))
    for key, each in SPLIT_MEASURES.items():
        if each.of_counts:
            split[key, each.text[:1].upper() + each.text[1:]] = np.asarray(each.compute(whole))
    return split | means, labels


def compare(units: npt.NDArray[np.float64]) -> list[Difference]:
    """Compare two runs: the measures of the split, the mean IoU first, then those of each label that occurs.

    Args:
        units: (U, 2, 2, 3, L) sums of each image, or each clip, of both runs, as `measures` takes them.
    """
    drawn = [measures(sums) for sums in resampled(units)]
    split, labels = measures(units.sum(axis=0))
    table = [_difference(name, None, values, [each[name] for each, _ in drawn]) for name, values in split.items()]
    occurs = np.count_nonzero(units.any(axis=(1, 2, 3)), axis=0)
    for label in np.flatnonzero(occurs).tolist():
        told = drawn if occurs[label] > 1 else []
        for name, values in labels.items():
            table.append(_difference(name, label, values[:, label], [each[name][..., label] for _, each in told]))
    return table


def _difference(
    name: tuple[str, str],
    label: int | None,
    values: npt.NDArray[np.float64],
    samples: Sequence[npt.NDArray[np.float64]],
) -> Difference:
    """Describe the (2,) values of a measure, given those in resamples, (R, 2) in blocks."""
    before, after = values.tolist()
    together = np.concatenate([np.empty((0, 2)), *samples])
    low, high = percentile_limits(together[:, 1] - together[:, 0]).tolist()
    return Difference(*name, label, before, after, (low, high))


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
