"""Backgrounds: families of grounds, each of which paints a whole (H, W, 3) uint8 RGB image.

The two pools have no family in common.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from datasets.scenes.dice import Dice
from datasets.scenes.textures import Color, blend, cells, darker, fractal, lighter, mix, ramp

Ground = Callable[[Dice, tuple[int, int]], np.ndarray]
"""Paints a background of the shape (H, W)."""

_FOAM: Color = (235.0, 243.0, 245.0)
_CLOUDS: tuple[Color, Color] = ((240.0, 242.0, 245.0), (190.0, 194.0, 202.0))
_MORTAR: Color = (205.0, 200.0, 190.0)
_MOSS: Color = (38.0, 44.0, 26.0)


def grass(dice: Dice, shape: tuple[int, int]) -> np.ndarray:
    """Upright blades over patches of darker and lighter green."""
    base = dice.colour((0.17, 0.33), (0.4, 0.75), (0.35, 0.6))
    blades = fractal(dice.rng, shape, 28, octaves=4, stretch=0.25, persistence=0.8)
    lumps = fractal(dice.rng, shape, 160, octaves=3)
    field = ramp(0.6 * blades + 0.4 * lumps, darker(base, 0.75), base, lighter(base, 0.4))
    return _below_clouds(dice, field)


def sand(dice: Dice, shape: tuple[int, int]) -> np.ndarray:
    """Wind ripples and fine grain."""
    base = dice.colour((0.06, 0.13), (0.2, 0.5), (0.6, 0.85))
    lumps = fractal(dice.rng, shape, 180, octaves=4, stretch=2.0)
    rows = np.arange(shape[0], dtype=np.float32)[:, None]
    ripples = np.sin(rows * np.float32(dice.free(0.25, 0.6)) + 22 * lumps)
    speckle = fractal(dice.rng, shape, 6, octaves=2)
    height = 0.45 * lumps + 0.14 * ripples + 0.3 * speckle + 0.12
    return _below_clouds(dice, ramp(height, darker(base, 0.5), base, lighter(base, 0.45)))


def waves(dice: Dice, shape: tuple[int, int]) -> np.ndarray:
    """Open water: long crests, with a few that break."""
    base = dice.colour((0.48, 0.62), (0.4, 0.8), (0.35, 0.65))
    swell = fractal(dice.rng, shape, 40, octaves=4, stretch=4.0, persistence=0.65)
    return _below_clouds(dice, ramp(swell, darker(base, 0.6), base, lighter(base, 0.3), _FOAM))


def clouds(dice: Dice, shape: tuple[int, int]) -> np.ndarray:
    """Sky, bluer towards the top, with white and grey clouds."""
    base = dice.colour((0.54, 0.63), (0.3, 0.7), (0.55, 0.9))
    field = fractal(dice.rng, shape, 220, octaves=6, stretch=1.8, persistence=0.55)
    fall = np.linspace(-0.12, 0.12, shape[0], dtype=np.float32)[:, None]
    cover = np.clip(1.5 * field - 0.3 + fall, 0, 1)
    return ramp(cover, darker(base, 0.25), base, lighter(base, 0.5), *_CLOUDS)


def _below_clouds(dice: Dice, field: np.ndarray) -> np.ndarray:
    """`field`, which in half of all cases ends at a horizon; it is changed in place."""
    if dice.chance(0.5):
        edge = int(dice.free(0.12, 0.5) * field.shape[0])
        field[:edge] = clouds(dice, (edge, field.shape[1]))
    return field


def gravel(dice: Dice, shape: tuple[int, int]) -> np.ndarray:
    """Small stones of many tones."""
    base = dice.colour((0.04, 0.15), (0.02, 0.25), (0.45, 0.75))
    tone, height = cells(dice.rng, shape, dice.free(9.0, 18.0))
    return ramp((0.3 + 0.7 * tone) * (0.35 + 0.65 * height), darker(base, 0.85), base, lighter(base, 0.5))


def bricks(dice: Dice, shape: tuple[int, int]) -> np.ndarray:
    """A brick wall; every brick has a tone of its own."""
    base = dice.colour((0.0, 0.07), (0.35, 0.65), (0.4, 0.65))
    tall = dice.count(14, 30)
    wide = int(2.4 * tall)
    y, x = np.indices(shape, np.int32, sparse=True)
    row = y // tall
    shifted = x + (row % 2) * (wide // 2)
    tones = dice.rng.random((shape[0] // tall + 1, shape[1] // wide + 2), np.float32)
    mortar = ((y % tall) < max(2, tall // 10)) | ((shifted % wide) < max(2, tall // 10))
    stains = fractal(dice.rng, shape, 90, octaves=6, persistence=0.75)
    wall = ramp(0.5 * tones[row, shifted // wide] + 0.5 * stains, darker(base, 0.6), base, lighter(base, 0.3))
    return np.where(mortar[..., None], ramp(stains, darker(_MORTAR, 0.45), _MORTAR), wall)


def foliage(dice: Dice, shape: tuple[int, int]) -> np.ndarray:
    """A thicket: leaves laid over each other from dark ones to light ones."""
    base = dice.colour((0.2, 0.38), (0.4, 0.8), (0.35, 0.6))
    canvas = ramp(fractal(dice.rng, shape, 60, octaves=4), darker(base, 0.85), darker(base, 0.4))
    largest, count = dice.free(13.0, 24.0), 380
    size, thin, turn, tint, x, y = dice.rng.random((6, count)).tolist()
    for i in range(count):
        tone = mix(darker(base, 0.7), lighter(base, 0.25), 0.7 * i / count + 0.3 * tint[i])
        length = 16 * largest * (0.4 + 0.6 * size[i])
        axes = int(length), int(length * (0.3 + 0.3 * thin[i]))
        centre = int(16 * x[i] * shape[1]), int(16 * y[i] * shape[0])
        cv2.ellipse(canvas, centre, axes, 360 * turn[i], 0, 360, tone, -1, cv2.LINE_AA, 4)
    return canvas


def asphalt(dice: Dice, shape: tuple[int, int]) -> np.ndarray:
    """A road with speckles, worn lanes and painted lines that run to the horizon."""
    base = dice.colour((0.55, 0.65), (0.0, 0.1), (0.3, 0.55))
    speckle = fractal(dice.rng, shape, 5, octaves=2)
    worn = fractal(dice.rng, shape, 140, octaves=5, stretch=0.5, persistence=0.7)
    road = ramp(0.4 * speckle + 0.6 * worn, darker(base, 0.55), base, lighter(base, 0.35))
    height, width = shape
    vanishing = (dice.free(0.3, 0.7) * width, -0.4 * height)
    for x in (np.arange(-0.6, 1.7, 0.45) + dice.free(-0.2, 0.2)) * width:
        line = np.array([vanishing, (x, height), (x + 16, height)])
        cv2.fillPoly(road, [(16 * line).astype(np.int32)], lighter(base, 0.6), cv2.LINE_AA, 4)
    return _below_clouds(dice, road)


def marble(dice: Dice, shape: tuple[int, int]) -> np.ndarray:
    """Veins and clouds of three unrelated colours, coarse or fine, along or across."""
    lumps = fractal(
        dice.rng,
        shape,
        20.0 * 10.0 ** dice.free(0.0, 1.0),
        octaves=dice.count(3, 7),
        persistence=dice.free(0.5, 0.85),
        stretch=4.0 ** dice.free(-1.0, 1.0),
    )
    contrast = dice.free(0.8, 2.5)
    veins = np.clip(contrast * (lumps - 0.5) + 0.5, 0, 1)
    return _below_clouds(dice, ramp(veins, *(dice.colour(saturation=(0.0, 0.8), value=(0.05, 1.0)) for _ in range(3))))


def blotches(dice: Dice, shape: tuple[int, int]) -> np.ndarray:
    """Two rough grounds in one: patches of the second lie on the first."""
    first, second = marble(dice, shape), marble(dice, shape)
    lumps = fractal(dice.rng, shape, dice.free(50.0, 160.0), octaves=5, stretch=3.0 ** dice.free(-1.0, 1.0))
    return blend(first, second, np.clip(dice.free(3.0, 12.0) * (lumps - dice.free(0.4, 0.6)) + 0.5, 0, 1))


def scales(dice: Dice, shape: tuple[int, int]) -> np.ndarray:
    """Small or middling fields of any colour, flat or rounded, worn."""
    tone, height = cells(dice.rng, shape, 8.0 * 4.0 ** dice.free(0.0, 1.0))
    wear = fractal(dice.rng, shape, dice.free(20.0, 90.0), octaves=5, persistence=0.75)
    depth, age = dice.free(0.0, 0.5), dice.free(0.1, 0.6)
    light = (1 - age + age * wear) * (1 - depth + depth * height)
    colours = [dice.colour(saturation=(0.0, 0.8), value=(0.1, 1.0)) for _ in range(3)]
    return ramp(light * (0.3 + 0.7 * tone), *colours)


def savanna(dice: Dice, shape: tuple[int, int]) -> np.ndarray:
    """Dry grass with shrubs below a hazy sky, trees along the horizon."""
    straw = dice.colour((0.07, 0.17), (0.3, 0.65), (0.5, 0.8))
    leaf = dice.colour((0.13, 0.35), (0.25, 0.6), (0.2, 0.4))
    blades = fractal(dice.rng, shape, 40, octaves=5, stretch=0.4, persistence=0.65)
    lumps = fractal(dice.rng, shape, 110, octaves=5, stretch=2.5, persistence=0.6)
    grass = ramp(blades, darker(straw, 0.65), straw, lighter(straw, 0.45))
    shrubs = ramp(blades, darker(leaf, 0.7), leaf, lighter(leaf, 0.4))
    field = blend(grass, shrubs, np.clip(9 * (lumps - dice.free(0.5, 0.75)), 0, 1))
    haze = dice.colour((0.05, 0.6), (0.1, 0.35), (0.75, 0.95))
    drift = fractal(dice.rng, shape, 150, octaves=4, stretch=3.0)
    sky = ramp(drift, darker(haze, 0.2), haze, lighter(haze, 0.5))
    edge = dice.free(0.12, 0.5) * shape[0]
    crowns = 34 * np.clip(fractal(dice.rng, (1, shape[1]), 60, octaves=5) - 0.35, 0, 1)
    rows = np.arange(shape[0])[:, None]
    scene = np.where((rows < edge)[..., None], shrubs // 2, field)
    return np.where((rows < edge - crowns)[..., None], sky, scene)


def harbour(dice: Dice, shape: tuple[int, int]) -> np.ndarray:
    """Water that mirrors an evening sky, with glints and dark troughs."""
    glow = dice.colour((0.98, 1.12), (0.3, 0.6), (0.75, 0.95))
    dusk = dice.colour((0.55, 0.72), (0.25, 0.5), (0.35, 0.6))
    edge = dice.free(0.2, 0.5)
    rows = np.linspace(0.0, 1.0, shape[0], dtype=np.float32)[:, None]
    drift = fractal(dice.rng, shape, 90, octaves=6, stretch=3.0, persistence=0.65)
    sky = ramp(np.clip(0.7 * rows / edge + 0.9 * drift - 0.35, 0, 1), dusk, mix(dusk, glow, 0.5), glow)
    ripples = fractal(dice.rng, shape, 26, octaves=4, stretch=4.0, persistence=0.65)
    depth = (rows - edge) / (1 - edge)
    light = np.clip(0.75 - 0.35 * depth + 1.5 * (ripples - 0.5), 0, 1)
    water = ramp(light, darker(dusk, 0.8), darker(dusk, 0.35), mix(dusk, glow, 0.6), lighter(glow, 0.5))
    return np.where((rows < edge)[..., None], sky, water)


def cobbles(dice: Dice, shape: tuple[int, int]) -> np.ndarray:
    """Large rounded paving stones of two kinds, with moss between them."""
    first = dice.colour((0.0, 1.0), (0.03, 0.3), (0.45, 0.75))
    second = dice.colour((0.02, 0.12), (0.1, 0.5), (0.35, 0.7))
    tone, height = cells(dice.rng, shape, dice.free(26.0, 48.0))
    wear = fractal(dice.rng, shape, 30, octaves=5, persistence=0.75)
    light = (0.3 + 0.7 * wear) * (0.35 + 0.65 * height)
    stones = ramp(light, _MOSS, darker(first, 0.3), lighter(first, 0.5))
    return blend(stones, ramp(light, _MOSS, darker(second, 0.4), lighter(second, 0.3)), tone)


def smooth_ground(dice: Dice, shape: tuple[int, int]) -> np.ndarray:
    """A soft gradient between two related colours."""
    base = dice.colour((0.0, 1.0), (0.05, 0.4), (0.45, 0.9))
    fall = np.linspace(0, 1, shape[0], dtype=np.float32)[:, None]
    lumps = fractal(dice.rng, shape, 240, octaves=2)
    return ramp(np.clip(0.6 * fall + 0.4 * lumps, 0, 1), lighter(base, 0.25), darker(base, 0.25))


def room(dice: Dice, shape: tuple[int, int]) -> np.ndarray:
    """A wall with pictures that meets a floor, lit from one side."""
    height, width = shape
    wall_colour = dice.colour((0.0, 1.0), (0.0, 0.35), (0.4, 0.95))
    floor_colour = dice.colour((0.03, 0.12), (0.15, 0.6), (0.3, 0.75))
    wear = fractal(dice.rng, shape, 70, octaves=5, persistence=0.7)
    canvas = ramp(wear, darker(wall_colour, 0.12), lighter(wall_colour, 0.12))
    planks = fractal(dice.rng, shape, dice.free(5.0, 30.0), octaves=4, stretch=12.0)
    floor = ramp(planks, darker(floor_colour, 0.4), floor_colour, lighter(floor_colour, 0.2))
    left, right = (int(dice.free(0.45, 0.85) * height) for _ in range(2))
    for _ in range(dice.count(0, 3)):
        x, y = int(dice.free(0, width)), int(dice.free(0, 0.4 * height))
        far = (x + int(dice.free(30, 200)), y + int(dice.free(30, 150)))
        cv2.rectangle(canvas, (x, y), far, dice.colour(), -1, cv2.LINE_AA)
        cv2.rectangle(canvas, (x, y), far, darker(wall_colour, 0.6), dice.count(2, 6), cv2.LINE_AA)
    below = np.zeros(shape, np.uint8)
    cv2.fillPoly(below, [np.array([[0, left], [width, right], [width, height], [0, height]])], 255)
    canvas[below > 0] = floor[below > 0]
    cv2.line(canvas, (0, left), (width, right), lighter(wall_colour, 0.5), dice.count(2, 9), cv2.LINE_AA)
    light = np.linspace(dice.free(0.5, 1.0), dice.free(0.5, 1.0), width, dtype=np.float32)
    return (canvas * light[None, :, None]).astype(np.uint8)


# Of no particular place, marble and blotches teach most about grounds never seen, so they come twice as often.
GROUNDS: dict[str, tuple[Ground, ...]] = {
    "train": (grass, sand, waves, clouds, gravel, bricks, foliage, asphalt, marble, marble, blotches, blotches, scales),
    "heldout": (savanna, harbour, cobbles),
}


def colours_of(ground: np.ndarray) -> np.ndarray:
    """A sample (K, 3) uint8 of the colours of `ground`, its light and its dark ones."""
    return cv2.resize(ground, (64, 36), interpolation=cv2.INTER_AREA).reshape(-1, 3)
