"""Image files: their suffixes, the sizes in their headers, and index maps."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, UnidentifiedImageError

IMAGE_SUFFIXES = frozenset(
    [".jpg", ".jpeg", ".jfif", ".mpo", ".jp2", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"]
)
"""Lower-case suffixes of supported images."""

UNREAD_SUFFIXES = frozenset(
    [".heic", ".heif", ".avif", ".jxl", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2"]
)
"""Lower-case suffixes of photographs that are not supported; the user is told of them."""

VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v"})
"""Lower-case suffixes of videos."""

INDEX_MODES = ("P", "L")

DEEP_MODES = ("I;16", "I")
"""Pillow's modes of 16-bit grey, which depend on its version."""

# A file that cannot be decoded gives an error with its name; Pillow's warnings do not name the file.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def is_image_name(name: str) -> bool:
    """Tell whether a file name is that of a supported image: a known suffix in any case, and not hidden."""
    return _has_suffix(name, IMAGE_SUFFIXES)


def is_unread_name(name: str) -> bool:
    """Tell whether a file name is that of an unsupported photograph, and not hidden."""
    return _has_suffix(name, UNREAD_SUFFIXES)


def is_video_name(name: str) -> bool:
    """Tell whether a file name is that of a video: a known suffix in any case, and not hidden."""
    return _has_suffix(name, VIDEO_SUFFIXES)


def _has_suffix(name: str, suffixes: frozenset[str]) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in suffixes


def image_size(path: Path) -> tuple[int, int]:
    """Read (height, width) in pixels of the upright image from its header; ValueError if it cannot be read."""
    with image_errors(), Image.open(path) as image:
        width, height = image.size
        return (width, height) if exif_orientation(image) >= 5 else (height, width)


def stored_size(path: Path) -> tuple[int, int]:
    """Read (height, width) in pixels of an image as it is stored, before EXIF turns it; ValueError as `image_size`."""
    with image_errors(), Image.open(path) as image:
        return image.size[::-1]


def read_index_map(path: Path) -> npt.NDArray[np.uint8]:
    """Read a mask's (H, W) palette indices (mode P) or grey values (mode L); ValueError if it is no index map."""
    with _open_map(path, INDEX_MODES) as image:
        return np.array(image)


def index_map_size(path: Path) -> tuple[int, int]:
    """Read (height, width) of an index map from its header; ValueError as `read_index_map`."""
    with _open_map(path, INDEX_MODES) as image:
        return image.size[::-1]


def read_object_map(path: Path) -> npt.NDArray[np.uint8 | np.uint16]:
    """Read a mask's (H, W) object numbers like `read_index_map`; from 16-bit grey, too, then as uint16."""
    with _open_map(path, (*INDEX_MODES, *DEEP_MODES)) as image:
        return np.array(image).astype(np.uint16 if image.mode in DEEP_MODES else np.uint8)


def object_map_size(path: Path) -> tuple[int, int]:
    """Read (height, width) of a map of object numbers from its header; ValueError as `read_object_map`."""
    with _open_map(path, (*INDEX_MODES, *DEEP_MODES)) as image:
        return image.size[::-1]


def size_problem(found: tuple[float, float], size: tuple[int, int]) -> str | None:
    """Describe the mismatch if annotations for an image of a (height, width) belong to an image of another size."""
    if found == size:
        return None
    (height, width), (true_height, true_width) = found, size
    swapped = "; the sides are swapped: images count as they are shown, turned by EXIF" if found == size[::-1] else ""
    return f"is for {width} x {height} pixels, the image has {true_width} x {true_height}{swapped}"


@contextmanager
def _open_map(path: Path, modes: Sequence[str]) -> Iterator[Image.Image]:
    """Open a mask's file and check its mode."""
    with image_errors(), Image.open(path) as image:
        if image.mode not in modes:
            raise ValueError(f"not an index map: its mode is {image.mode}, not P (palette) or L (8-bit grey)")
        yield image


def exif_orientation(image: Image.Image) -> int:
    """Return the EXIF orientation from 1 (upright) to 8; like labelme, ignore one that only XMP has."""
    if not image.info.keys() & {"exif", "Raw profile type exif"}:
        return 1
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # with damaged EXIF, the pixels are still usable
        return 1


@contextmanager
def image_errors() -> Iterator[None]:
    """Turn all errors of reading a file into a ValueError that gives the reason, without the file's name."""
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
