"""Elephants and turtles, with jointed limbs.

Both look to the right, are about two units long and turn around their middle. What `Dice.pose` draws differs between
the two pools; colours and materials do not.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from datasets.scenes.dice import Dice
from datasets.scenes.geometry import chain, ellipse, limb, rotate, shifted, smooth
from datasets.scenes.materials import PUPIL, Material
from datasets.scenes.rendering import Part, moved
from datasets.scenes.textures import darker, lighter

_DOWN = np.pi / 2
_BRISTLE = Material((28.0, 26.0, 26.0), grain=0.1)
_IVORY = Material((235.0, 225.0, 195.0), grain=0.08, gloss=0.3)
_BELLY = Material((196.0, 176.0, 118.0))


def elephant(dice: Dice) -> list[Part]:
    """A walking elephant: four jointed legs, a bending trunk, a flapping ear and a tusk."""
    skin = dice.colour(hue=(0.02, 0.12), saturation=(0.05, 0.3), value=(0.3, 0.65))
    hide = Material(skin, darker(skin, 0.2), "patches", 0.12, grain=0.45)
    far_legs = [part for x in (-0.32, 0.42) for part in _leg((x, -0.62), dice, hide.shaded(0.35))]
    near_legs = [part for x in (-0.42, 0.32) for part in _leg((x, -0.58), dice, hide)]
    back = [(0.62, -0.8), (0.5, -1.12), (0.1, -1.16), (-0.35, -1.15), (-0.62, -0.92)]
    belly = [(-0.6, -0.55), (-0.3, -0.42), (0.1, -0.38), (0.45, -0.5)]
    tail = chain((-0.58, -0.92), [2.6, 2.1, dice.pose(1.5, 2.5)], 0.16)
    parts = [
        *far_legs,
        Part.of(limb(tail, [0.035, 0.025, 0.02, 0.015]), hide.shaded(0.1), 0.5),
        Part.of(ellipse(tail[-1], (0.035, 0.06), count=12), _BRISTLE, 0.2),
        Part.of(smooth(back + belly), hide, 0.95),
        *near_legs,
        *(_blanket(dice) if dice.chance(0.35) else []),
        *_elephant_head(dice, hide),
    ]
    return moved(parts, (0.0, 0.6))


def _elephant_head(dice: Dice, hide: Material) -> list[Part]:
    lift, curl = dice.pose(0.2, 1.5), dice.pose(-0.55, 0.55)
    trunk = chain((0.84, -0.92), lift + curl * np.arange(5), 0.18)
    skull = [(0.5, -1.12), (0.72, -1.24), (0.93, -1.1), (0.98, -0.88), (0.8, -0.68), (0.58, -0.72)]
    tusk = chain((0.86, -0.74), [0.75, 0.35, -0.1], 0.12)
    flap = [(0.0, -0.16), (-0.55, -0.2), (-1.05, -0.01), (-0.9, 0.3), (-0.45, 0.45), (-0.1, 0.18)]
    ear = rotate(smooth(np.array(flap) * (dice.pose(0.25, 0.42), 1.0)), dice.pose(-0.3, 0.25))
    return [
        Part.of(limb(trunk, [0.16, 0.12, 0.1, 0.08, 0.065, 0.05]), hide, 0.9),
        Part.of(smooth(skull), hide, 0.8),
        Part.of(limb(tusk, [0.045, 0.038, 0.03, 0.012]), _IVORY, 0.6),
        Part.of(shifted(ear, 0.66, -0.98), hide.shaded(0.12), 0.55),
        Part.flat(PUPIL, ellipse((0.8, -0.99), (0.026, 0.022), count=10)),
    ]


def _leg(hip: tuple[float, float], dice: Dice, hide: Material) -> list[Part]:
    swing, bend = dice.pose(-0.38, 0.38), dice.pose(-0.15, 0.4)
    joints = chain(hip, [_DOWN + swing, _DOWN + swing + bend], -hip[1] / 2.0)
    x, y = joints[-1]
    nails = [ellipse((x + dx, y + 0.07), (0.026, 0.024), count=8) for dx in (-0.04, 0.02, 0.075)]
    return [
        Part.of(limb(joints, [0.17, 0.125, 0.12]), hide, 0.8),
        Part.flat(lighter(hide.colour, 0.35), *nails),
    ]


def _blanket(dice: Dice) -> list[Part]:
    """A patterned cloth over the back, with a border."""
    cloth = Material(dice.colour(), dice.colour(), dice.pick(["checks", "bands", None]), 0.08, 0.2)
    low = dice.free(-0.8, -0.6)
    edge = smooth([(0.3, -1.15), (0.33, low), (-0.33, low), (-0.32, -1.16), (0.0, -1.19)])
    hem = limb([(0.33, low), (0.0, low + 0.02), (-0.33, low)], [0.03] * 3, 2)
    return [Part.of(edge, cloth, 0.5), Part.of(hem, Material(dice.colour(), grain=0.2), 0.5)]


def turtle(dice: Dice) -> list[Part]:
    """A turtle: from its side under a domed shell, or swimming, seen from above."""
    tone = dice.colour(hue=(0.12, 0.38), saturation=(0.25, 0.7), value=(0.3, 0.7))
    horn = dice.colour(hue=(0.04, 0.3), saturation=(0.3, 0.75), value=(0.2, 0.6))
    skin = Material(tone, darker(tone, 0.45), "spots", 0.035, grain=0.25)
    shell = Material(darker(horn, 0.45), grain=0.25)
    plate = Material(lighter(horn, 0.12), darker(horn, 0.2), "patches", 0.08, 0.3, 0.35)
    build = _swimming if dice.pose(0.0, 1.0) < 0.5 else _walking
    return build(dice, skin, shell, plate)


def _walking(dice: Dice, skin: Material, shell: Material, plate: Material) -> list[Part]:
    rise, neck = dice.pose(0.45, 0.7), dice.pose(-0.9, 0.15)
    legs = []
    for x in (-0.42, 0.52, -0.55, 0.42):
        turn = dice.pose(-0.5, 0.5)
        legs.append(limb(chain((x, -0.06), [_DOWN + turn, _DOWN - 0.6 * turn], 0.17), [0.13, 0.11, 0.1]))
    joints = chain((0.62, -0.08), [neck, 0.6 * neck], 0.22)
    head = smooth([(-0.08, -0.11), (0.12, -0.1), (0.25, 0.02), (0.1, 0.1), (-0.1, 0.09)])
    eye = ellipse((0.11, -0.03), (0.028, 0.028), count=10)
    dome = np.minimum(ellipse((0.0, 0.0), (0.78, rise), count=40), (9.0, 0.04))
    plates = _plates((0.78, rise), [(0.1, 0.56, 3), (0.6, 0.94, 6)], half=True)
    parts = [
        *(Part.of(leg, skin.shaded(0.4), 0.6) for leg in legs[:2]),
        Part.of(limb([(-0.7, -0.02), (-0.98, 0.1)], [0.07, 0.015]), skin.shaded(0.1), 0.5),
        Part.of(limb(joints, [0.13, 0.1, 0.09]), skin, 0.7),
        Part.of(head + joints[-1], skin, 0.8),
        Part.flat(PUPIL, eye + joints[-1]),
        Part.of(limb([(-0.66, 0.02), (0.66, 0.02)], [0.09, 0.09], 2), _BELLY, 0.5),
        *(Part.of(leg, skin, 0.8) for leg in legs[2:]),
        Part.of(dome, shell, 0.9),
        Part(tuple(plates), plate, 0.5),
    ]
    return moved(parts, (0.0, 0.2))


def _swimming(dice: Dice, skin: Material, shell: Material, plate: Material) -> list[Part]:
    width, stroke, look = dice.pose(0.5, 0.64), dice.pose(-0.5, 0.6), dice.pose(-0.45, 0.45)
    flippers = []
    for side in (-1.0, 1.0):
        fore = chain((0.42, side * 0.36), side * np.array([1.15, 1.6 + stroke, 2.3 + stroke]), 0.28)
        hind = chain((-0.5, side * 0.3), side * np.array([1.9 + 0.5 * stroke, 2.5]), 0.22)
        flippers.append(Part.of(limb(fore, [0.12, 0.14, 0.1, 0.03]), skin, 0.5))
        flippers.append(Part.of(limb(hind, [0.1, 0.11, 0.04]), skin.shaded(0.08), 0.5))
    neck = chain((0.66, 0.0), [look, look], 0.15)
    eyes = [ellipse(shifted(neck[-1], 0.05, y), (0.025, 0.025), count=10) for y in (-0.09, 0.09)]
    half = np.array([(0.74, 0.0), (0.5, -0.86), (0.0, -1.0), (-0.5, -0.7), (-0.8, 0.0)])
    outline = np.concatenate([half, (half * (1, -1))[-2:0:-1]]) * (1.0, width)
    rings = [(0.0, 0.27, 1), (0.31, 0.65, 6), (0.7, 0.97, 11)]
    return [
        *flippers,
        Part.of(limb([(-0.75, 0.0), (-0.95, 0.05 * look)], [0.06, 0.012]), skin, 0.5),
        Part.of(limb(neck, [0.13, 0.12, 0.13]), skin, 0.7),
        Part.flat(PUPIL, *eyes),
        Part.of(smooth(outline), shell, 0.9),
        Part(tuple(_plates((0.7, 0.86 * width), rings)), plate, 0.5),
    ]


def _plates(
    radii: tuple[float, float], rings: Sequence[tuple[float, float, int]], half: bool = False
) -> list[np.ndarray]:
    """Horn plates in rings (inner radius, outer radius, count) around the origin."""
    start, sweep = (np.pi, np.pi) if half else (0.0, 2 * np.pi)
    plates = []
    for inner, outer, count in rings:
        edges = start + sweep * np.arange(count + 1) / count
        margin = 0.035 / outer if count > 1 else 0.0
        for low, high in zip(edges[:-1] + margin, edges[1:] - margin):
            turns = np.linspace(low, high, 4 if count > 1 else 9)
            rim = np.concatenate([turns, turns[::-1]])
            reach = np.repeat([outer, inner], len(turns))
            plates.append(np.stack([np.cos(rim) * reach, np.sin(rim) * reach], axis=1) * radii)
    return plates
