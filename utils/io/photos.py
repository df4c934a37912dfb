"""Reading of photographs: the only place where image files become arrays, RGB and upright."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from utils.boxes import Size
from utils.device import return_freed_memory
from utils.files import open_regular
from utils.io.image_files import check_pixels, decode, exif_orientation, image_errors, open_image
from utils.io.tiff_files import LARGE, TiffPage, tiff_page

_JPEG_END = b"\xff\xd9"
_BITS = 258  # TIFF's tag of the bits of each band's samples
_LARGEST_JPEG = 2**31 - 1  # bytes
_FILL = 128  # libjpeg's value, in all channels, of pixels whose data are missing
_STRIP_PIXELS = 2**24
_MORE_DATA = 8 * bytes(range(1, 255))  # decodes to pixels that are not plain grey; holds no JPEG marker

LARGE_FILES = Path("/var/tmp")
"""Where temporary files of large images lie, unless TMPDIR is set; /tmp is in memory on many systems."""

_TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # EXIF orientation -> turns the image upright
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: image.swapaxes(0, 1)[:, ::-1],
    7: lambda image: image[::-1, ::-1].swapaxes(0, 1),
    8: lambda image: image.swapaxes(0, 1)[::-1],
}
_TURNED_BACK = {6: 8, 8: 6}  # of the other turns each is its own inverse


def read_image(path: Path) -> npt.NDArray[np.uint8]:
    """Read a photograph as labelme shows it, with its EXIF orientation applied.

    Grey, palette and CMYK images are converted to RGB by Pillow. 16-bit samples are reduced to their high byte (65535
    is white). Alpha is dropped: a transparent pixel has the color that the file stores for it. Of several images in one
    file the first is read.

    Returns:
        (H, W, 3) RGB.

    Raises:
        ValueError: the file cannot be read; or a JPEG is truncated or damaged, which decoders accept silently and fill
            with grey.
    """
    with image_errors(), open_regular(path) as file:
        page = tiff_page(file)
        if page is None or not page.is_large:
            return _upright(*_read(file, page))
        size = page.size[::-1] if page.orientation >= 5 else page.size
        pixels = _large_array(size)
        stored = _TURNS.get(_TURNED_BACK.get(page.orientation, page.orientation), np.asarray)(pixels)
        for top, band in page.bands():
            with band:  # its bytes are freed here, not when what tifffile made of them is found to be unused
                part, _ = _read(band, tiff_page(band))
            stored[top : top + len(part)] = part
        return pixels


def pixels_of(image: Image.Image) -> npt.NDArray[np.uint8]:
    """Return the (H, W, 3) RGB pixels of an image that Pillow has open, as `read_image` does.

    Raises:
        ValueError: it cannot be decoded, or its samples are of a kind that has no black and white.
    """
    with image_errors():
        image.load()
        if not math.prod(image.size):
            raise ValueError("it has no pixels")
        return _upright(_pixels(image, 16), exif_orientation(image))


def _read(file: BinaryIO, page: TiffPage | None) -> tuple[np.ndarray, int]:
    """Decode an image file to (H, W, 3) uint8 RGB, not turned, and its EXIF orientation.

    Args:
        page: of a TIFF file that Pillow does not read well.
    """
    if page:
        check_pixels(page.size, page.bytes_per_pixel)
        _care_for_memory(page.size)
        pixels, size, orientation = page.read(), page.size, page.orientation
    else:
        with open_image(file) as image:
            size, orientation = image.size[::-1], exif_orientation(image)
            _care_for_memory(size)
            pixels = _decode(file, image)
    if pixels.shape[:2] != size:  # what headers say is relied on elsewhere
        raise ValueError("damaged: its header tells another size than its data")
    return pixels, orientation


def _large_array(size: Size) -> npt.NDArray[np.uint8]:
    """Return (H, W, 3) in a temporary file, which the system reads and writes as memory allows; else in memory.

    The file has no name, so nothing is left of it when a run is killed.
    """
    check_pixels(size, 0)
    _care_for_memory(size)
    shape = (*size, 3)
    for folder in (None if "TMPDIR" in os.environ else LARGE_FILES, None):
        try:
            with tempfile.TemporaryFile(dir=folder) as file:
                if hasattr(os, "posix_fallocate"):  # or a disk that fills up would end the run by a signal
                    os.posix_fallocate(file.fileno(), 0, math.prod(shape))
                return np.asarray(np.memmap(file, np.uint8, "w+", shape=shape))
        except OSError:  # no such folder, not writable, full
            continue
    check_pixels(size, 3)
    return np.empty(shape, np.uint8)


def _care_for_memory(size: Size) -> None:
    """Keep no more memory than is in use from a large image of a (height, width) on."""
    if math.prod(size) > LARGE:
        return_freed_memory()


def _decode(file: BinaryIO, image: Image.Image) -> np.ndarray:
    """Decode an opened image to (H, W, 3) uint8 RGB, not turned."""
    if image.format in ("JPEG", "MPO") and image.mode in ("L", "RGB"):
        check_pixels(image.size)
        data_start = file.tell()  # only the header is read
        if os.fstat(file.fileno()).st_size > _LARGEST_JPEG:
            raise ValueError("a JPEG file of more than 2 GB")
        file.seek(0)
        if (pixels := _jpeg_pixels(file.read(), data_start)) is not None:
            return pixels
    bits = image.tag_v2.get(_BITS, (16,))[0] if isinstance(image, TiffImageFile) else 16
    decode(file, image)
    return _pixels(image, bits)


def _jpeg_pixels(content: bytes, data_start: int) -> np.ndarray | None:
    """Decode a grey or RGB JPEG to (H, W, 3) uint8 RGB, not turned; None if cv2 cannot decode it.

    cv2 and Pillow give the same pixels, both by libjpeg-turbo, but cv2 takes half the time.

    Args:
        data_start: end of the header, which may contain a thumbnail with an end marker of its own.
    """
    if content.rfind(_JPEG_END, data_start) < 0:  # from the end, where the marker usually is
        raise ValueError("truncated: the JPEG has no end")
    pixels = _decode_jpeg(content)
    if pixels is None or (pixels[-8:, -8:] != _FILL).any():
        return pixels
    # The photograph itself may have a grey corner. So insert more data before the end marker and decode again: they
    # change pixels only if data were missing.
    end = content.find(_JPEG_END, data_start)
    longer = _decode_jpeg(content[:end] + _MORE_DATA + content[end:])
    if longer is None or not np.array_equal(pixels, longer):
        raise ValueError("damaged: the JPEG's data end before the picture does")
    return pixels


def _decode_jpeg(content: bytes) -> np.ndarray | None:
    try:
        return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:  # it has limits of its own
        return None


def _pixels(image: Image.Image, bits: int) -> np.ndarray:
    """Convert an image of any mode to (H, W, 3) uint8 RGB, not turned; deep grey has samples of some bits."""
    if image.mode == "F":
        raise ValueError("its samples are floating-point numbers, for which black and white are not defined")
    if not image.mode.startswith("I"):
        return _rgb(image)
    samples = np.array(image)  # Pillow would clip these to 255
    if samples.min() < 0 or samples.max() > 65535:
        raise ValueError("its samples have more than 16 bits, for which black and white are not defined")
    return np.repeat((samples >> (bits - 8 if 8 < bits < 16 else 8)).astype(np.uint8)[:, :, None], 3, axis=2)


def _rgb(image: Image.Image) -> np.ndarray:
    """Copy the pixels of an image to (H, W, 3) RGB, strip by strip, since Pillow's copy takes twice its memory."""
    width, height = image.size
    pixels = np.empty((height, width, 3), np.uint8)
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        strip = image if rows >= height else image.crop((0, top, width, min(top + rows, height)))
        pixels[top : top + rows] = np.asarray(strip if strip.mode == "RGB" else strip.convert("RGB"))
    return pixels


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    turn = _TURNS.get(orientation)
    return pixels if turn is None else turn(pixels).copy()  # the copy of an image one pixel wide has forward strides


def size_mismatch_message(what: str, size: Sequence[int], other: str, other_size: Sequence[int]) -> str:
    """Describe two arrays whose sizes (height, width, ...) should be equal, but are not."""
    return f"{what} has {size[1]}x{size[0]} pixels, {other} {other_size[1]}x{other_size[0]}"
