"""Render parts of objects as shaded sprites.

A sprite keeps its colors premultiplied by its coverage, so that its smooth edges blend exactly over anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from datasets.scenes.geometry import Contour
from datasets.scenes.rng import Color, Image, SceneRng, darker
from datasets.scenes.textures import Field, Pattern, noise_crop, pattern, scale_light

_SUBPIXEL_BITS = 4  # cv2 takes corners as fixed-point numbers with so many fractional bits
_RELIEF_SIDE = 80  # relief is smooth: it is computed no larger than this, then enlarged
_HIGHLIGHT = 0.32  # slope towards the light from which glossy surfaces shine


@dataclass(frozen=True)
class Material:
    """How a surface looks."""

    color: Color
    second_color: Color = (0.0, 0.0, 0.0)  # the other color of its pattern
    pattern: Pattern | None = None
    scale: float = 0.1  # width of one stripe or spot, in object units
    grain: float = 0.15  # how strongly its lightness varies, 0 to 1
    gloss: float = 0.0  # how brightly it shines, 0 to 1

    def darkened(self, by: float) -> Material:
        """Return this material with `by` (0..1) of its light taken away."""
        return replace(self, color=darker(self.color, by), second_color=darker(self.second_color, by))


@dataclass(frozen=True)
class Part:
    """A piece of an object: the union of its contours, made of one material."""

    contours: Sequence[Contour]  # (N, 2) each; see `geometry` for the coordinates
    material: Material
    bulge: float = 0.6  # how round it is, from 0 (flat, casts no shadow) to 1

    @classmethod
    def flat(cls, color: Color, *contours: Contour) -> Part:
        """Make a detail in one even color, which is painted several times faster than others."""
        return cls(contours, Material(color, grain=0.0), 0.0)


Builder = Callable[[SceneRng], list[Part]]
"""Builds an object: its parts, back to front."""


def translate(parts: Sequence[Part], y: float) -> list[Part]:
    """Move parts down by `y` object units."""
    offset = np.array([0.0, y])
    return [replace(part, contours=[contour + offset for contour in part.contours]) for part in parts]


@dataclass(frozen=True)
class Light:
    """Light that shapes what it falls on."""

    direction: tuple[float, float]  # where it comes from: a unit vector on the image, y down
    strength: float


@dataclass(frozen=True)
class Sprite:
    """A rendered object."""

    color: Image  # (h, w, 3) RGB, premultiplied
    alpha: Image  # (h, w) coverage
    origin: tuple[int, int]  # where the top left pixel lies from the object's origin, (x, y)


def render(parts: Sequence[Part], matrix: Contour, light: Light, rng: np.random.Generator) -> Sprite:
    """Paint parts back to front where the 3x3 homography `matrix` maps them."""
    projected = [[_project(contour, matrix) for contour in part.contours] for part in parts]
    corners = np.concatenate([contour for contours in projected for contour in contours])
    low = np.floor(corners.min(axis=0)).astype(int) - 2
    width, height = (np.ceil(corners.max(axis=0)).astype(int) + 3 - low).tolist()
    unit = math.sqrt(abs(np.linalg.det(matrix[:2, :2])))  # length of an object unit in px
    color, alpha = np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.uint8)
    for part, contours in zip(parts, projected):
        # cv2 counts from the middle of the first pixel, contours from its corner.
        fixed = [np.round((contour - low - 0.5) * (1 << _SUBPIXEL_BITS)).astype(np.int32) for contour in contours]
        if part.bulge == 0 and part.material.grain == 0:
            _fill(color, fixed, part.material.color)
        else:
            _paint_shaded(color, part, fixed, unit, light, rng)
        _fill(alpha, fixed, 255)
    # The silhouette's edge is dark: there a round body turns away from the viewer.
    reach = 2 * max(1, round(0.009 * unit)) + 1
    inner = cv2.erode(alpha, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach)))
    darken(color, cv2.bitwise_not(inner), 0.7)
    return Sprite(color, alpha, (int(low[0]), int(low[1])))


def darken(image: Image, shadow: npt.NDArray, strength: float) -> None:
    """Take light away from an image (h, w, 3) in place: `strength` (0..1) of it where `shadow` (h, w) is 255."""
    image[:] = scale_light(image, 255 - cv2.convertScaleAbs(shadow, alpha=strength).astype(np.uint8))


def _project(contour: Contour, matrix: Contour) -> npt.NDArray[np.float32]:
    mapped = contour @ matrix[:, :2].T + matrix[:, 2]
    return (mapped[:, :2] / mapped[:, 2:]).astype(np.float32)


def _fill(canvas: Image, contours: list[npt.NDArray[np.int32]], value: Color | int) -> None:
    for contour in contours:
        cv2.fillPoly(canvas, [contour], value, cv2.LINE_AA, _SUBPIXEL_BITS)  # type: ignore[call-overload]


def _paint_shaded(
    color: Image, part: Part, contours: list[npt.NDArray[np.int32]], unit: float, light: Light, rng: np.random.Generator
) -> None:
    """Paint a part over `color` (h, w, 3) with its relief, pattern and gloss; its contours are fixed-point pixels."""
    pixels = np.concatenate(contours) >> _SUBPIXEL_BITS
    reach = 2 + int(0.06 * unit * (part.bulge > 0))
    left, top = np.maximum(pixels.min(axis=0) - reach, 0)
    right, bottom = pixels.max(axis=0) + reach + 1
    window = color[top:bottom, left:right]
    shape = window.shape[:2]
    mask = np.zeros(shape, np.uint8)
    _fill(mask, [contour - (np.array([left, top]) << _SUBPIXEL_BITS) for contour in contours], 255)
    material = part.material
    tone = 1.0 + material.grain * noise_crop(rng, shape, 8)
    if part.bulge > 0:  # it casts a soft shadow on the parts below, and is lit from one side
        darken(window, cv2.boxFilter(mask, -1, (2 * reach + 1, 2 * reach + 1)), 0.45 * light.strength)
        tone += _slope_to_light(mask, light) * np.float32(part.bulge * light.strength)
    share = pattern(material.pattern, rng, shape, material.scale * unit) if material.pattern else np.float32(0.0)
    first, second = np.array([material.color, material.second_color], np.float32)
    surface = cv2.merge([tone * (a + (b - a) * share) for a, b in zip(first, second)])
    if material.gloss > 0:
        surface += (np.maximum(tone - 1.0 - _HIGHLIGHT, 0.0) * np.float32(500 * material.gloss))[..., None]
    weight = mask.astype(np.float32) * np.float32(1 / 255)
    window[:] = cv2.blendLinear(np.clip(surface, 0, 255).astype(np.uint8), window, weight, 1 - weight)


def _slope_to_light(mask: Image, light: Light) -> Field:
    """Return how far the inflated `mask` (h, w) leans towards the light, from about -0.6 (away) to 0.6."""
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
    return np.asarray(cv2.resize(slope, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
