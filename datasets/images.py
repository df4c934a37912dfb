"""Image files become arrays here and nowhere else: photographs RGB and upright, masks as the indices they hold."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

IMAGE_SUFFIXES = frozenset(
    [".jpg", ".jpeg", ".jfif", ".mpo", ".jp2", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"]
)
"""Suffixes, in lower case, of the files that are taken for images."""

# Decoding says what is wrong with a file, and by name; what Pillow warns of comes without a name.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

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


def is_image_name(name: str) -> bool:
    """Whether a file of this name is taken for an image: a known suffix in any case, and not hidden."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


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
    with _reasons():
        content = path.read_bytes()
        with Image.open(stream := io.BytesIO(content)) as image:
            plain_jpeg = image.format in ("JPEG", "MPO") and image.mode in ("L", "RGB")
            pixels = _jpeg_pixels(content, stream.tell()) if plain_jpeg else None  # so far it read the header
            return _upright(_pixels(image) if pixels is None else pixels, _orientation(image))


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) in pixels of the upright image, from the file's header alone.

    Raises:
        ValueError: why the header cannot be read.
    """
    with _reasons(), Image.open(path) as image:
        width, height = image.size
        return (width, height) if _orientation(image) >= 5 else (height, width)


def read_index_map(path: Path) -> np.ndarray:
    """Read a mask without its colours: (H, W) uint8 palette indices (mode P) or grey values (mode L).

    Raises:
        ValueError: why the file cannot be read, or that it is no index map.
    """
    with _reasons(), Image.open(path) as image:
        if image.mode not in ("P", "L"):
            raise ValueError(f"not an index map: its mode is {image.mode}, not P (palette) or L (8-bit grey)")
        return np.array(image)


@contextmanager
def _reasons() -> Iterator[None]:
    """Turn whatever goes wrong with a file into a ValueError that says why, without the file's name."""
    try:
        yield
    except ValueError:
        raise
    except UnidentifiedImageError as error:
        raise ValueError("not an image, damaged at its beginning, or of an unknown kind") from error
    except OSError as error:
        raise ValueError(error.strerror or f"cannot be decoded: {error}") from error
    except Exception as error:  # decoders raise almost anything on a broken file
        raise ValueError(f"cannot be decoded: {error}") from error


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


def _orientation(image: Image.Image) -> int:
    """EXIF orientation from 1 (upright) to 8, as labelme reads it: XMP alone does not turn an image."""
    if not image.info.keys() & {"exif", "Raw profile type exif"}:
        return 1
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged EXIF spoils no pixels
        return 1


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    turn = _TURNS.get(orientation)
    return pixels if turn is None else np.ascontiguousarray(turn(pixels))
