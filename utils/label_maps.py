"""Label maps: pixels of each value, and the objects that a map holds."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from utils.boxes import xywh_to_xyxy
from utils.classes import BACKGROUND, VOID, class_id_of
from utils.masks import Mask
from utils.structures import Instances

AT_ONCE = 1 << 24
"""Pixels: cv2 answers in float32, which counts no further."""


def value_counts(values: np.ndarray) -> np.ndarray:
    """(256,) int64: the pixels of each value in a (H, W) uint8 map."""
    return _histogram(values)


def pair_counts(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(256, 256) int64: the pixels of each pair of values in two (H, W) uint8 maps."""
    assert first.shape == second.shape, (first.shape, second.shape)
    return _histogram(first, second)


def _histogram(*maps: np.ndarray) -> np.ndarray:
    shape = [256] * len(maps)
    counts = np.zeros(shape, np.int64)
    height, width = maps[0].shape
    rows = max(1, AT_ONCE // max(1, width))
    for top in range(0, height, rows):
        part = [each[top : top + rows] for each in maps]
        found = cv2.calcHist(part, [*range(len(maps))], None, shape, [0, 256] * len(maps))
        counts += found.reshape(shape).astype(np.int64)  # of one map, older versions give a column
    return counts


def instances_of(labels: np.ndarray, objects: np.ndarray | None) -> Instances:
    """The true instances of an image; void pixels belong to none.

    Args:
        labels: (H, W) uint8 label map.
        objects: (H, W) uint8 or uint16 with a number for each object, 0 for none, 255 void; an object has the class
            that most of its pixels have. None: each connected part of a class (8 neighbours) is an object.

    Returns:
        tight boxes with scores of 1, and masks; in the order of the object numbers, which are the track ids, or of the
        labels, and then without track ids.

    Raises:
        ValueError: the two maps differ in size.
    """
    if objects is not None and objects.shape != labels.shape:
        raise ValueError(f"its size is {objects.shape[::-1]}, that of the label map is {labels.shape[::-1]}")
    found = list(_connected(labels) if objects is None else _numbered(labels, objects))
    return Instances.from_masks(
        labels.shape,
        [class_id_of(label) for _, label, _ in found],
        [mask for _, _, mask in found],
        track_ids=None if objects is None else [number for number, _, _ in found],
    )


def _numbered(labels: np.ndarray, objects: np.ndarray) -> Iterator[tuple[int, int, Mask]]:
    """Number, label and mask of each object."""
    count = 256 * (int(objects.max(initial=0)) + 1)
    pairs = np.bincount(objects.ravel() * np.int64(256) + labels.ravel(), minlength=count).reshape(-1, 256)
    pairs[:, [BACKGROUND, VOID]] = 0
    for number in np.setdiff1d(np.flatnonzero(pairs.any(axis=1)), [BACKGROUND, VOID]).tolist():
        yield number, int(pairs[number].argmax()), Mask.from_array((objects == number) & (labels != VOID))


def _connected(labels: np.ndarray) -> Iterator[tuple[int, int, Mask]]:
    """Number within its label, label and mask of each connected part."""
    for label in np.setdiff1d(np.flatnonzero(value_counts(labels)), [BACKGROUND, VOID]).tolist():
        whole = Mask.from_array(labels == label)
        count, parts, stats, _ = cv2.connectedComponentsWithStats(whole.crop.view(np.uint8))
        for part in range(1, count):
            left, top, right, bottom = xywh_to_xyxy(stats[part, : cv2.CC_STAT_AREA]).tolist()
            crop = parts[top:bottom, left:right] == part
            yield part, label, Mask(whole.left + left, whole.top + top, crop)
