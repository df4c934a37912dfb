"""What lies about in a scene without a label: stones, posts, tufts and junk."""

from __future__ import annotations

import numpy as np

from datasets.scenes.dice import Dice
from datasets.scenes.geometry import chain, fourier_blob, limb, rounded, shifted
from datasets.scenes.materials import Material, any_material
from datasets.scenes.rendering import Builder, Part
from datasets.scenes.textures import darker, lighter

_SQUARE = np.array([(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)])


def rock(dice: Dice) -> list[Part]:
    """A stone with a lighter top."""
    tone = dice.colour((0.03, 0.6), (0.0, 0.25), (0.3, 0.7))
    outline = fourier_blob(dice.rng, 0.5) * (0.9, dice.free(0.45, 0.75))
    stone = Material(tone, darker(tone, 0.3), "patches", 0.15, 0.45)
    top = Part.of(shifted(0.72 * outline, -0.08, -0.14), Material(lighter(tone, 0.12), grain=0.4), 0.3)
    return [Part.of(outline, stone, 0.9), top]


def post(dice: Dice) -> list[Part]:
    """A pole or stake, perhaps with a sign on it."""
    lean, thick = dice.free(-0.2, 0.2), dice.free(0.04, 0.1)
    parts = [Part.of(limb([(0.0, 1.0), (lean, -1.0)], [thick, thick], 2), any_material(dice), 0.8)]
    if dice.chance(0.4):
        board = rounded(shifted(_SQUARE * (0.4, 0.25), lean, -0.75), 0.08)
        parts.append(Part.of(board, any_material(dice), 0.2))
    return parts


def tuft(dice: Dice) -> list[Part]:
    """Long leaves that grow from one point."""
    tone = dice.colour((0.12, 0.4), (0.3, 0.8), (0.25, 0.7))
    parts = []
    for _ in range(dice.count(5, 11)):
        heading, bend = dice.free(-2.7, -0.45), dice.free(-0.35, 0.35)
        blade = chain((0.0, 0.8), heading + bend * np.arange(3), dice.free(0.35, 0.6))
        leaf = Material(darker(tone, dice.free(0.0, 0.5)), grain=0.3)
        parts.append(Part.of(limb(blade, [0.02, 0.1, 0.08, 0.01]), leaf, 0.5))
    return parts


def junk(dice: Dice) -> list[Part]:
    """Lumps, plates and bars of different materials stuck together."""
    shapes = (_lump, _plate, _bar)
    return [
        Part.of(dice.pick(shapes)(dice) + dice.rng.uniform(-0.3, 0.3, 2), any_material(dice), dice.free(0.2, 0.9))
        for _ in range(dice.count(2, 5))
    ]


def _lump(dice: Dice) -> np.ndarray:
    return fourier_blob(dice.rng, 0.6) * dice.free(0.25, 0.6)


def _plate(dice: Dice) -> np.ndarray:
    return rounded(_SQUARE * dice.rng.uniform(0.12, 0.6, 2), 0.05, 2)


def _bar(dice: Dice) -> np.ndarray:
    return limb(chain((0.0, 0.0), dice.free(0.0, 6.3) + dice.free(-0.6, 0.6) * np.arange(3), 0.35), [0.08] * 4)


CLUTTER: tuple[Builder, ...] = (rock, post, tuft, junk)
