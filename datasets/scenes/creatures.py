"""Living things of any kind, which teach a segmenter shapes beyond those of the labelled classes."""

from __future__ import annotations

import numpy as np

from datasets.scenes.dice import Dice
from datasets.scenes.geometry import chain, ellipse, fourier_blob, limb, shifted, smooth
from datasets.scenes.materials import PUPIL, Material, any_material
from datasets.scenes.rendering import Builder, Part
from datasets.scenes.textures import darker

_DOWN = np.pi / 2
_TRUNK = np.array([(-1, -0.5), (-0.4, -0.95), (0.4, -0.9), (1, -0.6), (1, 0.5), (0.3, 1), (-0.5, 0.85), (-1, 0.5)])
_TORSO = np.array(
    [(-0.5, -0.53), (0.5, -0.53), (1.1, -0.42), (0.85, -0.1), (0.95, 0.2), (-0.95, 0.2), (-0.85, -0.1), (-1.1, -0.42)]
)
_HAIR = np.array([(-0.125, 0.02), (-0.12, -0.12), (0.0, -0.18), (0.12, -0.12), (0.125, -0.02), (0.03, -0.08)])


def blob(dice: Dice) -> list[Part]:
    """A lump with patches and smaller lumps on it."""
    outline = fourier_blob(dice.rng, dice.free(0.1, 1.1)) * (0.95, dice.free(0.4, 1.0))
    parts = [Part.of(outline, any_material(dice), dice.free(0.2, 1.0))]
    for _ in range(dice.count(0, 4)):
        lump = fourier_blob(dice.rng, 0.5) * dice.free(0.1, 0.4) + dice.rng.uniform(-0.35, 0.35, 2)
        parts.append(Part.of(lump, any_material(dice), dice.free(0.0, 0.9)))
    return parts


def quadruped(dice: Dice) -> list[Part]:
    """A four-legged animal of any build: dog, cow, horse, cat, sheep, or none of them."""
    coat = any_material(dice)
    long, deep = dice.free(0.35, 0.7), dice.free(0.16, 0.4)
    tall, thick = dice.free(0.3, 0.9), dice.free(0.04, 0.11)
    legs = []
    for x in (-0.8, 0.8, -0.65, 0.7):
        heading = _DOWN + dice.free(-0.4, 0.4)
        joints = chain((x * long, 0.4 * deep), [heading, heading + dice.free(-0.3, 0.5)], tall / 2)
        legs.append(limb(joints, [1.5 * thick, thick, 0.8 * thick]))
    tail = chain((-long, -0.3 * deep), dice.free(1.2, 3.8) + dice.free(-0.5, 0.5) * np.arange(3), 0.18)
    neck = chain((0.85 * long, -0.3 * deep), [dice.free(-1.5, -0.1)] * 2, dice.free(0.1, 0.35))
    size = dice.free(0.1, 0.24)
    return [
        *(Part.of(leg, coat.shaded(0.35)) for leg in legs[:2]),
        Part.of(limb(tail, thick * np.array([0.5, 0.45, 0.4, 0.2])), coat.shaded(0.1), 0.5),
        Part.of(smooth(_TRUNK * (long, deep)), coat, 0.95),
        *(Part.of(leg, coat, 0.7) for leg in legs[2:]),
        Part.of(limb(neck, [0.75 * deep, 0.8 * size, 0.8 * size]), coat, 0.8),
        *_animal_head(dice, coat, neck[-1], size),
    ]


def _animal_head(dice: Dice, coat: Material, at: np.ndarray, size: float) -> list[Part]:
    nose = np.array([(0.0, 0.0), (dice.free(0.8, 1.8), dice.free(0.0, 0.8))])
    ears = [np.array([(0.5 * side, -0.5), (0.9 * side, -dice.free(0.6, 1.8))]) for side in (-1.0, 0.4)]
    muzzle = coat if dice.chance(0.6) else any_material(dice)
    return [
        Part.of(ellipse(at, (1.1 * size, size)), coat, 0.8),
        Part.of(limb(at + size * nose, [0.75 * size, 0.45 * size]), muzzle, 0.8),
        Part(tuple(limb(at + size * ear, [0.35 * size, 0.12 * size]) for ear in ears), coat.shaded(0.2)),
        Part.flat(PUPIL, ellipse(shifted(at, 0.4 * size, -0.2 * size), (0.13 * size, 0.13 * size), count=10)),
    ]


def person(dice: Dice) -> list[Part]:
    """A person in clothes of different materials, with arms and legs in any posture."""
    skin = Material(dice.colour((0.03, 0.09), (0.25, 0.65), (0.3, 0.95)), grain=0.1, gloss=0.2)
    hair = Material(dice.colour((0.0, 0.12), (0.1, 0.7), (0.05, 0.6)), grain=0.5)
    shirt, trousers, shoes = any_material(dice), any_material(dice), any_material(dice)
    sleeve = shirt.shaded(0.1) if dice.chance(0.6) else skin
    stout, head = dice.free(0.8, 1.4), np.array([dice.free(-0.05, 0.05), -0.72])
    legs = [part for side in (-1, 1) for part in _person_leg(dice, side, stout, trousers, shoes)]
    left, right = (_person_arm(dice, side, stout, sleeve, skin) for side in (-1, 1))
    return [
        *left,
        *legs,
        Part.of(limb([(0.0, -0.5), head], [0.07, 0.07]), skin.shaded(0.15), 0.5),
        Part.of(smooth(_TORSO * (0.2 * stout, 1.0)), shirt, 0.8),
        Part.of(ellipse(head, (0.115, 0.15)), skin, 0.8),
        Part.of(smooth(_HAIR + head), hair, 0.5),
        *right,
    ]


def _person_leg(dice: Dice, side: int, stout: float, trousers: Material, shoes: Material) -> list[Part]:
    heading = _DOWN - side * dice.free(-0.25, 0.5)
    joints = chain((0.09 * side * stout, 0.12), [heading, heading + dice.free(-0.9, 0.9)], dice.free(0.3, 0.42))
    shoe = limb([joints[-1], shifted(joints[-1], 0.13, 0.03)], [0.055, 0.05])
    return [Part.of(limb(joints, [0.11 * stout, 0.09 * stout, 0.06]), trousers, 0.7), Part.of(shoe, shoes)]


def _person_arm(dice: Dice, side: int, stout: float, sleeve: Material, skin: Material) -> list[Part]:
    heading = _DOWN - side * dice.free(-0.3, 2.6)
    headings = [heading, heading - side * dice.free(-0.4, 1.6)]
    joints = chain((0.17 * side * stout, -0.42), headings, dice.free(0.22, 0.3))
    hand = ellipse(joints[-1], (0.055, 0.05), count=12)
    return [Part.of(limb(joints, [0.07 * stout, 0.055, 0.045]), sleeve, 0.7), Part.of(hand, skin, 0.5)]


def bird(dice: Dice) -> list[Part]:
    """A perched bird with a folded or a raised wing."""
    coat, plumes = any_material(dice), any_material(dice)
    lean, lift, size = dice.free(-0.9, 0.1), dice.free(-1.0, 0.25), dice.free(0.14, 0.24)
    head = np.array([0.5, -0.35 + 0.35 * lean])
    legs = tuple(limb([(x, 0.2), (x + 0.05, 0.75), (x + 0.18, 0.78)], [0.025] * 3) for x in (-0.05, 0.12))
    body = [(0.55, -0.3 + 0.2 * lean), (0.1, -0.3), (-0.5, -0.08), (-0.4, 0.22), (0.1, 0.38), (0.5, 0.1)]
    tail = np.array([(-0.45, -0.05), (-1.0, dice.free(-0.4, 0.4)), (-0.95, dice.free(0.1, 0.5)), (-0.4, 0.2)])
    wing = [(0.3, -0.12), (-0.1, -0.25 + 0.4 * lift), (-0.7, 0.15 + lift), (-0.35, 0.2), (0.1, 0.15)]
    beak = head + size * np.array([(0.6, -0.35), (dice.free(1.5, 3.0), 0.2), (0.5, 0.4)])
    return [
        Part(legs, any_material(dice), 0.4),
        Part.of(tail, plumes.shaded(0.2), 0.3),
        Part.of(smooth(body), coat, 0.9),
        Part.of(limb([(0.35, -0.1), head], [0.2, size], 3), coat, 0.8),
        Part.of(beak, Material(dice.colour((0.02, 0.15)), grain=0.1), 0.5),
        Part.of(ellipse(head, (size, 0.95 * size)), coat if dice.chance(0.5) else plumes, 0.8),
        Part.flat(PUPIL, ellipse(shifted(head, 0.35 * size, -0.15 * size), (0.14 * size, 0.14 * size), count=10)),
        Part.of(smooth(wing), plumes),
    ]


def plant(dice: Dice) -> list[Part]:
    """A pot of long or broad leaves, perhaps with blossoms."""
    tone = dice.colour((0.12, 0.42), (0.25, 0.8), (0.2, 0.75))
    half = dice.free(0.24, 0.48)
    parts = []
    for _ in range(dice.count(8, 18)):
        heading, bend = dice.free(-2.9, -0.25), dice.free(-0.4, 0.4)
        stem = chain((0.0, 0.2), heading + bend * np.arange(3), dice.free(0.16, 0.4))
        leaf = Material(darker(tone, dice.free(0.0, 0.55)), grain=0.25, gloss=0.2)
        parts.append(Part.of(limb(stem, [0.015, 0.02, dice.free(0.05, 0.16), 0.015]), leaf))
        if dice.chance(0.15):
            petals = Material(dice.colour(saturation=(0.4, 1.0), value=(0.6, 1.0)), grain=0.2)
            parts.append(Part.of(ellipse(stem[-1], (0.1, 0.08)), petals, 0.7))
    pot = np.array([(-half, 0.2), (half, 0.2), (0.7 * half, 0.85), (-0.7 * half, 0.85)])
    rim = limb([(0.04 - half, 0.23), (half - 0.04, 0.23)], [0.05, 0.05], 2)
    return [*parts, Part.of(pot, any_material(dice), 0.8), Part.of(rim, any_material(dice), 0.5)]


CREATURES: tuple[Builder, ...] = (blob, quadruped, quadruped, person, person, bird, plant)
