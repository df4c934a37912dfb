"""The pictures of an image in a report: the photograph, and target, prediction and errors that lie over it."""

from __future__ import annotations

import io
import math
from bisect import insort
from dataclasses import dataclass
from enum import IntEnum
from threading import Lock
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from utils.boxes import box_area, xyxy_to_xywh
from utils.classes import BACKGROUND, MAX_CLASSES, VOID, label_of
from utils.distributed import Session
from utils.io.encoding import encode_image
from utils.metrics.scores import ImageScore
from utils.structures import Detections, Instances, Sample
from utils.visual.colors import Color, class_color

QUALITIES = (60, 45, 30, 15)
"""JPEG qualities of photographs; the first that makes an image's pictures small enough is taken, else the last."""

VOID_COLOR: Color = (250, 250, 250)


class ErrorKind(IntEnum):
    """The meaning of a pixel of an error map; background that is right is NOTHING."""

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
"""Easy to tell apart, for color-blind people too."""


def _palette(colors: dict[int, Color]) -> npt.NDArray[np.uint8]:
    """Return the (256, 3) RGB colors of all values; black for those without one."""
    palette = np.zeros((256, 3), np.uint8)
    palette[[*colors]] = [*colors.values()]
    return palette


_LABEL_PALETTE = _palette({**{label_of(i): class_color(i) for i in range(MAX_CLASSES)}, VOID: VOID_COLOR})

_ERROR_PALETTE = _palette(ERROR_COLORS)


MAX_BOXES = 20_000
"""Boxes of all images together; where many images are shown, the largest boxes of each."""


class PanelBox(NamedTuple):
    """A found box in pixels of the pictures."""

    class_id: int
    score: float
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class ImagePanels:
    """Contents of files that show one image; the last three are transparent and lie over the first.

    Attributes:
        image_id: of the sample.
        size: (height, width) in pixels of all four.
        photo: JPEG.
        target, prediction: PNG in the colors of the classes.
        errors: PNG in the colors of `ERROR_COLORS`.
        boxes: found ones, the largest first.
    """

    image_id: str
    size: tuple[int, int]
    photo: bytes
    target: bytes
    prediction: bytes
    errors: bytes
    boxes: tuple[PanelBox, ...]


def draw_panels(
    image_id: str,
    image: npt.NDArray[np.uint8],
    target: npt.NDArray[np.uint8],
    prediction: npt.NDArray[np.uint8],
    side: int,
    limit: int,
    boxes: Detections | None = None,
) -> ImagePanels:
    """Draw the pictures of an image, scaled down where it is larger.

    Args:
        image: (H, W, 3) RGB.
        target, prediction: (H, W) label maps; void in the target only.
        side: maximum of pixels a side.
        limit: bytes that they should have together; photographs with much detail get a lower quality.
        boxes: found ones, the largest first.
    """
    height, width = image.shape[:2]
    scale = min(1, side / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    photo = np.asarray(cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA), np.uint8)
    true, found = (
        np.asarray(cv2.resize(each, size[::-1], interpolation=cv2.INTER_NEAREST), np.uint8)
        for each in (target, prediction)
    )
    maps = (true, _LABEL_PALETTE), (found, _LABEL_PALETTE), (error_map(true, found), _ERROR_PALETTE)
    layers = [_layer(values, palette) for values, palette in maps]
    left = limit - sum(map(len, layers))
    for quality in QUALITIES:
        jpeg = encode_image(photo, ".jpg", cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1)
        if len(jpeg) <= left:
            break
    boxes = Detections.empty() if boxes is None else boxes
    places = np.round(xyxy_to_xywh(boxes.boxes.astype(np.float64)) * scale, 1).tolist()
    scores = np.round(boxes.scores.astype(np.float64), 2).tolist()
    placed = tuple(PanelBox(*each, *place) for *each, place in zip(boxes.class_ids.tolist(), scores, places))
    return ImagePanels(image_id, size, jpeg, layers[0], layers[1], layers[2], placed)


def error_map(target: npt.NDArray[np.uint8], prediction: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Classify each pixel as an `ErrorKind`.

    Args:
        target, prediction: (H, W) label maps; void in the target only.
    """
    true, found = target != BACKGROUND, prediction != BACKGROUND
    kinds = np.zeros(target.shape, np.uint8)
    kinds[true & (prediction == target)] = ErrorKind.RIGHT
    kinds[true & ~found] = ErrorKind.MISSED
    kinds[~true & found] = ErrorKind.FALSE
    kinds[true & found & (prediction != target)] = ErrorKind.WRONG_CLASS
    kinds[target == VOID] = ErrorKind.VOID
    return kinds


def _layer(values: npt.NDArray[np.uint8], palette: npt.NDArray[np.uint8]) -> bytes:
    """Encode an (H, W) map as PNG in the colors of a palette; 0 is transparent."""
    from PIL import Image

    picture = Image.fromarray(values)
    picture.putpalette(palette[: int(values.max()) + 1].tobytes())
    contents = io.BytesIO()
    picture.save(contents, "PNG", transparency=0)
    return contents.getvalue()


MAX_SIDE = 400
"""Maximum of pixels a side of a picture."""

MAX_PIXELS = 80_000_000
"""Of all photographs together, if they were square: where there are many, they are smaller."""

MAX_BYTES = 9_000_000
"""Of all pictures together, about; on the page they take a third more, and the rest of it a few MB at most."""

Rank = tuple[float, str]
"""Mean IoU and id of an image: sorts images from the worst to the best."""


class WorstImages:
    """Keep the pictures of the images with the lowest mean IoU; images that are all void come after all others.

    Which ones are kept depends neither on the order of the images nor on their distribution over processes.

    Args:
        count: how many images to keep; memory does not grow beyond theirs.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._side = min(MAX_SIDE, math.isqrt(MAX_PIXELS // max(count, 1)))
        self._limit = MAX_BYTES // max(count, 1)
        self._kept: list[tuple[Rank, ImagePanels]] = []
        self._lock = Lock()

    def add(self, score: ImageScore, sample: Sample, instances: Instances) -> None:
        """Draw the pictures of an image, unless there are enough worse ones; several threads may do so."""
        rank = (math.inf if math.isnan(score.mean_iou) else score.mean_iou), score.image_id
        with self._lock:
            full = len(self._kept) >= self.count
            if full and (not self._kept or rank > self._kept[-1][0]):
                return
        assert sample.gt_mask is not None, sample.image_id
        boxes, most = instances.detections, MAX_BOXES // max(self.count, 1)
        largest = boxes[np.argsort(-box_area(boxes.boxes), kind="stable")[:most]]
        label_map = instances.to_semantic()
        panels = draw_panels(sample.image_id, sample.image, sample.gt_mask, label_map, self._side, self._limit, largest)
        with self._lock:
            insort(self._kept, (rank, panels), key=lambda entry: entry[0])
            del self._kept[self.count :]

    def collect(self, session: Session) -> list[ImagePanels]:
        """Return the pictures of the worst images of all processes, the worst first; every process has to call it."""
        kept = sorted(session.gather(self._kept), key=lambda entry: entry[0])
        return [panels for _, panels in kept[: self.count]]
