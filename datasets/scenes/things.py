"""Made things of any kind: furniture, vehicles, vessels and frames with holes."""

from __future__ import annotations

import numpy as np

from datasets.scenes.clutter import fragments, material
from datasets.scenes.creatures import CREATURES
from datasets.scenes.dice import Dice
from datasets.scenes.geometry import chain, ellipse, fourier_blob, limb, quads, ring, rounded, smooth
from datasets.scenes.rendering import Builder, Material, Part
from datasets.scenes.vehicles import GLASS, wheel
from datasets.scenes.textures import darker, lighter


def bicycle(dice: Dice) -> list[Part]:
    """A bicycle: open wheels, thin tubes, saddle and bars."""
    tube, radius, thick = material(dice), dice.free(0.3, 0.42), dice.free(0.018, 0.035)
    hubs = [np.array([-0.58, 0.3]), np.array([0.58, 0.3])]
    crank, seat, bars = np.array([-0.08, 0.32]), np.array([-0.25, -0.25]), np.array([0.4, -0.3])
    lines = [(hubs[0], crank), (hubs[0], seat), (crank, seat), (crank, bars), (seat, bars), (bars, hubs[1])]
    frame = tuple(limb(line, [thick, thick], 1) for line in lines)
    tyres = tuple(
        ring(ellipse(tuple(hub), (radius,) * 2, count=40), ellipse(tuple(hub), (radius - 0.05,) * 2, count=40))
        for hub in hubs
    )
    spokes = [
        limb([hub, hub + radius * np.array([np.cos(t), np.sin(t)])], [0.005] * 2, 1)
        for hub in hubs
        for t in np.arange(0, 6.28, 0.52)
    ]
    grip = limb(chain(tuple(bars), [dice.free(-1.8, -0.8), dice.free(-0.4, 0.9)], 0.13), [0.025] * 3)
    return [
        Part.flat(dice.colour(saturation=(0.0, 0.1)), *spokes),
        Part(tyres, Material((30.0, 30.0, 32.0)), 0.6),
        Part(frame, tube, 0.7),
        Part(tuple(ellipse(tuple(hub), (0.05, 0.05)) for hub in (*hubs, crank)), material(dice), 0.5),
        Part.of(limb([seat + (-0.14, -0.06), seat + (0.12, -0.05)], [0.06, 0.03]), material(dice), 0.6),
        Part.of(grip, material(dice), 0.5),
    ]


def chair(dice: Dice) -> list[Part]:
    """A chair, a stool or a table, with legs that one can see between."""
    wood, cover = material(dice), material(dice)
    wide, deep, seat = dice.free(0.4, 0.95), dice.free(0.1, 0.25), dice.free(-0.1, 0.2)
    slant, thick = dice.free(-0.25, 0.25), dice.free(0.025, 0.06)
    feet = [(-wide, seat + deep), (wide, seat + deep), (-wide + slant, seat - deep), (wide + slant, seat - deep)]
    legs = [limb([(x * 0.95, y), (x, y + 0.7)], [thick, thick], 1) for x, y in feet]
    board = rounded([feet[2], feet[3], feet[1], feet[0]], 0.05, 2)
    parts = [Part(tuple(legs[2:]), wood.shaded(0.35), 0.5)]
    if dice.chance(0.65):
        top = seat - deep - dice.free(0.5, 0.9)
        back = [(-wide + slant, top), (wide + slant, top), feet[3], feet[2]]
        if dice.chance(0.5):
            slats = tuple(quads(back, dice.count(3, 6), dice.free(0.3, 0.7)))
            rail = limb([back[0], back[1]], [thick, thick], 2)
            parts.append(Part((*slats, rail), wood.shaded(0.1), 0.5))
        else:
            parts.append(Part.of(rounded(back, 0.08), cover.shaded(0.1), 0.5))
    parts.append(Part.of(board + np.float32([0.0, 0.06]), wood.shaded(0.3), 0.2))
    parts.append(Part.of(board, cover, 0.5))
    parts.append(Part(tuple(legs[:2]), wood, 0.6))
    return parts


def crate(dice: Dice) -> list[Part]:
    """A box in perspective with panes, drawers or a screen: cupboard, bus, television, parcel."""
    skin = material(dice)
    wide, tall = dice.free(0.35, 0.85), dice.free(0.25, 0.75)
    right, up = dice.free(0.1, 0.5), dice.free(0.05, 0.3)
    front = np.float32([(-wide, -tall), (wide, -tall), (wide, tall), (-wide, tall)]) - np.float32([right / 2, -up / 2])
    back = np.float32([right, -up])
    side = np.stack([front[1], front[1] + back, front[2] + back, front[2]])
    lid = np.stack([front[0] + back, front[1] + back, front[1], front[0]])
    parts = [
        Part.of(lid, Material(lighter(skin.colour, 0.2), skin.second, skin.pattern, skin.scale, skin.grain), 0.1),
        Part.of(side, skin.shaded(dice.free(0.25, 0.55)), 0.1),
        Part.of(front, skin, 0.15),
    ]
    rows = dice.count(0, 3)
    inlay = Material(GLASS, grain=0.2, gloss=0.5) if dice.chance(0.5) else material(dice)
    step = 2 * tall / max(rows, 1)
    for row in range(rows):
        low = front[0, 1] + row * step
        face = [(front[0, 0] + 0.06, low + 0.15 * step), (front[1, 0] - 0.06, low + 0.15 * step),
                (front[1, 0] - 0.06, low + 0.8 * step), (front[0, 0] + 0.06, low + 0.8 * step)]  # fmt: skip
        panes = quads(face, dice.count(1, 5), 0.2)
        parts.append(Part(tuple(panes), inlay, 0.2))
    if dice.chance(0.35):
        rim = dice.colour(saturation=(0.0, 0.2))
        for x in (-0.6 * wide, 0.5 * wide):
            parts += wheel((x, front[2, 1]), dice.free(0.12, 0.18), rim)
    return parts


def vessel(dice: Dice) -> list[Part]:
    """A bottle, vase, jug or cup: a turned profile with a label, a lid and perhaps a handle."""
    heights = np.linspace(-1.0, 1.0, 6)
    widths = np.array([dice.free(0.08, 0.3), dice.free(0.08, 0.35), *(dice.free(0.2, 0.55) for _ in range(4))])
    left = smooth(np.stack([-widths, heights], 1), closed=False)
    profile = np.concatenate([left, (left * (-1.0, 1.0))[::-1]]).astype(np.float32)
    base = material(dice)
    glaze = Material(base.colour, base.second, base.pattern, base.scale, base.grain, dice.free(0.3, 1.0))
    parts = []
    if dice.chance(0.35):
        reach = widths[2] + dice.free(0.15, 0.35)
        outer, inner = ((reach - t, 0.45 - t) for t in (0.0, 0.08))
        parts.append(Part.of(ring(ellipse((0.15, 0.0), outer), ellipse((0.15, 0.0), inner)), glaze.shaded(0.15), 0.7))
    parts.append(Part.of(profile, glaze, 1.0))
    if dice.chance(0.6):
        low, high = dice.free(-0.2, 0.2), dice.free(0.35, 0.75)
        inside = (profile[:, 1] > low) & (profile[:, 1] < high)
        if inside.sum() > 4:
            parts.append(Part.of(profile[inside], material(dice), 0.7))
    if dice.chance(0.6):
        cap = rounded(
            [
                (-widths[0] - 0.02, -1.12),
                (widths[0] + 0.02, -1.12),
                (widths[0] + 0.02, -0.95),
                (-widths[0] - 0.02, -0.95),
            ],
            0.1,
        )
        parts.append(Part.of(cap, material(dice), 0.7))
    return parts


def sofa(dice: Dice) -> list[Part]:
    """Upholstered seats: a back, arms, cushions and short legs."""
    cloth, cushion = material(dice), material(dice)
    wide, tall = dice.free(0.5, 0.95), dice.free(0.35, 0.7)

    def pad(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
        return rounded([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], 0.14)

    feet = tuple(limb([(x, 0.4), (x, 0.55)], [0.035] * 2, 1) for x in (-0.85 * wide, 0.85 * wide))
    seats = quads(
        [(-wide + 0.1, -0.08), (wide - 0.1, -0.08), (wide - 0.1, 0.2), (-wide + 0.1, 0.2)], dice.count(1, 3), 0.03
    )
    parts = [
        Part(feet, material(dice), 0.4),
        Part.of(pad(-wide, -tall, wide, 0.3), cloth.shaded(0.1), 0.8),
        Part(tuple(rounded(seat, 0.1) for seat in seats), cloth, 0.7),
        Part.of(pad(-wide, 0.14, wide, 0.45), cloth.shaded(0.12), 0.6),
        Part((pad(-wide - 0.08, -0.2, -wide + 0.14, 0.46), pad(wide - 0.14, -0.2, wide + 0.08, 0.46)), cloth, 0.8),
    ]
    for _ in range(dice.count(0, 2)):
        x = dice.free(-0.7, 0.4) * wide
        parts.append(Part.of(pad(x, -0.3, x + 0.32, 0.02), cushion, 0.9))
    return parts


def truss(dice: Dice) -> list[Part]:
    """Rods between random points, some of them bent: scaffolds, racks, branches."""
    knots = dice.rng.uniform(-0.85, 0.85, (dice.count(4, 7), 2))
    thick, rod = dice.free(0.02, 0.07), material(dice)
    rods = []
    for first, second in zip(knots, np.roll(knots, -1, axis=0), strict=True):
        bend = (first + second) / 2 + dice.rng.normal(0, 0.1, 2)
        rods.append(limb([first, bend, second], [thick, thick, thick]))
    joints = tuple(ellipse(tuple(knot), (1.8 * thick,) * 2, count=14) for knot in knots)
    return [Part(tuple(rods), rod, 0.7), Part(joints, material(dice), 0.6)]


def plate(dice: Dice) -> list[Part]:
    """A flat polygon or blob with a hole and an inlay: signs, rings, tools, tiles."""
    count = dice.count(3, 8)
    turns = np.sort(dice.rng.uniform(0, 2 * np.pi, count)) if dice.chance(0.5) else np.arange(count) * 2 * np.pi / count
    corners = np.stack([np.cos(turns), np.sin(turns)], 1) * (0.95, dice.free(0.3, 0.95))
    outline = (
        rounded(corners, dice.free(0.02, 0.25)) if dice.chance(0.6) else fourier_blob(dice.rng, 0.8) * np.float32(0.8)
    )
    inside = (outline * np.float32(dice.free(0.3, 0.75))).astype(np.float32)
    surface = material(dice)
    if dice.chance(0.4):
        return [Part.of(ring(outline, inside), surface, 0.6)]
    inlay = Part.of(inside, material(dice), dice.free(0.0, 0.6))
    edge = Part.of(outline + np.float32([0.05, 0.07]), Material(darker(surface.colour, 0.5)), 0.2)
    return [edge, Part.of(outline, surface, 0.3), inlay]


THINGS: tuple[Builder, ...] = (
    *CREATURES, bicycle, chair, chair, crate, crate, vessel, sofa, truss, plate, fragments,
)  # fmt: skip
