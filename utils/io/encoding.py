"""Pixels and values to the contents of a file."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np


class EncodingError(ValueError):
    """A format cannot hold an image."""


def encode_image(image: np.ndarray, suffix: str, *settings: int) -> bytes:
    """The file that holds an image.

    Args:
        image: (H, W, 3) uint8 RGB or (H, W) uint8 grey.
        suffix: `.jpg` or `.png`.
        settings: cv2's IMWRITE flags, each followed by its value.

    Raises:
        EncodingError: the format cannot hold it; a JPEG has at most 65500 pixels a side.
    """
    ordered = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    done, contents = cv2.imencode(suffix, ordered, settings)
    if not done:
        height, width = image.shape[:2]
        raise EncodingError(f"an image of {width} x {height} pixels cannot be a {suffix} file")
    return contents.tobytes()


def encode_json(value: Mapping[str, Any] | Sequence[Any], indent: int | None = None) -> bytes:
    """A JSON file in UTF-8; ValueError for NaN and the infinities, which JSON does not have."""
    text = json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False)
    # A file name that is not valid UTF-8 holds lone surrogates; backslashreplace spells them as JSON does.
    return text.encode("utf-8", "backslashreplace")


def table(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    """A CSV file (UTF-8) with a line of column names; what a row lacks stays empty."""
    return csv_file([columns, *([row.get(column, "") for column in columns] for row in rows)])


def csv_file(rows: Iterable[Sequence[Any]]) -> bytes:
    """A CSV file (UTF-8) of rows as they are."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    # The bytes of a file name that is not valid UTF-8 are kept.
    return text.getvalue().encode("utf-8", "surrogateescape")
