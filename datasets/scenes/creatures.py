"""Living things of any kind: what teaches a segmenter shapes beyond the labelled five."""

from __future__ import annotations

import numpy as np

from datasets.scenes.clutter import material
from datasets.scenes.dice import Dice
from datasets.scenes.geometry import chain, ellipse, fourier_blob, limb, smooth
from datasets.scenes.rendering import Builder, Material, Part
from datasets.scenes.textures import darker


def blob(dice: Dice) -> list[Part]:
    """A lump with patches and smaller lumps on it."""
    outline = fourier_blob(dice.rng, dice.free(0.1, 1.1)) * (0.95, dice.free(0.4, 1.0))
    parts = [Part.of(outline.astype(np.float32), material(dice), dice.free(0.2, 1.0))]
    for _ in range(dice.count(0, 4)):
        inner = fourier_blob(dice.rng, 0.5) * dice.free(0.1, 0.4) + dice.rng.uniform(-0.35, 0.35, 2)
        parts.append(Part.of(inner.astype(np.float32), material(dice), dice.free(0.0, 0.9)))
    return parts


def creature(dice: Dice) -> list[Part]:
    """A four-legged animal of any build: dog, cow, horse, cat, sheep or none of them."""
    coat = material(dice)
    long, deep = dice.free(0.35, 0.7), dice.free(0.16, 0.4)
    tall, thick = dice.free(0.3, 0.9), dice.free(0.04, 0.11)
    legs = []
    for x in (-0.8 * long, 0.8 * long, -0.65 * long, 0.7 * long):
        turn = np.pi / 2 + dice.free(-0.4, 0.4)
        joints = chain((x, 0.4 * deep), [turn, turn + dice.free(-0.3, 0.5)], tall / 2)
        legs.append(limb(joints, [1.5 * thick, thick, 0.8 * thick]))
    neck = chain((0.85 * long, -0.3 * deep), [dice.free(-1.5, -0.1)] * 2, dice.free(0.1, 0.35))
    head, big = neck[-1], dice.free(0.1, 0.24)
    nose = head + np.array([dice.free(0.8, 1.8), dice.free(0.0, 0.8)]) * big
    tail = chain((-long, -0.3 * deep), dice.free(1.2, 3.8) + dice.free(-0.5, 0.5) * np.arange(3), 0.18)
    ears = [
        limb(
            [head + (s * 0.5 * big, -0.5 * big), head + (s * 0.9 * big, -dice.free(0.6, 1.8) * big)],
            [0.35 * big, 0.12 * big],
        )
        for s in (-1, 0.4)
    ]
    body = smooth(
        np.array([(-1, -0.5), (-0.4, -0.95), (0.4, -0.9), (1, -0.6), (1, 0.5), (0.3, 1), (-0.5, 0.85), (-1, 0.5)])
        * (long, deep)
    )
    return [
        *(Part.of(leg, coat.shaded(0.35), 0.6) for leg in legs[:2]),
        Part.of(limb(tail, [0.5 * thick, 0.45 * thick, 0.4 * thick, 0.2 * thick]), coat.shaded(0.1), 0.5),
        Part.of(body, coat, 0.95),
        *(Part.of(leg, coat, 0.7) for leg in legs[2:]),
        Part.of(limb(neck, [deep * 0.75, 0.8 * big, 0.8 * big]), coat, 0.8),
        Part.of(ellipse(tuple(head), (1.1 * big, big)), coat, 0.8),
        Part.of(limb([head, nose], [0.75 * big, 0.45 * big]), coat if dice.chance(0.6) else material(dice), 0.8),
        Part(tuple(ears), coat.shaded(0.2), 0.6),
        Part.flat((15.0, 12.0, 10.0), ellipse(tuple(head + (0.4 * big, -0.2 * big)), (0.13 * big,) * 2, count=10)),
    ]


def person(dice: Dice) -> list[Part]:
    """A person in clothes of different materials, in any posture of arms and legs."""
    skin = Material(dice.colour((0.03, 0.09), (0.25, 0.65), (0.3, 0.95)), grain=0.1, gloss=0.2)
    shirt, trousers, hair = (
        material(dice),
        material(dice),
        Material(dice.colour((0.0, 0.12), (0.1, 0.7), (0.05, 0.6)), grain=0.5),
    )
    down, stout = np.pi / 2, dice.free(0.8, 1.4)
    limbs: list[Part] = []
    for side in (-1, 1):
        turn = down - side * dice.free(-0.25, 0.5)
        leg = chain((side * 0.09 * stout, 0.12), [turn, turn + dice.free(-0.9, 0.9)], dice.free(0.3, 0.42))
        limbs.append(Part.of(limb(leg, [0.11 * stout, 0.09 * stout, 0.06]), trousers, 0.7))
        limbs.append(Part.of(limb([leg[-1], leg[-1] + (0.13, 0.03)], [0.055, 0.05]), material(dice), 0.6))
    arms: list[Part] = []
    for side in (-1, 1):
        turn = down - side * dice.free(-0.3, 2.6)
        arm = chain((side * 0.17 * stout, -0.42), [turn, turn - side * dice.free(-0.4, 1.6)], dice.free(0.22, 0.3))
        arms.append(
            Part.of(limb(arm, [0.07 * stout, 0.055, 0.045]), shirt.shaded(0.1) if dice.chance(0.6) else skin, 0.7)
        )
        arms.append(Part.of(ellipse(tuple(arm[-1]), (0.055, 0.05), count=12), skin, 0.5))
    torso = smooth(
        np.array(
            [
                (-0.5, -0.53),
                (0.5, -0.53),
                (1.1, -0.42),
                (0.85, -0.1),
                (0.95, 0.2),
                (-0.95, 0.2),
                (-0.85, -0.1),
                (-1.1, -0.42),
            ]
        )
        * (0.2 * stout, 1.0)
    )
    head = (dice.free(-0.05, 0.05), -0.72)
    return [
        *arms[:2], *limbs,
        Part.of(limb([(0.0, -0.5), head], [0.07, 0.07]), skin.shaded(0.15), 0.5),
        Part.of(torso, shirt, 0.8),
        Part.of(ellipse(head, (0.115, 0.15)), skin, 0.8),
        Part.of(smooth(np.array([(-0.125, 0.02), (-0.12, -0.12), (0.0, -0.18), (0.12, -0.12), (0.125, -0.02), (0.03, -0.08)]) + head), hair, 0.5),
        *arms[2:],
    ]  # fmt: skip


def bird(dice: Dice) -> list[Part]:
    """A perched bird with a folded or a raised wing."""
    coat, wing = material(dice), material(dice)
    lean, big = dice.free(-0.9, 0.1), dice.free(0.14, 0.24)
    head = np.array([0.5, -0.35 + 0.35 * lean])
    legs = [limb([(x, 0.2), (x + 0.05, 0.75), (x + 0.18, 0.78)], [0.025] * 3) for x in (-0.05, 0.12)]
    beak = [
        head + (0.6 * big, -0.35 * big),
        head + (dice.free(1.5, 3.0) * big, 0.2 * big),
        head + (0.5 * big, 0.4 * big),
    ]
    tail = [(-0.45, -0.05), (-1.0, dice.free(-0.4, 0.4)), (-0.95, dice.free(0.1, 0.5)), (-0.4, 0.2)]
    lift = dice.free(-1.0, 0.25)
    feathers = [(0.3, -0.12), (-0.1, -0.25 + 0.4 * lift), (-0.7, 0.15 + lift), (-0.35, 0.2), (0.1, 0.15)]
    body = [(0.55, -0.3 + 0.2 * lean), (0.1, -0.3), (-0.5, -0.08), (-0.4, 0.22), (0.1, 0.38), (0.5, 0.1)]
    return [
        Part(tuple(legs), material(dice), 0.4),
        Part.of(np.float32(tail), wing.shaded(0.2), 0.3),
        Part.of(smooth(body), coat, 0.9),
        Part.of(limb([(0.35, -0.1), head], [0.2, big], 3), coat, 0.8),
        Part.of(np.float32(beak), Material(dice.colour((0.02, 0.15)), grain=0.1), 0.5),
        Part.of(ellipse(tuple(head), (big, 0.95 * big)), coat if dice.chance(0.5) else wing, 0.8),
        Part.flat((12.0, 10.0, 10.0), ellipse(tuple(head + (0.35 * big, -0.15 * big)), (0.14 * big,) * 2, count=10)),
        Part.of(smooth(feathers), wing, 0.6),
    ]


def plant(dice: Dice) -> list[Part]:
    """A pot with leaves, long ones or bunches of round ones, and perhaps blossoms."""
    tone = dice.colour((0.12, 0.42), (0.25, 0.8), (0.2, 0.75))
    pot = np.float32([(-0.34, 0.2), (0.34, 0.2), (0.24, 0.85), (-0.24, 0.85)]) * (dice.free(0.7, 1.4), 1.0)
    parts = []
    for _ in range(dice.count(8, 18)):
        turn, reach = dice.free(-2.9, -0.25), dice.free(0.2, 0.5)
        stem = chain((0.0, 0.2), turn + dice.free(-0.4, 0.4) * np.arange(3), 0.8 * reach)
        leaf = Material(darker(tone, dice.free(0.0, 0.55)), grain=0.25, gloss=0.2)
        wide = dice.free(0.05, 0.16)
        parts.append(Part.of(limb(stem, [0.015, 0.02, wide, 0.015]), leaf, 0.6))
        if dice.chance(0.15):
            petals = Material(dice.colour(saturation=(0.4, 1.0), value=(0.6, 1.0)), grain=0.2)
            parts.append(Part.of(ellipse(tuple(stem[-1]), (0.1, 0.08)), petals, 0.7))
    return [
        *parts,
        Part.of(pot, material(dice), 0.8),
        Part.of(limb([pot[0] + (0.02, 0.03), pot[1] + (-0.02, 0.03)], [0.05, 0.05], 2), material(dice), 0.5),
    ]


CREATURES: tuple[Builder, ...] = (blob, creature, creature, person, person, bird, plant)
