"""YOLO label files: a row an object, `class x y width height`, `class x1 y1 x2 y2 x3 y3 ...`, maybe a confidence last.

All numbers but the class are shares of the upright image's width or height.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.errors import UserError

LOWEST, HIGHEST = -0.01, 1.01
"""What ultralytics, too, takes for a share of an image's side; rounding leads a little beyond 0 and 1."""


@dataclass(frozen=True)
class Label:
    """One row.

    Attributes:
        line: its number in the file, from 1.
        class_id: from 0.
        points: (K, 2) float64 x y, shares of the image's width and height: the polygon of a segment row, K >= 3, or
            the upper left and the lower right corner of a box row, K = 2.
        confidence: in [0, 1]; 1 where the row has none.
    """

    line: int
    class_id: int
    points: np.ndarray
    confidence: float

    def box(self) -> np.ndarray:
        """The tight box, (4,) float64 x1 y1 x2 y2."""
        return np.concatenate([self.points.min(axis=0), self.points.max(axis=0)])


def read_labels(path: Path) -> list[Label]:
    """The rows of a label file, in its order; blank lines are none.

    Raises:
        UserError: the file cannot be read, or a line is no such row.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text (byte {error.start})") from error
    return [_label(line.split(), number, f"{path}:{number}") for number, line in enumerate(lines, 1) if line.strip()]


def _label(words: list[str], line: int, place: str) -> Label:
    try:
        class_id, numbers = int(words[0]), np.array(words[1:], np.float64)
    except (OverflowError, ValueError):
        raise UserError(f"{place}: expected an integer, the class, and numbers") from None
    if len(numbers) < 4:
        raise UserError(f"{place}: expected a class and at least four numbers, found {len(numbers)}")
    # A box has four numbers, a polygon an even number of them from six on; one more is the confidence.
    coordinates, confidence = numbers[: len(numbers) // 2 * 2], numbers[-1] if len(numbers) % 2 else 1.0
    if not ((coordinates >= LOWEST) & (coordinates <= HIGHEST)).all():
        raise UserError(f"{place}: the coordinates are no shares of the image's width and height, from 0 to 1")
    if not 0 <= confidence <= 1:
        raise UserError(f"{place}: the confidence, {confidence:g}, is not within 0 to 1")
    points = coordinates.reshape(-1, 2)
    if len(points) == 2:
        centre, half = points[0], points[1] / 2
        points = np.stack([centre - half, centre + half])
    return Label(line, class_id, points, float(confidence))
