"""Parts of objects turned into shaded sprites.

A sprite keeps its colours premultiplied by its coverage, so that anti-aliased
edges blend exactly, whatever they are laid over.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from datasets.scenes.dice import Dice
from datasets.scenes.geometry import project
from datasets.scenes.textures import Colour, darker, grain, pattern

_SHIFT = 4  # cv2 takes polygon corners as fixed-point numbers with this many fractional bits
_RELIEF_SIDE = 80  # relief is smooth: it is computed no larger than this, then enlarged


@dataclass(frozen=True)
class Material:
    """How a surface looks: its colours (RGB, 0..255), pattern, roughness and shine (0..1)."""

    colour: Colour
    second: Colour | None = None
    pattern: str | None = None
    scale: float = 0.1  # width of one stripe or spot, in object units
    grain: float = 0.15
    gloss: float = 0.0

    def shaded(self, by: float) -> Material:
        """The same material with `by` (0..1) of its light taken away."""
        second = None if self.second is None else darker(self.second, by)
        return Material(darker(self.colour, by), second, self.pattern, self.scale, self.grain, self.gloss)


@dataclass(frozen=True)
class Part:
    """A piece of an object: the union of its contours, one material, and how far it bulges (0..1).

    A part of bulge 0 and grain 0 is painted flat, which is several times faster.
    """

    contours: tuple[np.ndarray, ...]
    material: Material
    bulge: float = 0.6

    @classmethod
    def of(cls, contour: np.ndarray, material: Material, bulge: float = 0.6) -> Part:
        """A shaded part with one contour."""
        return cls((contour,), material, bulge)

    @classmethod
    def flat(cls, colour: Colour, *contours: np.ndarray) -> Part:
        """A small detail in one plain colour."""
        return cls(contours, Material(colour, grain=0.0), 0.0)


Builder = Callable[[Dice], list[Part]]


@dataclass(frozen=True)
class Light:
    """Where light comes from (unit vector on the image, y down) and how strongly it shapes."""

    direction: tuple[float, float]
    strength: float


@dataclass(frozen=True)
class Sprite:
    """A painted object: `colour` (h, w, 3) uint8, premultiplied, and `alpha` (h, w) uint8.

    `origin` is where the sprite's top left pixel lies relative to the object's origin.
    """

    colour: np.ndarray
    alpha: np.ndarray
    origin: tuple[int, int]


def render(parts: Sequence[Part], matrix: np.ndarray, light: Light, rng: np.random.Generator) -> Sprite:
    """Paint `parts` back to front after mapping them to pixels with the 3x3 `matrix`."""
    placed = [[project(contour, matrix) for contour in part.contours] for part in parts]
    corners = np.concatenate([contour for contours in placed for contour in contours])
    low = np.floor(corners.min(axis=0)).astype(int) - 2
    width, height = (np.ceil(corners.max(axis=0)).astype(int) + 3 - low).tolist()
    colour = np.zeros((height, width, 3), np.uint8)
    alpha = np.zeros((height, width), np.uint8)
    unit = math.sqrt(abs(np.linalg.det(matrix[:2, :2])))
    for part, contours in zip(parts, placed, strict=True):
        fixed = [_fixed(contour - low) for contour in contours]
        if part.bulge == 0 and part.material.grain == 0:
            _fill(colour, fixed, part.material.colour)
        else:
            _paint_solid(colour, alpha, part, fixed, unit, light, rng)
        _fill(alpha, fixed, 255)
    return Sprite(colour, alpha, (int(low[0]), int(low[1])))


def _fixed(contour: np.ndarray) -> np.ndarray:
    # Pixel centres have whole coordinates in cv2, pixel corners in object space.
    return np.round((contour - 0.5) * (1 << _SHIFT)).astype(np.int32)


def _fill(canvas: np.ndarray, contours: list[np.ndarray], value: Colour | int) -> None:
    for contour in contours:
        cv2.fillPoly(canvas, [contour], value, cv2.LINE_AA, _SHIFT)


def _paint_solid(
    colour: np.ndarray,
    alpha: np.ndarray,
    part: Part,
    contours: list[np.ndarray],
    unit: float,
    light: Light,
    rng: np.random.Generator,
) -> None:
    """Paint one shaded, textured part into `colour`, darkening what it stands in front of."""
    pixels = np.concatenate(contours) >> _SHIFT
    reach = 2 + int(0.06 * unit * (part.bulge > 0))
    (left, top), (right, bottom) = pixels.min(axis=0) - reach, pixels.max(axis=0) + reach + 1
    window = np.s_[max(top, 0) : bottom, max(left, 0) : right]
    offset = np.array([max(left, 0), max(top, 0)]) << _SHIFT
    mask = np.zeros(alpha[window].shape, np.uint8)
    _fill(mask, [contour - offset for contour in contours], 255)
    under = colour[window]
    if part.bulge > 0:
        _cast(under, mask, reach, light)
    surface = _surface(mask, part, unit, light, rng)
    weight = mask.astype(np.float32) * np.float32(1 / 255)
    colour[window] = cv2.blendLinear(surface, under, weight, 1 - weight)


def _cast(under: np.ndarray, mask: np.ndarray, reach: int, light: Light) -> None:
    """Darken `under` in place where a part shadows what lies behind it."""
    blurred = cv2.boxFilter(mask, -1, (2 * reach + 1, 2 * reach + 1))
    keep = cv2.convertScaleAbs(blurred, alpha=-0.45 * light.strength, beta=0)
    keep = cv2.bitwise_not(keep)
    cv2.multiply(under, cv2.merge([keep, keep, keep]), dst=under, scale=1 / 255)


def _surface(mask: np.ndarray, part: Part, unit: float, light: Light, rng: np.random.Generator) -> np.ndarray:
    """Colours of a part over its whole window, uint8 (h, w, 3)."""
    shape, material = mask.shape, part.material
    tone = 1.0 + material.grain * grain(rng, shape, 8)
    shine = None
    if part.bulge > 0:
        slope = _slope(mask, light) * np.float32(part.bulge * light.strength)
        tone += slope
        shine = np.clip(slope - 0.32, 0.0, 1.0) * np.float32(500 * material.gloss)
    if material.pattern is not None and material.second is not None:
        share = pattern(material.pattern, rng, shape, material.scale * unit)
        first, second = np.float32(material.colour), np.float32(material.second)
        planes = [tone * (a + (b - a) * share) for a, b in zip(first, second, strict=True)]
    else:
        planes = [tone * np.float32(channel) for channel in material.colour]
    surface = cv2.merge(planes)
    if shine is not None and material.gloss > 0:
        surface += shine[..., None]
    return np.clip(surface, 0, 255).astype(np.uint8)


def _slope(mask: np.ndarray, light: Light) -> np.ndarray:
    """How far the inflated `mask` leans to the light: float32, about -0.6 (away) to 0.6."""
    height, width = mask.shape
    shrink = min(1.0, _RELIEF_SIDE / max(height, width))
    size = max(3, round(width * shrink)), max(3, round(height * shrink))
    small = cv2.resize(mask, size, interpolation=cv2.INTER_AREA)
    depth = cv2.distanceTransform((small > 96).astype(np.uint8), cv2.DIST_L2, 3)
    radius = max(float(depth.max()), 1.0)
    near = np.minimum(depth * np.float32(1 / radius), 1.0)
    dome = cv2.GaussianBlur(np.sqrt(near * (2 - near)), (0, 0), 0.6 + 0.12 * radius)
    across, down = light.direction
    kernel = np.array([[0, -down, 0], [-across, 0, across], [0, down, 0]], np.float32)
    # The light direction points to the light: relief that falls away towards it is lit.
    slope = cv2.filter2D(dome, cv2.CV_32F, -kernel * radius * 0.45)
    return cv2.resize(slope, (width, height), interpolation=cv2.INTER_LINEAR)


def moved(parts: Sequence[Part], by: tuple[float, float]) -> list[Part]:
    """`parts` shifted by (x, y) object units."""
    shift = np.float32(by)
    return [Part(tuple(contour + shift for contour in part.contours), part.material, part.bulge) for part in parts]
