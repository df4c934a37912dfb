"""Photographs become arrays here and nowhere else: RGB and upright."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from utils.io.image_files import orientation, reasons

_JPEG_END = b"\xff\xd9"
_FILL = 128  # what libjpeg paints, in all channels, where its data end too early
_MORE_DATA = 8 * bytes(range(1, 255))  # decodes to something that is not plain grey, and holds no JPEG marker

_TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # EXIF orientation -> what makes the image upright
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: image.swapaxes(0, 1)[:, ::-1],
    7: lambda image: image[::-1, ::-1].swapaxes(0, 1),
    8: lambda image: image.swapaxes(0, 1)[::-1],
}


def read_image(path: Path) -> np.ndarray:
    """Read a photograph as labelme shows it: upright, whatever its format, colours or depth.

    Grey, palette and CMYK images become RGB as Pillow converts them. Of 16-bit samples the high byte is kept (65535 is
    white). Alpha is dropped: a transparent pixel gets the colour that the file stores for it. Of several frames or
    pictures in one file the first is read. EXIF orientation is applied.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: why the file cannot be read; also where decoders go on without a word, for a JPEG that lost its
            end or whose rest is the grey that libjpeg fills in.
    """
    with reasons():
        content = path.read_bytes()
        with Image.open(stream := io.BytesIO(content)) as image:
            plain_jpeg = image.format in ("JPEG", "MPO") and image.mode in ("L", "RGB")
            pixels = _jpeg_pixels(content, stream.tell()) if plain_jpeg else None  # so far it read the header
            return _upright(_pixels(image) if pixels is None else pixels, orientation(image))


def _jpeg_pixels(content: bytes, data_start: int) -> np.ndarray | None:
    """(H, W, 3) uint8 RGB of a grey or RGB JPEG, not turned, or None if cv2 cannot decode it.

    cv2 and Pillow give the same pixels here, both by libjpeg-turbo, but cv2 in half the time.

    Args:
        data_start: where the header ends, which may hold a thumbnail with an end marker of its own.
    """
    if content.rfind(_JPEG_END, data_start) < 0:  # from behind, since that is where it is
        raise ValueError("truncated: the JPEG has no end")
    pixels = _decode_jpeg(content)
    if pixels is None or (pixels[-8:, -8:] != _FILL).any():
        return pixels
    # A grey corner may well be in the photograph. But only where data were missing do further ones become picture.
    end = content.find(_JPEG_END, data_start)
    longer = _decode_jpeg(content[:end] + _MORE_DATA + content[end:])
    if longer is None or not np.array_equal(pixels, longer):
        raise ValueError("damaged: the JPEG's data end before the picture does")
    return pixels


def _decode_jpeg(content: bytes) -> np.ndarray | None:
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)


def _pixels(image: Image.Image) -> np.ndarray:
    """(H, W, 3) uint8 RGB of anything that Pillow decodes, not turned."""
    if image.mode == "F":
        raise ValueError("its samples are floating-point numbers, for which black and white are not defined")
    if not image.mode.startswith("I"):
        return np.array(image.convert("RGB"))
    samples = np.array(image)  # Pillow would clip these to 255
    if samples.min() < 0 or samples.max() > 65535:
        raise ValueError("its samples have more than 16 bits, for which black and white are not defined")
    return np.repeat((samples >> 8).astype(np.uint8)[:, :, None], 3, axis=2)


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    turn = _TURNS.get(orientation)
    return pixels if turn is None else np.ascontiguousarray(turn(pixels))
