"""Arithmetic on boxes, all of it.

A box is x1 y1 x2 y2 (xyxy) in pixels unless a function says otherwise: x to the right, y down. Pixel 0 reaches from 0
to 1, so x2 - x1 is the width. `...` in a shape stands for any number of leading axes, none included. Functions keep the
dtype of float boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Size: TypeAlias = tuple[int, int]
"""(height, width) of an image in pixels."""

ScoredBoxes: TypeAlias = "tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.int64]]"
"""The N boxes of one image as a model gives them: (N, 4) x1 y1 x2 y2, (N,) scores in [0, 1], (N,) class ids."""


def xywh_to_xyxy(boxes: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Convert (..., 4) boxes from upper left corner, width and height (COCO, cv2) to two corners."""
    return np.concatenate([boxes[..., :2], boxes[..., :2] + boxes[..., 2:]], axis=-1)


def xyxy_to_xywh(boxes: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Convert (..., 4) boxes from two corners to upper left corner, width and height."""
    return np.concatenate([boxes[..., :2], boxes[..., 2:] - boxes[..., :2]], axis=-1)


def cxcywh_to_xyxy(boxes: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Convert (..., 4) boxes from centre, width and height (YOLO) to two corners."""
    centers, halves = boxes[..., :2], boxes[..., 2:] / 2
    return np.concatenate([centers - halves, centers + halves], axis=-1)


def xyxy_to_cxcywh(boxes: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Convert (..., 4) boxes from two corners to centre, width and height."""
    return np.concatenate([(boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]], axis=-1)


def box_limits(sizes: npt.ArrayLike) -> npt.NDArray[Any]:
    """Return the largest coordinates of boxes, (..., 4) width, height, width, height, from (..., 2) (height, width)."""
    widths_heights = np.asarray(sizes)[..., ::-1]
    return np.concatenate([widths_heights, widths_heights], axis=-1)


def normalize(boxes: npt.NDArray[Any], sizes: npt.ArrayLike) -> npt.NDArray[Any]:
    """Convert (..., 4) boxes from pixels to shares of their image's sides, from 0 to 1; sizes as in `box_limits`."""
    return boxes / box_limits(sizes).astype(boxes.dtype)


def denormalize(boxes: npt.NDArray[Any], sizes: npt.ArrayLike) -> npt.NDArray[Any]:
    """Convert (..., 4) boxes from shares of their image's sides to pixels; sizes as in `box_limits`."""
    return boxes * box_limits(sizes).astype(boxes.dtype)


def clip_boxes(boxes: npt.NDArray[Any], size: Size) -> npt.NDArray[Any]:
    """Move the corners of (..., 4) boxes that lie outside an image to its edge; NaN stays."""
    return np.clip(boxes, 0, box_limits(size).astype(boxes.dtype))


def sanitize(boxes: npt.NDArray[np.float32], size: Size) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_], int]:
    """Clip (N, 4) boxes to their image and find those that are no boxes: NaN, inverted, empty, or wholly outside.

    Returns:
        the clipped boxes (N, 4), a (N,) bool array of those to keep, and how many of the kept ones were clipped.
    """
    clipped = clip_boxes(boxes, size)
    keep = np.all(np.isfinite(boxes), axis=1) & np.all(clipped[:, 2:] > clipped[:, :2], axis=1)
    changed = keep & np.any(clipped != boxes, axis=1)
    return clipped, keep, int(changed.sum())


def covered_pixels(box: npt.NDArray[Any], size: Size) -> tuple[slice, slice]:
    """Return the rows and columns of an image whose pixels a (4,) box covers, wholly or in part."""
    corners = np.concatenate([np.floor(box[:2]), np.ceil(box[2:])])
    left, top, right, bottom = clip_boxes(corners, size).astype(int).tolist()
    return slice(top, bottom), slice(left, right)


def box_of_points(points: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the (4,) box around (K, 2) points, K >= 1."""
    return np.concatenate([points.min(axis=0), points.max(axis=0)])


def enclosing_box(boxes: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Return the (4,) box around (4,) boxes, one at least, none of them inverted."""
    return box_of_points(np.reshape(boxes, (-1, 2)))


def box_of_mask(mask: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return the (4,) int64 box around the nonzero pixels of a (H, W) mask; four zeros where there are none."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return np.zeros(4, np.int64)
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


def rotated_box_of_mask(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Return the (4, 2) corners of the smallest rectangle around the pixels of a (H, W) mask that is not empty.

    The corners go around the rectangle; they may lie outside the mask's array. Found by `cv2.minAreaRect`.
    """
    import cv2

    rows = np.flatnonzero(mask.any(axis=1))
    left, right = mask[rows].argmax(axis=1), mask.shape[1] - mask[rows, ::-1].argmax(axis=1)
    edges = [np.stack([x, y], axis=1) for x in (left, right) for y in (rows, rows + 1)]  # outer corners of the pixels
    return cv2.boxPoints(cv2.minAreaRect(np.concatenate(edges).astype(np.float32))).astype(np.float64)


def corners_of_box(box: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the (4, 2) corners of a (4,) box, clockwise from the upper left one."""
    return box[[[0, 1], [2, 1], [2, 3], [0, 3]]]


def box_area(boxes: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the (...) areas of (..., 4) boxes."""
    return (boxes[..., 2:] - boxes[..., :2]).prod(axis=-1)


def box_intersection(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the (N, M) areas that (N, 4) and (M, 4) boxes have in common, pairwise."""
    return _common_area(first[:, None], second[None])


def box_iou(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Compute the (N, M) float64 intersection over union of (N, 4) and (M, 4) boxes; 0 where both are empty."""
    return paired_box_iou(first[:, None], second[None])


def paired_box_iou(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Compute as `box_iou`, but of each of (..., 4) boxes with the one in its place: (...)."""
    ours, theirs = first.astype(np.float64), second.astype(np.float64)
    both = _common_area(ours, theirs)
    union = box_area(ours) + box_area(theirs) - both
    return np.divide(both, union, out=np.zeros_like(both), where=union > 0)


def _common_area(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> npt.NDArray[Any]:
    lower_right = np.minimum(first[..., 2:], second[..., 2:])
    upper_left = np.maximum(first[..., :2], second[..., :2])
    return (lower_right - upper_left).clip(min=0).prod(axis=-1)
