"""Metrics against independent implementations."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_confusion_matrix, multiclass_jaccard_index

from utils.classes import VOID
from utils.distributed import Session
from utils.engine import Report
from utils.errors import SampleError
from utils.metrics import SemanticMetrics, class_iou, confusion_matrix, mean_iou, pixel_accuracy
from utils.structures import Detections, Instances, Mask, Sample

NUM_LABELS = 6
ABSENT = 4  # a label that no map below holds


def random_maps(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A prediction and a target with void pixels, without label ABSENT."""
    rng = np.random.default_rng(seed)
    present = np.delete(np.arange(NUM_LABELS), ABSENT).astype(np.uint8)
    prediction, target = rng.choice(present, (2, 37, 53))
    target[rng.random(target.shape) < 0.1] = VOID
    return prediction, target


def summed(seeds: range) -> np.ndarray:
    return sum(confusion_matrix(*random_maps(seed), NUM_LABELS) for seed in seeds)


def tensors(seeds: range) -> tuple[torch.Tensor, torch.Tensor]:
    predictions, targets = zip(*(random_maps(seed) for seed in seeds))
    return torch.from_numpy(np.stack(predictions)).long(), torch.from_numpy(np.stack(targets)).long()


def test_the_confusion_matrix_is_torchmetrics_own() -> None:
    theirs = multiclass_confusion_matrix(*tensors(range(3)), num_classes=NUM_LABELS, ignore_index=VOID)
    np.testing.assert_array_equal(summed(range(3)), theirs.numpy())


def test_class_iou_equals_plain_numpy_and_is_nan_for_an_absent_class() -> None:
    predictions, targets = (tensor.numpy() for tensor in tensors(range(3)))
    counted = targets != VOID
    expected = [
        ((predictions == k) & (targets == k)).sum() / ((predictions == k) & counted | (targets == k)).sum()
        if k != ABSENT
        else np.nan
        for k in range(NUM_LABELS)
    ]
    np.testing.assert_allclose(class_iou(summed(range(3))), expected, atol=1e-12)


def test_mean_iou_and_accuracy_equal_independent_references() -> None:
    predictions, targets = tensors(range(3))
    per_class = multiclass_jaccard_index(
        predictions, targets, num_classes=NUM_LABELS, ignore_index=VOID, average="none"
    ).double()
    present = [k for k in range(NUM_LABELS) if k != ABSENT]
    matrix = summed(range(3))
    assert mean_iou(matrix) == pytest.approx(per_class[present].mean().item(), abs=1e-6)  # torchmetrics is float32
    counted = targets != VOID
    expected = (predictions == targets)[counted].double().mean().item()
    assert pixel_accuracy(matrix) == pytest.approx(expected, abs=1e-12)


def test_nothing_counted_is_nan_not_zero() -> None:
    matrix = confusion_matrix(np.zeros((2, 2), np.uint8), np.full((2, 2), VOID, np.uint8), NUM_LABELS)
    assert np.isnan(pixel_accuracy(matrix)) and np.isnan(mean_iou(matrix))


def sample_of(image_id: str, target: np.ndarray) -> Sample:
    return Sample(image_id, Path(f"{image_id}.jpg"), np.zeros((*target.shape, 3), np.uint8), target)


def test_an_image_without_detections_counts_as_background(tmp_path: Path) -> None:
    target = np.array([[0, 1], [1, 1]], np.uint8)
    metrics = SemanticMetrics(1, tmp_path)
    metrics.write(sample_of("missed", target), Instances((2, 2), Detections.empty(), [], np.zeros(0, np.float32)))
    lines = metrics.finish(Report(images=1), Session())
    assert lines == ["Pixel_Accuracy: 0.2500", "Mean_IOU: 0.1250", "Class_IOU: 0:0.2500 1:0.0000"]


def test_metrics_json_has_full_precision_null_for_nan_and_names_failures(tmp_path: Path) -> None:
    target = np.array([[0, 1, 1]], np.uint8)
    found = Detections.of([[1, 0, 2, 1]], [0.5], [0])
    metrics = SemanticMetrics(2, tmp_path)
    mask = Mask(1, 0, np.ones((1, 1), bool))
    metrics.write(sample_of("a", target), Instances((1, 3), found, [mask], np.array([0.9], np.float32)))
    failure = SampleError("b", Path("b.jpg"), "missing")
    lines = metrics.finish(Report(1, [failure]), Session())
    assert lines[:2] == ["Pixel_Accuracy: 0.6667 over 1 of 2 images", "Mean_IOU: 0.5000 over 1 of 2 images"]
    assert lines[2] == "Class_IOU: 0:0.5000 1:0.5000 2:nan"
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written["Pixel_Accuracy"] == 2 / 3
    assert written["Class_IOU"] == {"0": 0.5, "1": 0.5, "2": None}
    assert (written["images"], written["failed"], written["failures"]) == (1, 1, {"b": "missing"})
