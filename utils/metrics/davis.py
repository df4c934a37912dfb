"""The measures of DAVIS: region similarity J and contour accuracy F of the objects of a frame."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter

import cv2
import numpy as np

from utils.classes import VOID
from utils.masks import Mask
from utils.structures import Frame, Instances, Sample

TOLERANCE = 0.008
"""How far apart contours may lie, as a share of the image's diagonal."""


@dataclass(frozen=True)
class Region:
    """A mask, and what comparing it with many others takes.

    Attributes:
        mask: its crop need not be tight.
        size: (height, width) of the image in pixels.
    """

    mask: Mask
    size: tuple[int, int]

    @cached_property
    def area(self) -> int:
        """Foreground pixels."""
        return self.mask.area

    @cached_property
    def contour(self) -> Mask:
        """The pixels that differ from their neighbour to the right, below, or right below.

        So a contour is a pixel wide and lies half a pixel to the upper left of the mask's edge; the border of the image
        is none. A mask that fills the image has no contour.
        """
        around = _widened(self.mask, 1, self.size)
        here, after = around.crop, np.pad(around.crop, ((0, 1), (0, 1)), "edge")
        differs = (here ^ after[:-1, 1:]) | (here ^ after[1:, :-1]) | (here ^ after[1:, 1:])
        return Mask(around.left, around.top, differs)

    @cached_property
    def length(self) -> int:
        """Pixels of the contour."""
        return self.contour.area

    @cached_property
    def near(self) -> Mask:
        """All pixels near the contour, which must have some."""
        reach = math.ceil(TOLERANCE * math.hypot(*self.size))
        around = _widened(self.contour, reach, self.size)
        distances = cv2.distanceTransform((~around.crop).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        return Mask(around.left, around.top, distances <= reach)

    def iou(self, other: Region) -> float:
        """Intersection over union, DAVIS' J; 1 where both are empty."""
        both = self.mask.overlap(other.mask)
        union = self.area + other.area - both
        return both / union if union else 1.0

    def boundary_f(self, other: Region) -> float:
        """DAVIS' F, from 0 to 1; 1 where neither has a contour."""
        if not self.length or not other.length:
            return float(self.length == other.length)
        precision = self.contour.overlap(other.near) / self.length
        recall = other.contour.overlap(self.near) / other.length
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _widened(mask: Mask, by: int, size: tuple[int, int]) -> Mask:
    """The same mask in a crop that is wider by so many pixels on each side, as far as the image reaches."""
    height, width = mask.crop.shape
    left, top = max(mask.left - by, 0), max(mask.top - by, 0)
    right, bottom = min(mask.left + width + by, size[1]), min(mask.top + height + by, size[0])
    crop, x, y = np.zeros((bottom - top, right - left), bool), mask.left - left, mask.top - top
    crop[y : y + height, x : x + width] = mask.crop
    return Mask(left, top, crop)


@dataclass(frozen=True)
class PairScores:
    """How well M true objects and N found ones agree in a frame, by one measure.

    Attributes:
        values: (M, N) float64 from 0 to 1; 0 where either has nothing to compare.
        true: (M,) bool: those that have something to compare.
        found: (N,) bool: those that have something to compare.
    """

    values: np.ndarray
    true: np.ndarray
    found: np.ndarray


@dataclass(frozen=True)
class FrameScore:
    """The M true objects that a frame shows and the N found ones; void pixels belong to none.

    A found object has the pixels that it wins, so neither true nor found ones overlap, as in the maps that DAVIS
    compares. Several found ones of one track are one.

    Attributes:
        frame: its place in the clip.
        has_instance_ids: whether the dataset has a map of objects; if not, a class stands for one object, true and
            found.
        tracked: whether the found objects have track ids; if not, nothing joins them to those of other frames.
        objects: (M,) int64 object numbers, ascending, or class ids.
        class_ids: (M,) int64 of the true objects.
        areas: (M,) int64 pixels of the true objects.
        tracks: (N,) int64 track ids, ascending, or positions among the frame's instances, or class ids.
        region: J, intersection over union.
        contour: F.
    """

    frame: Frame
    has_instance_ids: bool
    tracked: bool
    objects: np.ndarray
    class_ids: np.ndarray
    areas: np.ndarray
    tracks: np.ndarray
    region: PairScores
    contour: PairScores


def score_frame(sample: Sample, truth: Instances, instances: Instances) -> FrameScore:
    """How well the objects of a frame agree with the true ones.

    Args:
        sample: with its place in a clip and its target.
        truth: its true objects, with track ids where they are told apart.
        instances: what was found in it.
    """
    assert sample.frame is not None and sample.gt_mask is not None, sample.image_id
    has_instance_ids, tracked = truth.track_ids is not None, instances.track_ids is not None
    numbers = [_numbers(each, has_instance_ids) for each in (truth, instances)]
    counted = sample.gt_mask != VOID
    true, found = (_regions(each, ids, counted) for each, ids in zip((truth, instances), numbers))
    classes = dict(zip(numbers[0].tolist(), truth.detections.class_ids.tolist()))
    return FrameScore(
        frame=sample.frame,
        has_instance_ids=has_instance_ids,
        tracked=tracked,
        objects=np.array([*true], np.int64),
        class_ids=np.array([classes[number] for number in true], np.int64),
        areas=np.array([each.area for each in true.values()], np.int64),
        tracks=np.array([*found], np.int64),
        region=_agreement(true, found, Region.iou, attrgetter("area")),
        contour=_agreement(true, found, Region.boundary_f, attrgetter("length")),
    )


def _numbers(instances: Instances, has_instance_ids: bool) -> np.ndarray:
    """(N,) int64: what tells the objects apart."""
    if not has_instance_ids:
        return instances.detections.class_ids
    return np.arange(len(instances)) if instances.track_ids is None else instances.track_ids


def _regions(instances: Instances, numbers: np.ndarray, counted: np.ndarray) -> dict[int, Region]:
    """Number -> the pixels that the instances of this number win, of those that count; without empty ones."""
    distinct, ranks = np.unique(numbers, return_inverse=True)
    picture = instances.rasterize((ranks + 1).astype(np.uint16))
    windows = [
        _window([instances.masks[i] for i in np.flatnonzero(ranks == rank).tolist()]) for rank in range(len(distinct))
    ]
    crops = [(picture[window] == rank) & counted[window] for rank, window in enumerate(windows, 1)]
    masks = [Mask(columns.start, rows.start, crop) for (rows, columns), crop in zip(windows, crops)]
    regions = {number: Region(mask, instances.size) for number, mask in zip(distinct.tolist(), masks)}
    return {number: region for number, region in regions.items() if region.area}


def _window(masks: Sequence[Mask]) -> tuple[slice, slice]:
    """Index of the rows and columns of an image that hold all these masks."""
    rows, columns = zip(*(mask.slices for mask in masks))
    return _span(rows), _span(columns)


def _span(slices: Sequence[slice]) -> slice:
    return slice(min(each.start for each in slices), max(each.stop for each in slices))


def _agreement(
    true: Mapping[int, Region],
    found: Mapping[int, Region],
    measure: Callable[[Region, Region], float],
    size: Callable[[Region], int],
) -> PairScores:
    """How well they agree by a measure; what has the size 0 has nothing to compare."""
    values = [[measure(theirs, ours) for ours in found.values()] for theirs in true.values()]
    there, here = (np.array([size(each) > 0 for each in side.values()], bool) for side in (true, found))
    return PairScores(np.array(values, np.float64).reshape(len(true), len(found)) * np.outer(there, here), there, here)
