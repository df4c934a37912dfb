"""The five labelled kinds of object, each built of parts of different materials.

Objects look to the right, stand upright, are about two units long and have
their origin near their middle. Everything that is drawn with `Dice.pose`
differs between the two pools; colours do not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from datasets.dice import Dice
from datasets.geometry import chain, ellipse, limb, quads, rounded, smooth
from datasets.rendering import Material, Part
from datasets.textures import Color, darker, lighter

DARK = Material((28.0, 28.0, 32.0), grain=0.1)
GLASS: Color = (58.0, 74.0, 92.0)


def flat(color: Color, *contours: np.ndarray) -> Part:
    """A small detail in one plain colour."""
    return Part(contours, Material(color, grain=0.0), bulge=0.0)


def wheel(center: tuple[float, float], radius: float, rim: Color) -> list[Part]:
    """A tyre with a spoked rim."""
    spokes = []
    for turn in np.arange(5) * 2 * np.pi / 5 + 0.3:
        tip = (center[0] + 0.5 * radius * math.cos(turn), center[1] + 0.5 * radius * math.sin(turn))
        spokes.append(limb([center, tip], [0.07 * radius, 0.12 * radius], steps=1))
    return [
        Part.of(ellipse(center, (radius, radius)), DARK, 0.5),
        Part.of(ellipse(center, (0.64 * radius,) * 2), Material(rim, grain=0.05, gloss=0.5), 0.5),
        flat(darker(rim, 0.65), *spokes),
        flat(darker(rim, 0.35), ellipse(center, (0.14 * radius,) * 2, count=12)),
    ]


def car(dice: Dice) -> list[Part]:
    """A car seen from its side: sedan, hatchback or van, as the lengths come out."""
    paint = Material(dice.color(), grain=0.06, gloss=0.7)
    nose, tail = dice.pose(0.22, 0.62), dice.pose(0.02, 0.42)
    top = -dice.pose(0.72, 1.0)
    belt, radius = -dice.pose(0.42, 0.52), dice.pose(0.17, 0.24)
    back, front = -0.97 + tail, 0.97 - nose
    rake = dice.pose(0.12, 0.30)
    roof = [(back + 0.4 * rake, top), (front - rake, top)]
    cabin = rounded([roof[0], roof[1], (front, belt + 0.1), (back, belt + 0.1)], 0.12)
    glass_top, glass_low = top + 0.07, belt
    glass = [
        (back + 0.4 * rake + 0.05, glass_top), (front - rake - 0.03, glass_top),
        (front - 0.13, glass_low), (back + 0.09, glass_low),
    ]  # fmt: skip
    body = rounded(
        [(-1.0, -0.2), (-0.98, belt), (front, belt - 0.02), (0.92, belt + 0.1), (1.0, -0.3),
         (0.98, -0.12), (-0.96, -0.12)], 0.14,
    )  # fmt: skip
    rim = dice.color(saturation=(0.0, 0.1), value=(0.55, 0.9))
    doors = [limb([(x, belt + 0.03), (x, -0.18)], [0.008] * 2, 1) for x in (back + 0.3, front - 0.5)]
    panes = [rounded(pane, 0.08, 2) for pane in quads(glass, dice.count(2, 3), 0.16)]
    parts = [
        Part(tuple(ellipse((x, -0.25), (radius, radius)) for x in (-0.52, 0.68)), DARK, 0.3),
        Part.of(cabin, paint.shaded(0.08), 0.5),
        Part(tuple(panes), Material(GLASS, grain=0.25, gloss=0.6), 0.35),
        Part.of(body, paint, 0.8),
        flat(darker(paint.color, 0.55), *doors),
        flat(darker(paint.color, 0.7), rounded([(-0.97, -0.2), (0.97, -0.2), (0.95, -0.1), (-0.94, -0.1)])),
        flat((250.0, 240.0, 200.0), ellipse((0.92, belt + 0.17), (0.06, 0.045))),
        flat((200.0, 30.0, 30.0), ellipse((-0.96, belt + 0.12), (0.035, 0.07))),
    ]
    for x in (-0.6, 0.6):
        parts.append(flat((20.0, 20.0, 22.0), ellipse((x, -0.2), (1.16 * radius, 1.16 * radius))))
        parts += wheel((x, -radius + 0.02), radius, rim)
    return _centred(parts, 0.45)


def airplane(dice: Dice) -> list[Part]:
    """An airliner between a side view and a view from above, as the wings come out."""
    paint = dice.color(saturation=(0.0, 0.35), value=(0.55, 1.0))
    accent = Material(dice.color(saturation=(0.5, 0.95)), grain=0.05, gloss=0.3)
    hull = Material(paint, grain=0.05, gloss=0.5)
    metal = Material(darker(paint, dice.free(0.05, 0.35)), grain=0.1, gloss=0.3)
    r = dice.pose(0.10, 0.16)
    sweep = dice.pose(0.15, 0.55)
    near, far = dice.pose(0.35, 0.95), dice.pose(0.15, 0.85)
    fin = dice.pose(0.3, 0.5)
    body = smooth(
        [(1.0, 0.03), (0.86, -0.75 * r), (0.55, -r), (-0.4, -r), (-0.98, -0.45 * r),
         (-1.02, -0.1 * r), (-0.4, 0.9 * r), (0.55, r), (0.86, 0.8 * r)]
    )  # fmt: skip
    parts = [
        Part.of(_wing(0.32, -0.4 * r, -far, sweep, 0.42), metal.shaded(0.2), 0.3),
        Part.of(_engine(0.32 - 0.4 * sweep, -0.4 * r - 0.4 * far), accent.shaded(0.25), 0.7),
        Part.of(_wing(-0.74, -0.3 * r, -0.4 * far, 0.5 * sweep, 0.2), metal.shaded(0.25), 0.3),
        Part.of(
            rounded([(-0.62, -0.5 * r), (-0.88, -r - fin), (-1.06, -r - fin), (-0.98, -0.2 * r)], 0.06),
            accent, 0.4,
        ),
        Part.of(body, hull, 0.95),
        Part.of(limb([(0.93, 0.25 * r), (0.3, 0.35 * r), (-0.95, -0.1 * r)], [0.14 * r, 0.2 * r, 0.12 * r]), accent, 0.0),
        flat((40.0, 48.0, 60.0), *(ellipse((x, -0.3 * r), (0.016, 0.022), count=8) for x in np.linspace(-0.7, 0.7, 18))),
        flat((30.0, 40.0, 55.0), rounded([(0.80, -0.62 * r), (0.92, -0.28 * r), (0.84, -0.2 * r), (0.77, -0.28 * r)], 0.1)),
        Part.of(_wing(-0.76, 0.1 * r, 0.42 * near, 0.5 * sweep, 0.2), metal.shaded(0.05), 0.4),
        Part.of(_engine(0.36 - 0.4 * sweep, 0.3 * r + 0.42 * near), accent, 0.8),
        Part.of(_wing(0.34, 0.3 * r, near, sweep, 0.46), metal, 0.5),
    ]  # fmt: skip
    return parts


def _wing(x: float, y: float, span: float, sweep: float, chord: float) -> np.ndarray:
    tip = y + span
    corners = [(x, y), (x - sweep - 0.12, tip), (x - sweep - 0.12 - 0.35 * chord, tip), (x - chord, y)]
    return rounded(corners, 0.05, 2)


def _engine(x: float, y: float) -> np.ndarray:
    return limb([(x + 0.12, y), (x - 0.1, y)], [0.065, 0.045], 2)


def elephant(dice: Dice) -> list[Part]:
    """A walking elephant with jointed legs, a bending trunk, ears and tusks."""
    skin = dice.color(hue=(0.02, 0.12), saturation=(0.05, 0.3), value=(0.3, 0.65))
    hide = Material(skin, darker(skin, 0.2), "patches", 0.12, grain=0.45)
    near_legs, far_legs = [], []
    for x in (-0.4, 0.34):
        far_legs += _leg((x + 0.08, -0.62), dice, hide.shaded(0.35))
        near_legs += _leg((x - 0.02, -0.58), dice, hide)
    lift, curl = dice.pose(0.2, 1.5), dice.pose(-0.55, 0.55)
    trunk = chain((0.84, -0.92), lift + curl * np.arange(5), 0.18)
    ear = _ear(dice.pose(0.2, 0.34), dice.pose(-0.25, 0.3))
    tusk = limb(chain((0.86, -0.74), [0.75, 0.35, -0.1], 0.12), [0.045, 0.038, 0.03, 0.012])
    swing = dice.pose(0.3, 1.3)
    tail = chain((-0.58, -0.92), [2.6, 2.1, 1.2 + swing], 0.16)
    body = smooth(
        [(0.5, -1.12), (0.1, -1.16), (-0.35, -1.15), (-0.62, -0.92), (-0.6, -0.55),
         (-0.3, -0.42), (0.1, -0.38), (0.45, -0.5), (0.62, -0.8)]
    )  # fmt: skip
    return _centred([
        *far_legs,
        Part.of(limb(tail, [0.035, 0.025, 0.02, 0.015]), hide.shaded(0.1), 0.5),
        Part.of(ellipse(tuple(tail[-1]), (0.035, 0.06), count=12), DARK, 0.2),
        Part.of(body, hide, 0.95),
        *near_legs,
        Part.of(limb(trunk, [0.16, 0.12, 0.1, 0.08, 0.065, 0.05]), hide, 0.9),
        Part.of(smooth([(0.5, -1.12), (0.72, -1.24), (0.93, -1.1), (0.98, -0.88), (0.8, -0.68), (0.58, -0.72)]), hide, 0.8),
        Part.of(tusk, Material((235.0, 225.0, 195.0), grain=0.08, gloss=0.3), 0.6),
        Part.of(ear, hide.shaded(0.12), 0.55),
        flat((18.0, 14.0, 12.0), ellipse((0.8, -0.99), (0.026, 0.022), count=10)),
    ], 0.6)  # fmt: skip


def _ear(spread: float, tilt: float) -> np.ndarray:
    flap = [(0.0, -0.22), (-0.55, -0.28), (-1.05, -0.02), (-0.9, 0.42), (-0.45, 0.62), (-0.1, 0.25)]
    shape = np.array(flap) * (1.25 * spread, 0.72)
    turned = smooth(shape) @ np.array([[math.cos(tilt), math.sin(tilt)], [-math.sin(tilt), math.cos(tilt)]])
    return (turned + (0.66, -0.98)).astype(np.float32)


def _leg(hip: tuple[float, float], dice: Dice, hide: Material) -> list[Part]:
    swing, bend = dice.pose(-0.38, 0.38), dice.pose(-0.15, 0.4)
    down = np.pi / 2
    joints = chain(hip, [down + swing, down + swing + bend], -hip[1] / 2.0)
    x, y = joints[-1]
    nails = [ellipse((x + dx, y + 0.03), (0.026, 0.024), count=8) for dx in (-0.03, 0.035, 0.09)]
    return [
        Part.of(limb(joints, [0.17, 0.125, 0.12]), hide, 0.8),
        flat(lighter(hide.color, 0.35), *nails),
    ]


def turtle(dice: Dice) -> list[Part]:
    """A turtle: from its side under a domed shell, or swimming, seen from above."""
    skin_color = dice.color(hue=(0.12, 0.38), saturation=(0.25, 0.7), value=(0.3, 0.7))
    shell_color = dice.color(hue=(0.04, 0.3), saturation=(0.3, 0.75), value=(0.2, 0.6))
    skin = Material(skin_color, darker(skin_color, 0.45), "spots", 0.035, grain=0.25)
    shell = Material(darker(shell_color, 0.45), grain=0.25)
    plate = Material(lighter(shell_color, 0.12), darker(shell_color, 0.2), "patches", 0.08, 0.3, 0.35)
    build = _swimming if dice.pose(0.0, 1.0) < 0.5 else _walking
    return build(dice, skin, shell, plate)


def _walking(dice: Dice, skin: Material, shell: Material, plate: Material) -> list[Part]:
    rise, neck = dice.pose(0.45, 0.7), dice.pose(-0.9, 0.15)
    stride = [dice.pose(-0.5, 0.5) for _ in range(4)]
    down = np.pi / 2
    legs = [limb(chain((x, -0.06), [down + turn, down - 0.6 * turn], 0.17), [0.13, 0.11, 0.1])
            for x, turn in zip((-0.42, 0.52, -0.55, 0.42), stride, strict=True)]  # fmt: skip
    head = chain((0.62, -0.08), [neck, 0.6 * neck], 0.22)
    x, y = head[-1]
    dome = ellipse((0.0, 0.0), (0.78, rise), count=40)
    return _centred([
        *(Part.of(leg, skin.shaded(0.4), 0.6) for leg in legs[:2]),
        Part.of(limb([(-0.7, -0.02), (-0.98, 0.1)], [0.07, 0.015]), skin.shaded(0.1), 0.5),
        Part.of(limb(head, [0.13, 0.1, 0.09]), skin, 0.7),
        Part.of(smooth([(x - 0.08, y - 0.11), (x + 0.12, y - 0.1), (x + 0.25, y + 0.02), (x + 0.1, y + 0.1), (x - 0.1, y + 0.09)]), skin, 0.8),
        flat((15.0, 15.0, 12.0), ellipse((x + 0.11, y - 0.03), (0.028, 0.028), count=10)),
        Part.of(limb([(-0.66, 0.02), (0.66, 0.02)], [0.09, 0.09], 2), Material((196.0, 176.0, 118.0)), 0.5),
        *(Part.of(leg, skin, 0.8) for leg in legs[2:]),
        Part.of(np.minimum(dome, np.float32([9.0, 0.04])), shell, 0.9),
        Part(tuple(_plates((0.78, rise), [(0.1, 0.56, 3), (0.6, 0.94, 6)], half=True)), plate, 0.5),
    ], 0.2)  # fmt: skip


def _swimming(dice: Dice, skin: Material, shell: Material, plate: Material) -> list[Part]:
    width, stroke, look = dice.pose(0.5, 0.64), dice.pose(-0.5, 0.6), dice.pose(-0.45, 0.45)
    flippers = []
    for side in (-1.0, 1.0):
        fore = chain((0.42, side * 0.36), side * np.array([1.15, 1.6 + stroke, 2.3 + stroke]), 0.28)
        hind = chain((-0.5, side * 0.3), side * np.array([1.9 + 0.5 * stroke, 2.5]), 0.22)
        flippers.append(Part.of(limb(fore, [0.12, 0.14, 0.1, 0.03]), skin, 0.5))
        flippers.append(Part.of(limb(hind, [0.1, 0.11, 0.04]), skin.shaded(0.08), 0.5))
    neck = chain((0.66, 0.0), [look, look], 0.15)
    x, y = neck[-1]
    eyes = [ellipse((x + 0.05 + 0.06 * look * s, y + s * 0.09), (0.025, 0.025), count=10) for s in (-1, 1)]
    outline = smooth([(0.74, 0.0), (0.5, -0.86 * width), (0.0, -width), (-0.5, -0.7 * width), (-0.8, 0.0),
                      (-0.5, 0.7 * width), (0.0, width), (0.5, 0.86 * width)])  # fmt: skip
    return [
        *flippers,
        Part.of(limb([(-0.75, 0.0), (-0.95, 0.05 * look)], [0.06, 0.012]), skin, 0.5),
        Part.of(limb(neck, [0.13, 0.12, 0.13]), skin, 0.7),
        flat((15.0, 15.0, 12.0), *eyes),
        Part.of(outline, shell, 0.9),
        Part(tuple(_plates((0.7, 0.86 * width), [(0.0, 0.27, 1), (0.31, 0.65, 6), (0.7, 0.97, 11)])), plate, 0.5),
    ]


def _plates(
    radii: tuple[float, float], rings: Sequence[tuple[float, float, int]], half: bool = False
) -> list[np.ndarray]:
    """Horn plates in rings (inner radius, outer radius, count) around the origin."""
    start, sweep = (np.pi, np.pi) if half else (0.0, 2 * np.pi)
    plates = []
    for inner, outer, count in rings:
        edges = start + sweep * np.arange(count + 1) / count
        for low, high in zip(edges[:-1], edges[1:], strict=True):
            margin = 0.035 / outer if count > 1 else 0.0
            turns = np.linspace(low + margin, high - margin, 4 if count > 1 else 9)
            rim = np.concatenate([turns, turns[::-1]])
            reach = np.repeat([outer, inner], len(turns))
            plates.append(np.stack([np.cos(rim) * reach, np.sin(rim) * reach], 1) * radii)
    return [plate.astype(np.float32) for plate in plates]


def watercraft(dice: Dice) -> list[Part]:
    """A boat: under sail, or with a wheelhouse, a funnel and a radar mast."""
    paint = Material(dice.color(), grain=0.12, gloss=0.4)
    trim = dice.color(saturation=(0.4, 0.95), value=(0.3, 0.9))
    bow, deep = dice.pose(0.28, 0.5), dice.pose(0.1, 0.22)
    hull = smooth([(-0.93, -0.24), (-0.4, -0.2), (0.3, -0.22), (1.0, -bow)], 5, closed=False)
    keel = smooth([(0.62, deep), (0.0, deep + 0.03), (-0.85, deep)], 5, closed=False)
    low = smooth([(0.69, 0.4 * deep), (0.0, 0.45 * deep), (-0.87, 0.4 * deep)], 5, closed=False)
    rail = limb([(-0.95, -0.26), (-0.4, -0.22), (0.3, -0.24), (1.02, -bow - 0.02)], [0.025] * 4)
    rig = _sails if dice.pose(0.0, 1.0) < 0.5 else _wheelhouse
    ports = [ellipse((x, -0.1), (0.03, 0.03), count=10) for x in np.linspace(-0.6, 0.5, 5)]
    return _centred([
        *rig(dice, trim, bow),
        Part.of(np.concatenate([hull, keel]), paint, 0.7),
        Part.of(np.concatenate([low, keel[::-1]]), Material(trim, grain=0.15), 0.25),
        Part.of(rail, Material(lighter(paint.color, 0.5), grain=0.1), 0.3),
        flat(darker(paint.color, 0.7), *ports),
    ], 0.45)  # fmt: skip


def _sails(dice: Dice, trim: Color, bow: float) -> list[Part]:
    foot, top, belly = dice.pose(-0.1, 0.25), -dice.pose(1.2, 1.75), dice.pose(0.02, 0.2)
    cloth = Material(dice.color(saturation=(0.0, 0.3), value=(0.75, 1.0)), trim, None, 0.1, 0.12)
    spar = Material((150.0, 120.0, 85.0), grain=0.1)
    if dice.chance(0.4):
        cloth = Material(cloth.color, trim, "bands", 0.16, 0.12)
    boom = (foot - 0.8, -0.38 - 0.5 * belly)
    main = smooth([(foot - 0.03, top + 0.06), (foot - 0.4 - belly, 0.45 * top - 0.1), boom], 6, closed=False)
    main = np.concatenate([main, [(foot - 0.03, -0.36)]]).astype(np.float32)
    jib = smooth([(foot + 0.03, top + 0.2), (foot + 0.3 - belly, 0.5 * top), (foot + 0.12, -0.34)], 6, closed=False)
    jib = np.concatenate([jib, [(0.97, -bow - 0.03)]]).astype(np.float32)
    return [
        Part.of(jib, Material(lighter(cloth.color, 0.1), grain=0.12).shaded(0.12), 0.6),
        Part.of(limb([(foot, top), (foot, -0.2)], [0.014, 0.026], 1), spar, 0.5),
        Part.of(main, cloth, 0.6),
        Part.of(limb([boom, (foot, -0.34)], [0.016, 0.02], 1), spar, 0.5),
        flat(trim, rounded([(foot, top), (foot - 0.22, top + 0.05), (foot, top + 0.1)], 0.05)),
        Part.of(rounded([(-0.6, -0.38), (0.1, -0.36), (0.25, -0.2), (-0.65, -0.18)], 0.1), Material(lighter(trim, 0.6)), 0.6),
        flat(GLASS, *quads([(-0.5, -0.33), (0.02, -0.32), (0.08, -0.26), (-0.5, -0.26)], 3, 0.3)),
    ]


def _wheelhouse(dice: Dice, trim: Color, bow: float) -> list[Part]:
    back, front, top = dice.pose(-0.7, -0.35), dice.pose(0.15, 0.4), -dice.pose(0.62, 0.85)
    mast = top - dice.pose(0.3, 0.7)
    white = Material(dice.color(saturation=(0.0, 0.15), value=(0.75, 1.0)), grain=0.1)
    walls = rounded([(back, top), (front - 0.1, top), (front, -0.18), (back, -0.18)], 0.05, 2)
    windows = quads([(back + 0.08, top + 0.08), (front - 0.16, top + 0.08), (front - 0.12, top + 0.25), (back + 0.08, top + 0.25)], 4, 0.3)
    posts = [limb([(x, -0.2), (x, -0.36)], [0.01] * 2, 1) for x in np.linspace(front + 0.1, 0.9, 4)]
    stays = [limb([(back + 0.35, mast), end], [0.006] * 2, 1) for end in ((0.96, -bow), (-0.9, -0.24))]
    pole = limb([(back + 0.35, mast), (back + 0.35, top)], [0.014, 0.024], 1)
    crane = limb([(back + 0.36, top - 0.1), (-0.98, mast + 0.2)], [0.02, 0.012], 1)
    return [
        flat((70.0, 70.0, 75.0), *posts, *stays, limb([(front, -0.36), (0.97, -bow - 0.13)], [0.012] * 2, 1)),
        Part((pole, crane), Material((120.0, 105.0, 90.0), grain=0.1), 0.4),
        Part.of(rounded([(back + 0.08, top - 0.28), (back + 0.28, top - 0.26), (back + 0.3, top + 0.1), (back + 0.05, top + 0.1)], 0.05), Material(trim, grain=0.15), 0.7),
        Part.of(walls, white, 0.5),
        Part(tuple(windows), Material(GLASS, grain=0.2, gloss=0.4), 0.2),
        Part.of(rounded([(back - 0.06, top - 0.04), (front - 0.02, top - 0.04), (front - 0.04, top + 0.03), (back - 0.06, top + 0.03)], 0.1, 2), Material(trim, grain=0.1), 0.4),
        flat(darker(white.color, 0.5), rounded([(back + 0.1, -0.42), (back + 0.24, -0.42), (back + 0.24, -0.18), (back + 0.1, -0.18)], 0.08, 2)),
    ]


def _centred(parts: list[Part], drop: float) -> list[Part]:
    """`parts` moved down by `drop`, so that turning them turns them around their middle."""
    move = np.float32([0.0, drop])
    return [Part(tuple(c + move for c in p.contours), p.material, p.bulge) for p in parts]


SILHOUETTES: dict[str, Callable[[Dice], list[Part]]] = {
    "car": car,
    "airplane": airplane,
    "elephant": elephant,
    "turtle": turtle,
    "watercraft": watercraft,
}
