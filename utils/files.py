"""Open files of users: only regular ones, since reading a pipe or a device may block or never end."""

from __future__ import annotations

import codecs
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from utils.errors import UserError

ARCHIVES = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "Zstandard",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!\x1a\x07": "RAR",
}
"""First bytes of compressed files and archives -> their name. A tar archive has its mark further on."""

SPECIAL = "a pipe, a device or a socket, not a file; save its content to a file"

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def is_special(path: Path) -> bool:
    """Tell whether a path leads to a pipe, a device or a socket, which may block or never end."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):  # reading it tells what is wrong
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def foreign_content(start: bytes) -> str | None:
    """Say what a file is by its first 512 bytes, if it is what often stands in the place of photos or weights."""
    if not start:
        return "empty"
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the file itself; `git lfs pull` fetches that"
    if start.lstrip().startswith(b"<"):
        return "a web page"
    if start.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL ")):
        return "JPEG XL, which is not read; save it as PNG"
    if start[4:8] == b"ftyp" and start[8:12] in (b"heic", b"heix", b"mif1", b"msf1", b"hevc"):
        return "HEIC; pip install pillow-heif reads it"
    is_tar = start[257:262] == b"ustar"
    archive = next((name for mark, name in ARCHIVES.items() if start.startswith(mark)), "tar" if is_tar else None)
    return f"compressed or an archive ({archive}); unpack it" if archive else None


@contextmanager
def open_regular(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file for reading; OSError for a pipe or device, as for what cannot be read."""
    if is_special(path):
        raise OSError(errno.EINVAL, SPECIAL, str(path))
    with path.open("rb") as file:
        yield file


def read_text(path: Path) -> str:
    """Read a text file, whose lines then end in line feeds alone.

    It is UTF-8, with or without a byte order mark, or UTF-16 with one, which PowerShell writes.

    Raises:
        OSError: it cannot be read, or is a pipe or a device.
        UnicodeDecodeError: it is no such text.
    """
    with open_regular(path) as file:
        content = file.read()
    text = content.decode("utf-16" if content.startswith(_UTF_16) else "utf-8-sig")
    if (nul := text.find("\0")) >= 0:  # of UTF-16 without a mark, or no text at all
        raise UnicodeDecodeError("utf-8", content, nul, nul + 1, "a NUL character")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_user_text(path: Path) -> str:
    """Read a text file as `read_text` does; UserError, which names the file, if it cannot be read or is no text."""
    try:
        return read_text(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text (byte {error.start})") from error
