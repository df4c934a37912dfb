"""The bootstrap against one that sums up the confusion matrices of the images drawn, one draw after the other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.helpers.evaluate import NAMES, random_pairs
from utils.metrics import bootstrap as module
from utils.metrics.bootstrap import RESAMPLES, SEED, bootstrap
from utils.metrics.scores import ImageScore, score_image

NUM_LABELS = len(NAMES) + 1


@pytest.fixture(scope="module")
def scored() -> list[tuple[ImageScore, np.ndarray]]:
    return [score_image(sample, instances, NUM_LABELS) for sample, instances in random_pairs(23)]


def iou(matrix: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return matrix.diagonal() / (matrix.sum(0) + matrix.sum(1) - matrix.diagonal())


def test_intervals_are_those_of_drawing_one_by_one(scored: list[tuple[ImageScore, np.ndarray]]) -> None:
    matrices = np.stack([matrix for _, matrix in scored])
    drawn = np.random.default_rng(SEED).integers(len(scored), size=(RESAMPLES, len(scored)))
    sums = [matrices[row].sum(axis=0) for row in drawn]
    ious = np.array([iou(matrix) for matrix in sums])
    found = bootstrap([score for score, _ in scored], NUM_LABELS)
    limits = [2.5, 97.5]
    accuracies = [matrix.trace() / matrix.sum() for matrix in sums]
    np.testing.assert_allclose(found.pixel_accuracy, np.percentile(accuracies, limits), rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.mean_iou, np.percentile(np.nanmean(ious, axis=1), limits), rtol=0, atol=1e-12)
    for label in range(NUM_LABELS):
        if np.isnan(ious[:, label]).all():
            assert np.isnan(found.class_iou[:, label]).all()
        else:
            expected = np.nanpercentile(ious[:, label], limits)
            np.testing.assert_allclose(found.class_iou[:, label], expected, rtol=0, atol=1e-12)


def test_frames_of_a_clip_are_drawn_together(scored: list[tuple[ImageScore, np.ndarray]]) -> None:
    """Images 0 to 9 are frames of two clips; the other 13 are in none."""
    clips = ["a", "b", "a", "a", "b", "a", "b", "b", "b", "a"]
    scores = [replace(score, image_id=f"{clip}/{i}") for i, (clip, (score, _)) in enumerate(zip(clips, scored))]
    matrices = np.stack([matrix for _, matrix in scored])
    whole = [matrices[[i for i, each in enumerate(clips) if each == clip]].sum(axis=0) for clip in ("a", "b")]
    units = np.stack([*whole, *matrices[len(clips) :]])
    drawn = np.random.default_rng(SEED).integers(len(units), size=(RESAMPLES, len(units)))
    means = [np.nanmean(iou(units[row].sum(axis=0))) for row in drawn]
    found = bootstrap([*scores, *(score for score, _ in scored[len(clips) :])], NUM_LABELS)
    np.testing.assert_allclose(found.mean_iou, np.percentile(means, [2.5, 97.5]), rtol=0, atol=1e-12)
    assert found.drawn == 15
    alone = bootstrap([score for score in scores if score.image_id.startswith("a/")], NUM_LABELS)
    assert alone.drawn == 1 and np.isnan(alone.mean_iou).all(), "one clip tells nothing of others"


def test_blocks_change_nothing(scored: list[tuple[ImageScore, np.ndarray]], monkeypatch: pytest.MonkeyPatch) -> None:
    scores = [score for score, _ in scored]
    whole = bootstrap(scores, NUM_LABELS)
    monkeypatch.setattr(module, "BLOCK", 7 * len(scores))
    parts = bootstrap(scores, NUM_LABELS)
    np.testing.assert_array_equal(parts.class_iou, whole.class_iou)
    np.testing.assert_array_equal(parts.mean_iou, whole.mean_iou)


@pytest.mark.slow
def test_the_interval_covers_what_many_images_would_say() -> None:
    """95 of 100 small splits should cover the mean IoU of all images; a few more or less are chance."""
    scores = [score_image(sample, instances, NUM_LABELS) for sample, instances in random_pairs(400)]
    truth = iou(np.sum([matrix for _, matrix in scores], axis=0))[1]
    covered = 0
    for start in range(0, 400, 20):
        low, high = bootstrap([score for score, _ in scores[start : start + 20]], NUM_LABELS).class_iou[:, 1]
        covered += low <= truth <= high
    assert 16 <= covered <= 20


@pytest.mark.parametrize("count", [0, 1])
def test_a_single_image_tells_nothing_of_others(count: int, scored: list[tuple[ImageScore, np.ndarray]]) -> None:
    found = bootstrap([score for score, _ in scored[:count]], NUM_LABELS)
    assert np.isnan(found.mean_iou).all() and np.isnan(found.class_iou).all()


def test_a_label_in_a_single_image_has_no_interval(scored: list[tuple[ImageScore, np.ndarray]]) -> None:
    scores = [score for score, _ in scored]
    once = next(score for score in scores if 4 in score.labels)
    found = bootstrap([once, *(score for score in scores if 4 not in score.labels)], NUM_LABELS)
    assert np.isnan(found.class_iou[:, 4]).all() and not np.isnan(found.class_iou[:, 0]).any()
