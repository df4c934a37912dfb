"""PNG files: masks and index maps; and what decoders pass over, EXIF behind the pixels and missing rows."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from utils.io.tiff_files import LARGE

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TAIL = 1 << 18
"""Bytes at the end of a file in which EXIF behind the pixels is looked for."""
_EXIF_MARKS = (b"eXIf", b"Raw profile type exif")
_GREY, _INDEXED = 0, 3
_CHANNELS = {_GREY: 1, 2: 3, _INDEXED: 1, 4: 2, 6: 4}
"""By the color type in the header."""
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Of an interlaced image: the first pixel's x and y, and the steps."""
_BLOCK = 1 << 20


def encode_bits(bits: npt.NDArray[np.uint8], width: int) -> bytes:
    """Encode a picture of two values as a PNG with one bit a pixel, from bits packed as PNG packs them.

    Args:
        bits: (H, ceil(width / 8)), the leftmost pixel of each eight in the highest bit.
    """
    return _encode_rows(_header_chunk(width, len(bits), 1, _GREY), bits)


def encode_map(values: npt.NDArray[np.uint8 | np.uint16], palette: Sequence[int]) -> bytes:
    """Encode an index map as a PNG with a palette; one of 16 bits, which cannot have a palette, as grey.

    Pillow takes four times as long, in which no other thread can work, for a file that is no smaller.

    Args:
        values: (H, W).
        palette: red, green and blue of each value.
    """
    height, width = values.shape
    if values.dtype == np.uint16:
        return _encode_rows(_header_chunk(width, height, 16, _GREY), values.astype(">u2").view(np.uint8))
    head = _header_chunk(width, height, 8, _INDEXED) + _chunk(b"PLTE", bytes(palette))
    return _encode_rows(head, values.astype(np.uint8, copy=False))


def _encode_rows(head: bytes, rows: npt.NDArray[np.uint8]) -> bytes:
    """Encode a PNG by run lengths, which suit pictures of few values, from its first chunks and its rows of bytes."""
    filtered = np.zeros((rows.shape[0], rows.shape[1] + 1), np.uint8)  # each row begins with its filter: none
    filtered[:, 1:] = rows
    packer = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, zlib.Z_RLE)
    packed = packer.compress(filtered.data) + packer.flush()
    return _SIGNATURE + head + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def decode_bits(content: bytes) -> npt.NDArray[np.bool_] | None:
    """Decode to (H, W) a PNG that `encode_bits` made; None for any other, and for a damaged one.

    Pillow takes three times as long for them, in which no other thread can work.
    """
    width, height = struct.unpack(">II", content[16:24].ljust(8, b"\0"))
    length = int.from_bytes(content[33:37], "big")
    packed, row = content[41 : 41 + length], 1 + -(-width // 8)
    head = _SIGNATURE + _header_chunk(width, height, 1, _GREY)
    expected = head + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")
    if content != expected or not 0 < width * height <= LARGE:  # large ones are read with regard to memory
        return None
    try:
        pixels = zlib.decompressobj().decompress(packed, height * row + 1)
    except zlib.error:
        return None
    rows = np.frombuffer(pixels, np.uint8)
    if rows.size != height * row or rows[::row].any():  # too much or too little, or a row with a filter
        return None
    return np.unpackbits(rows.reshape(height, row)[:, 1:], axis=1, count=width).view(bool)


def late_exif(file: BinaryIO) -> dict[Any, Any]:
    """Read what `info` of Pillow says of the EXIF behind a PNG's pixels; empty if there is none. The place is kept."""
    place = file.tell()
    try:
        file.seek(max(0, file.seek(0, 2) - _TAIL))
        tail = file.read()
        if not any(mark in tail for mark in _EXIF_MARKS):
            return {}
        pixels_begun, late = False, b""
        for kind, start, length in _chunks(file):
            pixels_begun |= kind == b"IDAT"
            if pixels_begun and (kind == b"eXIf" or kind[1:] in (b"EXt", b"TXt")) and length <= 64 * _BLOCK:
                file.seek(start)
                late += _chunk(kind, file.read(length))
        file.seek(len(_SIGNATURE))
        first = file.read(25)  # the header's chunk
        with Image.open(io.BytesIO(_SIGNATURE + first + late + _chunk(b"IDAT", b"")), formats=("PNG",)) as image:
            return {key: value for key, value in image.info.items() if key in ("exif", _EXIF_MARKS[1].decode())}
    except Exception:  # with damaged EXIF, the pixels are still usable
        return {}
    finally:
        file.seek(place)


def is_plain(content: bytes) -> bool:
    """Tell whether a PNG is whole and not animated; on others, OpenCV may crash or stall."""
    end, kinds = len(_SIGNATURE), set[bytes]()
    for kind, start, length in _chunks(io.BytesIO(content)):
        kinds.add(kind)
        end = start + length + 4
    return content[end + 4 : end + 8] == b"IEND" and not kinds & {b"acTL", b"fcTL", b"fdAT"}


def check_rows(file: BinaryIO, image: Image.Image) -> None:
    """Raise ValueError if the pixel data of a decoded PNG end before the picture does; Pillow fills with zeros."""
    width, height = image.size
    interlaced = _header(file)[-1]
    if not interlaced and image.crop((0, height - 1, width, height)).getbbox() is not None:
        return
    if _inflated(file) < _expected(file):
        raise ValueError("damaged: the PNG's data end before the picture does")


def _header(file: BinaryIO) -> tuple[int, ...]:
    file.seek(16)
    return struct.unpack(">IIBBBBB", file.read(13))


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, place and length of the data of each chunk."""
    place = len(_SIGNATURE)
    while True:
        file.seek(place)
        if len(head := file.read(8)) < 8 or head[4:] == b"IEND":
            return
        length = int.from_bytes(head[:4], "big")
        yield head[4:], place + 8, length
        place += length + 12


def _header_chunk(width: int, height: int, bits: int, color: int) -> bytes:
    return _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0))


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _expected(file: BinaryIO) -> int:
    """Compute how many bytes the pixel data have: each row begins with the number of its filter."""
    width, height, bits, kind, _, _, interlaced = _header(file)
    total = 0
    for x, y, across, down in _PASSES if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - x) // across), -(-(height - y) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + -(-columns * bits * _CHANNELS[kind] // 8))
    return total


def _inflated(file: BinaryIO) -> int:
    """Count the bytes of the pixel data, which are not kept."""
    inflate, count = zlib.decompressobj(), 0
    for kind, start, length in _chunks(file):
        if kind == b"IDAT":
            file.seek(start)
            data = file.read(length)
            while data:
                count += len(inflate.decompress(data, _BLOCK))
                data = inflate.unconsumed_tail
    return count + len(inflate.flush())
