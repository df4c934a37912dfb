"""Semantic segmentation metrics of one split-wide confusion matrix.

Void pixels are left out; an image without detections counts as all background. Mean IoU is the mean over labels,
background included, whose union is not empty, as in mmsegmentation.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

from utils.classes import VOID
from utils.distributed import Session
from utils.engine import Report
from utils.structures import Instances, Sample
from utils.writers import atomic_write


def confusion_matrix(prediction: np.ndarray, target: np.ndarray, num_labels: int) -> np.ndarray:
    """Pixels of one image by target label (row) and predicted label (column).

    Args:
        prediction: (H, W) uint8, every value below `num_labels`.
        target: (H, W) uint8, every value below `num_labels` or VOID.
        num_labels: classes and background, at most 255.

    Returns:
        (num_labels, num_labels) int64.
    """
    assert prediction.shape == target.shape, (prediction.shape, target.shape)
    pairs = np.bincount((target.astype(np.uint16) << 8 | prediction).ravel(), minlength=1 << 16).reshape(256, 256)
    counted = pairs[np.arange(256) != VOID]
    assert counted.sum() == counted[:num_labels, :num_labels].sum(), "labels outside the classes"
    return counted[:num_labels, :num_labels].astype(np.int64)


def pixel_accuracy(matrix: np.ndarray) -> float:
    """Share of the counted pixels whose label is right; NaN where none is counted."""
    total = matrix.sum()
    return float(matrix.trace() / total) if total else math.nan


def class_iou(matrix: np.ndarray) -> np.ndarray:
    """(num_labels,) float64 intersection over union of each label; NaN for one in neither prediction nor target."""
    intersection = matrix.diagonal()
    union = matrix.sum(0) + matrix.sum(1) - intersection
    return np.divide(intersection, union, out=np.full(len(matrix), np.nan), where=union > 0)


def mean_iou(matrix: np.ndarray) -> float:
    """Mean IoU of the labels, background included, whose union is not empty; NaN where there is none."""
    ious = class_iou(matrix)
    present = ious[~np.isnan(ious)]
    return float(present.mean()) if len(present) else math.nan


class SemanticMetrics:
    """The sink that evaluates: sums up the confusion matrix of all images.

    Args:
        num_classes: without the background.
        save_dir: where `metrics.json` goes.
    """

    def __init__(self, num_classes: int, save_dir: Path) -> None:
        self.matrix = np.zeros((num_classes + 1, num_classes + 1), np.int64)
        self.save_dir = save_dir

    def write(self, sample: Sample, instances: Instances) -> None:
        """Counts one image, which must have a target."""
        assert sample.target is not None, sample.image_id
        self.matrix += confusion_matrix(instances.semantic(), sample.target, len(self.matrix))

    def standing(self) -> dict[str, float]:
        """Pixel accuracy and mean IoU so far."""
        return {"accuracy": pixel_accuracy(self.matrix), "mIoU": mean_iou(self.matrix)}

    def finish(self, report: Report, session: Session) -> list[str]:
        """Writes metrics.json and returns the three metric lines."""
        matrix = session.sum(self.matrix)
        accuracy, mean = pixel_accuracy(matrix), mean_iou(matrix)
        ious = {str(label): iou for label, iou in enumerate(class_iou(matrix).tolist())}
        document = {
            "Pixel_Accuracy": accuracy,
            "Mean_IOU": mean,
            "Class_IOU": ious,
            "images": report.images,
            "failed": len(report.failures),
            "failures": {failure.image_id: failure.reason for failure in report.failures},
        }
        content = json.dumps(_without_nan(document), indent=2, ensure_ascii=False) + "\n"
        if session.leads:
            atomic_write(self.save_dir / "metrics.json", content.encode())
        over = f" over {report.images} of {report.images + len(report.failures)} images" if report.failures else ""
        return [
            f"Pixel_Accuracy: {accuracy:.4f}{over}",
            f"Mean_IOU: {mean:.4f}{over}",
            "Class_IOU: " + " ".join(f"{label}:{iou:.4f}" for label, iou in ious.items()),
        ]


def _without_nan(value: object) -> object:
    """The value with null for NaN, which JSON does not know."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
