"""The pictures of one image in a report: the photograph, and what target, prediction and errors lay over it."""

from __future__ import annotations

import io
from dataclasses import dataclass
from enum import IntEnum

import cv2
import numpy as np

from utils.classes import BACKGROUND, MAX_CLASSES, VOID, label_of
from utils.colours import Colour, class_colour
from utils.encoding import encode_image

QUALITIES = (60, 45, 30, 15)
"""Of the photographs, as JPEG counts it: the first with which an image's pictures are small enough, else the last."""
VOID_COLOUR: Colour = (250, 250, 250)


class Kind(IntEnum):
    """What a pixel of an error map means; the background that is right is nothing."""

    NOTHING = 0
    RIGHT = 1
    MISSED = 2
    FALSE = 3
    WRONG_CLASS = 4
    VOID = 5


KIND_COLOURS: dict[int, Colour] = {
    Kind.RIGHT: (16, 92, 240),
    Kind.MISSED: (240, 198, 19),
    Kind.FALSE: (159, 50, 21),
    Kind.WRONG_CLASS: (214, 108, 160),
    Kind.VOID: VOID_COLOUR,
}
"""Far apart for colour-blind people, too."""


@dataclass(frozen=True)
class Pictures:
    """Contents of files that show one image; the last three are transparent and lie over the first.

    Attributes:
        image_id: of the sample.
        size: (height, width) in pixels of all four.
        photo: JPEG.
        target, prediction: PNG in the colours of the classes.
        errors: PNG in those of `KIND_COLOURS`.
    """

    image_id: str
    size: tuple[int, int]
    photo: bytes
    target: bytes
    prediction: bytes
    errors: bytes


def draw_pictures(
    image_id: str, image: np.ndarray, target: np.ndarray, prediction: np.ndarray, side: int, limit: int
) -> Pictures:
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
    return Pictures(image_id, size, _photo(photo, limit - sum(map(len, layers))), *layers)


def error_map(target: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """(H, W) uint8 `Kind` of each pixel.

    Args:
        target, prediction: (H, W) uint8 label maps; void in the target only.
    """
    true, found = target != BACKGROUND, prediction != BACKGROUND
    kinds = np.zeros(target.shape, np.uint8)
    kinds[true & (prediction == target)] = Kind.RIGHT
    kinds[true & ~found] = Kind.MISSED
    kinds[~true & found] = Kind.FALSE
    kinds[true & found & (prediction != target)] = Kind.WRONG_CLASS
    kinds[target == VOID] = Kind.VOID
    return kinds


def _photo(image: np.ndarray, limit: int) -> bytes:
    """A JPEG of a (H, W, 3) uint8 RGB image."""
    for quality in QUALITIES:
        content = encode_image(image, ".jpg", cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1)
        if len(content) <= limit:
            break
    return content


def _palette(colours: dict[int, Colour]) -> np.ndarray:
    """(256, 3) uint8 RGB: the colour of each value."""
    palette = np.zeros((256, 3), np.uint8)
    for value, colour in colours.items():
        palette[value] = colour
    return palette


_LABEL_PALETTE = _palette({**{label_of(i): class_colour(i) for i in range(MAX_CLASSES)}, VOID: VOID_COLOUR})
_KIND_PALETTE = _palette(KIND_COLOURS)


def _layer(values: np.ndarray, palette: np.ndarray) -> bytes:
    """A PNG of (H, W) uint8 values in the colours of a palette; 0 is transparent."""
    from PIL import Image

    picture = Image.fromarray(values)
    picture.putpalette(palette[: int(values.max()) + 1].tobytes())
    contents = io.BytesIO()
    picture.save(contents, "PNG", transparency=0)
    return contents.getvalue()
