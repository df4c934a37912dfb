"""All measures of an evaluation against plain numpy and torchmetrics, on random images and on photographs."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
from torchmetrics.functional.segmentation import mean_iou
from torchmetrics.segmentation import MeanIoU

from tests.helpers.evaluate import NAMES, SHARED, Pair, evaluation_of, needs_photos, photos, random_pairs
from utils.classes import VOID

MOST_IN_AN_IMAGE = 7
"""Labels, of the images below."""


@pytest.fixture(autouse=True)
def in_double(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """torchmetrics turns counts into float32 before it divides; here into float64."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def counted_pixels(pairs: Sequence[Pair]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Predicted and true labels of the pixels of each image that are not void."""
    kept = [(instances.to_semantic(), sample.gt_mask, sample.gt_mask != VOID) for sample, instances in pairs]
    return [(prediction[counted], target[counted]) for prediction, target, counted in kept]


def plain_measures(pixels: list[tuple[np.ndarray, np.ndarray]], num_labels: int) -> dict[str, np.ndarray]:
    prediction, target = (np.concatenate(parts) for parts in zip(*pixels))
    pairs = [(prediction == k, target == k) for k in range(num_labels)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # 0 / 0
        return {
            "iou": np.array([(p & t).sum() / (p | t).sum() for p, t in pairs]),
            "accuracy": np.array([p[t].mean() for p, t in pairs]),
            "precision": np.array([t[p].mean() for p, t in pairs]),
            "dice": np.array([2 * (p & t).sum() / (p.sum() + t.sum()) for p, t in pairs]),
            "share": np.array([t.mean() for _, t in pairs]),
        }


def torchmetrics_means(pixels: list[tuple[np.ndarray, np.ndarray]]) -> list[float]:
    """By `mean_iou`, and by `MeanIoU`; an image without counted pixels has no mean."""
    metric, alone = MeanIoU(MOST_IN_AN_IMAGE, input_format="index"), []
    for prediction, target in pixels:
        if len(target):
            # The labels of an image get numbers of their own: fewer, so faster, and its means are the same.
            numbers = np.unique([prediction, target], return_inverse=True)[1].reshape(2, 1, -1)
            image = torch.from_numpy(numbers)
            metric.update(*image)
            alone.append(mean_iou(*image, num_classes=MOST_IN_AN_IMAGE, input_format="index").item())
    return [float(np.mean(alone)), metric.compute().item()]


def assert_equal(pairs: Sequence[Pair], names: Sequence[str]) -> None:
    evaluation, pixels = evaluation_of(pairs, names), counted_pixels(pairs)
    expected = plain_measures(pixels, len(names) + 1)
    ours = evaluation.label_measures
    for name in ("iou", "accuracy", "precision", "dice"):
        np.testing.assert_allclose(ours[name], expected[name], rtol=0, atol=1e-9)
    iou, share = expected["iou"], expected["share"]
    means = [np.nanmean(iou), np.mean(iou[share > 0]), np.nanmean(iou[1:]), *torchmetrics_means(pixels)]
    assert list(evaluation.mean_ious.values()) == pytest.approx(means, abs=1e-9)
    assert len(set(means)) >= 4
    split = evaluation.split_measures
    accuracy = np.mean(np.concatenate([prediction == target for prediction, target in pixels]))
    assert split["pixel_accuracy"] == pytest.approx(accuracy, abs=1e-9)
    assert split["frequency_weighted_iou"] == pytest.approx(np.nansum(iou * share), abs=1e-9)
    for name in ("accuracy", "precision", "dice"):
        assert split[f"mean_{name}"] == pytest.approx(np.nanmean(expected[name]), abs=1e-9)
    assert split["mean_boundary_iou"] == pytest.approx(np.nanmean(ours["boundary_iou"]), abs=1e-9)


def test_measures_of_random_images_are_those_of_numpy_and_torchmetrics() -> None:
    assert_equal(random_pairs(60), NAMES)


@needs_photos
@pytest.mark.parametrize("name", ["voc", "coco"])
def test_measures_of_photographs_are_those_of_numpy_and_torchmetrics(name: str) -> None:
    assert_equal(photos(name)[::4], (SHARED / name / "class_names.txt").read_text().split("\n")[:20])
