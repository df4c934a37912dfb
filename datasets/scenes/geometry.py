"""Make the contours that objects are cut from, and the projective map that poses them.

A contour is float64 (N, 2), closed from its last point to its first: x to the right, y down, in units of which an
object is about two long. Angles are in radians, clockwise as seen on the image, 0 to the right.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Contour = npt.NDArray[np.float64]
Vector = Sequence[float] | npt.NDArray[np.floating]
Points = Sequence[Vector] | Contour


def ellipse(center: Vector, radii: Vector, count: int = 28) -> Contour:
    """Return an ellipse of `count` points around `center`, with its axes along x and y."""
    angles = np.linspace(0.0, 2.0 * np.pi, count, endpoint=False)
    return np.stack([np.cos(angles) * radii[0], np.sin(angles) * radii[1]], axis=1) + np.asarray(center)


def round_corners(points: Points, cut: float = 0.15, rounds: int = 3) -> Contour:
    """Cut the corners of a polygon `rounds` times (Chaikin), first by `cut` of each edge, then by a quarter."""
    corners = np.asarray(points)
    for share in [cut, *[0.25] * (rounds - 1)]:
        following = np.roll(corners, -1, axis=0)
        near, far = corners + share * (following - corners), following + share * (corners - following)
        corners = np.stack([near, far], axis=1).reshape(-1, 2)
    return corners


def spline(points: Points, steps: int = 6, closed: bool = True) -> Contour:
    """Draw a Catmull-Rom curve through all `points`, with `steps` samples per span."""
    knots = np.asarray(points)
    if closed:
        knots = np.concatenate([knots[-1:], knots, knots[:2]])
    else:
        knots = np.concatenate([2 * knots[:1] - knots[1:2], knots, 2 * knots[-1:] - knots[-2:-1]])
    t = np.linspace(0.0, 1.0, steps, endpoint=False)[None, :, None]
    p0, p1, p2, p3 = (knots[i : len(knots) - 3 + i, None] for i in range(4))
    curve = 0.5 * (2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3)
    return curve.reshape(-1, 2) if closed else np.concatenate([curve.reshape(-1, 2), knots[-2:-1]])


def tube(joints: Points, radii: Vector, steps: int = 5) -> Contour:
    """Outline a tapering tube with round ends that bends through `joints`, with one radius per joint."""
    path = spline(joints, steps, closed=False)
    at = np.linspace(0.0, len(radii) - 1.0, len(path))
    radius = np.interp(at, np.arange(len(radii)), np.asarray(radii))[:, None]
    along = np.gradient(path, axis=0)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-6)
    across = along[:, ::-1] * (-1.0, 1.0) * radius
    half_circle = np.linspace(np.pi / 2, -np.pi / 2, 7)[1:-1, None]
    cos, sin = np.cos(half_circle), np.sin(half_circle)
    tip = path[-1] + cos * along[-1] * radius[-1] + sin * across[-1]
    root = path[0] - cos * along[0] * radius[0] - sin * across[0]
    return np.concatenate([path + across, tip, (path - across)[::-1], root])


def chain(start: Vector, angles: Vector, length: float) -> Contour:
    """Return the joints of a kinematic chain: from `start` on, one bone of `length` in the direction of each angle."""
    bones = np.stack([np.cos(angles), np.sin(angles)], axis=1) * length
    return np.asarray(start) + np.concatenate([np.zeros((1, 2)), np.cumsum(bones, axis=0)])


def split_quad(corners: Points, count: int, gap: float) -> list[Contour]:
    """Split a quadrilateral into `count` panes side by side, with `gap` (0..1) of a pane's width between them.

    `corners` run top left, top right, bottom right, bottom left.
    """
    top_left, top_right, bottom_right, bottom_left = np.asarray(corners)
    panes = []
    for i in range(count):
        edges = (i + gap / 2 * (i > 0)) / count, (i + 1 - gap / 2 * (i < count - 1)) / count
        top = [top_left + (top_right - top_left) * t for t in edges]
        bottom = [bottom_left + (bottom_right - bottom_left) * t for t in edges]
        panes.append(np.stack(top + bottom[::-1]))
    return panes


def blob(rng: np.random.Generator, roughness: float) -> Contour:
    """Draw a random closed contour about one unit in radius; `roughness` 0 gives a circle."""
    angles = np.linspace(0.0, 2.0 * np.pi, 64, endpoint=False)
    radius: Contour = np.ones(64)
    for wave in range(2, 9):
        phase = rng.uniform(0.0, 2.0 * np.pi)
        radius += roughness * rng.uniform(0.2, 1.0) / wave * np.cos(wave * angles + phase)
    radius = np.maximum(radius, 0.25)
    return np.stack([np.cos(angles) * radius, np.sin(angles) * radius], axis=1)


def rotation(angle: float) -> Contour:
    """Return the 2x2 matrix that rotates column vectors."""
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def homography(size: float, angle: float, mirror: bool, aspect: float, tilt: tuple[float, float]) -> Contour:
    """Return the 3x3 map from object units to pixels around the origin, for an object about `size` px long.

    `aspect` stretches x against y; `tilt` is the strength of the perspective along x and y (0 is none, 0.15 strong).
    """
    half = size / 2.0
    scale_x = (-half if mirror else half) * math.sqrt(aspect)
    turned, perspective = np.eye(3), np.eye(3)
    turned[:2, :2], perspective[2, :2] = rotation(angle), tilt
    return turned @ np.diag([scale_x, half / math.sqrt(aspect), 1.0]) @ perspective
