"""Make the noise and patterns of surfaces, and the backgrounds of scenes out of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from datasets.scenes.rng import Color, Image, SceneRng, darker, lerp, lighter

Field = npt.NDArray[np.float32]
Shape = tuple[int, int]
Pattern = Literal["stripes", "bands", "spots", "patches", "checks"]

_TILE_SIDE = 1024


def color_map(field: npt.NDArray[np.floating], *colors: Color) -> Image:
    """Color an (H, W) field in [0, 1] along the evenly spaced `colors`; (H, W, 3)."""
    stops = np.linspace(0, 255, len(colors))
    table = np.stack([np.interp(np.arange(256), stops, channel) for channel in zip(*colors)], -1)
    index = cv2.convertScaleAbs(field, alpha=255.0)
    colored = cv2.LUT(cv2.merge([index, index, index]), table[None].round().astype(np.uint8))
    return np.asarray(colored, np.uint8)


def blend(first: Image, second: Image, weight: Field) -> Image:
    """Mix two images (H, W, 3) by `weight` (H, W) in [0, 1] of the second."""
    return np.asarray(cv2.blendLinear(first, second, 1 - weight, weight), np.uint8)


def scale_light(image: Image, light: Image) -> Image:
    """Multiply an image (H, W, 3) by `light` (H, W), where 255 leaves it as it is."""
    return np.asarray(cv2.multiply(image, cv2.merge([light, light, light]), scale=1 / 255), np.uint8)


def add_noise(image: Image, rng: np.random.Generator, sigma: float) -> Image:
    """Make the pixels of an image (H, W, 3) lighter or darker at random, by `sigma` gray levels (RMS)."""
    # Whole numbers spread evenly over a byte have a standard deviation of 73.9 and come cheaply.
    draw = rng.integers(-128, 128, image.shape[:2], np.int8)
    noise = np.rint(draw * np.float32(sigma / 73.9)).astype(np.int16)
    return np.asarray(cv2.add(image, cv2.merge([noise, noise, noise]), dtype=cv2.CV_8U), np.uint8)


def fractal_noise(
    rng: np.random.Generator, shape: Shape, cell: float, octaves: int, stretch: float = 1.0, persistence: float = 0.6
) -> Field:
    """Draw cloud-like noise (H, W) in [0, 1] with mean about 0.5.

    The coarsest lumps are `cell` px high and `cell * stretch` px wide; every further octave is half as large and
    `persistence` times as strong.
    """
    height, width = shape
    noise: Field = np.zeros((1, 1), np.float32)
    for octave in range(octaves):
        rows = min(math.ceil(height * 2**octave / cell) + 1, height)
        columns = min(math.ceil(width * 2**octave / (cell * stretch)) + 1, width)
        coarse = cv2.resize(noise, (columns, rows), interpolation=cv2.INTER_LINEAR)
        noise = coarse + np.float32(persistence**octave) * rng.random((rows, columns), np.float32)
        if (rows, columns) == (height, width):
            break
    resized = cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR)
    mean, deviation = cv2.meanStdDev(resized)
    gain = 0.22 / max(float(deviation[0, 0]), 1e-6)
    return np.clip(resized * gain + (0.5 - gain * float(mean[0, 0])), 0.0, 1.0)


def voronoi_cells(rng: np.random.Generator, shape: Shape, size: float) -> tuple[Field, Field]:
    """Draw Voronoi cells about `size` px wide: a random tone per cell, and the height within each cell.

    Both are (H, W) in [0, 1]; the height is 1 in a cell's middle and 0 at its rim.
    """
    height, width = shape
    rows, columns = math.ceil(height / size) + 1, math.ceil(width / size) + 1
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float32)
    y = (y + rng.uniform(-0.4, 0.4, y.shape)) * size
    x = (x + rng.uniform(-0.4, 0.4, x.shape)) * size
    not_seed = np.full(shape, 255, np.uint8)
    not_seed[np.clip(y, 0, height - 1).astype(int), np.clip(x, 0, width - 1).astype(int)] = 0
    _, labels = cv2.distanceTransformWithLabels(not_seed, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    tones = rng.random(int(labels.max()) + 1, np.float32)
    inside = cv2.morphologyEx(labels.astype(np.float32), cv2.MORPH_GRADIENT, np.ones((3, 3))) == 0
    to_rim = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 3)
    return tones[labels], np.clip(to_rim / (0.3 * size), 0.0, 1.0)


@lru_cache(maxsize=4)
def _noise_tile(cell: int) -> Field:
    rng = np.random.default_rng([cell, 0x7E57])
    return fractal_noise(rng, (_TILE_SIDE, _TILE_SIDE), cell, octaves=5, persistence=0.75) - 0.5


def noise_crop(rng: np.random.Generator, shape: Shape, cell: int) -> Field:
    """Crop (H, W) noise in [-0.5, 0.5], at most 1024 px a side, from a tile that is drawn once; do not write to it."""
    tile = _noise_tile(cell)
    top, left = (int(rng.integers(0, tile.shape[axis] - shape[axis] + 1)) for axis in (0, 1))
    return tile[top : top + shape[0], left : left + shape[1]]


def pattern(name: Pattern, rng: np.random.Generator, shape: Shape, scale: float) -> Field:
    """Draw the weight (H, W) in [0, 1] of a material's second color.

    `scale` is the width in px of one stripe, spot or field.
    """
    scale = max(scale, 2.0)
    if name in ("spots", "patches"):
        cell = 16 if name == "spots" else 64
        rows, columns = (min(max(2, math.ceil(side * cell / (2.5 * scale))), _TILE_SIDE) for side in shape)
        noise = cv2.resize(noise_crop(rng, (rows, columns), cell), shape[::-1], interpolation=cv2.INTER_LINEAR) - 0.08
        return np.clip(noise * (4.0 + scale) + 0.5, 0.0, 1.0)
    angle = rng.uniform(0.0, np.pi) if name != "bands" else 0.5 * np.pi
    x = np.arange(shape[1], dtype=np.float32)[None] * np.float32(np.pi / scale)
    y = np.arange(shape[0], dtype=np.float32)[:, None] * np.float32(np.pi / scale)
    along = (x * np.cos(angle) + y * np.sin(angle)).astype(np.float32)
    if name == "checks":
        wave = np.sin(along) * np.sin((y * np.cos(angle) - x * np.sin(angle)).astype(np.float32))
    else:
        wave = np.sin(along + 5.0 * noise_crop(rng, shape, 64))
    return np.clip(wave * (0.5 * scale) + 0.5, 0.0, 1.0)


def savanna(rng: SceneRng, shape: Shape) -> Image:
    """Paint dry grass with shrubs below a hazy sky, trees along the horizon."""
    straw = rng.color((0.07, 0.17), (0.3, 0.65), (0.5, 0.8))
    leaf = rng.color((0.13, 0.35), (0.25, 0.6), (0.2, 0.4))
    blades = fractal_noise(rng.generator, shape, 40, octaves=5, stretch=0.4, persistence=0.65)
    lumps = fractal_noise(rng.generator, shape, 110, octaves=5, stretch=2.5, persistence=0.6)
    grass = color_map(blades, darker(straw, 0.65), straw, lighter(straw, 0.45))
    shrubs = color_map(blades, darker(leaf, 0.7), leaf, lighter(leaf, 0.4))
    field = blend(grass, shrubs, np.clip(9 * (lumps - rng.uniform(0.5, 0.75)), 0, 1))
    haze = rng.color((0.05, 0.6), (0.1, 0.35), (0.75, 0.95))
    drift = fractal_noise(rng.generator, shape, 150, octaves=4, stretch=3.0)
    sky = color_map(drift, darker(haze, 0.2), haze, lighter(haze, 0.5))
    horizon = rng.uniform(0.12, 0.5) * shape[0]
    crowns = 34 * np.clip(fractal_noise(rng.generator, (1, shape[1]), 60, octaves=5) - 0.35, 0, 1)
    rows = np.arange(shape[0])[:, None]
    scene = np.where((rows < horizon)[..., None], shrubs // 2, field)
    return np.where((rows < horizon - crowns)[..., None], sky, scene)


def harbor(rng: SceneRng, shape: Shape) -> Image:
    """Paint water that mirrors an evening sky, with glints and dark troughs."""
    glow = rng.color((0.98, 1.12), (0.3, 0.6), (0.75, 0.95))
    dusk = rng.color((0.55, 0.72), (0.25, 0.5), (0.35, 0.6))
    horizon = rng.uniform(0.2, 0.5)
    rows = np.linspace(0.0, 1.0, shape[0], dtype=np.float32)[:, None]
    drift = fractal_noise(rng.generator, shape, 90, octaves=6, stretch=3.0, persistence=0.65)
    clouds = np.clip(0.7 * rows / horizon + 0.9 * drift - 0.35, 0, 1)
    sky = color_map(clouds, dusk, lerp(dusk, glow, 0.5), glow)
    ripples = fractal_noise(rng.generator, shape, 26, octaves=4, stretch=4.0, persistence=0.65)
    depth = (rows - horizon) / (1 - horizon)
    light = np.clip(0.75 - 0.35 * depth + 1.5 * (ripples - 0.5), 0, 1)
    water = color_map(light, darker(dusk, 0.8), darker(dusk, 0.35), lerp(dusk, glow, 0.6), lighter(glow, 0.5))
    return np.where((rows < horizon)[..., None], sky, water)


def cobbles(rng: SceneRng, shape: Shape) -> Image:
    """Paint large rounded paving stones of two kinds, with moss between them."""
    first = rng.color((0.0, 1.0), (0.03, 0.3), (0.45, 0.75))
    second = rng.color((0.02, 0.12), (0.1, 0.5), (0.35, 0.7))
    tone, height = voronoi_cells(rng.generator, shape, rng.uniform(26.0, 48.0))
    wear = fractal_noise(rng.generator, shape, 30, octaves=5, persistence=0.75)
    light = (0.3 + 0.7 * wear) * (0.35 + 0.65 * height)
    moss = (38.0, 44.0, 26.0)
    stones = color_map(light, moss, darker(first, 0.3), lighter(first, 0.5))
    return blend(stones, color_map(light, moss, darker(second, 0.4), lighter(second, 0.3)), tone)


BACKGROUNDS: tuple[Callable[[SceneRng, Shape], Image], ...] = (savanna, harbor, cobbles)
"""Each paints an image of a shape (H, W). The training data of the demo's weights had none of them."""


def smooth_gradient(rng: SceneRng, shape: Shape) -> Image:
    """Paint a soft gradient between two related colors."""
    base = rng.color((0.0, 1.0), (0.05, 0.4), (0.45, 0.9))
    fall = np.linspace(0, 1, shape[0], dtype=np.float32)[:, None]
    lumps = fractal_noise(rng.generator, shape, 240, octaves=2)
    return color_map(np.clip(0.6 * fall + 0.4 * lumps, 0, 1), lighter(base, 0.25), darker(base, 0.25))
