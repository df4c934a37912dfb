"""Video files: the number of their frames, including lost ones, and each frame or why it cannot be decoded."""

from __future__ import annotations

import sys
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from utils.files import SPECIAL, is_special

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

_HEAD = 4096
"""Bytes at the start of a Matroska file that contain the beginning of its segment."""

_SEGMENT = b"\x18\x53\x80\x67"


_INDEXED = "mov"
"""The format family whose index lists every frame, including those that a truncated file lacks."""

_UNTIMED = ("avi", "asf")
"""The formats whose frames have no presentation time of their own; they are stored in decoding order."""

_VP8_SHOWN = 1 << 4
"""The bit of a VP8 frame's first byte that is set if the frame is shown (RFC 6386, 9.1)."""


@dataclass(frozen=True)
class _Decoded:
    """Output of the decoder.

    Attributes:
        place: the frame's position in the video.
        intact: whether neither the frame nor one that it may depend on is damaged.
    """

    place: int
    frame: VideoFrame
    intact: bool


class VideoFile:
    """The frames of a video, read one after the other, by one thread at a time.

    Attributes:
        path: the file.
        count: number of frames, including those that the index lists beyond the end of a truncated file; one more if a
            file is truncated and has no index that says how many are missing.
    """

    def __init__(self, path: Path) -> None:
        """Scan the packets without decoding them; ValueError if the file cannot be opened or holds no frame."""
        self.path = path
        with _opened(path) as (container, stream):
            packets = [packet.pts for packet in _packets(container, stream) if _is_shown(packet)]
            self.count = max(len(packets), _frames_in_headers(container, stream))
            if not stream.frames and is_cut_off(path):
                self.count += 1  # it is unknown how many
            timed = container.format.name not in _UNTIMED
        if not self.count:
            raise ValueError("the video holds no frame")
        # If all frames have different times, they tell which frame the decoder leaves out.
        times = sorted({time for time in packets if time is not None})
        self._times = np.array(times, np.int64) if timed and len(times) == len(packets) else None
        self._decoding: Iterator[_Decoded] = iter(())
        self._ahead: _Decoded | None = None
        self._next, self._surplus = self.count, 0

    def frame(self, index: int) -> npt.NDArray[np.uint8]:
        """Decode a frame to (H, W, 3) RGB, upright; ValueError if it is damaged or missing.

        Decoding only goes forward: frames since the last call are skipped, and an earlier frame restarts it.
        """
        if index < self._next:
            self._decoding, self._surplus = self._decode(), 0
            self._ahead = next(self._decoding, None)
        while self._ahead is not None and self._ahead.place < index:
            self._ahead = next(self._decoding, None)
        found, self._next = self._ahead, index + 1
        if self._next == self.count:
            self._finish()
        if found is None:
            raise ValueError("the video breaks off before this frame")
        if found.place > index or not found.intact:
            raise ValueError("the video is damaged here")
        return _upright_rgb(found.frame)

    def _finish(self) -> None:
        """Decode to the end, which closes the file, and warn of frames beyond the count."""
        deque(self._decoding, maxlen=0)
        self._ahead = None
        if self._surplus:
            print(f"warning: {self.path}: {self._surplus} frames more than announced are left out", file=sys.stderr)

    def _decode(self) -> Iterator[_Decoded]:
        """Decode all frames, from the first one on; some of the video may be missing.

        A broken packet also spoils the frames that depend on it, up to the next keyframe. So a frame is intact if no
        packet from its keyframe to its own is broken.
        """
        from av import FFmpegError

        packet_of: dict[int | None, tuple[int, int]] = {}  # by time: number of its packet and of its keyframe's
        broken: list[int] = []
        decoded = number = keyframe = 0
        with _opened(self.path) as (container, stream):
            for number, packet in enumerate(_packets(container, stream)):
                keyframe = number if packet.is_keyframe else keyframe
                packet_of[packet.pts] = number, keyframe
                try:
                    frames = packet.decode()
                except FFmpegError:
                    insort(broken, number)
                    continue
                for frame in frames:
                    own, start = packet_of.pop(frame.pts, (number, keyframe))
                    if frame.is_corrupt:
                        insort(broken, own)
                    place = self._place(decoded, frame.pts)
                    decoded += 1
                    if place is None:
                        self._surplus += 1
                    else:
                        yield _Decoded(place, frame, bisect_left(broken, start) == bisect_left(broken, own + 1))

    def _place(self, decoded: int, time: int | None) -> int | None:
        """Find the position of a frame by its time or the number decoded before it; None: beyond the count."""
        if self._times is None or time is None:
            return decoded if decoded < self.count else None
        place = int(np.searchsorted(self._times, time))
        return place if place < len(self._times) and self._times[place] == time else None


def video_size(path: Path) -> tuple[int, int]:
    """Return (height, width) of the first frame of a video, upright; ValueError if there is none."""
    with _opened(path) as (container, stream):
        for frame in container.decode(stream):
            return _upright_rgb(frame).shape[:2]
    raise ValueError("the video holds no frame")


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a video file with its main video stream; ValueError if it cannot be read or has none."""
    import av

    if is_special(path):
        raise ValueError(SPECIAL)
    try:
        with av.open(str(path), metadata_errors="replace") as container:  # titles may be in any encoding
            stream = container.streams.best("video")
            if not isinstance(stream, av.VideoStream):
                raise ValueError("holds no video")
            if stream.codec_context is None:
                raise ValueError("its codec is not known here; convert it, for example to mp4: ffmpeg -i IN OUT.mp4")
            yield container, stream
    except av.InvalidDataError as error:
        raise ValueError("no video, or one that breaks off before its index") from error
    except (av.FFmpegError, OSError) as error:
        raise ValueError(error.strerror or str(error)) from error
    except ValueError:
        raise
    except Exception as error:  # demuxers raise almost anything on a broken file
        raise ValueError(f"cannot be decoded: {error}") from error


def _packets(container: InputContainer, stream: VideoStream) -> Iterator[Packet]:
    """Yield the readable packets of a stream; the last one is empty and flushes the decoder."""
    from av import FFmpegError

    try:
        yield from container.demux(stream)
    except FFmpegError:
        return


def _is_shown(packet: Packet) -> bool:
    """Tell whether a packet holds a frame that is shown; in VP8, some are only references of others."""
    if not packet.size or packet.is_discard:
        return False
    return packet.stream.codec_context.codec.canonical_name != "vp8" or bool(memoryview(packet)[0] & _VP8_SHOWN)


def _frames_in_headers(container: InputContainer, stream: VideoStream) -> int:
    """Read the number of frames from the headers of a file; 0 if they do not contain it."""
    index = stream.index_entries
    if _INDEXED in container.format.name or len(index) >= stream.frames:
        return sum(entry.size > 0 and not entry.is_discard for entry in index)
    return stream.frames


def _upright_rgb(frame: VideoFrame) -> np.ndarray:
    """Convert to (H, W, 3) uint8 RGB by the file's color space, turned and mirrored by its display matrix.

    The matrix maps a point (x, y) to (a x + c y, b x + d y) in units of 1/65536 (ISO/IEC 14496-12, 8.3.2).
    """
    pixels = frame.to_ndarray(format="rgb24", threads=1)
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return np.ascontiguousarray(pixels)
    a, b, _, c, d = np.frombuffer(matrix, np.int32, 5).tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        pixels, a, d = pixels.swapaxes(0, 1), c, b
    return pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1].copy()


def is_cut_off(path: Path) -> bool:
    """Tell whether the end of an mp4, Matroska or WebM file is missing, by its headers; False if that is unknown.

    Demuxers do not report it. OSError if the file cannot be read.
    """
    with path.open("rb") as file:
        length = file.seek(0, 2)
        file.seek(0)
        head = file.read(_HEAD)
        end = _segment_end(head) if _SEGMENT in head else _box_end(file, length)
    return end is not None and end > length


def _segment_end(head: bytes) -> int | None:
    """Read the end of a Matroska file's segment; None if its size was never filled in, as in a live recording."""
    start = head.index(_SEGMENT) + len(_SEGMENT)
    if start + 8 > len(head):
        return None
    width = 9 - head[start].bit_length()  # the number of leading zeros is that of further bytes
    number = int.from_bytes(head[start : start + width], "big") & ((1 << 7 * width) - 1)
    return None if number == (1 << 7 * width) - 1 else start + width + number


def _box_end(file: BinaryIO, length: int) -> int | None:
    """Read the end of the last box of an mp4 or mov file; None for another kind of file."""
    end = 0
    while end < length:
        file.seek(end)
        head = file.read(16)
        size = int.from_bytes(head[:4], "big")
        if end == 0 and head[4:8] != b"ftyp":
            return None
        if size == 1:  # a 64-bit size follows the type
            size = int.from_bytes(head[8:16], "big")
        if size < 8:  # 0: up to the end of the file
            return None
        end += size
    return end
