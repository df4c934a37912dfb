"""Label maps: count their pixels, and find the objects in them."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt

from utils.boxes import xywh_to_xyxy
from utils.classes import BACKGROUND, VOID, class_id_of, label_of
from utils.masks import Mask
from utils.structures import Instances

MAX_PIXELS = 1 << 24
"""Pixels to count at a time: cv2 returns float32, in which larger whole numbers are not exact."""


SPECK = 32
"""A connected part of fewer pixels is no object; in a small image, of fewer than a share of it."""

SPECK_SHARE = 1 / 2000

MAX_LOST = 0.01
"""Pixels of classes up to this share may belong to no object of their class: slips of the pen at edges."""


def value_counts(values: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Count the pixels of each value in an (H, W) map: (256,)."""
    return _histogram(values)


def pair_counts(first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Count the pixels of each pair of values in two (H, W) maps: (256, 256)."""
    assert first.shape == second.shape, (first.shape, second.shape)
    return _histogram(first, second)


def _histogram(*maps: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    shape = [256] * len(maps)
    counts = np.zeros(shape, np.int64)
    height, width = maps[0].shape
    rows = max(1, MAX_PIXELS // max(1, width))
    for top in range(0, height, rows):
        part = [each[top : top + rows] for each in maps]
        found = cv2.calcHist(part, [*range(len(maps))], None, shape, [0, 256] * len(maps))
        counts += found.reshape(shape).astype(np.int64)  # of one map, older versions return a column
    return counts


def instances_of(
    labels: npt.NDArray[np.uint8], objects: npt.NDArray[np.uint8 | np.uint16] | None, specks: bool = True
) -> Instances:
    """Find the true instances of an image; void pixels belong to none.

    Args:
        labels: (H, W) label map.
        objects: (H, W) map with a number for each object, 0 for none, 255 void; an object has the class that most of
            its pixels have. None: each connected part of a class (8 neighbors) is an object.
        specks: whether connected parts that are too small for an object count; `count_specks` tells how many there are.

    Returns:
        tight boxes with scores of 1, and masks; in the order of the object numbers, which are the track ids, or of the
        labels, and then without track ids.

    Raises:
        ValueError: the two maps differ in size.
    """
    if objects is not None and objects.shape != labels.shape:
        raise ValueError(f"its size is {objects.shape[::-1]}, that of the label map is {labels.shape[::-1]}")
    smallest = 0 if specks else _smallest_object(labels)
    found = list(_connected(labels, smallest) if objects is None else _numbered(labels, objects))
    return Instances.from_masks(
        labels.shape,
        [class_id_of(label) for _, label, _ in found],
        [mask for _, _, mask in found],
        track_ids=None if objects is None else [number for number, _, _ in found],
    )


def count_specks(labels: npt.NDArray[np.uint8]) -> int:
    """Count the connected parts in a (H, W) label map that are too small for an object."""
    smallest = _smallest_object(labels)
    return sum(mask.area < smallest for _, _, mask in _connected(labels))


def class_pixels(labels: npt.NDArray[np.uint8], instances: Instances) -> tuple[int, int]:
    """Count the pixels of classes in an (H, W) label map, and those of them that are in no instance of their class.

    Args:
        instances: found by `instances_of` in the same label map, so they do not overlap.
    """
    pairs = zip(instances.masks, label_of(instances.detections.class_ids))
    in_objects = sum(int(np.count_nonzero(labels[mask.slices][mask.crop] == label)) for mask, label in pairs)
    total = int(np.count_nonzero((labels != BACKGROUND) & (labels != VOID)))
    return total, total - in_objects


def _smallest_object(labels: npt.NDArray[np.uint8]) -> float:
    return min(SPECK, labels.size * SPECK_SHARE)


def _numbered(
    labels: npt.NDArray[np.uint8], objects: npt.NDArray[np.uint8 | np.uint16]
) -> Iterator[tuple[int, int, Mask]]:
    """Yield number, label and mask of each object."""
    for number, place in _places(objects):
        own, around = objects[place] == number, labels[place]
        counts = np.bincount(around[own], minlength=256)
        counts[[BACKGROUND, VOID]] = 0
        if counts.any():
            rows, columns = place
            yield number, int(counts.argmax()), Mask.from_array(own & (around != VOID)).moved(columns.start, rows.start)


def _places(objects: npt.NDArray[np.uint8 | np.uint16]) -> Iterator[tuple[int, tuple[slice, slice]]]:
    """Yield each object number and the rows and columns that it takes up, found from the runs of pixels in the rows."""
    (height, width), count = objects.shape, int(objects.max(initial=0)) + 1
    begins = np.ones(objects.shape, bool)
    np.not_equal(objects[:, 1:], objects[:, :-1], out=begins[:, 1:])
    rows, lefts = np.divmod(np.flatnonzero(begins), max(1, width))
    numbers, rights = objects[rows, lefts], np.append(lefts[1:], 0)
    rights[rights == 0] = width  # the next run begins the next row
    top, left = np.full(count, height), np.full(count, width)
    bottom, right = np.zeros(count, np.int64), np.zeros(count, np.int64)
    for limit, ends in ((top, rows), (left, lefts)):
        np.minimum.at(limit, numbers, ends)
    for limit, ends in ((bottom, rows + 1), (right, rights)):
        np.maximum.at(limit, numbers, ends)
    for number in np.setdiff1d(np.flatnonzero(bottom), [BACKGROUND, VOID]).tolist():
        yield number, (slice(top[number], bottom[number]), slice(left[number], right[number]))


def _connected(labels: npt.NDArray[np.uint8], smallest: float = 0) -> Iterator[tuple[int, int, Mask]]:
    """Yield the number within its label, label and mask of each connected part of so many pixels at least."""
    for label in np.setdiff1d(np.flatnonzero(value_counts(labels)), [BACKGROUND, VOID]).tolist():
        whole = Mask.from_array(labels == label)
        count, parts, stats, _ = cv2.connectedComponentsWithStats(whole.crop.view(np.uint8))
        for part in (np.flatnonzero(stats[1:count, cv2.CC_STAT_AREA] >= smallest) + 1).tolist():
            left, top, right, bottom = xywh_to_xyxy(stats[part, : cv2.CC_STAT_AREA]).tolist()
            crop = parts[top:bottom, left:right] == part
            yield part, label, Mask(whole.left + left, whole.top + top, crop)
