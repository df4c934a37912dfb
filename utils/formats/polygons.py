"""Turn masks into polygons, and rasterize polygons as the tools do that will read them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
import PIL.Image
import PIL.ImageDraw

from utils.boxes import covered_pixels
from utils.masks import Mask

MAX_DEVIATION = 1 / 8
"""How far a polygon may leave the outline, as a share of area / perimeter, which is half the width of a strip.

A pixel is little for a bus and half of a distant bird: with it small and thin parts keep their shape, whatever the
tolerance, and cost few points.
"""


MAX_POINTS = 60
"""Points of an object's polygons that a person still corrects with ease."""

MAX_GROWTH = 0.08
"""How far the polygons of `polygons_to_correct` may leave the outline, as a share of the root of the object's area."""

SPECK_PIXELS, SPECK_SHARE = 9, 0.02
"""Parts and holes with a smaller area, in pixels or as a share of the object's, are specks."""


def polygons_on_pixel_centers(crop: npt.NDArray[np.bool_], tolerance: float) -> list[npt.NDArray[np.int32]]:
    """Trace the parts of a mask (8 neighbours) through the centres of their outermost pixels.

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
    return [bridge_rings(rings) for rings in parts]


def polygons_to_correct(crop: npt.NDArray[np.bool_], tolerance: float) -> tuple[list[npt.NDArray[np.int32]], int]:
    """Trace outlines as `polygons_on_pixel_centers`, but for a person to correct: few points, and no specks.

    The tolerance grows with the object until its polygons have `MAX_POINTS`, but not beyond what changes its form. With
    a tolerance of 0 nothing is left out.

    Returns:
        the polygons, and the number of specks and small holes that are left out.
    """
    if not tolerance:
        return polygons_on_pixel_centers(crop, 0), 0
    parts = _parts(crop)
    smallest = max(SPECK_PIXELS, SPECK_SHARE * np.count_nonzero(crop))
    areas = [cv2.contourArea(rings[0]) for rings in parts]
    large = [rings for rings, area in zip(parts, areas) if area >= min(smallest, max(areas))]
    kept = [[rings[0], *(hole for hole in rings[1:] if cv2.contourArea(hole) >= smallest)] for rings in large]
    left_out, limit = sum(map(len, parts)) - sum(map(len, kept)), MAX_GROWTH * math.sqrt(np.count_nonzero(crop))
    cap = True
    while True:
        simple = [[_simplified(ring, tolerance, cap) for ring in rings] for rings in kept]
        polygons = [bridge_rings(rings) for rings in simple]
        if sum(map(len, polygons)) <= MAX_POINTS or tolerance >= limit:
            return polygons, left_out
        cap, tolerance = False, tolerance if cap else 1.25 * tolerance


def polygons_on_pixel_edges(crop: npt.NDArray[np.bool_], tolerance: float) -> list[npt.NDArray[np.int32]]:
    """Trace outlines as `polygons_on_pixel_centers`, but along the pixels' outer edges, as pycocotools fills."""
    # In a picture of twice the size, a part's outermost pixels lie beside the edges: 2x right of x, 2x - 1 left of it.
    parts = _parts(crop.repeat(2, axis=0).repeat(2, axis=1))
    edges = [[(ring + 1) // 2 for ring in rings] for rings in parts]
    distinct = [[ring[(ring != np.roll(ring, 1, axis=0)).any(axis=1)] for ring in rings] for rings in edges]
    return [bridge_rings([_simplified(ring, tolerance) for ring in rings]) for rings in distinct]


def bridge_rings(rings: Sequence[npt.NDArray[np.int32]]) -> npt.NDArray[np.int32]:
    """Make one polygon of several, each (K, 2): lines there and back join them, between their nearest points.

    It has three points at least, and so may repeat some. Rings join in the order of Prim's minimum spanning tree:
    always the one nearest to those that are joined already.
    """
    from scipy.spatial import KDTree

    # Of every point not yet joined, the distance to the nearest joined point and that point's index.
    points, owner = np.concatenate(rings), np.repeat(np.arange(len(rings)), [len(ring) for ring in rings])
    distance, partner = np.full(len(points), np.inf), np.zeros(len(points), np.int64)
    last = np.flatnonzero(owner == 0)
    left, whole = owner > 0, last.tolist()
    while left.any():
        rest = np.flatnonzero(left)
        found, nearest = KDTree(points[last]).query(points[rest])
        closer = found < distance[rest]
        distance[rest[closer]], partner[rest[closer]] = found[closer], last[nearest[closer]]
        start = int(rest[distance[rest].argmin()])
        last = np.flatnonzero(owner == owner[start])
        left[last] = False
        # Leave the polygon at its point `leave`, go around the new ring from `start` back to it, and return.
        tour, leave = np.roll(last, last[0] - start), int(partner[start])
        behind = whole.index(leave) + 1
        whole[behind:behind] = [*tour.tolist(), start, leave]
    return points[whole + whole[-1:] * (3 - len(whole))]


def rasterize_labelme(rings: Sequence[npt.NDArray[np.int32]], size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Rasterize polygons as labelme does, outlines included: (H, W) bool; x and y are relative to pixel centres."""
    picture = PIL.Image.new("L", size[::-1])
    draw = PIL.ImageDraw.Draw(picture)
    for ring in rings:
        draw.polygon([(x, y) for x, y in ring.tolist()], outline=1, fill=1)
    return np.array(picture, bool)


def rasterize_ultralytics(ring: npt.NDArray[np.number], size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Rasterize a polygon as ultralytics does, outline included: (H, W) bool; x and y are cut to whole pixels."""
    picture = np.zeros(size, np.uint8)
    cv2.fillPoly(picture, [ring.astype(np.int32)], 1)
    return picture.view(bool)


def rasterize_coco(rings: Sequence[npt.NDArray[np.int32]], size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Rasterize polygons as pycocotools does, pixels whose centres lie inside: (H, W) bool; pixel 0 is 0 to 1."""
    from pycocotools import mask as coco

    encoded = coco.frPyObjects([ring.ravel().tolist() for ring in rings], *size)
    return coco.decode(coco.merge(encoded)).astype(bool)


def filled_box(box: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Draw the pixels that a (4,) x1 y1 x2 y2 box covers, wholly or in part, as (H, W) bool."""
    picture = np.zeros(size, bool)
    picture[covered_pixels(box, size)] = True
    return picture


def iou(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> float:
    """Compute the intersection over union of two bool arrays; 1 where both are empty."""
    union = np.count_nonzero(first | second)
    return np.count_nonzero(first & second) / union if union else 1.0


def _parts(picture: npt.NDArray[np.bool_]) -> list[list[npt.NDArray[np.int32]]]:
    """Find for each part its (K, 2) outer contour and those of its holes, through the part's own pixels."""
    found, hierarchy = cv2.findContours(picture.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    parts: dict[int, list[np.ndarray]] = {}
    for i, contour in enumerate(found):
        parent = int(hierarchy[0, i, 3])
        parts.setdefault(i if parent < 0 else parent, []).append(contour[:, 0])
    return list(parts.values())


def _simplified(ring: npt.NDArray[np.int32], tolerance: float, cap: bool = True) -> npt.NDArray[np.int32]:
    """Drop as many points of a ring as the tolerance allows, which `cap` lowers for small and thin rings."""
    if len(ring) < 3:
        return ring
    if cap:
        tolerance = min(tolerance, MAX_DEVIATION * cv2.contourArea(ring) / cv2.arcLength(ring, closed=True))
    fewer = cv2.approxPolyDP(ring[:, None], tolerance, closed=True)[:, 0]
    return fewer.astype(np.int32, copy=False) if len(fewer) >= 3 else ring


LINE_WIDTH = 10

POINT_RADIUS = 5

MAX_DRAWN_RADIUS = 65536
"""Pixels; Pillow draws a disk row by row, also rows outside the image, which takes minutes for larger ones."""

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
"""Shape type -> least and most points, of those that labelme draws. It does not draw its `points`."""


def rasterize_labelme_shape(kind: str, points: npt.NDArray[np.float64], size: tuple[int, int]) -> Mask:
    """Rasterize a shape of any kind but `mask` as labelme does, in an image of a (height, width).

    Args:
        kind: labelme's `shape_type`, one of POINTS.
        points: (K, 2) x and y in pixels from the centre of the first, as many as the kind has.
    """
    if kind == "circle" and (radius := math.dist(*points.tolist())) > MAX_DRAWN_RADIUS:
        rows, columns = np.ogrid[: size[0], : size[1]]
        with np.errstate(over="ignore"):
            return Mask.from_array(np.hypot(columns - points[0, 0], rows - points[0, 1]) <= radius)
    picture = PIL.Image.new("L", size[::-1])
    draw, corners = PIL.ImageDraw.Draw(picture), [(x, y) for x, y in points.tolist()]
    if kind in ("line", "linestrip"):
        draw.line(corners, fill=1, width=LINE_WIDTH)
    elif kind == "rectangle":
        draw.rectangle([*points.min(axis=0).tolist(), *points.max(axis=0).tolist()], outline=1, fill=1)
    elif kind in ("circle", "point"):  # a circle is its centre and a point of its rim
        (x, y), (rim_x, rim_y) = corners[0], corners[-1]
        radius = (
            POINT_RADIUS if kind == "point" else math.sqrt((x - rim_x) ** 2 + (y - rim_y) ** 2)
        )  # as labelme rounds
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=1, fill=1)
    else:
        draw.polygon(corners, outline=1, fill=1)
    box = picture.getbbox() or (0, 0, 0, 0)  # found by Pillow, since arrays of large images take long for each shape
    return Mask(*box[:2], np.array(picture.crop(box), bool))
