"""Windows: parts of large images that SAM2 sees in place of the whole, so that small objects keep their pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from utils.boxes import Size, box_limits

SHARE = 4
"""A window's side is at least so many times the longer side of an object in it."""

ZOOM = 2
"""How many times larger than in the image the model sees the smallest objects."""


@dataclass(frozen=True)
class View:
    """What SAM2 encodes at once: an image, or a window of it, and the boxes that it gets there.

    Attributes:
        image: position of the image in its batch.
        box: (4,) x1 y1 x2 y2 in pixels of the image; the whole of it where it is no window.
        rows: (N,) which boxes of all the batch's.
    """

    image: int
    box: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]

    @property
    def slices(self) -> tuple[slice, slice]:
        """Return the rows and columns of the image."""
        left, top, right, bottom = self.box.tolist()
        return slice(top, bottom), slice(left, right)

    @property
    def size(self) -> Size:
        """Return height and width in pixels of the image."""
        left, top, right, bottom = self.box.tolist()
        return bottom - top, right - left


def windows_of(boxes: npt.NDArray[np.float32], size: Size, side: int) -> npt.NDArray[np.int64]:
    """Return the (N, 4) windows, x1 y1 x2 y2, in which N boxes of an image are segmented.

    A window depends on its box alone, so masks do not depend on which other boxes an image has. Windows lie on a grid
    of half their side, so boxes that are near each other share one. They are squares of half of `side`, which the model
    sees twice as large, of `side`, of twice `side` and so on: the smallest in which the object's box takes no more than
    a quarter of the window's side. At least an eighth then lies around it. The whole image takes the place of a window
    that would not show the object at least twice as large.

    Args:
        boxes: (N, 4) x1 y1 x2 y2 in pixels, within the image.
        size: (height, width) of the image.
        side: of the model's square input, in pixels.
    """
    longest = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0)
    doublings = np.ceil(np.log2(np.maximum(1 / ZOOM, SHARE * longest / side)))
    sides = (side * 2**doublings).astype(np.int64)[:, None]
    limits, centers = box_limits(size), (boxes[:, :2] + boxes[:, 2:]) / 2
    step = sides // 2
    first = np.rint((centers - sides / 2) / step).astype(np.int64) * step
    corner = np.clip(first, 0, np.maximum(0, limits[:2] - sides))
    windows = np.concatenate([corner, np.minimum(corner + sides, limits[:2])], axis=1)
    return np.where(2 * sides > max(size), [0, 0, *limits[2:]], windows)


def views_of(
    boxes: npt.NDArray[np.float32],
    image_index: npt.NDArray[np.int64],
    sizes: npt.NDArray[np.int64],
    side: int | None,
) -> list[View]:
    """Return what is to be encoded for the boxes of a batch, image by image; of images without a box nothing.

    Args:
        boxes: (N, 4) x1 y1 x2 y2 in pixels of their image.
        image_index: (N,) the image of each box.
        sizes: (B, 2) height and width of each image.
        side: of windows, see `windows_of`; None: whole images only.
    """
    views = []
    for image in np.unique(image_index).tolist():
        rows = np.flatnonzero(image_index == image)
        size = (int(sizes[image, 0]), int(sizes[image, 1]))
        whole = np.tile([0, 0, *size[::-1]], (len(rows), 1))
        windows = whole if side is None else windows_of(boxes[rows], size, side)
        different, which = np.unique(windows, axis=0, return_inverse=True)
        views += [View(image, box, rows[which.ravel() == k]) for k, box in enumerate(different)]
    return views
