"""TIFF files that Pillow refuses or reads wrongly, such as planes of 16 bits and odd bands; large ones, by bands."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import SEEK_END, BytesIO
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL.TiffImagePlugin import TiffImageFile

if TYPE_CHECKING:
    from tifffile import TiffPage as Page

_MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_LONG = 4  # type of a tag's values
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _CMYK = 0, 1, 2, 5
_PLANES = 2
_WIDTH, _HEIGHT, _STRIPS, _ORIENTATION, _BANDS, _ROWS, _STRIP_BYTES, _LAYOUT = 256, 257, 273, 274, 277, 278, 279, 284
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES = 322, 323, 324, 325
_DECODING = {258, 259, 262, 266, 277, 284, 292, 293, 317, 320, 322, 323, 332, 338, 339, 347, 529, 530, 531, 532, 50674}
"""Tags that tell how strips and tiles are decoded, from the bits of a sample to the parameters of a compression."""
_NO_SCALE = "black and white are not defined; save it with 8 or 16 bits without a sign"
_RAW, _OLD_JPEG = 1, 6  # compressions: none, and one whose strips are no files of their own
_WEBP = 50001  # Pillow opens it, but its libtiff lacks the decoder, and says so on the terminal
_UNSIGNED, _UNDEFINED = 1, 4  # kinds of samples; Pillow takes signed ones for unsigned

LARGE = 64_000_000
"""Pixels from which on an image is read with regard to memory."""

_BUFFER = 2**24  # bytes read at a time
_BAND = 2**22  # pixels decoded at a time

_INCOMPLETE = "damaged: the TIFF's data end before the picture does"


@dataclass(frozen=True)
class TiffPage:
    """The first page of a TIFF file.

    Attributes:
        size: (height, width) in pixels as it is stored.
        orientation: from 1 (upright) to 8, as in EXIF.
        is_odd: whether Pillow, and so labelme, refuses the page or reads it wrongly.
        is_large: whether it has more than `LARGE` pixels, in several bands.
    """

    size: tuple[int, int]
    orientation: int
    is_odd: bool
    is_large: bool
    _page: Page

    @property
    def bytes_per_pixel(self) -> int:
        """Return what the page takes at most while `read` decodes it and it is turned."""
        return 9 + (self._page.samplesperpixel * self._page.dtype.itemsize if self._page.dtype else 0)

    def bands(self) -> Iterator[tuple[int, BytesIO]]:
        """Yield the first row of each band, and the band as a TIFF file of its own.

        What decodes the page decodes its bands to the same pixels. They are not turned.

        Raises:
            ValueError: strips or tiles are missing.
        """
        self._check_segments()
        page, file = self._page, self._page.parent.filehandle

        def content(offset: int, count: int) -> bytes:
            file.seek(offset)
            return bytes(file.read(count))

        kept = [tag for tag in page.tags if tag.code in _DECODING]
        tags = {tag.code: (int(tag.dtype), tag.count, content(tag.valueoffset, tag.valuebytecount)) for tag in kept}
        for band in _bands_of(page):
            size = {_WIDTH: page.imagewidth, _HEIGHT: band.bottom - band.top}
            size |= {} if page.is_tiled else {_ROWS: band.rows}
            segments = [content(*place) for place in band.segments]
            yield band.top, _tiff_of(page.parent.byteorder, tags, size, segments)

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


class _Band(NamedTuple):
    """Some rows of a page: whole strips, or rows of tiles.

    Attributes:
        top, bottom: the first row of pixels, and the one after the last.
        rows: of pixels in a strip or tile.
        segments: the place in the file and the bytes of each strip or tile, plane by plane.
    """

    top: int
    bottom: int
    rows: int
    segments: list[tuple[int, int]]


def _bands_of(page: Page) -> list[_Band]:
    """Divide a page into bands of about `_BAND` pixels; one of a single strip only where that is uncompressed."""
    height, width, segments = page.imagelength, page.imagewidth, [*zip(page.dataoffsets, page.databytecounts)]
    planes = page.samplesperpixel if page.planarconfig == _PLANES else 1
    across = -(-width // page.tilewidth) if page.is_tiled else 1
    rows = page.tilelength if page.is_tiled else min(page.rowsperstrip, height)
    row_bytes = -(-width * page.samplesperpixel // planes * page.bitspersample // 8)
    if not page.is_tiled and page.compression == _RAW and {count for _, count in segments} == {height * row_bytes}:
        rows = max(1, min(height, _BAND // width))
        parts = [(top, min(rows, height - top)) for top in range(0, height, rows)]
        segments = [(start + top * row_bytes, n * row_bytes) for start, _ in segments for top, n in parts]
    down, bands = -(-height // rows), []
    at_once = max(1, _BAND // (width * rows))
    for first in range(0, down, at_once):
        end = min(first + at_once, down)
        which = [slice((k * down + first) * across, (k * down + end) * across) for k in range(planes)]
        there = [segment for part in which for segment in segments[part]]
        bands.append(_Band(first * rows, min(end * rows, height), rows, there))
    return bands


def _tiff_of(
    order: str, tags: Mapping[int, tuple[int, int, bytes]], numbers: Mapping[int, int], segments: Sequence[bytes]
) -> BytesIO:
    """Make a TIFF file of one page.

    Args:
        order: of bytes, `<` or `>`.
        tags: number of a tag -> its type, count and value as it is written.
        numbers: tags that are one number each.
        segments: the strips or tiles.
    """
    file = BytesIO((b"II*\0" if order == "<" else b"MM\0*") + bytes(4))

    def append(content: bytes) -> int:
        place = file.seek(0, SEEK_END)
        file.write(content)
        return place

    def longs(*values: int) -> tuple[int, int, bytes]:
        return _LONG, len(values), struct.pack(f"{order}{len(values)}I", *values)

    where = (_TILES, _TILE_BYTES) if _TILE_WIDTH in tags else (_STRIPS, _STRIP_BYTES)
    places = longs(*map(append, segments)), longs(*map(len, segments))
    every = {**tags, **{tag: longs(number) for tag, number in numbers.items()}, **dict(zip(where, places))}
    entries = struct.pack(order + "H", len(every))
    for tag, (kind, count, value) in sorted(every.items()):
        own = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack(order + "I", append(value))
        entries += struct.pack(order + "HHI", tag, kind, count) + own
    directory = append(entries + bytes(4))
    file.seek(4)
    file.write(struct.pack(order + "I", directory))
    file.seek(0)
    return file


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
        is_odd, is_large = _is_odd(page, file), _is_large(page)
        if not is_odd and not is_large:
            return None
        tag = page.tags.get(_ORIENTATION)
        turned = tag.value if tag is not None and isinstance(tag.value, int) and 1 <= tag.value <= 8 else 1
        return TiffPage((int(page.imagelength), int(page.imagewidth)), int(turned), is_odd, is_large, page)
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
    """Tell whether a page has more than `LARGE` pixels and can be decoded by bands."""
    if page.imagelength * page.imagewidth <= LARGE or page.imagedepth != 1 or page.compression == _OLD_JPEG:
        return False
    return len(_bands_of(page)) > 1
