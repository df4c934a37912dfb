"""TIFF files that Pillow refuses, reads wrongly or in too much memory: planes of 16 bits, odd bands, large ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL.TiffImagePlugin import TiffImageFile

if TYPE_CHECKING:
    from tifffile import TiffPage as Page

_MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _CMYK = 0, 1, 2, 5
_PLANES = 2
_WIDTH, _HEIGHT, _STRIPS, _ORIENTATION, _BANDS, _ROWS, _LAYOUT = 256, 257, 273, 274, 277, 278, 284
_TILE_WIDTH, _TILE_HEIGHT, _TILES = 322, 323, 324
_NO_SCALE = "black and white are not defined; save it with 8 or 16 bits without a sign"
_SIMPLE = (1, 8, 32946)  # none, and Deflate by two numbers
_WEBP = 50001  # Pillow opens it, but its libtiff lacks the decoder, and says so on the terminal
_UNSIGNED, _UNDEFINED = 1, 4  # kinds of samples; Pillow takes signed ones for unsigned

LARGE = 64_000_000
"""Pixels from which on an image is read with regard to memory."""

_BUFFER = 2**24  # bytes read at a time

_INCOMPLETE = "damaged: the TIFF's data end before the picture does"


@dataclass(frozen=True)
class TiffPage:
    """The first page of a TIFF file.

    Attributes:
        size: (height, width) in pixels as it is stored.
        orientation: from 1 (upright) to 8, as in EXIF.
        is_odd: whether Pillow, and so labelme, refuses the page or reads it wrongly.
    """

    size: tuple[int, int]
    orientation: int
    is_odd: bool
    _page: Page

    @property
    def bytes_per_pixel(self) -> int:
        """Return what the page takes at most while it is read and turned."""
        samples = self._page.samplesperpixel * self._page.dtype.itemsize if self._page.dtype else 0
        return 6 if _is_plain(self._page) else samples + 9

    def read(self) -> npt.NDArray[np.uint8]:
        """Decode to (H, W, 3) RGB, not turned: grey, or the first three bands, of deep samples the high bits.

        Raises:
            ValueError: a package that the compression needs is missing, or black and white are not defined.
        """
        if self._page.photometric not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB):
            kind = f"{self._page.samplesperpixel} bands of {self._page.bitspersample} bits, neither RGB nor grey"
            raise ValueError(f"a TIFF of {kind}, which is not read; save it as PNG")
        self._check_segments()
        try:
            samples = self._page.asarray(maxworkers=1, buffersize=_BUFFER)
        except Exception as error:
            if "imagecodecs" in str(error) or isinstance(error, ImportError):
                advice = "pip install imagecodecs reads it, or save the image as PNG"
                raise ValueError(f"a TIFF in a layout or compression that is not read as it is; {advice}") from error
            raise
        if samples.dtype.kind == "f":
            raise ValueError(f"its samples are floating-point numbers: {_NO_SCALE}")
        if samples.dtype.kind != "u" or (bits := self._page.bitspersample) > 16:
            raise ValueError(f"its samples are signed or have more than 16 bits: {_NO_SCALE}")
        if samples.ndim == 3 and self._page.planarconfig == _PLANES:
            samples = np.moveaxis(samples, 0, -1)
        bands = samples.reshape(*self.size, -1)
        bands = bands[..., :3] if bands.shape[-1] >= 3 else bands[..., :1]
        pixels = (bands >> (bits - 8) if bits > 8 else bands).astype(np.uint8, copy=False)
        if self._page.photometric == _WHITE_IS_ZERO:
            pixels = 255 - pixels
        return np.repeat(pixels, 3, axis=2) if pixels.shape[-1] == 1 else np.ascontiguousarray(pixels)

    def _check_segments(self) -> None:
        """Raise ValueError if strips or tiles are missing, which tifffile fills with zeros."""
        offsets, counts = self._page.dataoffsets, self._page.databytecounts
        expected, end = math.prod(self._page.chunked), self._page.parent.filehandle.size
        inside = all(count and offset + count <= end for offset, count in zip(offsets, counts))
        if not inside or min(len(offsets), len(counts)) < expected:
            raise ValueError(_INCOMPLETE)


def check_segments(image: TiffImageFile) -> None:
    """Raise ValueError if a TIFF that Pillow opened lacks strips or tiles, which Pillow fills with zeros."""
    tags = image.tag_v2
    width, height = tags.get(_WIDTH, 0), tags.get(_HEIGHT, 0)
    if _TILES in tags:
        found, expected = tags[_TILES], -(-width // tags[_TILE_WIDTH]) * -(-height // tags[_TILE_HEIGHT])
    elif _STRIPS in tags:
        found, expected = tags[_STRIPS], -(-height // min(tags.get(_ROWS, height), height))
    else:
        return
    planes = tags.get(_BANDS, 1) if tags.get(_LAYOUT) == _PLANES else 1
    if len(found) < expected * planes:
        raise ValueError(_INCOMPLETE)


def tiff_page(file: BinaryIO) -> TiffPage | None:
    """Read the header of a TIFF file that Pillow does not read well; None for any other. The place is kept."""
    place = file.tell()
    try:
        if file.read(4) not in _MARKS:
            return None
        file.seek(place)
        import tifffile

        page = tifffile.TiffFile(file).pages[0]
        if not isinstance(page, tifffile.TiffPage):
            return None
        is_odd = _is_odd(page, file)
        if not is_odd and not _is_large(page):
            return None
        tag = page.tags.get(_ORIENTATION)
        turned = tag.value if tag is not None and isinstance(tag.value, int) and 1 <= tag.value <= 8 else 1
        return TiffPage((int(page.imagelength), int(page.imagewidth)), int(turned), is_odd, page)
    except Exception:  # Pillow tells what is wrong
        return None
    finally:
        file.seek(place)


def _is_odd(page: Page, file: BinaryIO) -> bool:
    """Tell whether Pillow refuses a page or reads it wrongly, by what its header says."""
    bits, bands, planes = page.bitspersample, page.samplesperpixel, page.planarconfig == _PLANES
    if page.imagedepth != 1 or not (page.imagelength and page.imagewidth):
        return False
    if page.sampleformat not in (_UNSIGNED, _UNDEFINED) or bits > 16 or page.compression == _WEBP:
        return True
    file.seek(0)
    try:
        with TiffImageFile(file):
            pass
    except Exception:
        return True
    if page.photometric == _CMYK:
        return bands > 4 or (bits > 8 and planes)
    if bits not in (8, 10, 12, 14, 16):
        return False
    if page.photometric == _RGB:
        return bands > 4 or bits in (10, 12, 14) or (bits == 16 and planes)
    white = page.photometric == _WHITE_IS_ZERO
    if not white and page.photometric != _BLACK_IS_ZERO:
        return False
    by_pillow = bits in (8, 16) or (bits == 12 and page.parent.byteorder == "<")
    if bands == 1:
        return not by_pillow or (white and bits > 8)
    alpha = tuple(map(int, page.extrasamples)) == (2,)  # before version 13, Pillow refuses any other second band
    return bands > 2 or bits > 8 or white or planes or not alpha


def _is_large(page: Page) -> bool:
    """Tell whether a page is large, and Pillow would take seven bytes for each pixel in place of three."""
    return _is_plain(page) and page.imagelength * page.imagewidth > LARGE


def _is_plain(page: Page) -> bool:
    """Tell whether tifffile decodes a page by itself and straight into an array that is used as it is."""
    rgb = page.photometric == _RGB and page.bitspersample == 8 and page.samplesperpixel == 3
    return rgb and page.compression in _SIMPLE and page.planarconfig != _PLANES and page.imagedepth == 1
