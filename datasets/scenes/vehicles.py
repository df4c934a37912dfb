"""Cars, airliners and boats, built of parts of different materials.

All look to the right, are about two units long and turn around their middle. What `Dice.pose` draws differs between the
two pools; colours and materials do not.
"""

from __future__ import annotations

import math

import numpy as np

from datasets.scenes.dice import Dice
from datasets.scenes.geometry import ellipse, limb, quads, rounded, smooth
from datasets.scenes.materials import GLASS, RUBBER, Material
from datasets.scenes.rendering import Part, moved
from datasets.scenes.textures import Color, darker, lighter

_HEADLIGHT: Color = (250.0, 240.0, 200.0)
_TAIL_LIGHT: Color = (200.0, 30.0, 30.0)
_SPAR = Material((150.0, 120.0, 85.0), grain=0.1)


def wheel(centre: tuple[float, float], radius: float, rim: Color) -> list[Part]:
    """A tyre with a spoked rim."""
    spokes = []
    for turn in np.arange(5) * 2 * np.pi / 5 + 0.3:
        tip = (centre[0] + 0.5 * radius * math.cos(turn), centre[1] + 0.5 * radius * math.sin(turn))
        spokes.append(limb([centre, tip], [0.07 * radius, 0.12 * radius], steps=1))
    metal = Material(rim, grain=0.05, gloss=0.5)
    return [
        Part.of(ellipse(centre, (radius, radius)), RUBBER, 0.5),
        Part.of(ellipse(centre, (0.64 * radius, 0.64 * radius)), metal, 0.5),
        Part.flat(darker(rim, 0.65), *spokes),
        Part.flat(darker(rim, 0.35), ellipse(centre, (0.14 * radius, 0.14 * radius), count=12)),
    ]


def car(dice: Dice) -> list[Part]:
    """A car seen from its side: sedan, hatchback or van, as the lengths come out."""
    paint = Material(dice.colour(), grain=0.06, gloss=0.7)
    back, front = dice.pose(-0.95, -0.55), dice.pose(0.35, 0.75)
    belt, radius = dice.pose(-0.52, -0.42), dice.pose(0.17, 0.24)
    nose = [(front, belt - 0.02), (0.92, belt + 0.1), (1.0, -0.3), (0.98, -0.12)]
    body = rounded([(-0.96, -0.12), (-1.0, -0.2), (-0.98, belt), *nose], 0.14)
    sill = rounded([(-0.97, -0.2), (0.97, -0.2), (0.95, -0.1), (-0.94, -0.1)])
    doors = [limb([(x, belt + 0.03), (x, -0.18)], [0.008] * 2, 1) for x in (back + 0.3, front - 0.5)]
    far_wheels = tuple(ellipse((x, -0.25), (radius, radius)) for x in (-0.52, 0.68))
    parts = [
        Part(far_wheels, RUBBER, 0.3),
        *_cabin(dice, paint, back, front, belt),
        Part.of(body, paint, 0.8),
        Part.flat(darker(paint.colour, 0.55), *doors),
        Part.flat(darker(paint.colour, 0.7), sill),
        Part.flat(_HEADLIGHT, ellipse((0.92, belt + 0.17), (0.06, 0.045))),
        Part.flat(_TAIL_LIGHT, ellipse((-0.96, belt + 0.12), (0.035, 0.07))),
    ]
    if dice.chance(0.5):
        panel = limb([(-0.9, 0.5 * belt), (0.9, 0.5 * belt - 0.02)], [0.09, 0.06], 1)
        parts.insert(4, Part.of(panel, Material(dice.colour(), grain=0.1, gloss=0.4), 0.3))
    rim = dice.colour(saturation=(0.0, 0.1), value=(0.55, 0.9))
    for x in (-0.6, 0.6):
        arch = ellipse((x, -0.2), (1.16 * radius, 1.16 * radius))
        parts.append(Part.flat((20.0, 20.0, 22.0), arch))
        parts += wheel((x, 0.02 - radius), radius, rim)
    return moved(parts, (0.0, 0.45))


def _cabin(dice: Dice, paint: Material, back: float, front: float, belt: float) -> list[Part]:
    top, rake = dice.pose(-1.0, -0.72), dice.pose(0.12, 0.30)
    rear, fore = back + 0.4 * rake, front - rake
    shell = rounded([(rear, top), (fore, top), (front, belt + 0.1), (back, belt + 0.1)], 0.12)
    glass = [(rear + 0.05, top + 0.07), (fore - 0.03, top + 0.07), (front - 0.13, belt), (back + 0.09, belt)]
    panes = tuple(rounded(pane, 0.08, 2) for pane in quads(glass, dice.count(2, 3), 0.16))
    skin = Material(dice.colour(), grain=0.1, gloss=0.5) if dice.chance(0.4) else paint.shaded(0.08)
    parts = [Part.of(shell, skin, 0.5), Part(panes, Material(GLASS, grain=0.25, gloss=0.6), 0.35)]
    if dice.chance(0.35):
        middle = (rear + fore) / 2
        bags = rounded([(rear, top - 0.16), (middle, top - 0.2), (middle + 0.1, top + 0.03), (rear, top + 0.03)])
        rack = limb([(rear, top - 0.02), (fore, top - 0.02)], [0.02] * 2, 1)
        parts = [Part.of(bags, Material(dice.colour(), grain=0.35)), Part.of(rack, RUBBER, 0.2), *parts]
    return parts


def airplane(dice: Dice) -> list[Part]:
    """An airliner between a side view and a view from above, as the wings come out."""
    colour = dice.colour(saturation=(0.0, 0.35), value=(0.55, 1.0))
    accent = Material(dice.colour(saturation=(0.4, 0.95)), grain=0.05, gloss=0.3)
    metal = Material(darker(colour, dice.free(0.05, 0.35)), grain=0.1, gloss=0.3)
    r, sweep, fin = dice.pose(0.10, 0.16), dice.pose(0.15, 0.55), dice.pose(0.3, 0.5)
    near, far = dice.pose(0.35, 0.95), dice.pose(0.15, 0.85)
    rudder = [(-0.62, -0.5 * r), (-0.88, -r - fin), (-1.06, -r - fin), (-0.98, -0.2 * r)]
    return [
        Part.of(_wing(0.32, -0.4 * r, -far, sweep, 0.42), metal.shaded(0.2), 0.3),
        Part.of(_engine(0.32 - 0.4 * sweep, -0.4 * r - 0.4 * far), accent.shaded(0.25), 0.7),
        Part.of(_wing(-0.74, -0.3 * r, -0.4 * far, 0.5 * sweep, 0.2), metal.shaded(0.25), 0.3),
        Part.of(rounded(rudder, 0.06), accent, 0.4),
        *_fuselage(r, Material(colour, grain=0.05, gloss=0.5), accent),
        Part.of(_wing(-0.76, 0.1 * r, 0.42 * near, 0.5 * sweep, 0.2), metal.shaded(0.05), 0.4),
        Part.of(_engine(0.36 - 0.4 * sweep, 0.3 * r + 0.42 * near), accent, 0.8),
        Part.of(_wing(0.34, 0.3 * r, near, sweep, 0.46), metal, 0.5),
    ]


def _fuselage(r: float, skin: Material, accent: Material) -> list[Part]:
    above = [(1.0, 0.03), (0.86, -0.75 * r), (0.55, -r), (-0.4, -r), (-0.98, -0.45 * r)]
    below = [(-1.02, -0.1 * r), (-0.4, 0.9 * r), (0.55, r), (0.86, 0.8 * r)]
    line = [(0.93, 0.25 * r), (0.3, 0.35 * r), (-0.95, -0.1 * r)]
    ports = (ellipse((x, -0.3 * r), (0.016, 0.022), count=8) for x in np.linspace(-0.7, 0.7, 18))
    cockpit = [(0.80, -0.62 * r), (0.92, -0.28 * r), (0.84, -0.2 * r), (0.77, -0.28 * r)]
    return [
        Part.of(smooth(above + below), skin, 0.95),
        Part.of(limb(line, [0.14 * r, 0.2 * r, 0.12 * r]), accent, 0.0),
        Part.flat((40.0, 48.0, 60.0), *ports),
        Part.flat((30.0, 40.0, 55.0), rounded(cockpit, 0.1)),
    ]


def _wing(x: float, y: float, span: float, sweep: float, chord: float) -> np.ndarray:
    tip = x - sweep - 0.12
    corners = [(x, y), (tip, y + span), (tip - 0.35 * chord, y + span), (x - chord, y)]
    return rounded(corners, 0.05, 2)


def _engine(x: float, y: float) -> np.ndarray:
    return limb([(x + 0.12, y), (x - 0.1, y)], [0.065, 0.045], 2)


def watercraft(dice: Dice) -> list[Part]:
    """A boat: under sail, or with a wheelhouse, a funnel and a radar mast."""
    paint = Material(dice.colour(), grain=0.12, gloss=0.4)
    trim = dice.colour(saturation=(0.4, 0.95), value=(0.3, 0.9))
    bow, deep = dice.pose(0.28, 0.5), dice.pose(0.1, 0.22)
    deck = smooth([(-0.93, -0.24), (-0.4, -0.2), (0.3, -0.22), (1.0, -bow)], closed=False)
    keel = smooth([(0.62, deep), (0.0, deep + 0.03), (-0.85, deep)], closed=False)
    line = smooth([(0.69, 0.4 * deep), (0.0, 0.45 * deep), (-0.87, 0.4 * deep)], closed=False)
    rail = limb([(-0.95, -0.26), (-0.4, -0.22), (0.3, -0.24), (1.02, -bow - 0.02)], [0.025] * 4)
    ports = [ellipse((x, -0.1), (0.03, 0.03), count=10) for x in np.linspace(-0.6, 0.5, 5)]
    rig = _sails if dice.pose(0.0, 1.0) < 0.5 else _wheelhouse
    parts = [
        *rig(dice, trim, bow),
        Part.of(np.concatenate([deck, keel]), paint, 0.7),
        Part.of(np.concatenate([line, keel[::-1]]), Material(trim, grain=0.15), 0.25),
        Part.of(rail, Material(lighter(paint.colour, 0.5), grain=0.1), 0.3),
        Part.flat(darker(paint.colour, 0.7), *ports),
    ]
    return moved(parts, (0.0, 0.45))


def _sails(dice: Dice, trim: Color, bow: float) -> list[Part]:
    foot, top, belly = dice.pose(-0.1, 0.25), dice.pose(-1.75, -1.2), dice.pose(0.02, 0.2)
    white = dice.colour(saturation=(0.0, 0.3), value=(0.75, 1.0))
    cloth = Material(white, trim, "bands" if dice.chance(0.4) else None, 0.16, 0.12)
    boom = (foot - 0.8, -0.38 - 0.5 * belly)
    leech = [(foot - 0.03, top + 0.06), (foot - 0.4 - belly, 0.45 * top - 0.1), boom]
    main = np.concatenate([smooth(leech, closed=False), [(foot - 0.03, -0.36)]])
    luff = [(foot + 0.03, top + 0.2), (foot + 0.3 - belly, 0.5 * top), (foot + 0.12, -0.34)]
    jib = np.concatenate([smooth(luff, closed=False), [(0.97, -bow - 0.03)]])
    flag = rounded([(foot, top), (foot - 0.22, top + 0.05), (foot, top + 0.1)], 0.05)
    house = rounded([(-0.6, -0.38), (0.1, -0.36), (0.25, -0.2), (-0.65, -0.18)], 0.1)
    panes = quads([(-0.5, -0.33), (0.02, -0.32), (0.08, -0.26), (-0.5, -0.26)], 3, 0.3)
    return [
        Part.of(jib, Material(darker(white, 0.05), grain=0.12), 0.6),
        Part.of(limb([(foot, top), (foot, -0.2)], [0.014, 0.026], 1), _SPAR, 0.5),
        Part.of(main, cloth, 0.6),
        Part.of(limb([boom, (foot, -0.34)], [0.016, 0.02], 1), _SPAR, 0.5),
        Part.flat(trim, flag),
        Part.of(house, Material(lighter(trim, 0.6)), 0.6),
        Part.flat(GLASS, *panes),
    ]


def _wheelhouse(dice: Dice, trim: Color, bow: float) -> list[Part]:
    back, front, top = dice.pose(-0.7, -0.35), dice.pose(0.15, 0.4), dice.pose(-0.85, -0.62)
    white = Material(dice.colour(saturation=(0.0, 0.15), value=(0.75, 1.0)), grain=0.1)
    walls = [(back, top), (front - 0.1, top), (front, -0.18), (back, -0.18)]
    left, right, high, low = back + 0.08, front - 0.16, top + 0.08, top + 0.25
    panes = quads([(left, high), (right, high), (right + 0.04, low), (left, low)], 4, 0.3)
    door = [(back + 0.1, -0.42), (back + 0.24, -0.42), (back + 0.24, -0.18), (back + 0.1, -0.18)]
    funnel = [(back + 0.08, top - 0.28), (back + 0.28, top - 0.26), (back + 0.3, top), (back + 0.05, top)]
    roof = limb([(back - 0.04, top), (front - 0.05, top)], [0.04] * 2, 1)
    return [
        *_rigging(back + 0.35, top, top - dice.pose(0.3, 0.7), front, bow),
        Part.of(rounded(funnel, 0.05), Material(trim, grain=0.15), 0.7),
        Part.of(rounded(walls, 0.05, 2), white, 0.5),
        Part(tuple(panes), Material(GLASS, grain=0.2, gloss=0.4), 0.2),
        Part.of(roof, Material(trim, grain=0.1), 0.4),
        Part.flat(darker(white.colour, 0.5), rounded(door, 0.08, 2)),
    ]


def _rigging(x: float, top: float, mast: float, front: float, bow: float) -> list[Part]:
    """Mast at `x` with its stays and a crane, and the railing towards the bow."""
    posts = [limb([(at, -0.2), (at, -0.36)], [0.01] * 2, 1) for at in np.linspace(front + 0.1, 0.9, 4)]
    stays = [limb([(x, mast), end], [0.006] * 2, 1) for end in ((0.96, -bow), (-0.9, -0.24))]
    railing = limb([(front, -0.36), (0.97, -bow - 0.13)], [0.012] * 2, 1)
    pole = limb([(x, mast), (x, top)], [0.014, 0.024], 1)
    crane = limb([(x, top - 0.1), (-0.98, mast + 0.2)], [0.02, 0.012], 1)
    return [Part.flat((70.0, 70.0, 75.0), *posts, *stays, railing), Part((pole, crane), _SPAR, 0.4)]
