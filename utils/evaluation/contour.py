"""How well two masks agree along their contours: the boundary measure F of DAVIS (Perazzi et al. 2016).

As https://github.com/davisvideochallenge/davis2017-evaluation defines it: precision is the share of the one contour
that lies near the other, recall that of the other near the one, F their harmonic mean. Near is 0.8 % of the image's
diagonal, rounded up to whole pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from utils.masks import Mask

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

    def contour_f(self, other: Region) -> float:
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
