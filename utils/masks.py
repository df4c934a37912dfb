"""Masks on the host: no more of an image than they fill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from utils.boxes import box_of_mask


@dataclass(frozen=True)
class Mask:
    """Hold a mask on the host: its tight crop and where the crop lies. An empty mask has a crop of 0 x 0 pixels.

    Attributes:
        left, top: the crop's upper left pixel in the image.
        crop: (h, w) bool, True is foreground; every outer row and column holds a True.
    """

    left: int
    top: int
    crop: npt.NDArray[np.bool_]

    @property
    def area(self) -> int:
        """Count the foreground pixels."""
        return int(np.count_nonzero(self.crop))

    def overlap(self, other: Mask) -> int:
        """Count the foreground pixels that this mask and another one of the same image have in common."""
        ours, theirs = self.slices, other.slices
        top, left = (max(a.start, b.start) for a, b in zip(ours, theirs))
        bottom, right = (min(a.stop, b.stop) for a, b in zip(ours, theirs))
        if top >= bottom or left >= right:
            return 0
        crops = [
            mask.crop[top - mask.top : bottom - mask.top, left - mask.left : right - mask.left]
            for mask in (self, other)
        ]
        return int(np.count_nonzero(crops[0] & crops[1]))

    def iou(self, other: Mask) -> float:
        """Compute the intersection over union with another mask of the same image; 0 where both are empty."""
        both = self.overlap(other)
        return both / (self.area + other.area - both) if both else 0.0

    @property
    def box(self) -> npt.NDArray[np.int64]:
        """Return the tight box, (4,) x1 y1 x2 y2 in pixels of the image; that of an empty mask has no area."""
        height, width = self.crop.shape
        return np.array([self.left, self.top, self.left + width, self.top + height])

    @property
    def offset(self) -> npt.NDArray[np.int64]:
        """Return (2,) left and top, which take x and y from pixels of the crop to those of the image."""
        return np.array([self.left, self.top])

    @property
    def slices(self) -> tuple[slice, slice]:
        """Return the index of the crop's rows and columns in an image."""
        height, width = self.crop.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    @classmethod
    def from_array(cls, full: npt.NDArray[Any]) -> Mask:
        """Make the mask of a full-size (H, W) array, nonzero is foreground."""
        left, top, right, bottom = box_of_mask(full).tolist()
        return cls(left, top, full[top:bottom, left:right].astype(bool))

    def to_full(self, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
        """Draw the mask into an array of the image's (H, W)."""
        array = np.zeros(size, bool)
        array[self.slices] = self.crop
        return array


def mask_iou(first: Sequence[Mask], second: Sequence[Mask]) -> npt.NDArray[np.float64]:
    """Compute the (N, M) intersection over union of N and M masks of one image, pairwise."""
    ious = np.array([[ours.iou(theirs) for theirs in second] for ours in first], np.float64)
    return ious.reshape(len(first), len(second))
