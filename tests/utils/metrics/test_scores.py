"""An image's objects, compared one by one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.evaluate import random_pairs
from utils.classes import VOID
from utils.masks import Mask
from utils.metrics.scores import score_image, score_objects
from utils.structures import Instances, Sample


def test_areas_and_overlaps_are_those_of_whole_masks_without_void() -> None:
    overlapping = 0
    for sample, instances in random_pairs(30):
        counted, scores = sample.gt_mask != VOID, score_objects(sample, instances)
        true = [mask.to_full(sample.size) for mask in sample.gt_instances.masks]
        for i, mask in enumerate(instances.masks):
            full = mask.to_full(sample.size)
            ours = full & counted
            assert (scores.areas[i], scores.on_void[i]) == (ours.sum(), (full & ~counted).sum())
            for j, other in enumerate(true):
                same = scores.class_ids[i] == scores.true_class_ids[j]
                both = (ours & other).sum()
                assert scores.ious[i, j] == (both / (ours | other).sum() if same and both else 0)
                overlapping += both > 0
        assert scores.true_areas.tolist() == [mask.sum() for mask in true]
        assert scores.has_instance_ids
    assert overlapping > 50


def test_best_overlaps_are_0_where_there_is_nothing() -> None:
    sample, instances = next(pair for pair in random_pairs(30) if len(pair[0].gt_instances) and not len(pair[1]))
    scores = score_objects(sample, instances)
    assert len(scores.best_ious) == 0
    assert scores.true_best_ious.tolist() == [0] * len(sample.gt_instances)


def test_without_true_instances_connected_parts_stand_for_them() -> None:
    target = np.array([[1, 1, 0, 1], [0, 0, 0, VOID]], np.uint8)
    sample = Sample("a", Path("a.jpg"), np.zeros((2, 4, 3), np.uint8), target)
    instances = Instances.from_masks((2, 4), [0], [Mask.from_array(np.array([[0, 1, 0, 0], [0, 0, 0, 1]]))])
    scores = score_objects(sample, instances)
    assert not scores.has_instance_ids
    assert (scores.true_areas.tolist(), scores.areas.tolist(), scores.on_void.tolist()) == ([2, 1], [1], [1])
    assert scores.ious.tolist() == [[0.5, 0]]


def test_equal_masks_give_equal_scores_bit_by_bit() -> None:
    for sample, instances in random_pairs(6):
        again = replace(instances, masks=[Mask.from_array(mask.to_full(instances.size)) for mask in instances.masks])
        (one, matrix), (other, same) = (score_image(sample, each, 7) for each in (instances, again))
        np.testing.assert_array_equal(matrix, same)
        np.testing.assert_array_equal(one.boundary.pixels, other.boundary.pixels)
        np.testing.assert_array_equal(one.objects.ious, other.objects.ious)


def test_an_image_s_measures_are_those_of_its_labels() -> None:
    target = np.array([[0, 1, 1, VOID]], np.uint8)
    sample = Sample("a", Path("a.jpg"), np.zeros((1, 4, 3), np.uint8), target)
    instances = Instances.from_masks((1, 4), [1], [Mask.from_array(np.array([[0, 0, 1, 1]]))])
    score, _ = score_image(sample, instances, 4)
    assert score.labels.tolist() == [0, 1, 2]
    assert score.class_iou.tolist() == [0.5, 0, 0]
    assert (score.pixels, score.wrong_pixels, score.pixel_accuracy) == (3, 2, pytest.approx(1 / 3))
    assert score.mean_iou == pytest.approx(1 / 6)
