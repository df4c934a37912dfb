from __future__ import annotations

import base64
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from utils.io.image_files import image_size
from utils.io.map_files import decode_mask, read_index_map
from utils.io.photos import read_image
from utils.io.png_files import decode_bits, encode_bits, is_plain


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(mode: str, size: tuple[int, int], rows: bytes, *, interlaced: int = 0, late: bytes = b"") -> bytes:
    """A PNG of some raw rows, each with its filter's number; `late` stands behind the pixels."""
    header = struct.pack(">IIBBBBB", *size, 8, {"L": 0, "RGB": 2, "P": 3}[mode], 0, 0, interlaced)
    palette = chunk(b"PLTE", bytes(range(9))) if mode == "P" else b""
    body = chunk(b"IHDR", header) + palette + chunk(b"IDAT", zlib.compress(rows)) + late + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3), ("P", 1)])
@pytest.mark.parametrize("rows", [9, 5, 1])
def test_rows_that_are_missing_are_damage(tmp_path: Path, mode: str, channels: int, rows: int) -> None:
    (tmp_path / "a.png").write_bytes(png(mode, (7, 10), rows * (b"\0" + bytes([1]) * 7 * channels)))
    with pytest.raises(ValueError, match="the PNG's data end before the picture does"):
        read_image(tmp_path / "a.png")
    if mode != "RGB":
        with pytest.raises(ValueError, match="the PNG's data end before the picture does"):
            read_index_map(tmp_path / "a.png")


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16"])
def test_a_black_picture_is_whole(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (7, 10)).save(tmp_path / "a.png")
    assert not read_image(tmp_path / "a.png").any()


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (5, 3), (8, 8), (9, 17)])
def test_an_interlaced_picture_is_whole_or_damaged(tmp_path: Path, size: tuple[int, int]) -> None:
    width, height = size
    starts = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    passes = [(len(range(x, width, across)), len(range(y, height, down))) for x, y, across, down in starts]
    rows = b"".join((b"\0" + bytes([9]) * columns) * count for columns, count in passes if columns)
    (tmp_path / "a.png").write_bytes(png("L", size, rows, interlaced=1))
    assert (read_image(tmp_path / "a.png") == 9).all()
    (tmp_path / "a.png").write_bytes(png("L", size, rows[:-1], interlaced=1))
    with pytest.raises(ValueError, match=r"end before the picture does|cannot be decoded"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_behind_the_pixels_turns_the_size_and_the_image(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    late = chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    (tmp_path / "a.png").write_bytes(png("L", (7, 10), 10 * (b"\0" + bytes(range(7))), late=late))
    image = read_image(tmp_path / "a.png")
    assert image_size(tmp_path / "a.png") == image.shape[:2] == ((7, 10) if orientation >= 5 else (10, 7))


def test_animated_and_damaged_pngs_are_not_plain() -> None:
    first, second = (Image.fromarray(np.full((8, 8), value, np.uint8)) for value in (50, 200))
    contents = {}
    for name, more in (("still", []), ("animated", [second])):
        stream = io.BytesIO()
        first.save(stream, "PNG", save_all=True, append_images=more)
        contents[name] = stream.getvalue()
    assert is_plain(contents["still"])
    assert not is_plain(contents["animated"])
    assert not is_plain(contents["still"][:-1][:-20])
    assert not is_plain(contents["still"].replace(b"\0\0\0\rIHDR", b"\x7f\0\0\rIHDR"))


@pytest.mark.parametrize("size", [(1, 1), (3, 8), (5, 9), (40, 31), (7, 640)])
def test_masks_are_decoded_as_pillow_does(size: tuple[int, int]) -> None:
    mask = np.random.default_rng(size[1]).random(size) < 0.5
    content = encode_bits(np.packbits(mask, axis=1), size[1])
    decoded = decode_bits(content)
    assert decoded is not None and decoded.dtype == bool and decoded.flags.c_contiguous
    assert np.array_equal(decoded, np.array(Image.open(io.BytesIO(content)))) and np.array_equal(decoded, mask)
    assert decode_mask(base64.b64encode(content).decode()).tolist() == mask.tolist()


def test_masks_that_others_wrote_or_damaged_are_left_to_pillow() -> None:
    mask = np.random.default_rng(0).random((20, 30)) < 0.5
    content = encode_bits(np.packbits(mask, axis=1), 30)
    others = []
    for picture in (Image.fromarray(mask.astype(np.uint8) * 255), Image.fromarray(mask)):
        file = io.BytesIO()
        picture.save(file, "PNG", optimize=True)
        others.append(file.getvalue())
    rows = zlib.decompress(content[41:-16])
    filtered, short, long = b"\2" + rows[1:], rows[:-5], rows + b"\0"
    header = struct.pack(">IIBBBBB", 30, 20, 1, 0, 0, 0, 0)
    for body in (filtered, short, long):
        chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")
        others.append(b"\x89PNG\r\n\x1a\n" + chunks)
    huge = struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 1, 0, 0, 0, 0)
    chunks = chunk(b"IHDR", huge) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    others += [b"\x89PNG\r\n\x1a\n" + chunks, b"", content[:20], content[:-1], content + b"\0"]
    others += [content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :] for place in range(len(content))]
    found = [decode_bits(other) for other in others]
    assert decode_bits(content) is not None and all(each is None or np.array_equal(each, mask) for each in found)
    assert sum(each is not None for each in found) <= 1  # what Pillow writes may be the same


def test_a_mask_in_a_file_of_another_writer_is_read(tmp_path: Path) -> None:
    mask = np.random.default_rng(0).random((20, 30)) < 0.5
    file = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(file, "PNG")
    assert np.array_equal(decode_mask(base64.b64encode(file.getvalue()).decode()), mask)
