"""Masks as polygons, and polygons as the tools draw them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import cv2
import numpy as np
import PIL.Image
import PIL.ImageDraw

from utils.boxes import covered_pixels

CLOSE = 1 / 8
"""How far a polygon may leave the outline at most, as a share of area / perimeter, which is half the width of a strip.

A pixel is little for a bus and half of a distant bird: with it small and thin parts keep their shape, whatever the
tolerance, and cost few points.
"""


def polygons_on_pixel_centers(crop: np.ndarray, tolerance: float) -> list[np.ndarray]:
    """The parts of a mask (8 neighbours), outlined through the centres of their outermost pixels.

    A polygon goes around its part and, by a line there and back, around each hole in it. A tool that draws outline and
    filling, as labelme and ultralytics do, gets back the mask; with a tolerance of 0 all but pixels on those lines.

    Args:
        crop: (h, w) bool.
        tolerance: how far in pixels the polygons may leave the outlines, small and thin parts less; 0 leaves out
            nothing but points on straight lines.

    Returns:
        a (K, 2) int32 polygon for each part, x and y in pixels of the crop, K >= 3 (a part of one or two pixels
        repeats points).
    """
    parts = [[_simplified(ring, tolerance) for ring in rings] for rings in _parts(crop)]
    return [_at_least_three(joined(rings)) for rings in parts]


def polygons_on_pixel_edges(crop: np.ndarray, tolerance: float) -> list[np.ndarray]:
    """Trace outlines as `polygons_on_pixel_centers`, but along the pixels' outer edges, as pycocotools fills."""
    # In a picture of twice the size, a part's outermost pixels lie beside the edges: 2x right of x, 2x - 1 left of it.
    parts = _parts(crop.repeat(2, axis=0).repeat(2, axis=1))
    edges = [[_without_repeats((ring + 1) // 2) for ring in rings] for rings in parts]
    return [joined([_simplified(ring, tolerance) for ring in rings]) for rings in edges]


def joined(rings: Sequence[np.ndarray]) -> np.ndarray:
    """One polygon of several, each (K, 2): lines there and back join them, between points that are nearest."""
    from scipy.spatial import KDTree

    points, owner = np.concatenate(rings), np.repeat(np.arange(len(rings)), [len(ring) for ring in rings])
    distance, partner = np.full(len(points), np.inf), np.zeros(len(points), np.int64)
    last = np.flatnonzero(owner == 0)
    left, whole = owner > 0, last.tolist()
    while left.any():  # the nearest ring first, as in Prim's minimum spanning tree
        rest = np.flatnonzero(left)
        found, nearest = KDTree(points[last]).query(points[rest])
        closer = found < distance[rest]
        distance[rest[closer]], partner[rest[closer]] = found[closer], last[nearest[closer]]
        start = int(rest[distance[rest].argmin()])
        last = np.flatnonzero(owner == owner[start])
        left[last] = False
        tour, leave = np.roll(last, last[0] - start), int(partner[start])
        behind = whole.index(leave) + 1
        whole[behind:behind] = [*tour.tolist(), start, leave]
    return points[whole]


def rasterize_labelme(rings: Sequence[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool: the polygons, outlines included, x and y in pixels from the centre of the first."""
    picture = PIL.Image.new("L", size[::-1])
    draw = PIL.ImageDraw.Draw(picture)
    for ring in rings:
        draw.polygon([(x, y) for x, y in ring.tolist()], outline=1, fill=1)
    return np.array(picture, bool)


def rasterize_ultralytics(ring: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool: the polygon, outline included; x and y are cut to whole pixels."""
    picture = np.zeros(size, np.uint8)
    cv2.fillPoly(picture, [ring.astype(np.int32)], 1)
    return picture.view(bool)


def rasterize_coco(rings: Sequence[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool: the pixels whose centres lie in a polygon; pixel 0 reaches from 0 to 1."""
    from pycocotools import mask as coco

    return coco.decode(coco.merge(coco.frPyObjects([ring.ravel().tolist() for ring in rings], *size))).astype(bool)


def filled_box(box: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Draw the pixels that a (4,) x1 y1 x2 y2 box covers, wholly or in part, as (H, W) bool."""
    picture = np.zeros(size, bool)
    picture[covered_pixels(box, size)] = True
    return picture


def iou(first: np.ndarray, second: np.ndarray) -> float:
    """Intersection over union of two bool arrays; 1 where both are empty."""
    union = np.count_nonzero(first | second)
    return np.count_nonzero(first & second) / union if union else 1.0


def _parts(picture: np.ndarray) -> list[list[np.ndarray]]:
    """For each part its (K, 2) outer contour and those of its holes, through the part's own pixels."""
    found, hierarchy = cv2.findContours(picture.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    parts: dict[int, list[np.ndarray]] = {}
    for i, contour in enumerate(found):
        parent = int(hierarchy[0, i, 3])
        parts.setdefault(i if parent < 0 else parent, []).append(contour[:, 0])
    return list(parts.values())


def _simplified(ring: np.ndarray, tolerance: float) -> np.ndarray:
    """The ring with as few points as the tolerance allows."""
    if len(ring) < 3:
        return ring
    half_width = cv2.contourArea(ring) / cv2.arcLength(ring, closed=True)
    fewer = cv2.approxPolyDP(ring[:, None], min(tolerance, CLOSE * half_width), closed=True)[:, 0]
    return fewer if len(fewer) >= 3 else ring


def _at_least_three(ring: np.ndarray) -> np.ndarray:
    return ring if len(ring) >= 3 else np.concatenate([ring, ring[-1:].repeat(3 - len(ring), axis=0)])


def _without_repeats(ring: np.ndarray) -> np.ndarray:
    """The ring without points that equal the one before them."""
    return ring[(ring != np.roll(ring, 1, axis=0)).any(axis=1)]


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


def rasterize_labelme_shape(kind: str, points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
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
