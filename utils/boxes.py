"""Arithmetic on boxes: (N, 4) arrays x1 y1 x2 y2 in pixels, the right and lower edge outside."""

from __future__ import annotations

import numpy as np


def sanitize(boxes: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, int]:
    """Clip boxes to their image and find those that are no boxes: NaN, inverted, of no area, or wholly outside.

    Args:
        boxes: (N, 4) float32, x1 y1 x2 y2 in pixels.
        size: (height, width) of the image.

    Returns:
        the clipped boxes (N, 4), a (N,) bool array of those to keep, and how many of the kept ones were clipped.
    """
    height, width = size
    limits = np.array([width, height, width, height], np.float32)
    clipped = np.clip(boxes, 0, limits)
    finite = np.isfinite(boxes).all(axis=1)
    keep = finite & (clipped[:, 2] > clipped[:, 0]) & (clipped[:, 3] > clipped[:, 1])
    changed = keep & (clipped != boxes).any(axis=1)
    return clipped, keep, int(changed.sum())


def box_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(N, M) float64 intersection over union of (N, 4) and (M, 4) boxes, x1 y1 x2 y2, each of some area."""
    ours, theirs = first[:, None].astype(np.float64), second[None].astype(np.float64)
    sides = np.minimum(ours[..., 2:], theirs[..., 2:]) - np.maximum(ours[..., :2], theirs[..., :2])
    both = sides.clip(min=0).prod(axis=-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).prod(axis=-1) for boxes in (ours, theirs)]
    return both / (areas[0] + areas[1] - both)
