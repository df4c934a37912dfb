"""The evaluation, and the tables of metrics: where console, files and report look up what is measured, how it is named.

To add a metric, write a function in `utils/metrics` and a line in one of the tables, which decides where it appears:

| table            | console | files                                | report.html                                |
|------------------|---------|--------------------------------------|--------------------------------------------|
| `LABEL_MEASURES` | column  | metrics.json, per_class.csv and .tex | column; mean at the top if `figure` is set |
| `SPLIT_MEASURES` | yes     | metrics.json                         | only if `title` is set                     |
| `MEAN_IOUS`      | yes     | metrics.json                         | yes                                        |
| `IMAGE_MEASURES` | no      | per_image.csv                        | no                                         |
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from utils.classes import label_of
from utils.errors import SampleError
from utils.metrics import segmentation as seg
from utils.metrics.average_precision import AveragePrecision, average_precision
from utils.metrics.bootstrap import Intervals, bootstrap
from utils.metrics.clips import AllClips, clip_scores
from utils.metrics.scores import ImageScore
from utils.metrics.segmentation import LabelCounts, nanmean


@dataclass(frozen=True)
class LabelMeasure:
    """A measure of each label in the whole split. Its mean over labels is a measure of the split, `mean_<key>`.

    Attributes:
        heading: of its column in the console.
        title: of its column in the report.
        compute: takes the pixel counts of L labels and returns (L,) float64 from 0 to 1; NaN where it is undefined.
        definition: for the report.
        legend: explains the heading in the console; empty if it explains itself.
        near_edges: whether only pixels near edges count.
        figure: names the mean among the figures at the top of the report; empty if it is not shown there.
    """

    heading: str
    title: str
    compute: Callable[[LabelCounts], npt.NDArray[np.float64]]
    definition: str
    legend: str = ""
    near_edges: bool = False
    figure: str = ""


LABEL_MEASURES: dict[str, LabelMeasure] = {
    "iou": LabelMeasure("IoU", "IoU", seg.class_iou, "right pixels over those of the class in prediction or target"),
    "accuracy": LabelMeasure(
        "Acc", "Accuracy", seg.class_accuracy, "share of the true pixels that were found", "Acc is recall"
    ),
    "precision": LabelMeasure(
        "Prec", "Precision", seg.class_precision, "share of the predicted pixels that are right", "Prec precision"
    ),
    "dice": LabelMeasure("Dice", "Dice", seg.class_dice, "twice the right pixels over predicted and true ones"),
    "boundary_iou": LabelMeasure(
        "bIoU",
        "Boundary IoU",
        seg.class_iou,
        "IoU of the pixels near edges",
        "bIoU the IoU of the pixels near edges",
        near_edges=True,
        figure="Mean boundary IoU",
    ),
}
"""Key in `metrics.json` -> measure."""


@dataclass(frozen=True)
class SplitMeasure:
    """A single measure of the whole split.

    Attributes:
        text: names it in the console.
        compute: takes the evaluation and returns a number from 0 to 1; NaN where it is undefined.
        title: names it in the report; empty if it is not shown there.
        note: remark of the report.
        interval: attribute of `Intervals` that holds its 95 % interval; empty if it has none.
        of_counts: whether `compute` takes only the pixel counts of the labels; then runs are compared by it, too.
    """

    text: str
    compute: Callable[[Any], float | npt.NDArray[np.float64]]
    title: str = ""
    note: str = ""
    interval: str = ""
    of_counts: bool = False

    def of(self, evaluation: Evaluation) -> float:
        """Compute the measure of an evaluation."""
        return float(self.compute(evaluation.counts if self.of_counts else evaluation))


SPLIT_MEASURES: dict[str, SplitMeasure] = {
    "pixel_accuracy": SplitMeasure(
        "Pixel accuracy", seg.pixel_accuracy, "Pixel accuracy", interval="pixel_accuracy", of_counts=True
    ),
    "frequency_weighted_iou": SplitMeasure("frequency-weighted IoU", seg.frequency_weighted_iou, of_counts=True),
}
"""Key in `metrics.json` below `split` -> measure."""

HEADLINE = "non_empty_union"
"""Key of MEAN_IOUS for `Mean_IOU`. What has only pixel counts calls the same function, `segmentation.mean_iou`."""

MEAN_IOUS: dict[str, SplitMeasure] = {
    HEADLINE: SplitMeasure(
        "labels in prediction or target (mmsegmentation; Mean_IOU below)",
        seg.mean_iou,
        "Labels in prediction or target",
        "as mmsegmentation; this one is Mean_IOU",
        of_counts=True,
    ),
    "present_in_target": SplitMeasure(
        "labels in the target (Ultralytics)",
        seg.mean_iou_of_target_labels,
        "Labels in the target",
        "as Ultralytics",
        of_counts=True,
    ),
    "without_background": SplitMeasure(
        "labels in prediction or target, without the background",
        seg.mean_iou_without_background,
        "Without the background",
        "labels in prediction or target",
        of_counts=True,
    ),
    "mean_over_images": SplitMeasure(
        "mean over images of each image's mean (torchmetrics' mean_iou)",
        lambda evaluation: nanmean(np.array([image.mean_iou for image in evaluation.images])),
        "Mean over images",
        "of each image's mean over its labels",
    ),
    "mean_over_images_and_labels": SplitMeasure(
        "mean over all pairs of an image and a label (torchmetrics' MeanIoU)",
        lambda evaluation: nanmean(np.concatenate([[], *(image.class_iou for image in evaluation.images)])),
        "Mean over images and labels",
        "of all pairs of an image and a label in it",
    ),
}
"""Key in `metrics.json` below `mean_iou` -> mean IoU under one convention; the first is also the key `Mean_IOU`.

Images that are all void have no mean. The last two are torchmetrics' functional mean_iou and its MeanIoU (1.9).
"""

IMAGE_MEASURES: dict[str, Callable[[ImageScore], float]] = {
    "mean_iou": attrgetter("mean_iou"),
    "pixel_accuracy": attrgetter("pixel_accuracy"),
    "mean_boundary_iou": lambda image: float(seg.mean_iou(image.boundary)),
}
"""Column of `per_image.csv` -> measure of an image."""


@dataclass(frozen=True)
class Evaluation:
    """The result of an evaluation, with all its measures; console, files and report are made from it.

    Attributes:
        names: of the labels, the background first; L = classes + 1.
        matrix: (L, L) int64 confusion matrix of all images (rows: target, columns: prediction).
        images: in the order of their ids, whichever process did them.
        failures: the images that could not be used.
    """

    names: tuple[str, ...]
    matrix: npt.NDArray[np.int64]
    images: tuple[ImageScore, ...]
    failures: tuple[SampleError, ...]

    @cached_property
    def counts(self) -> LabelCounts:
        """(L,) int64 pixels of each label in all images."""
        return LabelCounts.from_matrix(self.matrix)

    @cached_property
    def boundary(self) -> LabelCounts:
        """(L,) int64 pixels of each label near its edges in all images."""
        dense = np.zeros((3, len(self.names)), np.int64)
        for image in self.images:
            dense[:, image.labels] += image.boundary.pixels
        return LabelCounts(dense)

    @cached_property
    def intervals(self) -> Intervals:
        """95 % intervals of the main measures."""
        return bootstrap(self.images, len(self.names))

    @cached_property
    def average_precision(self) -> AveragePrecision | None:
        """COCO's average precision of masks; None where no image has instance ids."""
        return average_precision(self.images, len(self.names) - 1)

    @cached_property
    def clips(self) -> AllClips | None:
        """The clips that the images are frames of; None where they are in none."""
        frames = [image.frame for image in self.images if image.frame is not None]
        return AllClips(clip_scores(frames)) if frames else None

    @cached_property
    def label_measures(self) -> dict[str, npt.NDArray[np.float64]]:
        """The (L,) measures of every label in the whole split, by their keys in LABEL_MEASURES."""
        return {
            name: measure.compute(self.boundary if measure.near_edges else self.counts)
            for name, measure in LABEL_MEASURES.items()
        }

    @cached_property
    def label_means(self) -> dict[str, float]:
        """The mean of each measure of labels over the labels for which it is defined."""
        return {name: float(nanmean(values)) for name, values in self.label_measures.items()}

    @cached_property
    def label_numbers(self) -> dict[str, npt.NDArray[np.int64]]:
        """The number, for each label, of (L,) images whose target has it, of true objects and of found objects.

        The background has images, but no objects.
        """
        true_labels = [image.labels[image.counts.target > 0] for image in self.images]
        true_ids = [label_of(image.objects.true_class_ids) for image in self.images]
        found_ids = [label_of(image.objects.class_ids) for image in self.images]
        columns = {"true_images": true_labels, "true_objects": true_ids, "found_objects": found_ids}
        return {name: self._bincount(each) for name, each in columns.items()}

    @cached_property
    def label_images(self) -> npt.NDArray[np.int64]:
        """(L,) number of images that have a label in their prediction or target."""
        return self._bincount([image.labels for image in self.images])

    @cached_property
    def mean_ious(self) -> dict[str, float]:
        """The mean IoU under each convention; that of HEADLINE is also the key `Mean_IOU`."""
        return {name: measure.of(self) for name, measure in MEAN_IOUS.items()}

    @cached_property
    def split_measures(self) -> dict[str, float]:
        """The single measures of the whole split, the means over labels included.

        The mean IoU is not among them: `mean_ious` has it under each of its conventions.
        """
        single = {name: measure.of(self) for name, measure in SPLIT_MEASURES.items()}
        return single | {f"mean_{name}": mean for name, mean in self.label_means.items() if name != "iou"}

    def worst_first(self) -> Sequence[ImageScore]:
        """Sort the images by mean IoU, the lowest first; images that are all void come last."""
        return sorted(self.images, key=lambda image: np.nan_to_num(image.mean_iou, nan=np.inf))

    def _bincount(self, labels: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
        none = np.zeros(0, np.int64)  # `concatenate` needs an array, also where there are no images
        return np.bincount(np.concatenate([none, *labels]), minlength=len(self.names))


def nan_to_none(value: Any) -> Any:
    """Replace NaN by None and numpy's values by Python's throughout a document; JSON has neither."""
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    if isinstance(value, dict):
        return {key: nan_to_none(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [nan_to_none(entry) for entry in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def percent(share: float | None, digits: int = 2, sign: str = "", dash: str = "-") -> str:
    """Format a share of 1 in percent; a dash for NaN and None.

    Args:
        sign: `+` gives positive numbers a sign, too.
    """
    if share is None or math.isnan(share):
        return dash
    return f"{round(100 * share, digits) + 0.0:{sign}.{digits}f}"  # never -0.0


def interval(limits: Iterable[float | None], sign: str = "", dash: str = "-") -> str:
    """Format the two ends of an interval, shares of 1, in percent; a dash for NaN and None."""
    low, high = (percent(limit, 1, sign, dash) for limit in limits)
    if dash in (low, high):
        return dash
    return f"{low} to {high}" if sign else f"{low} {dash} {high}"
