"""Made things of any kind: furniture, vehicles, vessels, and frames that one can see through."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np

from datasets.scenes.clutter import junk
from datasets.scenes.creatures import CREATURES
from datasets.scenes.dice import Dice
from datasets.scenes.geometry import chain, ellipse, fourier_blob, limb, quads, ring, rounded, shifted, smooth
from datasets.scenes.materials import GLASS, RUBBER, Material, any_material
from datasets.scenes.rendering import Builder, Part
from datasets.scenes.textures import darker, lighter
from datasets.scenes.vehicles import wheel


def bicycle(dice: Dice) -> list[Part]:
    """A bicycle: open wheels, thin tubes, a saddle and bars."""
    thick = dice.free(0.018, 0.035)
    rear, front, crank = np.array([(-0.58, 0.3), (0.58, 0.3), (-0.08, 0.32)])
    seat, bars = np.array([(-0.25, -0.25), (0.4, -0.3)])
    lines = [(rear, crank), (rear, seat), (crank, seat), (crank, bars), (seat, bars), (bars, front)]
    grip = chain(bars, [dice.free(-1.8, -0.8), dice.free(-0.4, 0.9)], 0.13)
    hubs = tuple(ellipse(hub, (0.05, 0.05)) for hub in (rear, front, crank))
    return [
        *_open_wheels([rear, front], dice.free(0.3, 0.42), dice),
        Part(tuple(limb(line, [thick, thick], 1) for line in lines), any_material(dice), 0.7),
        Part(hubs, any_material(dice), 0.5),
        Part.of(limb([shifted(seat, -0.14, -0.06), shifted(seat, 0.12, -0.05)], [0.06, 0.03]), any_material(dice)),
        Part.of(limb(grip, [0.025] * 3), any_material(dice), 0.5),
    ]


def _open_wheels(hubs: list[np.ndarray], radius: float, dice: Dice) -> list[Part]:
    inner = radius - 0.05
    turns = np.arange(0.0, 6.28, 0.52)
    rims = radius * np.stack([np.cos(turns), np.sin(turns)], axis=1)
    spokes = (limb([hub, hub + rim], [0.005, 0.005], 1) for hub in hubs for rim in rims)
    tyres = tuple(
        ring(ellipse(hub, (radius, radius), count=40), ellipse(hub, (inner, inner), count=40)) for hub in hubs
    )
    return [Part.flat(dice.colour(saturation=(0.0, 0.1)), *spokes), Part(tyres, RUBBER)]


def chair(dice: Dice) -> list[Part]:
    """A chair, a stool or a table; one can see between its legs."""
    wood, cover = any_material(dice), any_material(dice)
    wide, deep, seat = dice.free(0.4, 0.95), dice.free(0.1, 0.25), dice.free(-0.1, 0.2)
    slant, thick = dice.free(-0.25, 0.25), dice.free(0.025, 0.06)
    front = [(-wide, seat + deep), (wide, seat + deep)]
    rear = [(slant - wide, seat - deep), (slant + wide, seat - deep)]
    near, far = (tuple(limb([(0.95 * x, y), (x, y + 0.7)], [thick, thick], 1) for x, y in row) for row in (front, rear))
    board = rounded([*rear, *front[::-1]], 0.05, 2)
    return [
        Part(far, wood.shaded(0.35), 0.5),
        *(_back_rest(dice, rear, thick, wood, cover) if dice.chance(0.65) else []),
        Part.of(shifted(board, 0.0, 0.06), wood.shaded(0.3), 0.2),
        Part.of(board, cover, 0.5),
        Part(near, wood),
    ]


def _back_rest(
    dice: Dice, foot: list[tuple[float, float]], thick: float, wood: Material, cover: Material
) -> list[Part]:
    """An upholstered back, or one of slats, over the two corners `foot`."""
    top = foot[0][1] - dice.free(0.5, 0.9)
    corners = [(foot[0][0], top), (foot[1][0], top), foot[1], foot[0]]
    if dice.chance(0.5):
        return [Part.of(rounded(corners, 0.08), cover.shaded(0.1), 0.5)]
    rail = limb(corners[:2], [thick, thick], 2)
    return [Part((*quads(corners, dice.count(3, 6), dice.free(0.3, 0.7)), rail), wood.shaded(0.1), 0.5)]


def crate(dice: Dice) -> list[Part]:
    """A box in perspective with rows of panes: cupboard, bus, television, parcel."""
    skin = any_material(dice)
    wide, tall = dice.free(0.35, 0.85), dice.free(0.25, 0.75)
    right, up = dice.free(0.1, 0.5), dice.free(0.05, 0.3)
    away = np.array([right, -up])
    front = np.array([(-wide, -tall), (wide, -tall), (wide, tall), (-wide, tall)]) - away / 2
    side = np.stack([front[1], front[1] + away, front[2] + away, front[2]])
    lid = np.stack([front[0] + away, front[1] + away, front[1], front[0]])
    parts = [
        Part.of(lid, replace(skin, colour=lighter(skin.colour, 0.2)), 0.1),
        Part.of(side, skin.shaded(dice.free(0.25, 0.55)), 0.1),
        Part.of(front, skin, 0.15),
        *_pane_rows(dice, front),
    ]
    if dice.chance(0.35):
        rim, radius = dice.colour(saturation=(0.0, 0.2)), dice.free(0.12, 0.18)
        for share in (0.2, 0.75):
            parts += wheel((float(front[3, 0] + share * 2 * wide), float(front[3, 1])), radius, rim)
    return parts


def _pane_rows(dice: Dice, face: np.ndarray) -> list[Part]:
    inlay = Material(GLASS, grain=0.2, gloss=0.5) if dice.chance(0.5) else any_material(dice)
    left, right = face[0, 0] + 0.06, face[1, 0] - 0.06
    edges = np.linspace(face[0, 1], face[3, 1], dice.count(0, 3) + 1)
    parts = []
    for top, bottom in pairwise(edges.tolist()):
        high, low = top + 0.15 * (bottom - top), top + 0.8 * (bottom - top)
        panes = quads([(left, high), (right, high), (right, low), (left, low)], dice.count(1, 5), 0.2)
        parts.append(Part(tuple(panes), inlay, 0.2))
    return parts


def vessel(dice: Dice) -> list[Part]:
    """A bottle, vase, jug or cup: a turned profile with a label, a lid and perhaps a handle."""
    widths = np.array([dice.free(0.08, 0.3), dice.free(0.08, 0.35), *dice.rng.uniform(0.2, 0.55, 4)])
    left = smooth(np.stack([-widths, np.linspace(-1.0, 1.0, 6)], axis=1), closed=False)
    profile = np.concatenate([left, (left * (-1.0, 1.0))[::-1]])
    glaze = replace(any_material(dice), gloss=dice.free(0.3, 1.0))
    parts = [Part.of(profile, glaze, 1.0)]
    if dice.chance(0.35):
        reach = widths[2] + dice.free(0.15, 0.35)
        handle = ring(ellipse((0.15, 0.0), (reach, 0.45)), ellipse((0.15, 0.0), (reach - 0.08, 0.37)))
        parts.insert(0, Part.of(handle, glaze.shaded(0.15), 0.7))
    if dice.chance(0.6):
        low, high = dice.free(-0.2, 0.2), dice.free(0.35, 0.75)
        label = profile[(profile[:, 1] > low) & (profile[:, 1] < high)]
        parts += [Part.of(label, any_material(dice), 0.7)] if len(label) > 4 else []
    if dice.chance(0.6):
        cap = limb([(-widths[0], -1.04), (widths[0], -1.04)], [0.08, 0.08], 1)
        parts.append(Part.of(cap, any_material(dice), 0.7))
    return parts


def sofa(dice: Dice) -> list[Part]:
    """Upholstered seats: a back, arms, cushions and short legs."""
    cloth, cushion = any_material(dice), any_material(dice)
    wide, tall = dice.free(0.5, 0.95), dice.free(0.35, 0.7)
    feet = tuple(limb([(x, 0.4), (x, 0.55)], [0.035, 0.035], 1) for x in (-0.85 * wide, 0.85 * wide))
    seats = tuple(
        rounded(seat, 0.1) for seat in quads(_pad(0.1 - wide, -0.08, wide - 0.1, 0.2), dice.count(1, 3), 0.03)
    )
    arms = tuple(rounded(_pad(x - 0.11, -0.2, x + 0.11, 0.46)) for x in (0.03 - wide, wide - 0.03))
    parts = [
        Part(feet, any_material(dice), 0.4),
        Part.of(rounded(_pad(-wide, -tall, wide, 0.3)), cloth.shaded(0.1), 0.8),
        Part(seats, cloth, 0.7),
        Part.of(rounded(_pad(-wide, 0.14, wide, 0.45)), cloth.shaded(0.12)),
        Part(arms, cloth, 0.8),
    ]
    for _ in range(dice.count(0, 2)):
        x = dice.free(-0.7, 0.4) * wide
        parts.append(Part.of(rounded(_pad(x, -0.3, x + 0.32, 0.02)), cushion, 0.9))
    return parts


def _pad(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])


def truss(dice: Dice) -> list[Part]:
    """Rods between random points, some of them bent: scaffolds, racks, branches."""
    knots = dice.rng.uniform(-0.85, 0.85, (dice.count(4, 7), 2))
    thick = dice.free(0.02, 0.07)
    following = np.roll(knots, -1, axis=0)
    bends = (knots + following) / 2 + dice.rng.normal(0, 0.1, knots.shape)
    rods = tuple(limb(np.stack(joints), [thick] * 3) for joints in zip(knots, bends, following))
    joints = tuple(ellipse(knot, (1.8 * thick, 1.8 * thick), count=14) for knot in knots)
    return [Part(rods, any_material(dice), 0.7), Part(joints, any_material(dice))]


def plate(dice: Dice) -> list[Part]:
    """A flat polygon or blob with an inlay or a hole: signs, rings, tools, tiles."""
    count = dice.count(3, 8)
    turns = np.sort(dice.rng.uniform(0.0, 1.0, count)) if dice.chance(0.5) else np.arange(count) / count
    corners = np.stack([np.cos(2 * np.pi * turns), np.sin(2 * np.pi * turns)], axis=1) * (0.95, dice.free(0.3, 0.95))
    outline = rounded(corners, dice.free(0.02, 0.25)) if dice.chance(0.6) else 0.8 * fourier_blob(dice.rng, 0.8)
    inside, surface = outline * dice.free(0.3, 0.75), any_material(dice)
    if dice.chance(0.4):
        return [Part.of(ring(outline, inside), surface)]
    edge = Part.of(shifted(outline, 0.05, 0.07), Material(darker(surface.colour, 0.5)), 0.2)
    return [edge, Part.of(outline, surface, 0.3), Part.of(inside, any_material(dice), dice.free(0.0, 0.6))]


THINGS: tuple[Builder, ...] = (
    *CREATURES, bicycle, chair, chair, crate, crate, vessel, sofa, truss, plate, junk,
)  # fmt: skip
