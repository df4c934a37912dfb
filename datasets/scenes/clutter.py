"""Clutter: stones, posts, plants and junk that lie about in a scene without a label."""

from __future__ import annotations

import numpy as np

from datasets.scenes.dice import Dice
from datasets.scenes.geometry import chain, fourier_blob, limb, rounded
from datasets.scenes.rendering import Builder, Material, Part
from datasets.scenes.textures import darker, lighter


def material(dice: Dice) -> Material:
    """Any surface: plain or patterned, dull or glossy."""
    first = dice.colour(saturation=(0.0, 0.9), value=(0.12, 1.0))
    name = dice.pick([None, None, None, "stripes", "bands", "spots", "patches", "checks"])
    second = dice.colour(value=(0.05, 1.0)) if dice.chance(0.5) else darker(first, dice.free(0.3, 0.8))
    shine = dice.free(0.0, 1.0) if dice.chance(0.4) else 0.0
    return Material(first, second, name, dice.free(0.03, 0.25), dice.free(0.04, 0.6), shine)


def rock(dice: Dice) -> list[Part]:
    """A stone with a lighter top."""
    tone = dice.colour((0.03, 0.6), (0.0, 0.25), (0.3, 0.7))
    outline = fourier_blob(dice.rng, 0.5) * (0.9, dice.free(0.45, 0.75))
    cap = outline * 0.72 + (-0.08, -0.14)
    stone = Material(tone, darker(tone, 0.3), "patches", 0.15, 0.45)
    return [Part.of(outline, stone, 0.9), Part.of(cap, Material(lighter(tone, 0.12), grain=0.4), 0.3)]


def post(dice: Dice) -> list[Part]:
    """A pole or stake, perhaps with a sign on it."""
    lean = dice.free(-0.2, 0.2)
    parts = [Part.of(limb([(0.0, 1.0), (lean, -1.0)], [dice.free(0.04, 0.1)] * 2, 2), material(dice), 0.8)]
    if dice.chance(0.4):
        board = rounded([(lean - 0.4, -1.0), (lean + 0.4, -1.0), (lean + 0.4, -0.5), (lean - 0.4, -0.5)], 0.08)
        parts.append(Part.of(board, material(dice), 0.2))
    return parts


def leaves(dice: Dice) -> list[Part]:
    """A tuft of long leaves growing from one point."""
    tone = dice.colour((0.12, 0.4), (0.3, 0.8), (0.25, 0.7))
    parts = []
    for _ in range(dice.count(5, 11)):
        turn, bend = dice.free(-2.7, -0.45), dice.free(-0.35, 0.35)
        blade = chain((0.0, 0.8), turn + bend * np.arange(3), dice.free(0.35, 0.6))
        leaf = Material(darker(tone, dice.free(0.0, 0.5)), grain=0.3)
        parts.append(Part.of(limb(blade, [0.02, 0.1, 0.08, 0.01]), leaf, 0.5))
    return parts


def fragments(dice: Dice) -> list[Part]:
    """Junk: blobs, plates and bars of different materials stuck together."""
    parts = []
    for _ in range(dice.count(2, 5)):
        at = dice.rng.uniform(-0.3, 0.3, 2)
        kind = dice.count(0, 2)
        if kind == 0:
            shape = fourier_blob(dice.rng, 0.6) * dice.free(0.25, 0.6) + at
        elif kind == 1:
            half = dice.rng.uniform(0.12, 0.6, 2)
            shape = rounded(np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * half + at, 0.05, 2)
        else:
            shape = limb(chain(tuple(at), dice.free(0, 6.3) + dice.free(-0.6, 0.6) * np.arange(3), 0.35), [0.08] * 4)
        parts.append(Part.of(shape.astype(np.float32), material(dice), dice.free(0.2, 0.9)))
    return parts


CLUTTER: tuple[Builder, ...] = (rock, post, leaves, fragments)
