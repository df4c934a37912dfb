"""Parts of objects turned into shaded sprites.

A sprite keeps its colours premultiplied by its coverage, so that its smooth edges blend exactly over anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from datasets.scenes.dice import Dice
from datasets.scenes.geometry import project
from datasets.scenes.materials import Material
from datasets.scenes.textures import Color, grain, pattern

_SHIFT = 4  # cv2 takes corners as fixed-point numbers with this many fractional bits
_RELIEF_SIDE = 80  # relief is smooth: it is computed no larger than this, then enlarged
_HIGHLIGHT = 0.32  # slope towards the light from which glossy surfaces shine


@dataclass(frozen=True)
class Part:
    """A piece of an object.

    Attributes:
        contours: the piece is their union; see `geometry` for the coordinates.
        material: what it is made of.
        bulge: how round it is, from 0 (flat, casts no shadow) to 1.
    """

    contours: tuple[np.ndarray, ...]
    material: Material
    bulge: float = 0.6

    @classmethod
    def of(cls, contour: np.ndarray, material: Material, bulge: float = 0.6) -> Part:
        """A part with one contour."""
        return cls((contour,), material, bulge)

    @classmethod
    def flat(cls, colour: Color, *contours: np.ndarray) -> Part:
        """A detail in one even colour, which is painted several times faster than others."""
        return cls(contours, Material(colour, grain=0.0), 0.0)


Builder = Callable[[Dice], list[Part]]
"""Draws an object: its parts, back to front."""


@dataclass(frozen=True)
class Light:
    """Where light comes from (a unit vector on the image, y down), and how strongly it shapes what it falls on."""

    direction: tuple[float, float]
    strength: float


@dataclass(frozen=True)
class Sprite:
    """A painted object.

    Attributes:
        colour: (h, w, 3) uint8 RGB, premultiplied.
        alpha: (h, w) uint8 coverage.
        origin: where the top left pixel lies from the object's origin, (x, y).
    """

    colour: np.ndarray
    alpha: np.ndarray
    origin: tuple[int, int]


def moved(parts: Sequence[Part], by: tuple[float, float]) -> list[Part]:
    """The parts shifted by (x, y) object units."""
    return [replace(part, contours=tuple(contour + by for contour in part.contours)) for part in parts]


def render(
    parts: Sequence[Part], matrix: np.ndarray, light: Light, rng: np.random.Generator, *, rim: bool = True
) -> Sprite:
    """Paint parts back to front where the 3x3 `matrix` maps them; with a `rim`, the silhouette's edge is dark."""
    placed = [[project(contour, matrix) for contour in part.contours] for part in parts]
    corners = np.concatenate([contour for contours in placed for contour in contours])
    low = np.floor(corners.min(axis=0)).astype(int) - 2
    width, height = (np.ceil(corners.max(axis=0)).astype(int) + 3 - low).tolist()
    canvas = _Canvas((height, width), math.sqrt(abs(np.linalg.det(matrix[:2, :2]))), light, rng)
    for part, contours in zip(parts, placed):
        canvas.add(part, [_fixed(contour - low) for contour in contours])
    if rim:
        canvas.darken_rim()
    return Sprite(canvas.colour, canvas.alpha, (int(low[0]), int(low[1])))


def _fixed(contour: np.ndarray) -> np.ndarray:
    # cv2 counts from the middle of the first pixel, contours from its corner.
    return np.round((contour - 0.5) * (1 << _SHIFT)).astype(np.int32)


def _fill(canvas: np.ndarray, contours: list[np.ndarray], value: Color | int) -> None:
    for contour in contours:
        cv2.fillPoly(canvas, [contour], value, cv2.LINE_AA, _SHIFT)  # type: ignore[call-overload]


class _Canvas:
    """A sprite under the brush; `unit` is the length of an object unit in px."""

    def __init__(self, shape: tuple[int, int], unit: float, light: Light, rng: np.random.Generator) -> None:
        self.colour = np.zeros((*shape, 3), np.uint8)
        self.alpha = np.zeros(shape, np.uint8)
        self._unit, self._light, self._rng = unit, light, rng

    def add(self, part: Part, contours: list[np.ndarray]) -> None:
        """Paint a part; its contours are fixed-point pixels."""
        if part.bulge == 0 and part.material.grain == 0:
            _fill(self.colour, contours, part.material.colour)
        else:
            self._add_solid(part, contours)
        _fill(self.alpha, contours, 255)

    def darken_rim(self) -> None:
        """Take light from the silhouette's edge, where a round body turns away from the viewer."""
        reach = 2 * max(1, round(0.009 * self._unit)) + 1
        inner = cv2.erode(self.alpha, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach)))
        darken(self.colour, cv2.bitwise_not(inner), 0.7)

    def _add_solid(self, part: Part, contours: list[np.ndarray]) -> None:
        pixels = np.concatenate(contours) >> _SHIFT
        reach = 2 + int(0.06 * self._unit * (part.bulge > 0))
        left, top = np.maximum(pixels.min(axis=0) - reach, 0)
        right, bottom = pixels.max(axis=0) + reach + 1
        under = self.colour[top:bottom, left:right]
        mask = np.zeros(under.shape[:2], np.uint8)
        _fill(mask, [contour - (np.array([left, top]) << _SHIFT) for contour in contours], 255)
        if part.bulge > 0:
            shadow = cv2.boxFilter(mask, -1, (2 * reach + 1, 2 * reach + 1))
            darken(under, shadow, 0.45 * self._light.strength)
        weight = mask.astype(np.float32) * np.float32(1 / 255)
        under[:] = cv2.blendLinear(self._surface(part, mask), under, weight, 1 - weight)

    def _surface(self, part: Part, mask: np.ndarray) -> np.ndarray:
        """What a part looks like, uint8 (h, w, 3), wherever its `mask` (h, w) may show it."""
        material, shape = part.material, mask.shape
        tone = 1.0 + material.grain * grain(self._rng, shape, 8)
        if part.bulge > 0:
            tone += _slope(mask, self._light) * np.float32(part.bulge * self._light.strength)
        first, second = np.array([material.colour, material.second], np.float32)
        if material.pattern is None:
            planes = [tone * channel for channel in first]
        else:
            share = pattern(material.pattern, self._rng, shape, material.scale * self._unit)
            planes = [tone * (a + (b - a) * share) for a, b in zip(first, second)]
        surface = cv2.merge(planes)
        if material.gloss > 0:
            surface += (np.maximum(tone - 1.0 - _HIGHLIGHT, 0.0) * np.float32(500 * material.gloss))[..., None]
        return np.clip(surface, 0, 255).astype(np.uint8)


def darken(image: np.ndarray, shadow: np.ndarray, strength: float) -> None:
    """Take light away from `image` (h, w, 3) uint8, in place: `strength` (0..1) of it where `shadow` is 255."""
    keep = cv2.bitwise_not(cv2.convertScaleAbs(shadow, alpha=strength))
    image[:] = cv2.multiply(image, cv2.merge([keep, keep, keep]), scale=1 / 255)


def _slope(mask: np.ndarray, light: Light) -> np.ndarray:
    """How far the inflated `mask` leans towards the light: float32, from about -0.6 (away) to 0.6."""
    height, width = mask.shape
    shrink = min(1.0, _RELIEF_SIDE / max(height, width))
    size = max(3, round(width * shrink)), max(3, round(height * shrink))
    small = cv2.resize(mask, size, interpolation=cv2.INTER_AREA)
    depth = cv2.distanceTransform((small > 96).astype(np.uint8), cv2.DIST_L2, 3)
    radius = max(float(depth.max()), 1.0)
    near = depth * np.float32(1 / radius)
    dome = cv2.GaussianBlur(np.sqrt(near * (2 - near)), (0, 0), 0.6 + 0.12 * radius)
    across, down = light.direction
    # What falls off towards the light is lit, so the kernel is the derivative away from it.
    kernel = np.array([[0, down, 0], [across, 0, -across], [0, -down, 0]], np.float32)
    slope = cv2.filter2D(dome, cv2.CV_32F, kernel * np.float32(0.45 * radius))
    return cv2.resize(slope, (width, height), interpolation=cv2.INTER_LINEAR)
