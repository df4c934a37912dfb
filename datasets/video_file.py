"""Whether a video file is as long as its own headers say; demuxers pass over it when it is not."""

from __future__ import annotations

import sys
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

_HEAD = 4096
"""Bytes at the start of a Matroska file in which its segment begins."""

_SEGMENT = b"\x18\x53\x80\x67"


def is_cut_off(path: Path) -> bool:
    """Whether the end of an mp4, Matroska or WebM file is missing; False where that cannot be known.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        length = file.seek(0, 2)
        file.seek(0)
        head = file.read(_HEAD)
        end = _segment_end(head) if _SEGMENT in head else _box_end(file, length)
    return end is not None and end > length


def _segment_end(head: bytes) -> int | None:
    """Where a Matroska file says that it ends; None if it was written without going back to say it."""
    start = head.index(_SEGMENT) + len(_SEGMENT)
    width = 9 - head[start].bit_length()  # leading zeros say how many bytes the number has
    number = int.from_bytes(head[start : start + width], "big") & ((1 << 7 * width) - 1)
    return None if number == (1 << 7 * width) - 1 else start + width + number


def _box_end(file: BinaryIO, length: int) -> int | None:
    """Where the last box of an mp4 or mov file says that it ends; None for another kind of file."""
    end = 0
    while end < length:
        file.seek(end)
        head = file.read(16)
        size = int.from_bytes(head[:4], "big")
        if end == 0 and head[4:8] != b"ftyp":
            return None
        if size == 1:  # the size did not fit and stands behind the type
            size = int.from_bytes(head[8:16], "big")
        if size < 8:  # 0: up to the end of the file
            return None
        end += size
    return end


_INDEXED = "mov"
"""The family of formats whose index names every frame, also those behind the place where a file breaks off."""

_UNTIMED = "avi"
"""The format that stores frames in the order of decoding, with no word about when each is shown."""

_VP8_SHOWN = 1 << 4
"""The bit of a VP8 frame's first byte that says so (RFC 6386, 9.1)."""


@dataclass(frozen=True)
class _Decoded:
    """What the decoder gave.

    Attributes:
        place: the frame's position in the video.
        sound: whether neither the frame nor one that it may build on is damaged.
    """

    place: int
    frame: VideoFrame
    sound: bool


class VideoFile:
    """The frames of a video, read one after the other, by one thread at a time.

    Attributes:
        path: the file.
        count: how many frames it announces: those in the file, and those that its index has beyond the file's end; one
            more if the end is missing, but no count was announced.
    """

    def __init__(self, path: Path) -> None:
        """Look through the file; nothing is decoded.

        Raises:
            ValueError: why it cannot be opened, or that it holds no frame.
        """
        self.path = path
        with _opened(path) as (container, stream):
            packets = [packet.pts for packet in _packets(container, stream) if _is_shown(packet)]
            self.count = max(len(packets), _announced(container, stream))
            if not stream.frames and is_cut_off(path):
                self.count += 1  # nobody knows how many more
            timed = container.format.name != _UNTIMED
        if not self.count:
            raise ValueError("the video holds no frame")
        # Where each frame has a time of its own, one that is lost leaves its hole at the right place.
        times = sorted({time for time in packets if time is not None})
        self._times = np.array(times, np.int64) if timed and len(times) == len(packets) else None
        self._decoding: Iterator[_Decoded] = iter(())
        self._ahead: _Decoded | None = None
        self._next, self._surplus = self.count, 0

    def frame(self, index: int) -> np.ndarray:
        """(H, W, 3) uint8 RGB of a frame, upright.

        Decoding only goes forward: frames between the last one asked for and this one are passed over. Asked for one
        further back, it begins anew.

        Raises:
            ValueError: the frame is damaged, or the decoder has none at this place.
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
        if found.place > index or not found.sound:
            raise ValueError("the video is damaged here")
        return _upright_rgb(found.frame)

    def _finish(self) -> None:
        """Closes the file; frames that nothing announced are counted and said."""
        deque(self._decoding, maxlen=0)
        self._ahead = None
        if self._surplus:
            print(f"warning: {self.path}: {self._surplus} frames more than announced are left out", file=sys.stderr)

    def _decode(self) -> Iterator[_Decoded]:
        """The frames that the decoder has for the places of the video, from the first one on."""
        from av import FFmpegError

        packet_of: dict[int | None, tuple[int, int]] = {}  # frame's time -> numbers of its packet and its keyframe's
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
        """The position of a frame, given how many came before it and its time; None for one that nothing announced."""
        if self._times is None or time is None:
            return decoded if decoded < self.count else None
        place = int(np.searchsorted(self._times, time))
        return place if place < len(self._times) and self._times[place] == time else None


def video_size(path: Path) -> tuple[int, int]:
    """(height, width) in pixels of the first frame of a video, upright; ValueError if there is none."""
    with _opened(path) as (container, stream):
        for frame in container.decode(stream):
            return _upright_rgb(frame).shape[:2]
    raise ValueError("the video holds no frame")


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """A video file and its main stream of frames; ValueError if it cannot be read or has none."""
    import av

    try:
        with av.open(str(path), metadata_errors="replace") as container:  # titles may be in any encoding
            stream = container.streams.best("video")
            if not isinstance(stream, av.VideoStream):
                raise ValueError("holds no video")
            yield container, stream
    except av.InvalidDataError as error:
        raise ValueError("no video, or one that breaks off before its index") from error
    except av.FFmpegError as error:
        raise ValueError(error.strerror) from error


def _packets(container: InputContainer, stream: VideoStream) -> Iterator[Packet]:
    """The packets of a stream as far as they can be read; an empty one at the end makes the decoder give the rest."""
    from av import FFmpegError

    try:
        yield from container.demux(stream)
    except FFmpegError:
        return


def _is_shown(packet: Packet) -> bool:
    """Whether a packet holds a frame that is shown; in VP8, some are only there for others to build on."""
    if not packet.size or packet.is_discard:
        return False
    return packet.stream.codec_context.codec.canonical_name != "vp8" or bool(memoryview(packet)[0] & _VP8_SHOWN)


def _announced(container: InputContainer, stream: VideoStream) -> int:
    """How many frames the headers of a file announce; 0 where they say nothing."""
    index = stream.index_entries
    if _INDEXED in container.format.name or len(index) >= stream.frames:
        return sum(entry.size > 0 and not entry.is_discard for entry in index)
    return stream.frames


def _upright_rgb(frame: VideoFrame) -> np.ndarray:
    """(H, W, 3) uint8 RGB; the file says which colours its numbers mean and how far its camera was turned."""
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24", threads=1), frame.rotation // 90))
