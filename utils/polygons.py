"""Masks as polygons, and polygons as the tools draw them."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import PIL.Image
import PIL.ImageDraw

CLOSE = 1 / 8
"""How far a polygon may leave the outline at most, as a share of area / perimeter, which is half the width of a strip.

A pixel is little for a bus and half of a distant bird: with it small and thin parts keep their shape, whatever the
tolerance, and cost few points.
"""


def pixel_outlines(crop: np.ndarray, tolerance: float) -> tuple[list[np.ndarray], int]:
    """The parts of a mask (8 neighbours), outlined through the centres of their outermost pixels.

    A tool that draws outline and filling, as labelme and ultralytics do, gets back the mask with its holes filled;
    exactly so with a tolerance of 0.

    Args:
        crop: (h, w) bool.
        tolerance: how far in pixels the polygons may leave the outlines, small and thin parts less; 0 leaves out
            nothing but points on straight lines.

    Returns:
        a (K, 2) int32 polygon for each part, x and y in pixels of the crop, K >= 3 (a part of one or two pixels
        repeats points), and the number of holes.
    """
    contours, holes = _contours(crop)
    return [_at_least_three(_simplified(contour, tolerance)) for contour in contours], holes


def edge_outlines(crop: np.ndarray, tolerance: float) -> tuple[list[np.ndarray], int]:
    """As `pixel_outlines`, but along the pixels' outer edges, for tools that fill an area, as pycocotools does."""
    # In a picture of twice the size, a part's outermost pixels lie beside the edges: 2x right of x, 2x - 1 left of it.
    contours, holes = _contours(crop.repeat(2, axis=0).repeat(2, axis=1))
    edges = [_without_repeats((contour + 1) // 2) for contour in contours]
    return [_simplified(ring, tolerance) for ring in edges], holes


def joined(rings: Sequence[np.ndarray]) -> np.ndarray:
    """One polygon of several: each is joined to those before it by a line there and back between the nearest points."""
    from scipy.spatial import KDTree

    whole = rings[0]
    for ring in rings[1:]:
        distances, nearest = KDTree(whole).query(ring)
        start = int(distances.argmin())
        leave = int(nearest[start])
        tour = np.roll(ring, -start, axis=0)
        whole = np.concatenate([whole[: leave + 1], tour, tour[:1], whole[leave:]])
    return whole


def as_labelme_draws(rings: Sequence[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool: the polygons, outlines included, x and y in pixels from the centre of the first."""
    picture = PIL.Image.new("L", size[::-1])
    draw = PIL.ImageDraw.Draw(picture)
    for ring in rings:
        draw.polygon([(x, y) for x, y in ring.tolist()], outline=1, fill=1)
    return np.array(picture, bool)


def as_ultralytics_draws(ring: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool: the polygon, outline included; x and y are cut to whole pixels."""
    picture = np.zeros(size, np.uint8)
    cv2.fillPoly(picture, [ring.astype(np.int32)], 1)
    return picture.view(bool)


def as_pycocotools_draws(rings: Sequence[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool: the pixels whose centres lie in a polygon; pixel 0 reaches from 0 to 1."""
    from pycocotools import mask as coco

    return coco.decode(coco.merge(coco.frPyObjects([ring.ravel().tolist() for ring in rings], *size))).astype(bool)


def filled_box(corners: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool: the pixels that a box covers, wholly or in part.

    Args:
        corners: (2, 2) x and y of the upper left and the lower right corner; pixel 0 reaches from 0 to 1.
    """
    (left, top), (right, bottom) = np.clip([np.floor(corners[0]), np.ceil(corners[1])], 0, size[::-1]).astype(int)
    picture = np.zeros(size, bool)
    picture[top:bottom, left:right] = True
    return picture


def iou(first: np.ndarray, second: np.ndarray) -> float:
    """Intersection over union of two bool arrays; 1 where both are empty."""
    union = np.count_nonzero(first | second)
    return np.count_nonzero(first & second) / union if union else 1.0


def _contours(picture: np.ndarray) -> tuple[list[np.ndarray], int]:
    """(K, 2) outer contours of the parts, those in the holes of others left out, and the number of holes."""
    found, hierarchy = cv2.findContours(picture.astype(np.uint8), cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
    parents = hierarchy[0, :, 3] if len(found) else np.zeros(0, np.int32)
    outer = parents < 0
    holes = np.count_nonzero(outer[parents[~outer]])
    return [contour[:, 0] for contour, is_outer in zip(found, outer) if is_outer], int(holes)


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
