"""What a correction gained: the metrics of this run beside those of annotations in a folder, over the same images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from utils.annotations.source import AnnotationFolder
from utils.distributed import Session
from utils.engine import RunSummary
from utils.errors import SampleError
from utils.evaluation.files import GAIN
from utils.io.encoding import encode_json
from utils.io.writers import atomic_write
from utils.metrics.segmentation import LabelCounts, class_iou, confusion_matrix, mean_iou, pixel_accuracy
from utils.structures import Instances, Sample


class ComparisonSink:
    """Compares the metrics of a run with those of annotations, and writes `gain.json`.

    Counted are the images that both have; those without an annotation are named.

    Args:
        names: class names, indexed by class id.
        before: the annotations to compare with.
        save_dir: where `gain.json` goes.
    """

    def __init__(self, names: Sequence[str], before: AnnotationFolder, save_dir: Path) -> None:
        self._before, self._save_dir = before, save_dir
        self._names = ("background", *names)
        self._matrices = np.zeros((2, len(self._names), len(self._names)), np.int64)
        self._images, self._failures = 0, list[SampleError]()

    def write(self, sample: Sample, instances: Instances) -> None:
        """Counts one image, which must have a target."""
        assert sample.gt_mask is not None, sample.image_id
        try:
            before = self._before.read(sample.image_id, sample.size)
        except SampleError as error:
            self._failures.append(error)
            return
        for matrix, each in zip(self._matrices, (before, instances)):
            matrix += confusion_matrix(each.to_semantic(), sample.gt_mask, len(self._names))
        self._images += 1

    def finish(self, summary: RunSummary, session: Session) -> list[str]:
        """Writes `gain.json`; a line for each metric and class, before and now."""
        counts, images = LabelCounts.from_matrix(session.sum(self._matrices)), sum(session.gather([self._images]))
        failures = session.gather(self._failures)
        metrics = {
            "Pixel_Accuracy": _pair(*pixel_accuracy(counts).tolist()),
            "Mean_IOU": _pair(*mean_iou(counts).tolist()),
        }
        ious = [_pair(*pair) for pair in zip(*class_iou(counts).tolist())]
        if session.is_main:
            without = {failure.image_id: failure.reason for failure in failures}
            by_label = {str(label): iou for label, iou in enumerate(ious)}
            document = {**metrics, "Class_IOU": by_label, "images": images, "without": without}
            atomic_write(self._save_dir / GAIN, encode_json(document, indent=2))
        rows = metrics | {f"{label}:{name}": iou for label, (name, iou) in enumerate(zip(self._names, ious))}
        return [
            f"gain: over {images} images, from {self._before.folder} to this run",
            *(f"gain: {failure.path}: {failure.reason}, so it is left out here" for failure in failures),
            *(f"gain: {name:<20} {_shown(row)}" for name, row in rows.items()),
        ]


def _pair(before: float, now: float) -> dict[str, float | None]:
    """A metric of both, and what was gained; None where there is no such number."""
    numbers = {"before": before, "now": now, "gain": now - before}
    return {name: None if np.isnan(number) else number for name, number in numbers.items()}


def _shown(row: dict[str, float | None]) -> str:
    before, now, gain = (np.nan if number is None else number for number in row.values())
    return f"{before:.4f} -> {now:.4f}  {'' if np.isnan(gain) else f'{gain:+.4f}'}".rstrip()
