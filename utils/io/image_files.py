"""Image files: their kinds, the one function that opens them, and the sizes in their headers."""

from __future__ import annotations

import logging
import os
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from PIL import ExifTags, Image, PngImagePlugin, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from utils.files import foreign_content, open_regular
from utils.io.png_files import check_rows, late_exif
from utils.io.tiff_files import LARGE, check_segments, tiff_page


def _suffixes(kinds: str) -> frozenset[str]:
    return frozenset(f".{kind}" for kind in kinds.split())


HEIF_SUFFIXES = _suffixes("heic heif hif")
"""Lower-case suffixes of what the package pillow-heif reads."""

IMAGE_SUFFIXES = (
    _suffixes("jpg jpeg jpe jfif mpo jp2 j2k j2c jpc jpf jpx png apng bmp dib webp tif tiff gif ppm pgm pbm pnm")
    | _suffixes("tga psd")
    | (_suffixes("avif") if find_spec("PIL._avif") or find_spec("pillow_heif") else frozenset())
    | (HEIF_SUFFIXES if find_spec("pillow_heif") else frozenset())
)
"""Lower-case suffixes of supported images."""

UNREAD_SUFFIXES = (
    _suffixes("dng cr2 cr3 crw nef nrw arw sr2 srf srw orf raf rw2 rwl pef x3f 3fr fff iiq mef mos mrw erf kdc dcr gpr")
    | _suffixes("raw avif jxl jxr hdr exr pfm pam qoi sgi pcx xcf dds ico icns dcm fits eps")
    | HEIF_SUFFIXES
) - IMAGE_SUFFIXES
"""Lower-case suffixes of photographs that are not supported; the user is told of them."""

ANIMATION_SUFFIXES = _suffixes("gif webp apng")
"""Lower-case suffixes of images that are often animations."""

VIDEO_SUFFIXES = _suffixes(
    "mp4 mov avi mkv webm m4v ts mts m2ts m2t 3gp 3g2 mpg mpeg mod m1v m2v wmv asf flv f4v ogv vob mxf divx rm rmvb dv "
    "h264 h265 hevc mjpeg mjpg y4m ivf nut"
)
"""Lower-case suffixes of videos."""

PHOTO_FORMATS = ("JPEG", "PNG", "BMP", "DIB", "WEBP", "TIFF", "GIF", "PPM", "JPEG2000", "PSD")
"""Pillow's names of the formats that photographs have by their content: none that runs a program or names files."""

_MEGA = 1_000_000
_BYTES_PER_PIXEL = 10
"""What an image takes while it is read: Pillow's four bytes, and RGB twice where it is turned."""

_largest = 1000 * _MEGA

# What is wrong with a file becomes an error with its name; what Pillow and tifffile print does not name the file.
warnings.filterwarnings("ignore", module=r"PIL\.")
for _library in ("PIL", "tifffile"):
    logging.getLogger(_library).setLevel(logging.CRITICAL + 1)
# Pillow's limits for all images alike stop large photographs and long metadata; `check_pixels` stands in their place.
Image.MAX_IMAGE_PIXELS = None
PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = 64 * _MEGA, 256 * _MEGA


def is_image_name(name: str) -> bool:
    """Tell whether a file name is that of a supported image: a known suffix in any case, and not hidden."""
    return has_suffix(name, IMAGE_SUFFIXES)


def shared_stems(image_ids: Sequence[str]) -> list[tuple[str, int]]:
    """Find the images whose ids keep their suffix since they differ in nothing else, such as `a.jpg` and `a.png`.

    Returns:
        for each what a file for it may be called, `a`, which then does not say which one it is for; and its position.
    """
    stems = [(image_id[: image_id.rindex(".")], i) for i, image_id in enumerate(image_ids) if is_image_name(image_id)]
    counts = Counter(stem for stem, _ in stems)
    return [(stem, i) for stem, i in stems if counts[stem] > 1]


def is_unread_name(name: str) -> bool:
    """Tell whether a file name is that of an unsupported photograph, and not hidden."""
    return has_suffix(name, UNREAD_SUFFIXES)


def is_video_name(name: str) -> bool:
    """Tell whether a file name is that of a video: a known suffix in any case, and not hidden."""
    return has_suffix(name, VIDEO_SUFFIXES)


def has_suffix(name: str, suffixes: frozenset[str]) -> bool:
    """Tell whether a file name ends in one of some lower-case suffixes, in any case, and is not hidden."""
    return not name.startswith(".") and name[name.rfind(".") :].lower() in suffixes


def is_photo_gone(photo: Path, image_id: str) -> bool:
    """Tell whether a photo or a video, from which something was made, was deleted.

    It counts as gone only where the folder that its id is relative to is still there: a disk that is not mounted, or a
    folder that was moved, is no reason to call all of its photos deleted.
    """
    depth = 1 if is_video_name(photo.name) else len(PurePosixPath(image_id).parts)
    photo = Path(os.path.normpath(photo))
    root = photo.parents[min(depth, len(photo.parents)) - 1]
    return os.path.isdir(root) and not os.path.exists(photo)


def heif_advice(unread: Iterable[Path]) -> str:
    """Return how to have unsupported photographs read, if a package does; else an empty text."""
    kinds = sorted({path.suffix.lower() for path in unread} & {*HEIF_SUFFIXES, ".avif"})
    return f"pip install pillow-heif reads {', '.join(kinds)}" if kinds else ""


def set_largest_image(megapixels: int) -> None:
    """Set how many megapixels an image may have to be read."""
    global _largest
    _largest = megapixels * _MEGA


def check_pixels(size: Sequence[int], bytes_per_pixel: int = _BYTES_PER_PIXEL) -> None:
    """Raise ValueError if an image of a (height, width) is larger than what is read, or than the free memory."""
    height, width = size
    if (pixels := height * width) > _largest:
        limit = f"dataloader.max_megapixels is {_largest // _MEGA}; raise it to read the image"
        raise ValueError(f"it has {width} x {height} pixels, which are {-(-pixels // _MEGA)} megapixels; {limit}")
    if pixels > LARGE and (needed := pixels * bytes_per_pixel) > (free := _free_memory()):
        need = f"reading them takes about {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free"
        raise ValueError(f"it has {width} x {height} pixels; {need}; make the image smaller")


def _free_memory() -> int:
    import psutil

    return int(psutil.virtual_memory().available)


@contextmanager
def open_image(source: Path | BinaryIO, formats: Sequence[str] | None = None) -> Iterator[Image.Image]:
    """Open an image; only its header is read. Every image of a user that Pillow reads is opened here.

    The EXIF that a PNG holds behind its pixels is among `info`, too.

    Args:
        source: a path, or an open file.
        formats: Pillow's names of the formats that are accepted; None: those of photographs.

    Raises:
        ValueError: the file cannot be read, or is of none of the formats.
    """
    with image_errors():
        if isinstance(source, Path):
            with open_regular(source) as file, open_image(file, formats) as image:
                yield image
            return
        accepted = tuple(formats or ()) or _photo_formats(getattr(source, "name", ""))
        try:
            opened = Image.open(source, formats=accepted)
        except UnidentifiedImageError as error:
            source.seek(0)
            kind = foreign_content(source.read(512))
            told = f"but {kind}" if kind else "damaged at its beginning, or of an unknown kind"
            raise ValueError(f"not an image, {told}") from error
        with opened as image:
            if image.format == "PNG":
                image.info = late_exif(source) | image.info
            yield image


def is_animation(path: Path) -> bool:
    """Tell from the header whether an image has several frames; False if it cannot be read."""
    try:
        with open_image(path) as image:
            return bool(getattr(image, "is_animated", False))
    except ValueError:
        return False


def _photo_formats(name: str) -> tuple[str, ...]:
    """Return the formats of a photograph; TGA has no mark of its own, so it goes by the file's name."""
    return (*PHOTO_FORMATS, *_extra_formats(), *(["TGA"] if str(name).lower().endswith(".tga") else []))


@cache
def _extra_formats() -> tuple[str, ...]:
    """Return the formats of photographs that this installation reads beyond those of every Pillow."""
    if find_spec("pillow_heif"):
        import pillow_heif

        pillow_heif.register_heif_opener()
        if not find_spec("PIL._avif") and hasattr(pillow_heif, "register_avif_opener"):  # older ones have it
            pillow_heif.register_avif_opener()
    Image.init()
    return tuple(kind for kind in ("AVIF", "HEIF") if kind in Image.OPEN)


def image_size(path: Path) -> tuple[int, int]:
    """Read (height, width) in pixels of the upright image from its header; ValueError if it cannot be read."""
    return header_sizes(path)[0]


def header_sizes(path: Path) -> tuple[tuple[int, int], tuple[int, int]]:
    """Read (height, width) in pixels of the upright image, and as it is stored; ValueError as `image_size`."""
    stored, orientation = _header(path)
    return (stored[::-1] if orientation >= 5 else stored), stored


def is_upright(path: Path) -> bool:
    """Return whether an image is stored as it is seen, by its header; so is one that can no longer be read."""
    try:
        return _header(path)[1] == 1
    except ValueError:
        return True


def _header(path: Path) -> tuple[tuple[int, int], int]:
    """Read (height, width) in pixels of an image as it is stored, and its EXIF orientation."""
    with image_errors(), open_regular(path) as file:
        if page := tiff_page(file):
            return page.size, page.orientation
        with open_image(file) as image:
            return image.size[::-1], exif_orientation(image)


def size_problem(found: tuple[float, float], size: tuple[int, int]) -> str | None:
    """Describe the mismatch if annotations for an image of a (height, width) belong to an image of another size."""
    if found == size:
        return None
    (height, width), (true_height, true_width) = found, size
    swapped = "; the sides are swapped: images count as they are shown, turned by EXIF" if found == size[::-1] else ""
    return f"is for {width} x {height} pixels, the image has {true_width} x {true_height}{swapped}"


def decode(file: BinaryIO, image: Image.Image) -> None:
    """Decode the pixels of an image that is open; ValueError if it is too large, damaged or incomplete."""
    check_pixels(size := image.size[::-1])
    with image_errors():
        if isinstance(image, TiffImageFile):
            check_segments(image)
        image.load()
        if image.size[::-1] != size:  # what headers say is relied on elsewhere
            raise ValueError("damaged: its header tells another size than its data")
        if image.format == "PNG":
            check_rows(file, image)


def exif_orientation(image: Image.Image) -> int:
    """Return the EXIF orientation from 1 (upright) to 8; like labelme, ignore one that only XMP has."""
    if not image.info.keys() & {"exif", "Raw profile type exif"}:
        return 1
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # with damaged EXIF, the pixels are still usable
        return 1
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


@contextmanager
def image_errors() -> Iterator[None]:
    """Turn all errors of reading a file into a ValueError that gives the reason, without the file's name."""
    try:
        yield
    except ValueError:
        raise
    except MemoryError as error:
        raise ValueError("it does not fit into the memory") from error
    except OSError as error:
        raise ValueError(error.strerror or f"cannot be decoded: {error}") from error
    except Exception as error:  # decoders raise almost anything on a broken file
        raise ValueError(f"cannot be decoded: {error}") from error
