"""DAVIS' measures of the objects in a frame: region similarity J and contour accuracy F (Perazzi et al. 2016)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter

import cv2
import numpy as np
import numpy.typing as npt

from utils.classes import VOID
from utils.masks import Mask
from utils.structures import Frame, Instances, Sample

TOLERANCE = 0.008
"""How far apart contours may lie, as a share of the image's diagonal."""


@dataclass(frozen=True)
class Region:
    """A mask with what is needed to compare it with many others; computed once.

    Attributes:
        mask: its crop need not be tight.
        size: (height, width) of the image in pixels.
    """

    mask: Mask
    size: tuple[int, int]

    @cached_property
    def contour(self) -> Mask:
        """The pixels that differ from their neighbor to the right, below, or to the lower right.

        So a contour is a pixel wide and lies half a pixel to the upper left of the mask's edge, as in DAVIS' own code.
        The border of the image is no contour; a mask that fills the image has none.
        """
        around = _padded(self.mask, 1, self.size)
        here, after = around.crop, np.pad(around.crop, ((0, 1), (0, 1)), "edge")
        differs = (here ^ after[:-1, 1:]) | (here ^ after[1:, :-1]) | (here ^ after[1:, 1:])
        return Mask(around.left, around.top, differs)

    @cached_property
    def dilated_contour(self) -> Mask:
        """All pixels within the tolerance of the contour, which must not be empty."""
        tolerance = math.ceil(TOLERANCE * math.hypot(*self.size))
        around = _padded(self.contour, tolerance, self.size)
        # DAVIS dilates by a disk; the distance to the contour gives the same pixels in a time that does not grow with
        # the disk.
        distances = cv2.distanceTransform((~around.crop).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        return Mask(around.left, around.top, distances <= tolerance)

    def boundary_f(self, other: Region) -> float:
        """Compute DAVIS' F, the F1 score of contour pixels, from 0 to 1; 0 where either has no contour."""
        if not self.contour.area or not other.contour.area:
            return 0.0
        precision = self.contour.overlap(other.dilated_contour) / self.contour.area
        recall = other.contour.overlap(self.dilated_contour) / other.contour.area
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _padded(mask: Mask, by: int, size: tuple[int, int]) -> Mask:
    """Widen the crop of a mask by some pixels on each side, as far as the image of a (height, width) reaches."""
    height, width = mask.crop.shape
    left, top = max(mask.left - by, 0), max(mask.top - by, 0)
    right, bottom = min(mask.left + width + by, size[1]), min(mask.top + height + by, size[0])
    crop, x, y = np.zeros((bottom - top, right - left), bool), mask.left - left, mask.top - top
    crop[y : y + height, x : x + width] = mask.crop
    return Mask(left, top, crop)


@dataclass(frozen=True)
class PairScores:
    """One measure of all pairs of M true objects and N found ones in a frame.

    Attributes:
        values: (M, N) float64 from 0 to 1; 0 where either has nothing to compare.
        true: (M,) bool: the true objects that have something to compare.
        found: (N,) bool: the found ones that have something to compare.
    """

    values: npt.NDArray[np.float64]
    true: npt.NDArray[np.bool_]
    found: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class FrameScore:
    """The M true objects in a frame and the N found ones; void pixels belong to none.

    A found object has the pixels that it wins, so neither true nor found ones overlap, as in the maps that DAVIS
    compares. Several found objects of one track are one.

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
    objects: npt.NDArray[np.int64]
    class_ids: npt.NDArray[np.int64]
    areas: npt.NDArray[np.int64]
    tracks: npt.NDArray[np.int64]
    region: PairScores
    contour: PairScores


def score_frame(sample: Sample, truth: Instances, instances: Instances) -> FrameScore:
    """Score all pairs of a true and a found object in a frame.

    Args:
        sample: with its place in a clip and its target.
        truth: its true objects, with track ids if the dataset has instance ids.
        instances: what was found in it.
    """
    assert sample.frame is not None and sample.gt_mask is not None, sample.image_id
    has_instance_ids, counted = truth.track_ids is not None, sample.gt_mask != VOID
    true_numbers, numbers = _numbers(truth, has_instance_ids), _numbers(instances, has_instance_ids)
    true, found = _regions(truth, true_numbers, counted), _regions(instances, numbers, counted)
    classes = dict(zip(true_numbers.tolist(), truth.detections.class_ids.tolist()))
    return FrameScore(
        frame=sample.frame,
        has_instance_ids=has_instance_ids,
        tracked=instances.track_ids is not None,
        objects=np.array([*true], np.int64),
        class_ids=np.array([classes[number] for number in true], np.int64),
        areas=np.array([each.mask.area for each in true.values()], np.int64),
        tracks=np.array([*found], np.int64),
        region=_pair_scores(true, found, lambda one, other: one.mask.iou(other.mask), attrgetter("mask.area")),
        contour=_pair_scores(true, found, Region.boundary_f, attrgetter("contour.area")),
    )


def _numbers(instances: Instances, has_instance_ids: bool) -> npt.NDArray[np.int64]:
    """Number the instances, (N,); those with the same number are one object."""
    if not has_instance_ids:
        return instances.detections.class_ids
    return np.arange(len(instances)) if instances.track_ids is None else instances.track_ids


def _regions(instances: Instances, numbers: npt.NDArray[np.int64], counted: npt.NDArray[np.bool_]) -> dict[int, Region]:
    """Map each number to the counted pixels that the instances of this number win; without empty ones."""
    regions = {}
    distinct, ranks = np.unique(numbers, return_inverse=True)
    winners = instances.rasterize((ranks + 1).astype(np.uint16))
    for rank, number in enumerate(distinct.tolist()):
        rows, columns = zip(*(instances.masks[i].slices for i in np.flatnonzero(ranks == rank).tolist()))
        top, bottom = min(each.start for each in rows), max(each.stop for each in rows)
        left, right = min(each.start for each in columns), max(each.stop for each in columns)
        window = slice(top, bottom), slice(left, right)
        region = Region(Mask(left, top, (winners[window] == rank + 1) & counted[window]), instances.size)
        if region.mask.area:
            regions[number] = region
    return regions


def _pair_scores(
    true: Mapping[int, Region],
    found: Mapping[int, Region],
    measure: Callable[[Region, Region], float],
    size: Callable[[Region], int],
) -> PairScores:
    """Apply a measure to all pairs, 0 for those with a region of size 0, which has nothing to compare."""
    values = [[measure(theirs, ours) for ours in found.values()] for theirs in true.values()]
    there, here = (np.array([size(each) > 0 for each in side.values()], bool) for side in (true, found))
    return PairScores(np.array(values, np.float64).reshape(len(true), len(found)), there, here)
