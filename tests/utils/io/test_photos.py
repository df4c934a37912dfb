from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import labelme.utils
import numpy as np
import pytest
import torch
from PIL import EpsImagePlugin, ExifTags, Image, PngImagePlugin

from utils.io.image_files import image_size, set_largest_image
from utils.io.map_files import decode_mask, read_index_map
from utils.io.photos import read_image

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data"
ODD = SHARED / "odd"
needs_photos = pytest.mark.skipif(not ODD.is_dir(), reason="the test photographs are not here")
INDEX = json.loads((ODD / "INDEX.json").read_text()) if ODD.is_dir() else []


@pytest.fixture
def picture() -> Image.Image:
    """A picture without symmetry: 40 wide, 24 high, noise over a slope."""
    noise = np.random.default_rng(0).integers(0, 60, (24, 40, 3))
    slope = np.add.outer(np.arange(24) * 4, np.arange(40) * 2)[:, :, None]
    return Image.fromarray((noise + slope).astype(np.uint8))


def saved(picture: Image.Image, path: Path, **options: object) -> Path:
    picture.save(path, **options)
    return path


def jpeg(picture: Image.Image, **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", **options)
    return stream.getvalue()


@needs_photos
@pytest.mark.parametrize("entry", INDEX, ids=lambda entry: entry["file"])
def test_file_from_the_wild_is_read_upright_or_refused(entry: dict) -> None:
    path = ODD / entry["file"]
    if entry["cv2_color"] is None:
        with pytest.raises(ValueError, match=r"truncated|Truncated|cannot be decoded|not an image"):
            read_image(path)
        return
    image = read_image(path)
    assert f"{image.shape} {image.dtype}" == entry["cv2_color"]
    assert image_size(path) == image.shape[:2]
    assert image.flags.c_contiguous
    assert image.flags.writeable


@needs_photos
@pytest.mark.parametrize(
    "entry", [e for e in INDEX if e["cv2_color"] and e["pil"].split()[1] in ("RGB", "L", "P")], ids=lambda e: e["file"]
)
def test_pixels_are_those_of_pillow_turned_by_labelme(entry: dict) -> None:
    upright = labelme.utils.apply_exif_orientation(Image.open(ODD / entry["file"]))
    assert np.array_equal(read_image(ODD / entry["file"]), np.asarray(upright.convert("RGB")))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_exif_turns_as_in_labelme(tmp_path: Path, picture: Image.Image, suffix: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    path = saved(picture, tmp_path / f"a{suffix}", exif=exif)
    shown = Image.open(path)
    shown.load()
    shown = labelme.utils.apply_exif_orientation(shown)
    np.testing.assert_array_equal(read_image(path), np.array(shown))
    assert image_size(path) == (shown.height, shown.width)
    assert shown.size == ((24, 40) if orientation >= 5 else (40, 24))


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "CMYK", "RGBA", "LA"])
def test_pixels_that_are_copied_in_strips_are_the_same(
    tmp_path: Path, picture: Image.Image, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(picture.convert(mode), tmp_path / ("a.tif" if mode == "CMYK" else "a.png"))
    whole = read_image(path)
    monkeypatch.setattr("utils.io.photos._STRIP_PIXELS", 7 * picture.width)
    np.testing.assert_array_equal(read_image(path), whole)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize(
    "options",
    [{"subsampling": s, "quality": q} for s in ("4:4:4", "4:2:2", "4:2:0") for q in (20, 95)]
    + [{"progressive": True}, {"restart_marker_blocks": 2}],
    ids=str,
)
def test_jpeg_pixels_are_those_of_pillow(tmp_path: Path, picture: Image.Image, mode: str, options: dict) -> None:
    path = saved(picture.resize((101, 67)).convert(mode), tmp_path / "a.jpg", **options)
    np.testing.assert_array_equal(read_image(path), np.array(Image.open(path).convert("RGB")))


@needs_photos
@pytest.mark.parametrize("name", ["pngsuite_basi0g16_gray16_interlaced.png", "16bit.cropped.tif"])
def test_16_bit_grey_keeps_the_high_byte(name: str) -> None:
    samples = cv2.imread(str(ODD / "png16" / name), cv2.IMREAD_UNCHANGED)
    image = read_image(ODD / "png16" / name)
    assert samples.dtype == np.uint16
    for channel in range(3):
        np.testing.assert_array_equal(image[..., channel], samples // 256)


@needs_photos
def test_16_bit_rgb_keeps_the_high_byte() -> None:
    path = ODD / "png16" / "libvips_sample_rgb16.png"
    samples = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[..., ::-1]
    np.testing.assert_array_equal(read_image(path), samples // 256)


def test_black_and_white_of_16_bits(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.array([[0, 255, 256, 32768, 65535]], np.uint16))
    assert read_image(tmp_path / "a.png")[0, :, 0].tolist() == [0, 0, 1, 128, 255]


@pytest.mark.parametrize(
    "samples", [np.array([[0, 70000]], np.int32), np.array([[0.0, 1.0]], np.float32)], ids=["32-bit", "float"]
)
def test_samples_without_black_and_white_are_refused(tmp_path: Path, samples: np.ndarray) -> None:
    path = saved(Image.fromarray(samples), tmp_path / "a.tif")
    with pytest.raises(ValueError, match="black and white are not defined"):
        read_image(path)


def test_transparent_pixels_get_their_stored_color(tmp_path: Path) -> None:
    rgba = np.array([[[10, 20, 30, 0], [40, 50, 60, 255], [70, 80, 90, 7]]], np.uint8)
    path = saved(Image.fromarray(rgba), tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(path), rgba[..., :3])


def test_cmyk_is_as_cv2_sees_it(tmp_path: Path, picture: Image.Image) -> None:
    path = saved(picture.convert("CMYK"), tmp_path / "a.jpg", quality=95)
    expected = cv2.imread(str(path))[..., ::-1]
    assert np.abs(read_image(path).astype(int) - expected).max() <= 2


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".tif", ".gif"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_file_cut_off_is_refused(tmp_path: Path, picture: Image.Image, suffix: str, share: float) -> None:
    path = saved(picture, tmp_path / f"a{suffix}")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r"truncated|cannot be decoded|not an image"):
        read_image(path)


@pytest.mark.parametrize("end", [b"", b"\xff\xd9", bytes(500)], ids=["nothing", "end marker", "zeros"])
@pytest.mark.parametrize("options", [{}, {"restart_marker_rows": 1}], ids=["plain", "restart markers"])
def test_jpeg_that_decoders_would_fill_with_grey_is_refused(
    tmp_path: Path, picture: Image.Image, end: bytes, options: dict
) -> None:
    content = jpeg(picture.resize((320, 192)), **options)
    (tmp_path / "a.jpg").write_bytes(content[: int(0.6 * len(content))] + end)
    with pytest.raises(ValueError, match=r"no end|end before the picture does"):
        read_image(tmp_path / "a.jpg")


def test_grey_photograph_and_bytes_after_the_end_are_fine(tmp_path: Path) -> None:
    pixels = np.full((40, 48, 3), 128, np.uint8)
    pixels[:16, :16] = (200, 30, 90)
    (tmp_path / "a.jpg").write_bytes(jpeg(Image.fromarray(pixels), quality=95) + b"\xff\xda appended by a phone")
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg")[-16:], 128)


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp"])
def test_first_frame_of_an_animation(
    tmp_path: Path, picture: Image.Image, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> None:
        raise AssertionError("OpenCV crashes on some animated PNGs")

    monkeypatch.setattr(cv2, "imdecode", crash)
    frames = [Image.fromarray(np.full((8, 8), value, np.uint8)) for value in (50, 200)]
    path = saved(frames[0], tmp_path / f"a{suffix}", save_all=True, append_images=frames[1:], lossless=True)
    assert (read_image(path) == 50).all()


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.gif"])
def test_postscript_is_run_by_nobody(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object, **__: object) -> None:
        raise AssertionError("Ghostscript would run")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", run)
    start = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 50\n%%EndComments\nshowpage\n%%EOF\n"
    (tmp_path / name).write_bytes(start)
    for read in (read_image, image_size, read_index_map):
        with pytest.raises(ValueError, match="not an image"):
            read(tmp_path / name)
    with pytest.raises(ValueError, match="not an image"):
        decode_mask(base64.b64encode(start).decode())


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(1, 50), (50, 1), (1, 1)])
def test_an_image_one_pixel_wide_can_be_a_tensor(tmp_path: Path, size: tuple[int, int], orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    path = saved(Image.new("RGB", size), tmp_path / "a.png", exif=exif)
    assert torch.from_numpy(read_image(path)).shape[:2] == image_size(path)


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_exif_values_without_a_meaning_turn_nothing(tmp_path: Path, picture: Image.Image, value: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = value
    texts = exif.tobytes().replace(b"\x12\x01\x03\0", b"\x12\x01\x02\0"), exif.tobytes()  # as text, and as a number
    for content in texts:
        path = saved(picture, tmp_path / "a.jpg", exif=content)
        assert image_size(path) == read_image(path).shape[:2] == (24, 40)


@pytest.mark.parametrize("maxval", [1, 3, 100, 254, 256, 1023, 4095, 65535])
@pytest.mark.parametrize(("mark", "shape"), [("P5", (24, 40)), ("P6", (24, 40, 3))])
def test_portable_maps_are_scaled_by_their_maximum(tmp_path: Path, mark: str, shape: tuple, maxval: int) -> None:
    samples = np.random.default_rng(0).integers(0, maxval + 1, shape)
    data = samples.astype(">u2" if maxval > 255 else np.uint8).tobytes()
    (tmp_path / "a.pnm").write_bytes(f"{mark}\n40 24\n{maxval}\n".encode() + data)
    expected = np.broadcast_to((samples / maxval * 255).reshape(24, 40, -1), (24, 40, 3))
    assert np.abs(read_image(tmp_path / "a.pnm") - expected).max() <= 1


def test_long_texts_and_profiles_do_not_hide_an_image(tmp_path: Path, picture: Image.Image) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("XML:com.adobe.xmp", "x" * 3_000_000, zip=True)
    info.add_itxt("Comment", "y" * 3_000_000)
    path = saved(picture, tmp_path / "a.png", pnginfo=info, icc_profile=bytes(3_000_000))
    np.testing.assert_array_equal(read_image(path), np.array(picture))


@pytest.mark.slow
def test_the_largest_image_can_be_set(tmp_path: Path) -> None:
    path = saved(Image.new("1", (14000, 13800)), tmp_path / "a.png")  # more than Pillow's own limit
    assert image_size(path) == (13800, 14000)
    set_largest_image(100)
    try:
        with pytest.raises(ValueError, match=r"194 megapixels; dataloader.max_megapixels is 100; raise it"):
            read_image(path)
    finally:
        set_largest_image(1000)
    assert read_image(path).shape == (13800, 14000, 3)


def test_an_image_that_does_not_fit_into_memory_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("utils.io.image_files._free_memory", lambda: 10**9)
    path = saved(Image.new("1", (14000, 13800)), tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"takes about 1.9 GB, 1.0 GB are free"):
        read_image(path)


@pytest.mark.parametrize("read", [read_image, image_size, read_index_map])
def test_a_pipe_and_an_endless_device_are_refused_at_once(tmp_path: Path, read: Callable[[Path], object]) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").symlink_to("/dev/zero")
    for name in ("a.jpg", "b.jpg"):
        with pytest.raises(ValueError, match="a pipe, a device or a socket"):
            read(tmp_path / name)


@pytest.mark.slow
def test_nothing_of_the_libraries_reaches_the_terminal(tmp_path: Path, picture: Image.Image) -> None:
    saved(Image.new("1", (14000, 13800)), tmp_path / "bomb.png")
    content = bytearray(saved(picture, tmp_path / "a.tif", exif=b"Exif\0\0II*\0\x08\0\0\0\x09\0").read_bytes())
    (tmp_path / "a.tif").write_bytes(content[:-3])
    code = (
        "import sys; from pathlib import Path; from utils.io.photos import read_image\n"
        "for path in sys.argv[1:]:\n"
        "    try: read_image(Path(path))\n"
        "    except ValueError: pass"
    )
    paths = [str(path) for path in (tmp_path / "bomb.png", tmp_path / "a.tif", *sorted(ODD.glob("other/*exif*")))]
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True, check=True)
    of_opencv = "Corrupt JPEG data"  # printed by a library in it, and cannot be switched off
    assert [line for line in done.stderr.splitlines() if not line.startswith(of_opencv)] == []


def test_reason_does_not_depend_on_the_place(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    for name, reason in (("none.jpg", "No such file"), (".", "directory"), ("a.jpg", "not an image")):
        with pytest.raises(ValueError, match=reason) as caught:
            read_image(tmp_path / name)
        assert str(tmp_path) not in str(caught.value)
