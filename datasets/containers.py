"""Whether a video file is as long as its own headers say; demuxers pass over it when it is not."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

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
