"""What a correction gained: the metrics of this run beside those of annotations in a folder, over the same images."""

from __future__ import annotations

from typing import Any

import numpy as np

from utils.annotations.source import AnnotationFolder
from utils.class_map import ClassMap
from utils.distributed import Session
from utils.errors import SampleError
from utils.io.terminal import counted
from utils.metrics.segmentation import LabelCounts, class_iou, confusion_matrix, mean_iou, pixel_accuracy
from utils.metrics.summary import nan_to_none
from utils.structures import Instances, Sample


class Comparison:
    """Sum up the confusion matrices of a run and of annotations over the images that both have.

    Args:
        class_map: leads from the classes of the annotations to those of the run.
        before: the annotations to compare with.
    """

    def __init__(self, class_map: ClassMap, before: AnnotationFolder) -> None:
        self._before, self._map, self._names = before, class_map, ("background", *class_map.names)
        self._matrices = np.zeros((2, len(self._names), len(self._names)), np.int64)
        self._images, self._failures = 0, list[SampleError]()

    def add(self, sample: Sample, instances: Instances) -> None:
        """Count an image, which must have a target, unless it has no annotation."""
        assert sample.gt_mask is not None, sample.image_id
        try:
            before = self._map.of_run(self._before.read(sample.image_id, sample.size))
        except SampleError as error:
            self._failures.append(error)
            return
        for matrix, each in zip(self._matrices, (before, instances)):
            matrix += confusion_matrix(each.to_semantic(), sample.gt_mask, len(self._names))
        self._images += 1

    def result(self, session: Session) -> tuple[dict[str, Any], list[str]]:
        """Sum up all processes; the content of `comparison.json`, and a line for each metric and class to print."""
        counts, images = LabelCounts.from_matrix(session.sum(self._matrices)), sum(session.gather([self._images]))
        failures = session.gather(self._failures)
        metrics = {"Pixel_Accuracy": pixel_accuracy(counts).tolist(), "Mean_IOU": mean_iou(counts).tolist()}
        ious = class_iou(counts).T.tolist()
        content = {
            **{name: _gain(*pair) for name, pair in metrics.items()},
            "Class_IOU": {str(label): _gain(*pair) for label, pair in enumerate(ious)},
            "images": images,
            "without": {failure.image_id: failure.reason for failure in failures},
        }
        rows = metrics | {f"{label}:{name}": pair for label, (name, pair) in enumerate(zip(self._names, ious))}
        lines = [
            f"comparison: over {counted(images, 'image')}, from {self._before.folder} to this run",
            *(f"comparison: {failure.path}: {failure.reason}, so it is left out here" for failure in failures),
        ]
        for name, (before, now) in rows.items():
            gain = "" if np.isnan(now - before) else f"  {now - before:+.4f}"
            lines.append(f"comparison: {name:<20} {before:.4f} -> {now:.4f}{gain}")
        return nan_to_none(content), lines


def _gain(before: float, now: float) -> dict[str, float]:
    return {"before": before, "now": now, "gain": now - before}
