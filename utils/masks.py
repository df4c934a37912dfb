"""Masks on the host: no more of an image than they fill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from utils.boxes import box_of_mask, enclosing_box


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
    def shape(self) -> tuple[int, int]:
        """Return the crop's height and width in pixels."""
        height, width = self.crop.shape
        return height, width

    def packed(self) -> npt.NDArray[np.uint8]:
        """Return the crop's (h, ceil(w / 8)) bits, the leftmost pixel of each eight in the highest bit, rest 0."""
        return np.packbits(self.crop, axis=1)

    @cached_property
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
        height, width = self.shape
        return np.array([self.left, self.top, self.left + width, self.top + height])

    @property
    def offset(self) -> npt.NDArray[np.int64]:
        """Return (2,) left and top, which take x and y from pixels of the crop to those of the image."""
        return np.array([self.left, self.top])

    @property
    def slices(self) -> tuple[slice, slice]:
        """Return the index of the crop's rows and columns in an image."""
        height, width = self.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    def moved(self, x: int, y: int) -> Mask:
        """Return the mask so many pixels to the right and down: from a window to its image; an empty one stays."""
        return Mask(self.left + x, self.top + y, self.crop) if self.crop.size else self

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


def union(masks: Sequence[Mask]) -> Mask:
    """Return the pixels of any of some masks of one image."""
    if len(masks) == 1:
        return masks[0]
    boxes = [mask.box for mask in masks if mask.crop.size]
    if not boxes:
        return masks[0]
    left, top, right, bottom = enclosing_box(boxes).astype(int).tolist()
    parts = [mask.moved(-left, -top).to_full((bottom - top, right - left)) for mask in masks]
    return Mask(left, top, np.any(parts, axis=0))


class PackedMask(Mask):
    """Hold a mask as it came from a GPU, a bit for each pixel; its crop is made when one asks for it.

    So the main thread, which hands masks to outputs, unpacks none of them; the threads that score and write do.

    Args:
        left, top: see `Mask`.
        width: of the crop in pixels.
        first: place of the crop's first column among the bits of a row, 0 to 7.
        bits: (h, n) uint8: the crop's rows with up to seven empty pixels on both sides.
    """

    _width: int
    _first: int
    _bits: npt.NDArray[np.uint8]

    def __init__(self, left: int, top: int, width: int, first: int, bits: npt.NDArray[np.uint8]) -> None:
        values = {"left": left, "top": top, "_width": width, "_first": first, "_bits": bits}
        for name, value in values.items():
            object.__setattr__(self, name, value)  # as a frozen class does

    @cached_property
    def crop(self) -> npt.NDArray[np.bool_]:  # type: ignore[override]
        """Return the (h, w) crop."""
        pixels = np.unpackbits(self._bits, axis=1)[:, self._first : self._first + self._width]
        return np.ascontiguousarray(pixels).view(bool)

    @property
    def shape(self) -> tuple[int, int]:
        """See Mask."""
        return len(self._bits), self._width

    def moved(self, x: int, y: int) -> Mask:
        """See Mask; no pixel is unpacked."""
        return PackedMask(self.left + x, self.top + y, self._width, self._first, self._bits)

    def packed(self) -> npt.NDArray[np.uint8]:
        """See Mask; moves whole rows of bits, and unpacks none."""
        first, count = self._first, -(-self._width // 8)
        if not first:
            return self._bits
        following = np.pad(self._bits, ((0, 0), (0, 1)))[:, 1 : count + 1]
        return ((self._bits[:, :count] << first) | (following >> (8 - first))).astype(np.uint8)


def mask_iou(first: Sequence[Mask], second: Sequence[Mask]) -> npt.NDArray[np.float64]:
    """Compute the (N, M) intersection over union of N and M masks of one image, pairwise."""
    ious, boxes = np.zeros((len(first), len(second))), np.array([mask.box for mask in second]).reshape(-1, 4)
    for i, mask in enumerate(first):
        meets = (mask.box[:2] < boxes[:, 2:]) & (boxes[:, :2] < mask.box[2:])
        for j in np.flatnonzero(meets.all(axis=1)).tolist():  # few of thousands of objects
            ious[i, j] = mask.iou(second[j])
    return ious
