"""The pictures of one image in a report: the photograph, and what target, prediction and errors lay over it."""

from __future__ import annotations

import io
import math
from bisect import insort
from dataclasses import dataclass
from enum import IntEnum
from threading import Lock

import cv2
import numpy as np

from utils.classes import BACKGROUND, MAX_CLASSES, VOID, label_of
from utils.distributed import Session
from utils.io.encoding import encode_image
from utils.metrics.scores import ImageScore
from utils.structures import Instances, Sample
from utils.visual.colors import Color, class_color

QUALITIES = (60, 45, 30, 15)
"""Of the photographs, as JPEG counts it: the first with which an image's pictures are small enough, else the last."""

VOID_COLOR: Color = (250, 250, 250)


class ErrorKind(IntEnum):
    """What a pixel of an error map means; the background that is right is nothing."""

    NOTHING = 0
    RIGHT = 1
    MISSED = 2
    FALSE = 3
    WRONG_CLASS = 4
    VOID = 5


ERROR_COLORS: dict[int, Color] = {
    ErrorKind.RIGHT: (16, 92, 240),
    ErrorKind.MISSED: (240, 198, 19),
    ErrorKind.FALSE: (159, 50, 21),
    ErrorKind.WRONG_CLASS: (214, 108, 160),
    ErrorKind.VOID: VOID_COLOR,
}
"""Far apart for colour-blind people, too."""


@dataclass(frozen=True)
class ImagePanels:
    """Contents of files that show one image; the last three are transparent and lie over the first.

    Attributes:
        image_id: of the sample.
        size: (height, width) in pixels of all four.
        photo: JPEG.
        target, prediction: PNG in the colours of the classes.
        errors: PNG in those of `ERROR_COLORS`.
    """

    image_id: str
    size: tuple[int, int]
    photo: bytes
    target: bytes
    prediction: bytes
    errors: bytes


def draw_panels(
    image_id: str, image: np.ndarray, target: np.ndarray, prediction: np.ndarray, side: int, limit: int
) -> ImagePanels:
    """The pictures of an image, scaled down where it is larger.

    Args:
        image: (H, W, 3) uint8 RGB.
        target, prediction: (H, W) uint8 label maps; void in the target only.
        side: the most pixels a side.
        limit: bytes that they should have together; detailed photographs get coarser.
    """
    height, width = image.shape[:2]
    scale = min(1, side / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    photo = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
    true, found = (cv2.resize(each, size[::-1], interpolation=cv2.INTER_NEAREST) for each in (target, prediction))
    drawn = (true, _LABEL_PALETTE), (found, _LABEL_PALETTE), (error_map(true, found), _KIND_PALETTE)
    layers = [_layer(values, palette) for values, palette in drawn]
    return ImagePanels(image_id, size, _photo(photo, limit - sum(map(len, layers))), *layers)


def error_map(target: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """(H, W) uint8 `ErrorKind` of each pixel.

    Args:
        target, prediction: (H, W) uint8 label maps; void in the target only.
    """
    true, found = target != BACKGROUND, prediction != BACKGROUND
    kinds = np.zeros(target.shape, np.uint8)
    kinds[true & (prediction == target)] = ErrorKind.RIGHT
    kinds[true & ~found] = ErrorKind.MISSED
    kinds[~true & found] = ErrorKind.FALSE
    kinds[true & found & (prediction != target)] = ErrorKind.WRONG_CLASS
    kinds[target == VOID] = ErrorKind.VOID
    return kinds


def _photo(image: np.ndarray, limit: int) -> bytes:
    """A JPEG of a (H, W, 3) uint8 RGB image."""
    for quality in QUALITIES:
        content = encode_image(image, ".jpg", cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1)
        if len(content) <= limit:
            break
    return content


def _palette(colors: dict[int, Color]) -> np.ndarray:
    """(256, 3) uint8 RGB: the colour of each value."""
    palette = np.zeros((256, 3), np.uint8)
    for value, color in colors.items():
        palette[value] = color
    return palette


_LABEL_PALETTE = _palette({**{label_of(i): class_color(i) for i in range(MAX_CLASSES)}, VOID: VOID_COLOR})

_KIND_PALETTE = _palette(ERROR_COLORS)


def _layer(values: np.ndarray, palette: np.ndarray) -> bytes:
    """A PNG of (H, W) uint8 values in the colours of a palette; 0 is transparent."""
    from PIL import Image

    picture = Image.fromarray(values)
    picture.putpalette(palette[: int(values.max()) + 1].tobytes())
    contents = io.BytesIO()
    picture.save(contents, "PNG", transparency=0)
    return contents.getvalue()


SIDE = 400
"""The most pixels a side of a picture."""

PIXELS = 80_000_000
"""Of all photographs together, were they square: many are smaller than few."""

BYTES = 9_000_000
"""Of all pictures together, about; on the page they take a third more, and the rest of it a few MB at most."""

Rank = tuple[float, str]
"""Mean IoU and id of an image: the order from the worst to the best."""


class WorstImages:
    """Keeps the pictures of the images with the lowest mean IoU; an image that is all void comes after all others.

    Which ones are kept depends neither on the order of the images nor on how processes share them.

    Args:
        title: of the page that shows it.
        count: how many images it keeps; memory does not grow beyond theirs.
    """

    def __init__(self, title: str, count: int) -> None:
        self.title, self.count = title, count
        self._side, self._limit = min(SIDE, math.isqrt(PIXELS // max(count, 1))), BYTES // max(count, 1)
        self._kept: list[tuple[Rank, ImagePanels]] = []
        self._lock = Lock()

    def add(self, score: ImageScore, sample: Sample, instances: Instances) -> None:
        """Draws the pictures of an image, unless enough worse ones are there already; several threads may."""
        rank = rank_of(score)
        with self._lock:
            full = len(self._kept) >= self.count
            if full and (not self._kept or rank > self._kept[-1][0]):
                return
        assert sample.gt_mask is not None, sample.image_id
        pictures = draw_panels(
            sample.image_id, sample.image, sample.gt_mask, instances.to_semantic(), self._side, self._limit
        )
        with self._lock:
            insort(self._kept, (rank, pictures), key=lambda entry: entry[0])
            del self._kept[self.count :]

    def collect(self, session: Session) -> list[ImagePanels]:
        """The pictures of the worst images of all processes, the worst first; every process has to call it."""
        kept = sorted(session.gather(self._kept), key=lambda entry: entry[0])
        return [pictures for _, pictures in kept[: self.count]]


def rank_of(score: ImageScore) -> Rank:
    """Sorts images: the worst first, those without a mean IoU last, ties by id."""
    return (math.inf if math.isnan(score.mean_iou) else score.mean_iou), score.image_id
