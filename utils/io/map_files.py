"""Files of label maps, object maps and masks: each pixel has a value, or a color that stands for one."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from utils.files import open_regular
from utils.io.image_files import decode, image_errors, open_image
from utils.io.png_files import decode_bits

MAP_FORMATS = ("PNG", "TIFF", "BMP", "DIB", "GIF", "PPM", "TGA", "PSD")
"""Pillow's names of the formats that masks have: those that keep every value."""

INDEX_MODES = ("P", "L")

DEEP_MODES = ("I;16", "I")
"""Pillow's modes of 16-bit grey, which depend on its version."""

COLOR_MODES = ("RGB",)


def read_index_map(path: Path, *, colored: bool = False) -> npt.NDArray[np.uint8]:
    """Read a mask's palette indices (mode P) or grey values (mode L), (H, W); ValueError if it is no index map.

    Args:
        colored: colors are taken, too: (H, W, 3) RGB.
    """
    with _open_map(path, (*INDEX_MODES, *(COLOR_MODES if colored else ())), decoded=True) as image:
        return np.array(image)


def index_map_size(path: Path, *, deep: bool = False, colored: bool = False) -> tuple[int, int]:
    """Read (height, width) of an index map from its header; ValueError if it is none.

    Args:
        deep: it may have 16 bits.
        colored: it may have colors.
    """
    with _open_map(path, (*INDEX_MODES, *(DEEP_MODES if deep else ()), *(COLOR_MODES if colored else ()))) as image:
        return image.size[::-1]


def palette_of(path: Path) -> npt.NDArray[np.uint8] | None:
    """Read the (K, 3) RGB palette of an index map; None if it has none. ValueError as `read_index_map`."""
    with _open_map(path, (*INDEX_MODES, *COLOR_MODES)) as image:
        colors = image.getpalette()
        return None if colors is None else np.array(colors, np.uint8).reshape(-1, 3)


def read_object_map(path: Path, *, colored: bool = False) -> npt.NDArray[np.uint8 | np.uint16]:
    """Read a mask's (H, W) object numbers like `read_index_map`; from 16-bit grey, too, then as uint16."""
    modes = (*INDEX_MODES, *DEEP_MODES, *(COLOR_MODES if colored else ()))
    with _open_map(path, modes, decoded=True) as image:
        return np.array(image).astype(np.uint16 if image.mode in DEEP_MODES else np.uint8)


def decode_mask(encoded: str) -> npt.NDArray[np.bool_]:
    """Decode a base64 PNG as labelme keeps masks: (h, w) bool; ValueError if it is none."""
    with image_errors():
        content = base64.b64decode(encoded)
    if (mask := decode_bits(content)) is not None:
        return mask
    with open_image(file := io.BytesIO(content), ("PNG",)) as picture:
        if len(picture.getbands()) > 1:
            raise ValueError(f"its mode is {picture.mode}")
        decode(file, picture)
        return np.array(picture).astype(bool)


@contextmanager
def _open_map(path: Path, modes: Sequence[str], *, decoded: bool = False) -> Iterator[Image.Image]:
    """Open a mask's file and check its mode and, where it is to be decoded, its pixels."""
    with image_errors(), open_regular(path) as file, open_image(file, (*MAP_FORMATS, "JPEG", "WEBP")) as image:
        if image.format not in MAP_FORMATS:
            raise ValueError(f"its content is {image.format}, which does not keep labels exactly; save it as PNG")
        if image.mode not in modes:
            fact = f"its mode is {image.mode}, not P (palette) or L (8-bit grey)"
            colors = "not a color of it, or say what the colors mean in a labelmap.txt"
            colors = "or its color as RGB, without alpha" if "RGB" in modes else colors
            advice = "as 8 bits" if image.mode in DEEP_MODES else colors
            raise ValueError(f"not an index map: {fact}; save each pixel's label, {advice}")
        if decoded:
            decode(file, image)
        yield image
