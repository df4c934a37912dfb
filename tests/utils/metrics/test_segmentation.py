"""Measures of pixel counts against independent implementations; boundary IoU against the paper's own function."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
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

from tests.helpers.evaluate import Pair, needs_photos, photos, random_pairs
from utils.classes import VOID
from utils.metrics import segmentation as metrics
from utils.metrics.segmentation import LabelCounts, boundary_counts, class_iou, confusion_matrix

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
    together = LabelCounts(np.stack([counts.pixels for counts in each]))
    np.testing.assert_array_equal(metrics.mean_iou(together), [metrics.mean_iou(counts) for counts in each])
    np.testing.assert_array_equal(metrics.class_iou(together), [metrics.class_iou(counts) for counts in each])


def test_nothing_counted_is_nan_not_zero() -> None:
    matrix = confusion_matrix(np.zeros((2, 2), np.uint8), np.full((2, 2), VOID, np.uint8), NUM_LABELS)
    counts = LabelCounts.from_matrix(matrix)
    assert np.isnan(metrics.pixel_accuracy(counts)) and np.isnan(metrics.mean_iou(counts))
    assert np.isnan(metrics.frequency_weighted_iou(counts))


def mask_to_boundary(mask: np.ndarray, dilation_ratio: float = 0.02) -> np.ndarray:
    """As in https://github.com/bowenc0221/boundary-iou-api, boundary_iou/utils/boundary_utils.py."""
    h, w = mask.shape
    img_diag = np.sqrt(h**2 + w**2)
    dilation = round(dilation_ratio * img_diag)
    if dilation < 1:
        dilation = 1
    # Pad image so mask truncated by the image border is also considered as boundary.
    new_mask = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    kernel = np.ones((3, 3), dtype=np.uint8)
    new_mask_erode = cv2.erode(new_mask, kernel, iterations=dilation)
    mask_erode = new_mask_erode[1 : h + 1, 1 : w + 1]
    # G_d intersects G in the paper.
    return mask - mask_erode


def paper_counts(prediction: np.ndarray, target: np.ndarray, num_labels: int) -> np.ndarray:
    """(3, num_labels) intersection, predicted and true pixels near the edges of each label."""
    counts = np.zeros((3, num_labels), np.int64)
    for label in np.setdiff1d([prediction, target], [VOID]):
        ours = mask_to_boundary(((prediction == label) & (target != VOID)).astype(np.uint8))
        theirs = mask_to_boundary((target == label).astype(np.uint8))
        counts[:, label] = (ours & theirs).sum(), ours.sum(), theirs.sum()
    return counts


def assert_equal(pairs: Sequence[Pair], num_labels: int) -> None:
    for sample, instances in pairs:
        prediction = instances.to_semantic()
        expected = paper_counts(prediction, sample.gt_mask, num_labels)
        np.testing.assert_array_equal(boundary_counts(prediction, sample.gt_mask, num_labels).pixels, expected)


def test_every_label_has_the_paper_s_boundary() -> None:
    assert_equal(random_pairs(40), 7)


@needs_photos
@pytest.mark.parametrize("name", ["voc", "coco"])
def test_every_label_of_photographs_has_the_paper_s_boundary(name: str) -> None:
    assert_equal(photos(name), 21)


def test_the_width_follows_the_diagonal() -> None:
    """In 300 x 400 pixels, 2 % of the diagonal are 10: of a square of 40, a ring of 10 counts."""
    target = np.zeros((300, 400), np.uint8)
    target[100:140, 100:140] = 1
    counts = boundary_counts(target, target, 2)
    assert counts.target[1] == counts.tp[1] == 40**2 - 20**2
    shrunk = np.zeros_like(target)
    shrunk[105:135, 105:135] = 1
    counts = boundary_counts(shrunk, target, 2)
    ring, inner = 40**2 - 20**2, 30**2 - 10**2
    assert class_iou(counts)[1] == (30**2 - 20**2) / (ring + inner - (30**2 - 20**2))


@pytest.mark.parametrize("label", [1, 3])
def test_a_flawless_prediction_scores_1_beside_void(label: int) -> None:
    target = np.zeros((60, 80), np.uint8)
    target[10:40, 10:50] = VOID
    target[13:37, 13:47] = label
    prediction = np.where(target == VOID, np.uint8(label), target)
    assert class_iou(boundary_counts(prediction, target, 4))[label] == 1
