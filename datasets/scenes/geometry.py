"""Contours that painted objects are cut from, and the projective map that turns them.

A contour is a float array of shape (N, 2), closed from its last point to its first: x to the right, y down, in units of
which an object is about two long.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

Numbers = Sequence[float] | np.ndarray
Points = Sequence[Numbers] | np.ndarray


def ellipse(centre: Numbers, radii: Numbers, turn: float = 0.0, count: int = 28) -> np.ndarray:
    """Contour of an ellipse; `turn` is in radians, clockwise as seen on the image."""
    angles = np.linspace(0.0, 2.0 * np.pi, count, endpoint=False)
    along = np.stack([np.cos(angles) * radii[0], np.sin(angles) * radii[1]], axis=1)
    return rotate(along, turn) + np.asarray(centre)


def shifted(points: np.ndarray, x: float, y: float) -> np.ndarray:
    """`points` moved by (x, y)."""
    return points + np.array([x, y])


def rotate(points: Points, turn: float) -> np.ndarray:
    """`points` turned around the origin by `turn` radians."""
    cos, sin = math.cos(turn), math.sin(turn)
    return np.asarray(points) @ np.array([[cos, sin], [-sin, cos]])


def rounded(points: Points, cut: float = 0.15, rounds: int = 3) -> np.ndarray:
    """Polygon with its corners cut `rounds` times; `cut` is the share of an edge taken away."""
    corners = np.asarray(points)
    for _ in range(rounds):
        following = np.roll(corners, -1, axis=0)
        near = corners + cut * (following - corners)
        far = following + cut * (corners - following)
        corners = np.stack([near, far], axis=1).reshape(-1, 2)
        cut = 0.25
    return corners


def smooth(points: Points, steps: int = 6, closed: bool = True) -> np.ndarray:
    """Catmull-Rom curve through every one of `points`, `steps` samples per span."""
    knots = np.asarray(points)
    if closed:
        knots = np.concatenate([knots[-1:], knots, knots[:2]])
    else:
        knots = np.concatenate([2 * knots[:1] - knots[1:2], knots, 2 * knots[-1:] - knots[-2:-1]])
    t = np.linspace(0.0, 1.0, steps, endpoint=False)[None, :, None]
    p0, p1, p2, p3 = (knots[i : len(knots) - 3 + i, None] for i in range(4))
    curve = 0.5 * (2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3)
    curve = curve.reshape(-1, 2)
    return curve if closed else np.concatenate([curve, knots[-2:-1]])


def limb(joints: Points, radii: Numbers, steps: int = 5) -> np.ndarray:
    """Outline of a tapering tube that bends through `joints`, one radius per joint."""
    path = smooth(joints, steps, closed=False)
    at = np.linspace(0.0, len(radii) - 1.0, len(path))
    radius = np.interp(at, np.arange(len(radii)), np.asarray(radii))[:, None]
    along = np.gradient(path, axis=0)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-6)
    across = along[:, ::-1] * (-1.0, 1.0) * radius
    # Round ends: a few points of a half circle around the last joint and around the first.
    turns = np.linspace(np.pi / 2, -np.pi / 2, 7)[1:-1, None]
    tip = path[-1] + np.cos(turns) * along[-1] * radius[-1] + np.sin(turns) * across[-1]
    root = path[0] - np.cos(turns) * along[0] * radius[0] - np.sin(turns) * across[0]
    return np.concatenate([path + across, tip, (path - across)[::-1], root])


def chain(start: Numbers, turns: Numbers, length: float) -> np.ndarray:
    """Joints of a jointed arm: one bone of `length` per heading in `turns` (radians, 0 = right)."""
    bones = np.stack([np.cos(turns), np.sin(turns)], axis=1) * length
    return np.asarray(start) + np.concatenate([np.zeros((1, 2)), np.cumsum(bones, axis=0)])


def ring(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """`outer` with the hole `inner`, as one contour for an even-odd fill."""
    return np.concatenate([outer, outer[:1], inner[::-1], inner[-1:]])


def quads(corners: Points, count: int, gap: float) -> list[np.ndarray]:
    """Split a four-sided face into `count` panes side by side, `gap` (0..1) of the width between.

    `corners` run top left, top right, bottom right, bottom left.
    """
    top_left, top_right, bottom_right, bottom_left = np.asarray(corners)
    panes = []
    for index in range(count):
        left = (index + gap / 2 * (index > 0)) / count
        right = (index + 1 - gap / 2 * (index < count - 1)) / count
        top = [top_left + (top_right - top_left) * t for t in (left, right)]
        bottom = [bottom_left + (bottom_right - bottom_left) * t for t in (right, left)]
        panes.append(np.stack(top + bottom))
    return panes


def fourier_blob(rng: np.random.Generator, roughness: float, count: int = 64) -> np.ndarray:
    """A random closed contour about one unit in radius; `roughness` 0 gives a circle."""
    angles = np.linspace(0.0, 2.0 * np.pi, count, endpoint=False)
    radius: np.ndarray = np.ones(count)
    for wave in range(2, 9):
        phase = rng.uniform(0.0, 2.0 * np.pi)
        radius += roughness * rng.uniform(0.2, 1.0) / wave * np.cos(wave * angles + phase)
    radius = np.maximum(radius, 0.25)
    return np.stack([np.cos(angles) * radius, np.sin(angles) * radius], axis=1)


def homography(size: float, turn: float, *, mirror: bool, aspect: float, tilt: tuple[float, float]) -> np.ndarray:
    """3x3 map from object units to pixels around the origin, for an object about `size` px long.

    `turn` is in radians, `aspect` stretches x against y, `tilt` is the strength
    of the perspective along x and y (0 is none, 0.15 is already strong).
    """
    half = size / 2.0
    flip = -1.0 if mirror else 1.0
    stretch = np.diag([flip * half * math.sqrt(aspect), half / math.sqrt(aspect), 1.0])
    lean = np.eye(3)
    lean[2, :2] = tilt
    cos, sin = math.cos(turn), math.sin(turn)
    turned = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    return turned @ stretch @ lean


def project(contour: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """`contour` (N, 2) mapped by the 3x3 `matrix`, as float32 (N, 2)."""
    mapped = contour @ matrix[:, :2].T + matrix[:, 2]
    return (mapped[:, :2] / mapped[:, 2:]).astype(np.float32)
