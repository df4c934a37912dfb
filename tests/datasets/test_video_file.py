from __future__ import annotations

import os
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from datasets.video_file import VideoFile, is_cut_off, video_size
from tests.helpers.clips import FASTSTART, index_of, painted, write_video
from utils.io.image_files import is_video_name
from utils.visual.video import frame_rate

LOSSY = {"crf": "10", "g": "6", "bf": "2"}
FRAGMENTS = {"movflags": "frag_keyframe+empty_moov"}


def by_opencv(path: Path) -> list[np.ndarray]:
    """All frames, decoded and turned by OpenCV."""
    capture, frames = cv2.VideoCapture(str(path)), []
    while (found := capture.read())[0]:
        frames.append(found[1][..., ::-1])
    return frames


def outcomes(video: VideoFile) -> list[int | str]:
    """Which painted frame stands at each place, or what is said of it."""
    found: list[int | str] = []
    for place in range(video.count):
        try:
            found.append(index_of(video.frame(place)))
        except ValueError as error:
            found.append(str(error))
    return found


def test_lossless_frames_are_those_written(tmp_path: Path) -> None:
    images = [painted(index, 23, 31) for index in range(8)]
    video = VideoFile(write_video(tmp_path / "a.mp4", images))
    assert video.count == 8
    for place, image in enumerate(images):
        frame = video.frame(place)
        np.testing.assert_array_equal(frame, image)
        assert frame.flags.c_contiguous


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        *((f"a.{suffix}", "libx264", LOSSY) for suffix in ("mp4", "mov", "m4v", "mkv", "avi")),
        ("fragments.mp4", "libx264", LOSSY),
        ("a.webm", "libvpx-vp9", {"crf": "10", "lag-in-frames": "8", "auto-alt-ref": "1"}),
        ("old.avi", "mpeg4", {"qmax": "2", "bf": "2"}),
    ],
)
def test_every_frame_of_every_container_in_order(
    tmp_path: Path, name: str, codec: str, options: dict[str, str]
) -> None:
    pieces = FRAGMENTS if name.startswith("fragments") else None
    path = write_video(tmp_path / name, map(painted, range(25)), codec, "yuv420p", options, pieces)
    video, reference = VideoFile(path), by_opencv(path)
    assert video.count == len(reference) == 25
    assert not is_cut_off(path)
    for place, expected in enumerate(reference):
        frame = video.frame(place)
        assert index_of(frame) == place
        np.testing.assert_allclose(frame.astype(int), expected, atol=1)


@pytest.mark.parametrize(("space", "red", "blue"), [(1, 0.2126, 0.0722), (6, 0.299, 0.114), (9, 0.2627, 0.0593)])
@pytest.mark.parametrize("full", [False, True])
def test_colors_follow_the_color_space_of_the_file(
    tmp_path: Path, space: int, red: float, blue: float, full: bool
) -> None:
    image = painted(60)
    r, g, b = np.moveaxis(image / 255, 2, 0)
    luma = red * r + (1 - red - blue) * g + blue * b
    shares = [luma, (b - luma) / (2 - 2 * blue), (r - luma) / (2 - 2 * red)]
    scales, offsets = ((255, 255, 255), (0, 128, 128)) if full else ((219, 224, 224), (16, 128, 128))
    planes = np.stack([np.rint(share * scale + offset) for share, scale, offset in zip(shares, scales, offsets)])
    with av.open(str(tmp_path / "a.mkv"), "w") as output:
        stream: Any = output.add_stream("ffv1", rate=10)
        stream.height, stream.width, stream.pix_fmt = *image.shape[:2], "yuv444p"
        stream.codec_context.colorspace, stream.codec_context.color_range = space, 2 if full else 1
        frame = av.VideoFrame.from_ndarray(planes.astype(np.uint8), format="yuv444p")
        frame.colorspace, frame.color_range = space, 2 if full else 1
        output.mux(stream.encode(frame))
        output.mux(stream.encode())
    np.testing.assert_allclose(VideoFile(tmp_path / "a.mkv").frame(0).astype(int), image, atol=2)


def turned(path: Path, quarters: int) -> Path:
    """Writes into an mp4 that it is to be shown turned, anticlockwise, as a phone does that was held upright."""
    cosine, sine = [(1, 0), (0, 1), (-1, 0), (0, -1)][quarters]
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 44  # behind the type: versions, times, number, length, layers, volume
    matrix = [cosine << 16, -sine << 16, 0, sine << 16, cosine << 16, 0, 0, 0, 1 << 30]
    content[start : start + 36] = struct.pack(">9i", *matrix)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("quarters", range(4))
def test_frames_are_upright(tmp_path: Path, quarters: int) -> None:
    path = turned(write_video(tmp_path / "a.mp4", [painted(0), painted(1)]), quarters)
    frame = VideoFile(path).frame(1)
    np.testing.assert_array_equal(frame, np.rot90(painted(1), quarters))
    np.testing.assert_array_equal(frame, by_opencv(path)[1])
    assert video_size(path) == frame.shape[:2]


def quarter_turns() -> list[tuple[int, int, int, int]]:
    """All matrices (a, b, c, d) of quarter turns, with and without a mirror."""
    turns = [(1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0)]
    return [*turns, *((-a, b, -c, d) for a, b, c, d in turns)]


@pytest.mark.parametrize("matrix", quarter_turns())
def test_frames_are_turned_and_mirrored_by_the_display_matrix(
    tmp_path: Path, matrix: tuple[int, int, int, int]
) -> None:
    """By the definition: (x, y) is shown at (a x + c y, b x + d y)."""
    path, image = write_video(tmp_path / "a.mp4", [painted(0)]), painted(0)
    content, (a, b, c, d) = bytearray(path.read_bytes()), matrix
    start = content.index(b"tkhd") + 44
    content[start : start + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    columns, rows = a * x + c * y, b * x + d * y
    shown = np.zeros((np.ptp(rows) + 1, np.ptp(columns) + 1, 3), np.uint8)
    shown[rows - rows.min(), columns - columns.min()] = image
    frame = VideoFile(path).frame(0)
    np.testing.assert_array_equal(frame, shown)
    assert frame.flags.c_contiguous
    assert video_size(path) == shown.shape[:2]


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        *(("ts", "libx264"), ("mts", "mpeg2video"), ("mpg", "mpeg2video"), ("vob", "mpeg2video"), ("3g2", "mpeg4")),
        *(("wmv", "wmv2"), ("asf", "libx264"), ("flv", "flv"), ("flv", "libx264"), ("f4v", "libx264")),
        *(("m2v", "mpeg2video"), ("h264", "libx264"), ("ivf", "libvpx"), ("rm", "rv20")),
    ],
)
def test_other_containers_give_the_frames_that_their_decoder_gives(tmp_path: Path, suffix: str, codec: str) -> None:
    images = [np.roll(painted(i, 144, 176), 5 * i, 1) for i in range(24)]
    path = write_video(tmp_path / f"a.{suffix}", images, codec, "yuv420p", {})
    with av.open(str(path)) as container:
        expected = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    video = VideoFile(path)
    assert video.count == len(expected) == 24
    for place, image in enumerate(expected):
        np.testing.assert_array_equal(video.frame(place), image)
    assert is_video_name(path.name)


def test_an_unknown_codec_is_named(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", map(painted, range(3)), "mjpeg", "yuvj420p", {})
    path.write_bytes(path.read_bytes().replace(b"MJPG", b"QQQQ"))
    for read in (VideoFile, video_size):
        with pytest.raises(ValueError, match="its codec is not known here; convert it"):
            read(path)


def test_a_pipe_is_no_video(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.mp4")
    with pytest.raises(ValueError, match="a pipe, a device or a socket"):
        VideoFile(tmp_path / "a.mp4")


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
def test_a_title_in_another_encoding_spoils_no_video(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    write_video(path, map(painted, range(3)), "libx264", "yuv420p", LOSSY, title="TITLE HERE")
    path.write_bytes(path.read_bytes().replace(b"TITLE HERE", "Лето в Уфе".encode("cp1251")))
    assert outcomes(VideoFile(path)) == [0, 1, 2]
    assert frame_rate(path) == 10


def test_decoding_goes_forward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = VideoFile(write_video(tmp_path / "a.mp4", map(painted, range(9))))
    opened: list[str] = []
    real = av.open
    monkeypatch.setattr(av, "open", lambda path, **how: opened.append(path) or real(path, **how))
    assert [index_of(video.frame(place)) for place in (2, 3, 7)] == [2, 3, 7]
    assert len(opened) == 1
    assert [index_of(video.frame(place)) for place in (1, 8, 0)] == [1, 8, 0]
    assert len(opened) == 3


def test_frames_missing_from_a_truncated_file_are_reported(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", map(painted, range(20)), container=FASTSTART)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 7 // 10])
    found = outcomes(VideoFile(path))
    there = sum(isinstance(each, int) for each in found)
    assert 10 < there < 18
    assert found[:there] == list(range(there))
    assert set(found[there:]) == {"the video breaks off before this frame"}


@pytest.mark.parametrize(
    ("name", "container"), [("a.mkv", {}), ("a.webm", {}), ("a.mp4", FRAGMENTS)], ids=["mkv", "webm", "fragments"]
)
def test_a_truncated_file_without_a_frame_count_reports_where_it_breaks_off(
    tmp_path: Path, name: str, container: dict[str, str]
) -> None:
    codec, options = (
        ("libvpx-vp9", {"crf": "4"}) if name == "a.webm" else ("libx264", {"crf": "10", "bf": "0", "g": "5"})
    )
    path = write_video(tmp_path / name, map(painted, range(20)), codec, "yuv420p", options, container)
    assert not is_cut_off(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 7 // 10])
    found = outcomes(VideoFile(path))
    there = sum(isinstance(each, int) for each in found)
    assert 5 < there < 18
    assert found[:there] == list(range(there))
    assert set(found[there:]) == {"the video breaks off before this frame"}


@pytest.mark.parametrize(
    "content", ["cut", b"", b"no video at all", bytes(5000)], ids=["cut", "empty", "text", "zeros"]
)
def test_file_that_cannot_be_opened(tmp_path: Path, content: bytes | str) -> None:
    path = write_video(tmp_path / "a.mp4", map(painted, range(9)))
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b"moov")] if isinstance(content, str) else content)
    with pytest.raises(ValueError, match=r"^no video, or one that breaks off before its index$"):
        VideoFile(path)
    path.unlink()
    with pytest.raises(ValueError, match=r"^No such file or directory$"):
        VideoFile(path)


def test_a_file_with_audio_only_is_no_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as output:
        stream: Any = output.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        output.mux(stream.encode(frame))
        output.mux(stream.encode())
    with pytest.raises(ValueError, match="holds no video"):
        VideoFile(tmp_path / "a.mp4")


def test_damage_leaves_a_hole_until_the_next_keyframe(tmp_path: Path) -> None:
    options = {"qp": "0", "g": "8", "keyint_min": "8", "sc_threshold": "0", "bf": "2"}
    path = write_video(tmp_path / "a.mp4", map(painted, range(32)), options=options, container=FASTSTART)
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][9]
    content = bytearray(path.read_bytes())
    content[packet.pos + 4 : packet.pos + packet.size] = b"\xff" * (packet.size - 4)
    path.write_bytes(content)
    found = outcomes(VideoFile(path))
    assert found[:9] == list(range(9))
    assert "the video is damaged here" in found[9:16]
    assert all(each in (place, "the video is damaged here") for place, each in enumerate(found))
    assert found[16:] == list(range(16, 32))


def test_frames_that_are_not_to_be_shown_do_not_count(tmp_path: Path) -> None:
    """As in videos that were trimmed without coding them anew."""
    source = write_video(tmp_path / "a.mp4", map(painted, range(12)))
    with av.open(str(source)) as whole, av.open(str(tmp_path / "b.mp4"), "w") as output:
        stream = output.add_stream_from_template(whole.streams.video[0])
        shift = int(Fraction(4, 10) / whole.streams.video[0].time_base)
        for packet in whole.demux(video=0):
            if packet.size:
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, stream
                output.mux(packet)
    assert outcomes(VideoFile(tmp_path / "b.mp4")) == list(range(4, 12))


def test_vp8_frames_that_only_others_build_on_do_not_count(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.webm", map(painted, range(12)), "libvpx", "yuv420p", {"crf": "4", "b": "2M"})
    with av.open(str(path)) as container:
        packet = bytes([packet for packet in container.demux(video=0) if packet.size][6])
    path.write_bytes(path.read_bytes().replace(packet, bytes([packet[0] & ~16]) + packet[1:]))
    assert outcomes(VideoFile(path)) == [*range(6), *range(7, 12)]


def test_more_frames_than_announced_cause_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_video(tmp_path / "a.mp4", map(painted, range(5)))
    video = VideoFile(path)
    write_video(path, map(painted, range(8)))
    assert outcomes(video) == list(range(5))
    assert capsys.readouterr().err == f"warning: {path}: 3 frames more than announced are left out\n"
