from __future__ import annotations

import errno
import io
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from utils.formats.labelme_writer import _labelme_opens
from utils.io.image_files import image_size
from utils.io.photos import read_image
from utils.io.tiff_files import tiff_page

BAND = (np.add.outer(np.arange(50), np.arange(37) * 5) % 256).astype(np.uint8)


def bands(count: int, dtype: str) -> np.ndarray:
    """(50, 37, count), each band another one; deep ones with noise in the low byte."""
    stack = np.stack([np.roll(BAND, 7 * i, 1) for i in range(count)], -1)
    return stack if dtype == "uint8" else stack.astype(np.uint16) * 256 + np.arange(37, dtype=np.uint16)[:, None]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("tile", [None, (16, 16)], ids=["strips", "tiles"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("planes", ["contig", "separate"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize(
    ("kind", "count"),
    [("rgb", 3), ("rgb", 4), *(("minisblack", count) for count in (2, 4, 5)), ("miniswhite", 2)],
)
def test_every_layout_of_bands_keeps_the_high_byte(
    tmp_path: Path, kind: str, count: int, dtype: str, planes: str, compression: str | None, tile: tuple, order: str
) -> None:
    samples = bands(count, dtype)
    stored = np.moveaxis(samples, -1, 0) if planes == "separate" else samples
    layout = {"photometric": kind, "planarconfig": planes, "tile": tile, "rowsperstrip": None if tile else 7}
    tifffile.imwrite(tmp_path / "a.tif", stored, compression=compression, byteorder=order, **layout)
    expected = (samples >> 8 if dtype == "uint16" else samples)[..., :3]
    expected = np.repeat(expected[..., :1], 3, -1) if count == 2 else expected
    found = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(found, 255 - expected if kind == "miniswhite" else expected)
    assert image_size(tmp_path / "a.tif") == (50, 37)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("kind", ["minisblack", "miniswhite"])
def test_grey_is_inverted_where_zero_is_white(tmp_path: Path, kind: str, dtype: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", bands(1, dtype)[..., 0], photometric=kind)
    expected = BAND if kind == "minisblack" else 255 - BAND
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif")[..., 1], expected)


def packed_12_bits(samples: np.ndarray) -> bytes:
    """A little-endian TIFF of (H, W) samples of 12 bits, without gaps."""
    height, width = samples.shape
    rows = ["".join(f"{value:012b}" for value in row).ljust(-(-width * 12 // 8) * 8, "0") for row in samples.tolist()]
    data = b"".join(int(row, 2).to_bytes(len(row) // 8, "big") for row in rows)
    tags = {256: width, 257: height, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: height, 279: len(data)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + bytes(4)


def test_packed_12_bits_are_not_black(tmp_path: Path) -> None:
    samples = np.add.outer(np.arange(50) * 64, np.arange(37) * 5) % 4096
    (tmp_path / "a.tif").write_bytes(packed_12_bits(samples))
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif")[..., 0], samples >> 4)


def test_what_stays_unreadable_says_what_to_do(tmp_path: Path) -> None:
    planes = np.moveaxis(bands(4, "uint16"), -1, 0)
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="separated", planarconfig="separate")
    with pytest.raises(ValueError, match="4 bands of 16 bits, neither RGB nor grey, which is not read; save it as PNG"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("planes", ["contig", "separate"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_missing_strip_is_damage(tmp_path: Path, dtype: str, planes: str) -> None:
    path, samples = tmp_path / "a.tif", bands(3, dtype)
    stored = np.moveaxis(samples, -1, 0) if planes == "separate" else samples
    tifffile.imwrite(path, stored, photometric="rgb", planarconfig=planes, rowsperstrip=10)
    with tifffile.TiffFile(path, mode="r+b") as file:
        tag = file.pages[0].tags["ImageLength"]
        tag.overwrite(1_000_000)
    with pytest.raises(ValueError, match="the TIFF's data end before the picture does"):
        read_image(path)


def by_bands(path: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Read a file as if it were large; check that it is read by several bands, and that labelme opens it as before."""
    opens, size = _labelme_opens(path), image_size(path)
    with monkeypatch.context() as small:
        small.setattr("utils.io.tiff_files.LARGE", 1000)
        small.setattr("utils.io.tiff_files._BAND", 250)
        with path.open("rb") as file:
            page = tiff_page(file)
            assert page is not None and page.is_large
            assert len([*page.bands()]) > 2
        assert (_labelme_opens(path), image_size(path)) == (opens, size)
        found = read_image(path)
    assert found.shape[:2] == size and found.flags.c_contiguous and found.flags.writeable
    return found


LAYOUTS = {"strip": {}, "strips": {"rowsperstrip": 7}, "rows": {"rowsperstrip": 1}, "tiles": {"tile": (16, 32)}}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("big", [False, True], ids=["classic", "BigTIFF"])
def test_large_pages_are_read_and_turned_as_small_ones(
    tmp_path: Path, layout: str, orientation: int, big: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, samples = tmp_path / "a.tif", bands(3, "uint8")
    turn = [(274, 3, 1, orientation, True)]
    tifffile.imwrite(path, samples, photometric="rgb", extratags=turn, bigtiff=big, **LAYOUTS[layout])
    with Image.open(path) as image:
        np.testing.assert_array_equal(by_bands(path, monkeypatch), np.asarray(ImageOps.exif_transpose(image)))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("planes", ["contig", "separate"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize(("kind", "count"), [("rgb", 3), ("rgb", 4), ("minisblack", 5), ("miniswhite", 1)])
def test_large_pages_of_every_layout_are_decoded_by_bands(
    tmp_path: Path,
    kind: str,
    count: int,
    dtype: str,
    planes: str,
    compression: str | None,
    layout: str,
    order: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path, samples = tmp_path / "a.tif", bands(count, dtype)
    stored = np.moveaxis(samples, -1, 0) if planes == "separate" else samples
    strips = LAYOUTS["strips" if compression and layout == "strip" else layout]
    plane = {"planarconfig": planes} if count > 1 else {}
    tifffile.imwrite(
        path, stored.squeeze(), photometric=kind, compression=compression, byteorder=order, **plane, **strips
    )
    whole = tifffile.imread(path)
    whole = np.moveaxis(whole, 0, -1) if count > 1 and planes == "separate" else whole.reshape(50, 37, count)
    high = (whole >> 8 if dtype == "uint16" else whole)[..., :3].astype(np.uint8)
    expected = 255 - high.repeat(3, -1) if kind == "miniswhite" else high
    np.testing.assert_array_equal(by_bands(path, monkeypatch), expected)


@pytest.mark.parametrize("compression", ["jpeg", "tiff_lzw", "packbits", "tiff_adobe_deflate", "group4"])
@pytest.mark.parametrize("mode", ["RGB", "YCbCr", "L", "P", "CMYK", "RGBA", "LA", "1", "I;16"])
def test_large_pages_that_pillow_writes_equal_what_it_reads_at_once(
    tmp_path: Path, mode: str, compression: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, image = tmp_path / "a.tif", Image.fromarray(bands(3, "uint8"))
    image = Image.fromarray(bands(1, "uint16")[..., 0]) if mode == "I;16" else image.convert(mode)
    options = {"tiffinfo": {278: 16}}  # rows of a strip; of a JPEG it is a multiple of the blocks
    try:
        image.save(path, compression=compression, **options)
    except (OSError, ValueError):
        pytest.skip("Pillow does not write this")
    whole = read_image(path)
    with Image.open(path) as stored:
        if mode != "I;16":
            np.testing.assert_array_equal(whole, np.asarray(stored.convert("RGB")))
    np.testing.assert_array_equal(by_bands(path, monkeypatch), whole)


def jpeg(picture: np.ndarray, subsampling: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=90, subsampling=subsampling)
    return file.getvalue()


@pytest.mark.parametrize("subsampling", [0, 2])
def test_a_pyramid_of_jpeg_tiles_as_scanners_write_it_gives_its_first_level(
    tmp_path: Path, subsampling: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, samples = tmp_path / "a.tif", np.pad(bands(3, "uint8"), ((0, 14), (0, 11), (0, 0)))
    options = {
        "dtype": "uint8",
        "tile": (16, 16),
        "compression": "zlib",
        "photometric": "rgb",
    }
    ratio = [(530, "H", 2, (2, 2) if subsampling else (1, 1), True)]
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for step, own in ((1, {"subifds": 1}), (2, {"subfiletype": 1})):
            level = samples[::step, ::step]
            parts = [level[y : y + 16, x : x + 16] for y in range(0, 64 // step, 16) for x in range(0, 48 // step, 16)]
            contents = [jpeg(part, subsampling) for part in parts]
            file.write(iter(contents), shape=(50 // step, 37 // step, 3), extratags=ratio, **options, **own)
    with tifffile.TiffFile(path, mode="r+b") as file:
        file.pages[0].tags["Compression"].overwrite(7)
        file.pages[0].tags["PhotometricInterpretation"].overwrite(6)
    with Image.open(path) as image:
        whole = np.asarray(image)
    assert whole.shape == (50, 37, 3) and np.abs(whole.astype(int) - bands(3, "uint8")).mean() < 20
    np.testing.assert_array_equal(by_bands(path, monkeypatch), whole)


def test_a_large_page_lies_in_a_file_without_a_name_or_in_memory_where_no_folder_has_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, samples = tmp_path / "a.tif", bands(3, "uint8")
    tifffile.imwrite(path, samples, photometric="rgb", rowsperstrip=7)
    (tmp_path / "t").mkdir()
    monkeypatch.setattr("utils.io.photos.LARGE_FILES", tmp_path / "t")
    found = by_bands(path, monkeypatch)
    assert isinstance(found.base, np.memmap) and not [*(tmp_path / "t").iterdir()]

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    in_memory = by_bands(path, monkeypatch)
    assert not isinstance(in_memory.base, np.memmap)
    np.testing.assert_array_equal(found, samples)
    np.testing.assert_array_equal(in_memory, samples)


@pytest.mark.parametrize("tile", [None, (16, 16)], ids=["strips", "tiles"])
def test_a_large_page_that_is_cut_off_is_damage(
    tmp_path: Path, tile: tuple | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, bands(3, "uint8"), photometric="rgb", tile=tile, rowsperstrip=None if tile else 7)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="the TIFF's data end before the picture does"):
        by_bands(path, monkeypatch)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "uint32", "uint64", "float16", "float64", "complex64"])
@pytest.mark.parametrize("count", [1, 3])
def test_samples_without_black_and_white_are_refused_and_named(tmp_path: Path, dtype: str, count: int) -> None:
    samples = np.repeat(BAND[..., None] // 2, count, -1).astype(dtype)  # none is negative or large
    tifffile.imwrite(tmp_path / "a.tif", samples.squeeze(), photometric="rgb" if count == 3 else "minisblack")
    with pytest.raises(ValueError, match=r"its samples are .*black and white are not defined; save it"):
        read_image(tmp_path / "a.tif")


def test_big_tiff_in_big_endian_is_read(tmp_path: Path) -> None:
    samples = bands(3, "uint8")
    tifffile.imwrite(tmp_path / "a.tif", samples, photometric="rgb", bigtiff=True, byteorder=">")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), samples)
    assert image_size(tmp_path / "a.tif") == (50, 37)


@pytest.mark.parametrize("compression", [34887, 34892, 34933, 50001], ids=["LERC", "JPEG", "PNG", "WebP"])
@pytest.mark.parametrize("kind", ["rgb", "minisblack"])
def test_a_compression_that_is_not_read_is_named_by_us_alone(
    tmp_path: Path, compression: int, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    samples = bands(3, "uint8") if kind == "rgb" else BAND
    tifffile.imwrite(tmp_path / "a.tif", samples, photometric=kind)
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as file:
        file.pages[0].tags["Compression"].overwrite(compression)
    with pytest.raises(ValueError, match="pip install imagecodecs reads it, or save the image as PNG"):
        read_image(tmp_path / "a.tif")
    assert capfd.readouterr() == ("", "")


def test_colors_of_a_camera_sensor_are_not_called_damage(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", bands(1, "uint16")[..., 0], photometric="cfa")
    with pytest.raises(ValueError, match="1 bands of 16 bits, neither RGB nor grey, which is not read; save it as PNG"):
        read_image(tmp_path / "a.tif")
