"""Thresholds of classes: the counts by which they are chosen, the search, and the gain on images it did not see."""

from __future__ import annotations

from itertools import product

import numpy as np
import numpy.typing as npt
import pytest

from utils.classes import VOID
from utils.masks import Mask
from utils.metrics.segmentation import LabelCounts, confusion_matrix, mean_iou
from utils.metrics.thresholds import GRID, Stacks, best_common, best_of_classes, choose, halves, stack_pixels
from utils.structures import Instances

SIZE, CLASSES = (24, 32), 3
Scene = tuple[npt.NDArray[np.uint8], Instances]


def scene(rng: np.random.Generator, objects: int, void: bool = True) -> Scene:
    """A target and objects that overlap much, some of the same place, class or score."""
    target = np.zeros(SIZE, np.uint8)
    masks, class_ids, scores = [], rng.integers(CLASSES, size=objects), rng.integers(1, 100, objects) / 100
    for class_id, score in zip(class_ids, scores):
        (y, x), (h, w) = rng.integers(0, 16, 2), rng.integers(3, 14, 2)
        full = np.zeros(SIZE, bool)
        full[y : y + h, x : x + w] = rng.random((min(h, 24 - y), w)) < 0.9
        if rng.random() < score:  # so that scores say something
            target[full] = class_id + 1
        masks.append(Mask.from_array(full))
    target[rng.random(SIZE) < 0.02] = VOID if void else 0
    return target, Instances.from_masks(SIZE, class_ids, masks, scores, rng.integers(1, 9, objects) / 10)


@pytest.fixture
def scenes() -> list[Scene]:
    rng = np.random.default_rng(5)
    return [scene(rng, int(objects)) for objects in (0, 1, *rng.integers(2, 12, 18))]


def really(scenes: list[Scene], conf: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """The confusion matrices of a run that leaves out what does not score above the thresholds of classes."""
    matrices = []
    for target, found in scenes:
        kept = found[found.detections.scores > conf[found.detections.class_ids]]
        matrices.append(confusion_matrix(kept.to_semantic(), target, CLASSES + 1))
    return np.stack(matrices)


def joined(scenes: list[Scene]) -> Stacks:
    return Stacks.join([stack_pixels(*each) for each in scenes])


def test_counts_under_any_thresholds_are_those_of_a_run_with_them(scenes: list[Scene]) -> None:
    stacks, rng = joined(scenes), np.random.default_rng(0)
    for _ in range(30):
        conf = rng.choice(GRID, CLASSES)
        counts = stacks.counts(stacks.labels(conf), CLASSES + 1, len(scenes))
        expected = LabelCounts.from_matrix(really(scenes, conf)).pixels
        np.testing.assert_array_equal(counts, expected)


def test_objects_that_no_threshold_shows_take_no_room() -> None:
    mask = Mask(0, 0, np.ones(SIZE, bool))
    hidden = Instances.from_masks(SIZE, [0] * 50, [mask] * 50, [0.9] + [0.5] * 49, [0.9] * 50)
    stacks = stack_pixels(np.zeros(SIZE, np.uint8), hidden)
    assert stacks.pixels.tolist() == [24 * 32] and stacks.scores[0, :2].tolist() == [np.float32(0.9), -1]


def test_the_common_threshold_is_the_best_of_all(scenes: list[Scene]) -> None:
    chosen = best_common(joined(scenes), CLASSES + 1)
    means = [
        float(mean_iou(LabelCounts.from_matrix(really(scenes, np.full(CLASSES, each)).sum(axis=0)))) for each in GRID
    ]
    assert means[int(np.searchsorted(GRID, np.float32(chosen)))] == pytest.approx(max(means))


@pytest.mark.slow
def test_no_change_of_one_class_improves_the_thresholds_of_classes(scenes: list[Scene]) -> None:
    start = best_common(joined(scenes), CLASSES + 1)
    conf = best_of_classes(joined(scenes), CLASSES + 1, start)

    def value(changed: npt.NDArray[np.float32]) -> float:
        return float(mean_iou(LabelCounts.from_matrix(really(scenes, changed).sum(axis=0))))

    reached = value(conf)
    assert reached > value(np.full(CLASSES, start, np.float32))
    for class_id, threshold in product(range(CLASSES), GRID):
        changed = conf.copy()
        changed[class_id] = threshold
        assert value(changed) <= reached + 1e-9


def test_a_class_that_is_never_true_keeps_the_common_threshold(scenes: list[Scene]) -> None:
    without = [(np.where(target == 2, 0, target).astype(np.uint8), found) for target, found in scenes]
    assert best_of_classes(joined(without), CLASSES + 1, 0.25)[1] == 0.25


def test_the_gain_is_that_of_thresholds_chosen_on_the_other_half(scenes: list[Scene]) -> None:
    ids = [f"clip{i // 4}/{i:04d}" for i in range(len(scenes))]
    before, first = np.full(CLASSES, 0.25, np.float32), halves(ids)
    assert first.sum() == 8 and all(len({*first[i : i + 4]}) == 1 for i in range(0, 20, 4))
    matrix = np.zeros((CLASSES + 1, CLASSES + 1), np.int64)
    for half in (first, ~first):
        seen, other = ([each for each, on in zip(scenes, side) if on] for side in (half, ~half))
        start = best_common(joined(seen), CLASSES + 1)
        matrix += really(other, best_of_classes(joined(seen), CLASSES + 1, start)).sum(axis=0)
    _, choice = choose(joined(scenes), ids, CLASSES + 1, before)
    now, was = (float(mean_iou(LabelCounts.from_matrix(each))) for each in (matrix, really(scenes, before).sum(axis=0)))
    assert (choice.mean_iou, choice.gain) == pytest.approx((now, now - was))
    assert choice.limits[0] < choice.gain < choice.limits[1]
    assert choice.seen > choice.mean_iou


def test_scores_that_say_nothing_gain_nothing_on_the_other_half() -> None:
    """On the images they were chosen on, thresholds gain even then."""
    rng = np.random.default_rng(1)
    shuffled = []
    for target, found in (scene(rng, 6) for _ in range(40)):
        scores = rng.permutation(found.detections.scores)
        shuffled.append((target, Instances.from_masks(SIZE, found.detections.class_ids, found.masks, scores)))
    stacks, ids = joined(shuffled), [f"{i}" for i in range(40)]
    before = np.full(CLASSES, best_common(stacks, CLASSES + 1), np.float32)
    _, choice = choose(stacks, ids, CLASSES + 1, before)
    assert choice.seen - (choice.mean_iou - choice.gain) > 0 >= choice.gain
