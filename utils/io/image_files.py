"""Image files: which there are, what their headers say, and index maps as the indices they hold."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

IMAGE_SUFFIXES = frozenset(
    [".jpg", ".jpeg", ".jfif", ".mpo", ".jp2", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"]
)
"""Suffixes, in lower case, of the files that are taken for images."""

UNREAD_SUFFIXES = frozenset(
    [".heic", ".heif", ".avif", ".jxl", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2"]
)
"""Suffixes, in lower case, of photographs that are not read: who has some must be told."""

VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v"})
"""Suffixes, in lower case, of the files that are taken for videos."""

INDEX_MODES = ("P", "L")

DEEP_MODES = ("I;16", "I")
"""What Pillow calls 16-bit grey, which depends on its version."""

# Decoding says what is wrong with a file, and by name; what Pillow warns of comes without a name.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def is_image_name(name: str) -> bool:
    """Whether a file of this name is taken for an image: a known suffix in any case, and not hidden."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def is_unread_name(name: str) -> bool:
    """Whether a file of this name is a photograph of a kind that is not read, and not hidden."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in UNREAD_SUFFIXES


def is_video_name(name: str) -> bool:
    """Whether a file of this name is taken for a video: a known suffix in any case, and not hidden."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) in pixels of the upright image, from the file's header alone.

    Raises:
        ValueError: why the header cannot be read.
    """
    with reasons(), Image.open(path) as image:
        width, height = image.size
        return (width, height) if orientation(image) >= 5 else (height, width)


def stored_size(path: Path) -> tuple[int, int]:
    """(height, width) in pixels of an image file as it is stored, turned by nothing; ValueError as `image_size`."""
    with reasons(), Image.open(path) as image:
        return image.size[::-1]


def read_index_map(path: Path) -> np.ndarray:
    """Read a mask without its colours: (H, W) uint8 palette indices (mode P) or grey values (mode L).

    Raises:
        ValueError: why the file cannot be read, or that it is no index map.
    """
    with _opened_map(path, INDEX_MODES) as image:
        return np.array(image)


def index_map_size(path: Path) -> tuple[int, int]:
    """(height, width) of what `read_index_map` would read, from the file's header alone; ValueError as there."""
    with _opened_map(path, INDEX_MODES) as image:
        return image.size[::-1]


def read_object_map(path: Path) -> np.ndarray:
    """Read the numbers of a mask's objects: (H, W) uint8 as `read_index_map`, or uint16 where the file is 16-bit grey.

    Raises:
        ValueError: why the file cannot be read, or that it is no index map.
    """
    with _opened_map(path, (*INDEX_MODES, *DEEP_MODES)) as image:
        return np.array(image).astype(np.uint16 if image.mode in DEEP_MODES else np.uint8)


def object_map_size(path: Path) -> tuple[int, int]:
    """(height, width) of what `read_object_map` would read, from the file's header alone; ValueError as there."""
    with _opened_map(path, (*INDEX_MODES, *DEEP_MODES)) as image:
        return image.size[::-1]


def size_problem(found: tuple[float, float], size: tuple[int, int]) -> str | None:
    """What is wrong with something that was made for an image of one (height, width), where its image has another."""
    if found == size:
        return None
    (height, width), (true_height, true_width) = found, size
    swapped = "; the sides are swapped: images count as they are shown, turned by EXIF" if found == size[::-1] else ""
    return f"is for {width} x {height} pixels, the image has {true_width} x {true_height}{swapped}"


@contextmanager
def _opened_map(path: Path, modes: Sequence[str]) -> Iterator[Image.Image]:
    """A mask's file of one of the modes, its header read."""
    with reasons(), Image.open(path) as image:
        if image.mode not in modes:
            raise ValueError(f"not an index map: its mode is {image.mode}, not P (palette) or L (8-bit grey)")
        yield image


def orientation(image: Image.Image) -> int:
    """EXIF orientation from 1 (upright) to 8, as labelme reads it: XMP alone does not turn an image."""
    if not image.info.keys() & {"exif", "Raw profile type exif"}:
        return 1
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged EXIF spoils no pixels
        return 1


@contextmanager
def reasons() -> Iterator[None]:
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
