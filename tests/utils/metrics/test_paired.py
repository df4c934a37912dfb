"""Differences against torchmetrics, intervals against drawing one by one, and how often they hold the truth."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassJaccardIndex

from datasets.scenes.scene import Scene, paint_scene
from utils.metrics import bootstrap, paired
from utils.metrics.bootstrap import RESAMPLES, SEED
from utils.metrics.paired import Difference, compare, sentence
from utils.metrics.segmentation import LabelCounts, boundary_counts, confusion_matrix, pixel_accuracy
from utils.metrics.summary import SplitMeasure

NUM_LABELS = 6


def imitation(scene: Scene, rng: np.random.Generator, missed: float, wrong: float) -> np.ndarray:
    """A label map as a model draws it: objects missed, of another class, grown and shrunk."""
    label_map = np.zeros(scene.classes.shape, np.uint8)
    for number, class_id in enumerate(scene.class_ids, 1):
        if rng.random() >= missed:
            change, side = rng.choice([cv2.erode, cv2.dilate]), int(rng.integers(1, 9))
            mask = change((scene.instances == number).astype(np.uint8), np.ones((side, side), np.uint8))
            label_map[mask > 0] = 1 + (rng.integers(5) if rng.random() < wrong else class_id)
    return label_map


def maps(count: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Target and the maps of two models of painted scenes."""
    found = []
    for index in range(count):
        scene, rng = paint_scene(77, index, True), np.random.default_rng(index)
        pair = imitation(scene, rng, 0.15, 0.05), imitation(scene, rng, 0.1, 0.05)
        found.append((scene.classes, *pair))
    return found


def counts_of(scenes: Sequence[tuple[np.ndarray, ...]]) -> np.ndarray:
    """(N, 2, 2, 3, L) float64, as `compare` takes them."""
    rows = []
    for target, *pair in scenes:
        whole = [LabelCounts.from_matrix(confusion_matrix(each, target, NUM_LABELS)).pixels for each in pair]
        edges = [boundary_counts(each, target, NUM_LABELS).pixels for each in pair]
        rows.append(np.stack([whole, edges], axis=1))
    return np.stack(rows).astype(np.float64)


@pytest.fixture(scope="module")
def scenes() -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    return maps(80)


@pytest.fixture(scope="module")
def counts(scenes: Sequence[tuple[np.ndarray, ...]]) -> np.ndarray:
    return counts_of(scenes)


def by_key(table: Sequence[Difference]) -> dict[tuple[str, int | None], Difference]:
    return {(each.key, each.label): each for each in table}


def test_values_are_those_of_torchmetrics(scenes: Sequence[tuple[np.ndarray, ...]], counts: np.ndarray) -> None:
    found = by_key(compare(counts[:6]))
    for run in range(2):
        metrics = [MulticlassJaccardIndex(NUM_LABELS, average=each) for each in ("none", "macro")]
        for target, *pair in scenes[:6]:
            for metric in metrics:
                metric.update(torch.from_numpy(pair[run]).long(), torch.from_numpy(target).long())
        ious, mean = (metric.compute().numpy() for metric in metrics)
        value = "after" if run else "before"
        assert getattr(found["mean_iou", None], value) == pytest.approx(float(mean), abs=1e-6)
        for label in np.flatnonzero(counts[:6].any(axis=(0, 1, 2, 3))).tolist():
            assert getattr(found["iou", label], value) == pytest.approx(float(ious[label]), abs=1e-6)


def test_intervals_are_those_of_drawing_pairs_one_by_one(counts: np.ndarray) -> None:
    few = counts[:25]
    gains = []
    for row in np.random.default_rng(SEED).integers(25, size=(RESAMPLES, 25)):
        before, after = few[row].sum(axis=0)[:, 0]
        with np.errstate(invalid="ignore"):
            ious = [tp / (predicted + target - tp) for tp, predicted, target in (before, after)]
        gains.append([*(ious[1] - ious[0]), np.nanmean(ious[1]) - np.nanmean(ious[0])])
    found, expected = by_key(compare(few)), np.nanpercentile(gains, [2.5, 97.5], axis=0)
    for label in np.flatnonzero(few.any(axis=(0, 1, 2, 3))).tolist():
        assert found["iou", label].limits == pytest.approx(expected[:, label].tolist(), abs=1e-12)
    assert found["mean_iou", None].limits == pytest.approx(expected[:, -1].tolist(), abs=1e-12)


@pytest.mark.slow
def test_the_interval_holds_the_truth_in_93_to_97_percent_of_400_splits(
    counts: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Splits of 150 images drawn from painted scenes, of which the difference is known."""
    monkeypatch.setattr(bootstrap, "RESAMPLES", 500)
    truth, rng = by_key(compare(counts)), np.random.default_rng(5)
    keys = [("mean_iou", None), ("pixel_accuracy", None), ("mean_dice", None)]
    held = dict.fromkeys(keys, 0)
    for _ in range(400):
        found = by_key(compare(counts[rng.integers(len(counts), size=150)]))
        for key in keys:
            low, high = found[key].limits
            held[key] += low <= truth[key].gain <= high
    assert all(0.93 * 400 <= each <= 0.97 * 400 for each in held.values()), held


def test_the_same_run_twice_has_no_difference_and_nobody_is_better(counts: np.ndarray) -> None:
    same = np.repeat(counts[:9, :1], 2, axis=1)
    assert all(each.gain == 0 and each.limits == (0, 0) for each in compare(same) if not np.isnan(each.limits[0]))
    assert sentence(compare(same)[0], ("A", "B")) == (
        "B and A cannot be told apart: +0.0 points of mIoU (95 %: 0.0 to 0.0)"
    )


def test_a_single_image_and_a_label_in_one_image_have_no_interval(counts: np.ndarray) -> None:
    assert all(np.isnan(each.limits).all() for each in compare(counts[:1]))
    few = counts[:10].copy()
    few[1:, ..., 5] = 0
    found = by_key(compare(few))
    if few[0, ..., 5].any():
        assert np.isnan(found["iou", 5].limits).all()
    assert not np.isnan(found["iou", 0].limits).any()


@pytest.mark.parametrize(
    ("gain", "limits", "said"),
    [
        (0.012, (0.004, 0.0201), "B is better than A by 1.2 points of mIoU (95 %: 0.4 to 2.0)"),
        (-0.012, (-0.02, -0.004), "B is worse than A by 1.2 points of mIoU (95 %: 0.4 to 2.0)"),
        (0.002, (-0.01, 0.014), "B and A cannot be told apart: +0.2 points of mIoU (95 %: -1.0 to 1.4)"),
        (0.2, (np.nan, np.nan), "B and A cannot be told apart: +20.0 points of mIoU (too few images for an interval)"),
    ],
)
def test_one_sentence_says_who_is_better(gain: float, limits: tuple[float, float], said: str) -> None:
    assert sentence(Difference("mean_iou", "Mean IoU", None, 0.5, 0.5 + gain, limits), ("A", "B")) == said


def test_every_measure_of_labels_has_its_mean(counts: np.ndarray) -> None:
    table = compare(counts[:2])
    assert {f"mean_{key}" for key in paired.LABEL_MEASURES} <= {each.key for each in table if each.label is None}
    assert table[0].key == "mean_iou"


def test_a_measure_of_the_split_that_takes_counts_is_compared_too(
    counts: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = SplitMeasure("error rate", lambda each: 1 - pixel_accuracy(each), of_counts=True)
    monkeypatch.setitem(paired.SPLIT_MEASURES, "error_rate", line)
    found = by_key(compare(counts[:6]))
    error, accuracy = found["error_rate", None], found["pixel_accuracy", None]
    assert error.title == "Error rate"
    assert (error.before, error.gain) == pytest.approx((1 - accuracy.before, -accuracy.gain))
