"""Conversion of pixels and values to the content of files."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt


class EncodingError(ValueError):
    """A format cannot hold an image."""


def encode_image(image: npt.NDArray[np.uint8], suffix: str, *settings: int) -> bytes:
    """Encode an image.

    Args:
        image: (H, W, 3) RGB or (H, W) grey.
        suffix: `.jpg` or `.png`.
        settings: cv2's IMWRITE flags, each followed by its value.

    Raises:
        EncodingError: the format cannot hold it; a JPEG has at most 65500 pixels a side.
    """
    ordered = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    done, content = cv2.imencode(suffix, ordered, settings)
    if not done:
        height, width = image.shape[:2]
        raise EncodingError(f"an image of {width} x {height} pixels cannot be a {suffix} file")
    return content.tobytes()


def encode_json(value: Mapping[str, Any] | Sequence[Any], indent: int | None = None) -> bytes:
    """Encode JSON in UTF-8; ValueError for NaN and the infinities, which JSON does not have."""
    text = json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False)
    # A file name that is not valid UTF-8 holds lone surrogates; backslashreplace writes them as JSON escapes.
    return text.encode("utf-8", "backslashreplace")


def encode_csv(rows: Iterable[Sequence[Any]]) -> bytes:
    """Encode rows as CSV in UTF-8; a text that begins like a formula gets an apostrophe before it."""
    lines = list[str]()
    # Before Python 3.13 only cells with a part of the terminator are quoted, and a carriage return ends a row, too.
    writer = csv.writer(SimpleNamespace(write=lines.append), lineterminator="\r\n")
    writer.writerows([_plain_cell(cell) for cell in row] for row in rows)
    text = "".join(f"{line[:-2]}\n" for line in lines)
    # surrogateescape restores the bytes of a file name that is not valid UTF-8.
    return text.encode("utf-8", "surrogateescape")


def _plain_cell(cell: Any) -> Any:
    """Put an apostrophe before a text that spreadsheets would take for a formula; numbers stay."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def encode_table(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Encode rows as CSV in UTF-8 under a line of column names; values that a row lacks are empty."""
    return encode_csv([columns, *([row.get(column, "") for column in columns] for row in rows)])


def encode_lines(entries: Sequence[str]) -> bytes:
    """Encode a text file with one entry per line; the bytes of a file name that is not valid UTF-8 are kept."""
    return "".join(f"{entry}\n" for entry in entries).encode("utf-8", "surrogateescape")
