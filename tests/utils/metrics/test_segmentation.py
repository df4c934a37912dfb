"""Measures of a confusion matrix against independent implementations."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_confusion_matrix,
    multiclass_f1_score,
    multiclass_jaccard_index,
    multiclass_precision,
)

from utils.classes import VOID
from utils.metrics import segmentation as metrics
from utils.metrics.segmentation import LabelCounts, confusion_matrix

NUM_LABELS = 6
ABSENT = 4  # a label that no map below holds
MISSED, INVENTED = 3, 5  # labels that only targets, and only predictions hold
PRESENT = [k for k in range(NUM_LABELS) if k != ABSENT]


def random_maps(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A prediction and a target with void pixels, without label ABSENT."""
    rng = np.random.default_rng(seed)
    sides = [np.delete(np.arange(NUM_LABELS), [ABSENT, other]).astype(np.uint8) for other in (MISSED, INVENTED)]
    prediction, target = (rng.choice(labels, (37, 53)) for labels in sides)
    target[rng.random(target.shape) < 0.1] = VOID
    return prediction, target


def summed(seeds: range) -> LabelCounts:
    return LabelCounts.from_matrix(sum(confusion_matrix(*random_maps(seed), NUM_LABELS) for seed in seeds))


def tensors(seeds: range) -> tuple[torch.Tensor, torch.Tensor]:
    predictions, targets = zip(*(random_maps(seed) for seed in seeds))
    return torch.from_numpy(np.stack(predictions)).long(), torch.from_numpy(np.stack(targets)).long()


def masks(k: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of a label in predictions and targets that are counted."""
    predictions, targets = (tensor.numpy() for tensor in tensors(range(3)))
    counted = targets != VOID
    return (predictions == k)[counted], (targets == k)[counted]


@pytest.fixture
def in_double(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """torchmetrics turns counts into float32 before it divides; here into float64."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_the_confusion_matrix_is_torchmetrics_own() -> None:
    ours = sum(confusion_matrix(*random_maps(seed), NUM_LABELS) for seed in range(3))
    theirs = multiclass_confusion_matrix(*tensors(range(3)), num_classes=NUM_LABELS, ignore_index=VOID)
    np.testing.assert_array_equal(ours, theirs.numpy())


@pytest.mark.usefixtures("in_double")
@pytest.mark.parametrize(
    ("ours", "theirs", "known"),
    [
        (metrics.class_iou, multiclass_jaccard_index, PRESENT),
        (metrics.class_accuracy, multiclass_accuracy, [0, 1, 2, MISSED]),
        (metrics.class_precision, multiclass_precision, [0, 1, 2, INVENTED]),
        (metrics.class_dice, multiclass_f1_score, PRESENT),
    ],
)
def test_measures_of_labels_are_torchmetrics_own_and_nan_where_undefined(ours, theirs, known) -> None:  # noqa: ANN001
    expected = theirs(*tensors(range(3)), num_classes=NUM_LABELS, ignore_index=VOID, average="none").numpy()
    values = ours(summed(range(3)))
    np.testing.assert_allclose(values[known], expected[known], rtol=0, atol=1e-12)
    assert np.flatnonzero(~np.isnan(values)).tolist() == sorted(known)


def test_means_equal_plain_numpy() -> None:
    counts = summed(range(3))
    ious = {k: (p & t).sum() / (p | t).sum() for k in PRESENT for p, t in [masks(k)]}
    shares = {k: masks(k)[1].mean() for k in PRESENT}
    expected = {
        metrics.mean_iou: np.mean([ious[k] for k in PRESENT]),
        metrics.mean_iou_of_target_labels: np.mean([ious[k] for k in PRESENT if k != INVENTED]),
        metrics.mean_iou_without_background: np.mean([ious[k] for k in PRESENT if k != 0]),
        metrics.frequency_weighted_iou: sum(shares[k] * ious[k] for k in PRESENT),
        metrics.pixel_accuracy: sum((p & t).sum() for p, t in map(masks, PRESENT)) / masks(0)[0].size,
    }
    assert {measure: measure(counts) for measure in expected} == pytest.approx(expected, abs=1e-12)
    assert len(set(expected.values())) == len(expected)


def test_counts_of_many_images_at_once_give_the_measures_of_each_alone() -> None:
    each = [summed(range(i, i + 1)) for i in range(3)]
    together = LabelCounts(*np.stack([counts.stacked for counts in each], axis=1))
    np.testing.assert_array_equal(metrics.mean_iou(together), [metrics.mean_iou(counts) for counts in each])
    np.testing.assert_array_equal(metrics.class_iou(together), [metrics.class_iou(counts) for counts in each])


def test_nothing_counted_is_nan_not_zero() -> None:
    matrix = confusion_matrix(np.zeros((2, 2), np.uint8), np.full((2, 2), VOID, np.uint8), NUM_LABELS)
    counts = LabelCounts.from_matrix(matrix)
    assert np.isnan(metrics.pixel_accuracy(counts)) and np.isnan(metrics.mean_iou(counts))
    assert np.isnan(metrics.frequency_weighted_iou(counts))
