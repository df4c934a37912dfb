"""The objects in a pair of masks, for finetuning."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from utils.classes import BACKGROUND, VOID, label_of
from utils.structures import Detections, Instances, Mask


def instances_of(labels: np.ndarray, objects: np.ndarray | None) -> Instances:
    """The true instances of an image; void pixels belong to none.

    Args:
        labels: (H, W) uint8 label map.
        objects: (H, W) uint8 with a number for each object, 0 for none, 255 void; an object has the class that most of
            its pixels have. None: each connected part of a class (8 neighbours) is an object.

    Returns:
        tight boxes with scores of 1, and masks; in the order of the object numbers, or of the labels.

    Raises:
        ValueError: the two maps differ in size.
    """
    if objects is not None and objects.shape != labels.shape:
        raise ValueError(f"its size is {objects.shape[::-1]}, that of the label map is {labels.shape[::-1]}")
    found = list(_connected(labels) if objects is None else _numbered(labels, objects))
    masks = [mask for _, mask in found]
    boxes = [(mask.left, mask.top, mask.left + mask.crop.shape[1], mask.top + mask.crop.shape[0]) for mask in masks]
    class_ids = [label - label_of(0) for label, _ in found]
    detections = Detections.of(boxes, np.ones(len(found)), class_ids)
    return Instances(labels.shape, detections, masks, np.full(len(found), np.nan, np.float32))


def _numbered(labels: np.ndarray, objects: np.ndarray) -> Iterator[tuple[int, Mask]]:
    pairs = np.bincount(objects.ravel() * np.int64(256) + labels.ravel(), minlength=256 * 256).reshape(256, 256)
    pairs[:, [BACKGROUND, VOID]] = 0
    for number in range(1, VOID):
        if pairs[number].any():
            yield int(pairs[number].argmax()), Mask.of((objects == number) & (labels != VOID))


def _connected(labels: np.ndarray) -> Iterator[tuple[int, Mask]]:
    for label in np.setdiff1d(labels, [BACKGROUND, VOID]):
        count, parts, stats, _ = cv2.connectedComponentsWithStats((labels == label).astype(np.uint8))
        for part in range(1, count):
            left, top, width, height = stats[part, : cv2.CC_STAT_AREA].tolist()
            yield int(label), Mask(left, top, parts[top : top + height, left : left + width] == part)
