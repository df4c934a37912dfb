"""Noise, cells and patterns: what the surfaces of a painted scene are made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np

Color = tuple[float, float, float]

_BANK_SIZE = 1024


def fractal(
    rng: np.random.Generator,
    shape: tuple[int, int],
    cell: float = 128.0,
    *,
    octaves: int = 7,
    persistence: float = 0.6,
    stretch: float = 1.0,
) -> np.ndarray:
    """Cloud-like noise, float32 (H, W) in [0, 1] with mean about 0.5.

    The coarsest lumps are `cell` px high and `cell * stretch` px wide; every further octave is half as large and
    `persistence` times as strong.
    """
    height, width = shape
    field: np.ndarray = np.zeros((1, 1), np.float32)
    for octave in range(octaves):
        rows = min(math.ceil(height * 2**octave / cell) + 1, height)
        columns = min(math.ceil(width * 2**octave / (cell * stretch)) + 1, width)
        field = cv2.resize(field, (columns, rows), interpolation=cv2.INTER_LINEAR)
        field = field + np.float32(persistence**octave) * rng.random((rows, columns), np.float32)
        if (rows, columns) == (height, width):
            break
    field = cv2.resize(field, (width, height), interpolation=cv2.INTER_LINEAR)
    mean, deviation = cv2.meanStdDev(field)
    gain = 0.22 / max(float(deviation[0, 0]), 1e-6)
    return np.clip(field * gain + (0.5 - gain * float(mean[0, 0])), 0.0, 1.0)


def cells(rng: np.random.Generator, shape: tuple[int, int], size: float) -> tuple[np.ndarray, np.ndarray]:
    """Voronoi cells about `size` px wide: a random tone per cell, and the height of each cell.

    Both are float32 (H, W) in [0, 1]; the height is 1 in a cell's middle, 0 at its rim.
    """
    height, width = shape
    rows, columns = math.ceil(height / size) + 1, math.ceil(width / size) + 1
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float32)
    y = (y + rng.uniform(-0.4, 0.4, y.shape)) * size
    x = (x + rng.uniform(-0.4, 0.4, x.shape)) * size
    seeds = np.full(shape, 255, np.uint8)
    seeds[np.clip(y, 0, height - 1).astype(int), np.clip(x, 0, width - 1).astype(int)] = 0
    _, labels = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    tones = rng.random(int(labels.max()) + 1, np.float32)
    edges = cv2.morphologyEx(labels.astype(np.float32), cv2.MORPH_GRADIENT, np.ones((3, 3))) == 0
    rim = cv2.distanceTransform(edges.astype(np.uint8), cv2.DIST_L2, 3)
    return tones[labels], np.clip(rim / (0.3 * size), 0.0, 1.0)


def ramp(field: np.ndarray, *colours: Color) -> np.ndarray:
    """Colour a field in [0, 1] along the evenly spaced `colours`; uint8 (H, W, 3)."""
    stops = np.linspace(0, 255, len(colours))
    at = np.arange(256)
    table = np.stack([np.interp(at, stops, channel) for channel in zip(*colours)], -1)
    index = cv2.convertScaleAbs(field, alpha=255.0)
    return cv2.LUT(cv2.merge([index, index, index]), table[None].round().astype(np.uint8))


def blend(first: np.ndarray, second: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Two uint8 images (H, W, 3) mixed by `share` (H, W) in [0, 1] of the second."""
    share = share.astype(np.float32)
    return cv2.blendLinear(first, second, 1 - share, share)


def mix(first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray, share: float) -> Color:
    """The colour `share` of the way from `first` to `second`; shares outside [0, 1] exaggerate."""
    red, green, blue = (a + (b - a) * share for a, b in zip(first, second))
    return red, green, blue


def darker(colour: Color, by: float) -> Color:
    """`colour` with `by` (0..1) of its light taken away."""
    return mix(colour, (0.0, 0.0, 0.0), by)


def lighter(colour: Color, by: float) -> Color:
    """`colour` moved `by` (0..1) of the way to white."""
    return mix(colour, (255.0, 255.0, 255.0), by)


def speckled(image: np.ndarray, rng: np.random.Generator, sigma: float) -> np.ndarray:
    """An (H, W, 3) uint8 image whose pixels are lighter or darker at random, by `sigma` grey levels (RMS)."""
    # Whole numbers spread evenly over a byte have a standard deviation of 73.9 and come cheaply.
    draw = rng.integers(-128, 128, image.shape[:2], np.int8)
    spread = np.rint(draw * np.float32(sigma / 73.9)).astype(np.int16)
    return cv2.add(image, cv2.merge([spread, spread, spread]), dtype=cv2.CV_8U)


@lru_cache(maxsize=4)
def _bank(cell: int) -> np.ndarray:
    """A big tile of noise around zero that all materials are cut from, because that costs nothing."""
    rng = np.random.default_rng([cell, 0x7E57])
    return fractal(rng, (_BANK_SIZE, _BANK_SIZE), cell, octaves=5, persistence=0.75) - 0.5


def grain(rng: np.random.Generator, shape: tuple[int, int], cell: int) -> np.ndarray:
    """A window of a shared noise tile, float32 (H, W) in [-0.5, 0.5]; read it, do not write it."""
    tile = _bank(cell)
    if max(shape) > _BANK_SIZE:
        tile = cv2.resize(tile, (max(shape), max(shape)))
    top, left = (int(rng.integers(0, tile.shape[i] - shape[i] + 1)) for i in (0, 1))
    return tile[top : top + shape[0], left : left + shape[1]]


def pattern(name: str, rng: np.random.Generator, shape: tuple[int, int], scale: float) -> np.ndarray:
    """Share of a material's second colour, float32 (H, W) in [0, 1].

    `name` is one of "stripes", "bands", "spots", "patches" or "checks"; `scale` is
    the width in px of one stripe, spot or field. Raises ValueError on another name.
    """
    scale = max(scale, 2.0)
    if name in ("spots", "patches"):
        cell = 16 if name == "spots" else 64
        window = tuple(max(2, math.ceil(side * cell / (2.5 * scale))) for side in shape)
        field = grain(rng, (min(window[0], _BANK_SIZE), min(window[1], _BANK_SIZE)), cell)
        field = cv2.resize(field, shape[::-1], interpolation=cv2.INTER_LINEAR) - 0.08
        return np.clip(field * (4.0 + scale) + 0.5, 0.0, 1.0)
    turn = rng.uniform(0.0, np.pi) if name != "bands" else 0.5 * np.pi
    x = np.arange(shape[1], dtype=np.float32)[None] * np.float32(np.pi / scale)
    y = np.arange(shape[0], dtype=np.float32)[:, None] * np.float32(np.pi / scale)
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    along, across = along.astype(np.float32), across.astype(np.float32)
    if name == "checks":
        wave = np.sin(along) * np.sin(across)
    elif name in ("stripes", "bands"):
        wave = np.sin(along + 5.0 * grain(rng, shape, 64))
    else:
        raise ValueError(f"unknown pattern: {name!r}")
    return np.clip(wave * (0.5 * scale) + 0.5, 0.0, 1.0)
