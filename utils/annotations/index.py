"""Know finished images by the sizes and times of their files, without reading these; as Git's index does.

A file that has the inode, the size and the times, of its content and of its inode, that it had is the file that it was.
So a million finished images are known in seconds. The index saves work and decides nothing else: what it does not know
is looked at, and whether a file may be replaced is always asked of the file itself. To delete it costs time only.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from threading import Lock

import numpy as np
import numpy.typing as npt

from utils.files import open_regular
from utils.io.writers import WriterError, atomic_write, link_from

KEY, NO_KEY = "S16", b""
"""The type of a key, and the key of an image that has no file."""

_ROW = np.dtype([("key", KEY), ("status", "u1")])

BUFFERED = 1000
"""Rows that a killed process may lose: so many images are read by the next one."""

Keys = npt.NDArray[np.bytes_]
"""Hashes of all that decides the status of an image."""


class Index:
    """Hold the status of images by their keys, from files in a folder, one for each process that may write there.

    Rows have one length and are only added, so a killed process leaves at most a part of one, which is cut off.

    Args:
        folder: made when there is something to write.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._own_file = folder, "0"
        self._lock, self._added = Lock(), list[bytes]()
        self._keys, self._statuses = np.zeros(0, KEY), np.zeros(0, np.uint8)

    def open(self, own_file: str) -> None:
        """Read the files; the name of this process's own one begins with a digit."""
        self._own_file = own_file
        rows = np.concatenate([np.zeros(0, _ROW), *map(_rows, self._folder.glob("[0-9]*"))])
        rows = rows[np.argsort(rows["key"], kind="stable")]
        self._keys, self._statuses = np.ascontiguousarray(rows["key"]), np.ascontiguousarray(rows["status"])

    def look_up(self, keys: Keys) -> npt.NDArray[np.uint8]:
        """Return the statuses of images by their keys; 0 of those that are not known."""
        statuses = np.zeros(len(keys), np.uint8)
        if len(self._keys):
            order = np.argsort(keys)  # neighbours are found in a third of the time
            keys = keys[order]
            found = np.searchsorted(self._keys, keys, side="right") - 1  # of -1 the last one, whose key is another
            statuses[order] = np.where(self._keys[found] == keys, self._statuses[found], np.uint8(0))
        return statuses

    def add(self, key: bytes, status: int) -> None:
        """Note the status of an image; threads may do so at the same time."""
        with self._lock:
            self._added.append(key + bytes([status]))

    def save(self, *, at_least: int = 1) -> None:
        """Write the rows that were added, unless they are fewer than some; where the disk takes none, they are lost."""
        with self._lock, suppress(OSError):
            if len(self._added) < at_least or not self._make_folder():
                return
            rows, self._added = b"".join(self._added), []
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK
            with open(os.open(self._folder / self._own_file, flags, 0o666), "ab") as file:
                found = os.fstat(file.fileno())
                if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
                    file.truncate(found.st_size // _ROW.itemsize * _ROW.itemsize)
                    file.write(rows)

    def _make_folder(self) -> bool:
        """Make the folder unless a link leads elsewhere; return whether files may be written there."""
        if link_from(self._folder, self._folder.parent):
            return False
        self._folder.mkdir(parents=True, exist_ok=True)
        return True

    @property
    def shared(self) -> bytes:
        """Return the hash of what the shared files were made of, as it was noted; empty if it is not known."""
        return _read(self._folder / "shared")

    def note_shared(self, made_of: bytes) -> None:
        """Note the hash of what the shared files were made of."""
        with suppress(OSError, WriterError):
            if self._make_folder():
                atomic_write(self._folder / "shared", made_of)


def _rows(path: Path) -> npt.NDArray[np.void]:
    content = _read(path)
    return np.frombuffer(content, _ROW, len(content) // _ROW.itemsize)


def _read(path: Path) -> bytes:
    """Read a regular file; nothing of what is none, since reading it may never end."""
    with suppress(OSError), open_regular(path) as file:
        return file.read()
    return b""
