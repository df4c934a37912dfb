"""Recognize the archives that torch.save writes by their content, and check them by their own checksums."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path


def kind_of(path: Path) -> str:
    """Tell what a file is by its first bytes: zip, pickle (torch before 1.6), safetensors, html, empty or other."""
    with path.open("rb") as file:
        start = file.read(64)
    if start[:4] == b"PK\3\4":
        return "zip"
    if start[:1] == b"\x80":
        return "pickle"
    if start[8:9] == b"{" and 0 < int.from_bytes(start[:8], "little") <= path.stat().st_size:
        return "safetensors"
    if start.lstrip()[:1] == b"<":
        return "html"
    return "other" if start else "empty"


def damage_of(path: Path) -> str | None:
    """Say what is wrong with a file as a whole zip archive, every byte of whose records fits its checksum; else None.

    Torch itself does not look at the checksums. A file of 900 MB takes a second.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if not any(record.CRC for record in archive.infolist()):
                return None  # torch.serialization.set_crc32_options(False) leaves them out
            bad = archive.testzip()
            return None if bad is None else f"its part {bad} does not fit its checksum"
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, EOFError, RuntimeError, NotImplementedError):
        return "it is truncated, or not an archive of torch.save"
