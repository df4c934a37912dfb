"""Arithmetic on boxes, against torchvision where it has the same."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torchvision import ops

from utils.boxes import (
    box_area,
    box_intersection,
    box_iou,
    box_of_mask,
    box_of_points,
    clip_boxes,
    covered_pixels,
    cxcywh_to_xyxy,
    denormalize,
    enclosing_box,
    normalize,
    sanitize,
    xywh_to_xyxy,
    xyxy_to_cxcywh,
    xyxy_to_xywh,
)

SIZE = (4, 6)


def random_boxes(count: int, seed: int = 0) -> npt.NDArray[np.float64]:
    """Sound boxes within 100 pixels, some of which overlap."""
    corners = np.random.default_rng(seed).uniform(0, 100, (count, 2, 2))
    return np.sort(corners, axis=1).reshape(count, 4)


def test_conversions_are_those_of_torchvision() -> None:
    boxes = random_boxes(20)
    for convert, source, target in (
        (xywh_to_xyxy, "xywh", "xyxy"),
        (xyxy_to_xywh, "xyxy", "xywh"),
        (cxcywh_to_xyxy, "cxcywh", "xyxy"),
        (xyxy_to_cxcywh, "xyxy", "cxcywh"),
    ):
        expected = ops.box_convert(torch.from_numpy(boxes), source, target).numpy()
        np.testing.assert_allclose(convert(boxes), expected)
        np.testing.assert_array_equal(convert(boxes[0]), convert(boxes)[0])
        assert convert(boxes.astype(np.float32)).dtype == np.float32


def test_iou_and_areas_are_those_of_torchvision() -> None:
    first, second = random_boxes(20), random_boxes(30, seed=1)
    first[0] = second[0]
    theirs = [torch.from_numpy(boxes) for boxes in (first, second)]
    np.testing.assert_allclose(box_area(first), ops.box_area(theirs[0]).numpy())
    np.testing.assert_allclose(box_iou(first, second), ops.box_iou(*theirs).numpy())
    assert box_iou(first, second)[0, 0] == 1 and (box_iou(first, second) == 0).any()
    union = box_area(first)[:, None] + box_area(second) - box_intersection(first, second)
    np.testing.assert_allclose(box_intersection(first, second) / union, box_iou(first, second))


def test_boxes_without_area_overlap_nothing() -> None:
    empty, box = np.zeros((1, 4)), np.array([[0.0, 0, 2, 2]])
    assert box_iou(empty, empty) == box_iou(empty, box) == 0
    assert box_iou(np.zeros((0, 4)), box).shape == (0, 1)


def test_shares_of_the_sides_become_pixels_and_back() -> None:
    assert denormalize(np.array([0.5, 0.25, 1, 1]), SIZE).tolist() == [3, 1, 6, 4]
    boxes = np.array([[3, 1, 6, 4], [3, 1, 6, 4]], np.float32)
    shares = normalize(boxes, [SIZE, (8, 12)])
    assert shares.tolist() == [[0.5, 0.25, 1, 1], [0.25, 0.125, 0.5, 0.5]] and shares.dtype == np.float32


def test_clipping_is_that_of_torchvision() -> None:
    boxes = random_boxes(20).astype(np.float32) - 30
    expected = ops.clip_boxes_to_image(torch.from_numpy(boxes), (40, 50)).numpy()
    np.testing.assert_array_equal(clip_boxes(boxes, (40, 50)), expected, strict=True)


def test_sanitize_clips_what_reaches_out_and_drops_what_is_no_box() -> None:
    nan, inf = np.nan, np.inf
    boxes = [[1, 1, 2, 2], [-5, 0, 3, 9], [2, 2, 1, 3], [1, 1, 1, 3], [nan, 0, 1, 1], [7, 0, 9, 2], [0, 0, inf, 2]]
    clipped, keep, changed = sanitize(np.array(boxes, np.float32), SIZE)
    assert keep.tolist() == [True, True, False, False, False, False, False] and changed == 1
    assert clipped[keep].tolist() == [[1, 1, 2, 2], [0, 0, 3, 4]]


@pytest.mark.parametrize(
    "box, pixels",
    [
        ([1, 1, 3, 2], [(1, 1), (1, 2)]),
        ([1.5, 0.9, 2.1, 1.1], [(0, 1), (0, 2), (1, 1), (1, 2)]),
        ([-9, 3, 1, 99], [(3, 0)]),
        ([7, 0, 9, 2], []),
        ([3, 1, 1, 2], []),
    ],
)
def test_a_box_covers_the_pixels_that_it_touches(box: list[float], pixels: list[tuple[int, int]]) -> None:
    picture = np.zeros(SIZE, bool)
    picture[covered_pixels(np.array(box), SIZE)] = True
    assert [*zip(*(axis.tolist() for axis in picture.nonzero()))] == pixels


def test_the_box_of_a_mask_is_that_of_torchvision() -> None:
    rng = np.random.default_rng(0)
    masks = [np.pad(rng.random((9, 7)) < 0.1, ((i, 3), (2, i))) for i in range(5)]
    for mask in masks:
        inclusive = ops.masks_to_boxes(torch.from_numpy(mask[None])).numpy()[0]
        assert box_of_mask(mask).tolist() == (inclusive + np.array([0, 0, 1, 1])).tolist()
    assert box_of_mask(np.zeros(SIZE, bool)).tolist() == [0, 0, 0, 0]


def test_a_box_encloses_points_and_boxes() -> None:
    assert box_of_points(np.array([[3, 1], [2, 5], [4, 4]])).tolist() == [2, 1, 4, 5]
    assert enclosing_box([np.array([3, 1, 4, 5]), np.array([0, 2, 1, 9])]).tolist() == [0, 1, 4, 9]
