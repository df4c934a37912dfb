"""The types that flow."""

from __future__ import annotations

import numpy as np
import pytest

from utils.masks import Mask
from utils.structures import Detections, Instances

SIZE = (4, 6)


def instances(masks: list[np.ndarray], class_ids: list[int], mask_scores: list[float]) -> Instances:
    found = Detections.from_arrays([[0, 0, 1, 1]] * len(masks), [0.5] * len(masks), class_ids)
    return Instances(SIZE, found, [Mask.from_array(mask) for mask in masks], np.array(mask_scores, np.float32))


def rows(start: int, stop: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[start:stop] = True
    return mask


def test_the_higher_mask_score_wins_an_overlapped_pixel_whatever_the_order() -> None:
    for order in ([0, 1], [1, 0]):
        masks, scores = [rows(0, 3), rows(1, 4)], [0.9, 0.8]
        labels = instances([masks[i] for i in order], order, [scores[i] for i in order]).to_semantic()
        assert labels[:, 0].tolist() == [1, 1, 1, 2]


def test_equal_mask_scores_go_to_the_lower_index() -> None:
    assert instances([rows(0, 3), rows(1, 4)], [4, 7], [0.5, 0.5]).to_semantic()[:, 0].tolist() == [5, 5, 5, 8]


def test_drawn_shapes_win_over_scored_ones_and_later_over_earlier() -> None:
    labels = instances([rows(0, 2), rows(1, 3), rows(2, 4)], [0, 1, 2], [np.nan, np.nan, 1.0]).to_semantic()
    assert labels[:, 0].tolist() == [1, 2, 2, 3]


def test_an_empty_mask_paints_nothing() -> None:
    assert not instances([np.zeros(SIZE, bool)], [0], [0.9]).to_semantic().any()


def test_detections_refuse_arrays_that_do_not_belong_together() -> None:
    with pytest.raises(AssertionError):
        Detections(np.zeros((2, 4), np.float32), np.zeros(1, np.float32), np.zeros(2, np.int64))


def test_the_instance_that_wins_a_pixel_is_the_same_in_every_map() -> None:
    found = instances([rows(0, 3), rows(1, 4), rows(2, 3)], [4, 7, 4], [0.9, 0.8, np.nan])
    numbers = found.rasterize(np.array([300, 1000, 70], np.uint16), 5)
    assert numbers.dtype == np.uint16
    assert numbers[:, 0].tolist() == [300, 300, 70, 1000]
    assert found.to_semantic()[:, 0].tolist() == [5, 5, 5, 8]
    assert instances([rows(0, 1)], [0], [1]).rasterize(np.array([3]), 9)[:, 0].tolist() == [3, 9, 9, 9]


def test_instances_of_masks_have_tight_boxes() -> None:
    found = Instances.from_masks(SIZE, [2], [Mask.from_array(np.pad(np.ones((2, 3), bool), ((1, 1), (2, 1))))])
    assert found.detections.boxes.tolist() == [[2, 1, 5, 3]]
    assert (found.detections.scores.tolist(), found.detections.class_ids.tolist()) == ([1.0], [2])
    assert np.isnan(found.mask_scores).all()
    assert Instances.from_masks(SIZE, [], []).detections.boxes.shape == (0, 4)
