"""labelme's shapes as its own converters draw them (`labelme.utils.shape_to_mask`), pixel by pixel."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import PIL.Image
import PIL.ImageDraw

Points = Sequence[tuple[float, float]]

LINE_WIDTH = 10
POINT_RADIUS = 5

POINTS: dict[str, tuple[float, float]] = {
    "mask": (2, 2),
    "polygon": (3, math.inf),
    "rectangle": (2, 2),
    "oriented_rectangle": (4, 4),
    "circle": (2, 2),
    "line": (2, 2),
    "linestrip": (2, math.inf),
    "point": (1, 1),
}
"""How many points, at least and at most, the shapes have that labelme draws. It does not draw its `points`."""


def as_labelme_draws_shape(kind: str, points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool: a shape of any kind but `mask`.

    Args:
        kind: labelme's `shape_type`, one of POINTS.
        points: (K, 2) x and y in pixels from the centre of the first, as many as the kind has.
    """
    picture = PIL.Image.new("L", size[::-1])
    _DRAWN[kind](PIL.ImageDraw.Draw(picture), [(x, y) for x, y in points.tolist()])
    return np.array(picture, bool)


def _polygon(draw: PIL.ImageDraw.ImageDraw, points: Points) -> None:
    draw.polygon(points, outline=1, fill=1)


def _rectangle(draw: PIL.ImageDraw.ImageDraw, points: Points) -> None:
    columns, rows = zip(*points)
    draw.rectangle((min(columns), min(rows), max(columns), max(rows)), outline=1, fill=1)


def _circle(draw: PIL.ImageDraw.ImageDraw, points: Points) -> None:
    """A centre and a point of the rim."""
    (x, y), (rim_x, rim_y) = points
    _disk(draw, x, y, math.sqrt((x - rim_x) ** 2 + (y - rim_y) ** 2))  # not hypot, which may round otherwise


def _point(draw: PIL.ImageDraw.ImageDraw, points: Points) -> None:
    _disk(draw, *points[0], POINT_RADIUS)


def _line(draw: PIL.ImageDraw.ImageDraw, points: Points) -> None:
    draw.line(points, fill=1, width=LINE_WIDTH)


def _disk(draw: PIL.ImageDraw.ImageDraw, x: float, y: float, radius: float) -> None:
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=1, fill=1)


_DRAWN: dict[str, Callable[[PIL.ImageDraw.ImageDraw, Points], None]] = {
    "polygon": _polygon,
    "rectangle": _rectangle,
    "oriented_rectangle": _polygon,
    "circle": _circle,
    "line": _line,
    "linestrip": _line,
    "point": _point,
}
