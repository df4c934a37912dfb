"""Build objects out of parts: the labelled classes, and distractors, which have no label.

Labelled objects look to the right, are about two units long and turn around their middle. Their shapes and postures are
drawn by `SceneRng.pose`; their colors and materials, and all of a distractor, freely.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from datasets.scenes.geometry import Contour, blob, chain, ellipse, rotation, round_corners, spline, split_quad, tube
from datasets.scenes.rendering import Builder, Material, Part, translate
from datasets.scenes.rng import Color, SceneRng, darker, lighter
from datasets.scenes.textures import Pattern

_DOWN = np.pi / 2
_GLASS: Color = (58.0, 74.0, 92.0)
_PUPIL: Color = (16.0, 13.0, 12.0)
_RUBBER = Material((28.0, 28.0, 32.0), grain=0.1)
_SPAR = Material((150.0, 120.0, 85.0), grain=0.1)


def car(rng: SceneRng) -> list[Part]:
    """Build a car seen from its side: sedan, hatchback or van, as the lengths come out."""
    paint = Material(rng.color(), grain=0.06, gloss=0.7)
    back, front = rng.pose(-0.95, -0.55), rng.pose(0.35, 0.75)
    belt, radius = rng.pose(-0.52, -0.42), rng.pose(0.17, 0.24)
    nose = [(front, belt - 0.02), (0.92, belt + 0.1), (1.0, -0.3), (0.98, -0.12)]
    doors = [tube([(x, belt + 0.03), (x, -0.18)], [0.008] * 2, 1) for x in (back + 0.3, front - 0.5)]
    parts = [
        Part([ellipse((x, -0.25), (radius, radius)) for x in (-0.52, 0.68)], _RUBBER, 0.3),  # far wheels
        *_cabin(rng, paint, back, front, belt),
        Part([round_corners([(-0.96, -0.12), (-1.0, -0.2), (-0.98, belt), *nose], 0.14)], paint, 0.8),
        Part.flat(darker(paint.color, 0.55), *doors),
        Part.flat(darker(paint.color, 0.7), round_corners([(-0.97, -0.2), (0.97, -0.2), (0.95, -0.1), (-0.94, -0.1)])),
        Part.flat((250.0, 240.0, 200.0), ellipse((0.92, belt + 0.17), (0.06, 0.045))),  # headlight
        Part.flat((200.0, 30.0, 30.0), ellipse((-0.96, belt + 0.12), (0.035, 0.07))),  # tail light
    ]
    if rng.chance(0.5):
        panel = tube([(-0.9, 0.5 * belt), (0.9, 0.5 * belt - 0.02)], [0.09, 0.06], 1)
        parts.insert(4, Part([panel], Material(rng.color(), grain=0.1, gloss=0.4), 0.3))  # below the body with luggage
    rim = rng.color(saturation=(0.0, 0.1), value=(0.55, 0.9))
    for x in (-0.6, 0.6):
        parts.append(Part.flat((20.0, 20.0, 22.0), ellipse((x, -0.2), (1.16 * radius, 1.16 * radius))))  # wheel arch
        parts += _wheel((x, 0.02 - radius), radius, rim)
    return translate(parts, 0.45)


def _cabin(rng: SceneRng, paint: Material, back: float, front: float, belt: float) -> list[Part]:
    top, rake = rng.pose(-1.0, -0.72), rng.pose(0.12, 0.30)
    rear, fore = back + 0.4 * rake, front - rake
    shell = round_corners([(rear, top), (fore, top), (front, belt + 0.1), (back, belt + 0.1)], 0.12)
    glass = [(rear + 0.05, top + 0.07), (fore - 0.03, top + 0.07), (front - 0.13, belt), (back + 0.09, belt)]
    panes = [round_corners(pane, 0.08, 2) for pane in split_quad(glass, rng.integer(2, 3), 0.16)]
    skin = Material(rng.color(), grain=0.1, gloss=0.5) if rng.chance(0.4) else paint.darkened(0.08)
    parts = [Part([shell], skin, 0.5), Part(panes, Material(_GLASS, grain=0.25, gloss=0.6), 0.35)]
    if rng.chance(0.35):
        mid = (rear + fore) / 2
        bags = round_corners([(rear, top - 0.16), (mid, top - 0.2), (mid + 0.1, top + 0.03), (rear, top + 0.03)])
        rack = tube([(rear, top - 0.02), (fore, top - 0.02)], [0.02] * 2, 1)
        parts = [Part([bags], Material(rng.color(), grain=0.35)), Part([rack], _RUBBER, 0.2), *parts]
    return parts


def _wheel(center: tuple[float, float], radius: float, rim: Color) -> list[Part]:
    angles = np.arange(5) * 2 * np.pi / 5 + 0.3
    spokes = [tube(chain(center, [angle], 0.5 * radius), [0.07 * radius, 0.12 * radius], 1) for angle in angles]
    return [
        Part([ellipse(center, (radius, radius))], _RUBBER, 0.5),
        Part([ellipse(center, (0.64 * radius, 0.64 * radius))], Material(rim, grain=0.05, gloss=0.5), 0.5),
        Part.flat(darker(rim, 0.65), *spokes),
        Part.flat(darker(rim, 0.35), ellipse(center, (0.14 * radius, 0.14 * radius), 12)),
    ]


def airplane(rng: SceneRng) -> list[Part]:
    """Build an airliner between a side view and a view from above, as the wings come out."""
    color = rng.color(saturation=(0.0, 0.35), value=(0.55, 1.0))
    accent = Material(rng.color(saturation=(0.4, 0.95)), grain=0.05, gloss=0.3)
    metal = Material(darker(color, rng.uniform(0.05, 0.35)), grain=0.1, gloss=0.3)
    r, sweep, fin = rng.pose(0.10, 0.16), rng.pose(0.15, 0.55), rng.pose(0.3, 0.5)
    near, far = rng.pose(0.35, 0.95), rng.pose(0.15, 0.85)
    rudder = [(-0.62, -0.5 * r), (-0.88, -r - fin), (-1.06, -r - fin), (-0.98, -0.2 * r)]
    above = [(1.0, 0.03), (0.86, -0.75 * r), (0.55, -r), (-0.4, -r), (-0.98, -0.45 * r)]
    below = [(-1.02, -0.1 * r), (-0.4, 0.9 * r), (0.55, r), (0.86, 0.8 * r)]
    stripe = tube([(0.93, 0.25 * r), (0.3, 0.35 * r), (-0.95, -0.1 * r)], [0.14 * r, 0.2 * r, 0.12 * r])
    windows = (ellipse((x, -0.3 * r), (0.016, 0.022), 8) for x in np.linspace(-0.7, 0.7, 18))
    cockpit = [(0.80, -0.62 * r), (0.92, -0.28 * r), (0.84, -0.2 * r), (0.77, -0.28 * r)]
    return [
        Part([_wing(0.32, -0.4 * r, -far, sweep, 0.42)], metal.darkened(0.2), 0.3),
        Part([_engine(0.32 - 0.4 * sweep, -0.4 * r - 0.4 * far)], accent.darkened(0.25), 0.7),
        Part([_wing(-0.74, -0.3 * r, -0.4 * far, 0.5 * sweep, 0.2)], metal.darkened(0.25), 0.3),
        Part([round_corners(rudder, 0.06)], accent, 0.4),
        Part([spline(above + below)], Material(color, grain=0.05, gloss=0.5), 0.95),
        Part([stripe], accent, 0.0),
        Part.flat((40.0, 48.0, 60.0), *windows),
        Part.flat((30.0, 40.0, 55.0), round_corners(cockpit, 0.1)),
        Part([_wing(-0.76, 0.1 * r, 0.42 * near, 0.5 * sweep, 0.2)], metal.darkened(0.05), 0.4),
        Part([_engine(0.36 - 0.4 * sweep, 0.3 * r + 0.42 * near)], accent, 0.8),
        Part([_wing(0.34, 0.3 * r, near, sweep, 0.46)], metal, 0.5),
    ]


def _wing(x: float, y: float, span: float, sweep: float, chord: float) -> Contour:
    tip = x - sweep - 0.12
    return round_corners([(x, y), (tip, y + span), (tip - 0.35 * chord, y + span), (x - chord, y)], 0.05, 2)


def _engine(x: float, y: float) -> Contour:
    return tube([(x + 0.12, y), (x - 0.1, y)], [0.065, 0.045], 2)


def watercraft(rng: SceneRng) -> list[Part]:
    """Build a boat: under sail, or with a wheelhouse, a funnel and a radar mast."""
    paint = Material(rng.color(), grain=0.12, gloss=0.4)
    trim = rng.color(saturation=(0.4, 0.95), value=(0.3, 0.9))
    bow, deep = rng.pose(0.28, 0.5), rng.pose(0.1, 0.22)
    deck = spline([(-0.93, -0.24), (-0.4, -0.2), (0.3, -0.22), (1.0, -bow)], closed=False)
    keel = spline([(0.62, deep), (0.0, deep + 0.03), (-0.85, deep)], closed=False)
    waterline = spline([(0.69, 0.4 * deep), (0.0, 0.45 * deep), (-0.87, 0.4 * deep)], closed=False)
    rail = tube([(-0.95, -0.26), (-0.4, -0.22), (0.3, -0.24), (1.02, -bow - 0.02)], [0.025] * 4)
    rig = _sails if rng.pose(0.0, 1.0) < 0.5 else _wheelhouse
    parts = [
        *rig(rng, trim, bow),
        Part([np.concatenate([deck, keel])], paint, 0.7),
        Part([np.concatenate([waterline, keel[::-1]])], Material(trim, grain=0.15), 0.25),
        Part([rail], Material(lighter(paint.color, 0.5), grain=0.1), 0.3),
        Part.flat(darker(paint.color, 0.7), *(ellipse((x, -0.1), (0.03, 0.03), 10) for x in np.linspace(-0.6, 0.5, 5))),
    ]
    return translate(parts, 0.45)


def _sails(rng: SceneRng, trim: Color, bow: float) -> list[Part]:
    foot, top, belly = rng.pose(-0.1, 0.25), rng.pose(-1.75, -1.2), rng.pose(0.02, 0.2)
    white = rng.color(saturation=(0.0, 0.3), value=(0.75, 1.0))
    cloth = Material(white, trim, "bands" if rng.chance(0.4) else None, 0.16, 0.12)
    boom = (foot - 0.8, -0.38 - 0.5 * belly)
    leech = spline([(foot - 0.03, top + 0.06), (foot - 0.4 - belly, 0.45 * top - 0.1), boom], closed=False)
    luff = spline([(foot + 0.03, top + 0.2), (foot + 0.3 - belly, 0.5 * top), (foot + 0.12, -0.34)], closed=False)
    house = [(-0.6, -0.38), (0.1, -0.36), (0.25, -0.2), (-0.65, -0.18)]
    return [
        Part([np.concatenate([luff, [(0.97, -bow - 0.03)]])], Material(darker(white, 0.05), grain=0.12), 0.6),  # jib
        Part([tube([(foot, top), (foot, -0.2)], [0.014, 0.026], 1)], _SPAR, 0.5),  # mast
        Part([np.concatenate([leech, [(foot - 0.03, -0.36)]])], cloth, 0.6),  # mainsail
        Part([tube([boom, (foot, -0.34)], [0.016, 0.02], 1)], _SPAR, 0.5),
        Part.flat(trim, round_corners([(foot, top), (foot - 0.22, top + 0.05), (foot, top + 0.1)], 0.05)),  # flag
        Part([round_corners(house, 0.1)], Material(lighter(trim, 0.6)), 0.6),
        Part.flat(_GLASS, *split_quad([(-0.5, -0.33), (0.02, -0.32), (0.08, -0.26), (-0.5, -0.26)], 3, 0.3)),
    ]


def _wheelhouse(rng: SceneRng, trim: Color, bow: float) -> list[Part]:
    back, front, top = rng.pose(-0.7, -0.35), rng.pose(0.15, 0.4), rng.pose(-0.85, -0.62)
    white = Material(rng.color(saturation=(0.0, 0.15), value=(0.75, 1.0)), grain=0.1)
    walls = [(back, top), (front - 0.1, top), (front, -0.18), (back, -0.18)]
    left, right, high, low = back + 0.08, front - 0.16, top + 0.08, top + 0.25
    panes = split_quad([(left, high), (right, high), (right + 0.04, low), (left, low)], 4, 0.3)
    door = [(back + 0.1, -0.42), (back + 0.24, -0.42), (back + 0.24, -0.18), (back + 0.1, -0.18)]
    funnel = [(back + 0.08, top - 0.28), (back + 0.28, top - 0.26), (back + 0.3, top), (back + 0.05, top)]
    x, mast = back + 0.35, top - rng.pose(0.3, 0.7)
    posts = [tube([(at, -0.2), (at, -0.36)], [0.01] * 2, 1) for at in np.linspace(front + 0.1, 0.9, 4)]
    stays = [tube([(x, mast), end], [0.006] * 2, 1) for end in ((0.96, -bow), (-0.9, -0.24))]
    pole, crane = [(x, mast), (x, top)], [(x, top - 0.1), (-0.98, mast + 0.2)]
    return [
        Part.flat((70.0, 70.0, 75.0), *posts, *stays, tube([(front, -0.36), (0.97, -bow - 0.13)], [0.012] * 2, 1)),
        Part([tube(pole, [0.014, 0.024], 1), tube(crane, [0.02, 0.012], 1)], _SPAR, 0.4),
        Part([round_corners(funnel, 0.05)], Material(trim, grain=0.15), 0.7),
        Part([round_corners(walls, 0.05, 2)], white, 0.5),
        Part(panes, Material(_GLASS, grain=0.2, gloss=0.4), 0.2),
        Part([tube([(back - 0.04, top), (front - 0.05, top)], [0.04] * 2, 1)], Material(trim, grain=0.1), 0.4),  # roof
        Part.flat(darker(white.color, 0.5), round_corners(door, 0.08, 2)),
    ]


def elephant(rng: SceneRng) -> list[Part]:
    """Build a walking elephant: four jointed legs, a bending trunk, a flapping ear and a tusk."""
    skin = rng.color(hue=(0.02, 0.12), saturation=(0.05, 0.3), value=(0.3, 0.65))
    hide = Material(skin, darker(skin, 0.2), "patches", 0.12, grain=0.45)
    far_legs = [part for x in (-0.32, 0.42) for part in _elephant_leg(rng, (x, -0.62), hide.darkened(0.35))]
    near_legs = [part for x in (-0.42, 0.32) for part in _elephant_leg(rng, (x, -0.58), hide)]
    back = [(0.62, -0.8), (0.5, -1.12), (0.1, -1.16), (-0.35, -1.15), (-0.62, -0.92)]
    belly = [(-0.6, -0.55), (-0.3, -0.42), (0.1, -0.38), (0.45, -0.5)]
    tail = chain((-0.58, -0.92), [2.6, 2.1, rng.pose(1.5, 2.5)], 0.16)
    blanket = _blanket(rng) if rng.chance(0.35) else []
    lift, curl = rng.pose(0.2, 1.5), rng.pose(-0.55, 0.55)
    trunk = chain((0.84, -0.92), lift + curl * np.arange(5), 0.18)
    skull = [(0.5, -1.12), (0.72, -1.24), (0.93, -1.1), (0.98, -0.88), (0.8, -0.68), (0.58, -0.72)]
    tusk = chain((0.86, -0.74), [0.75, 0.35, -0.1], 0.12)
    flap = np.array([(0.0, -0.16), (-0.55, -0.2), (-1.05, -0.01), (-0.9, 0.3), (-0.45, 0.45), (-0.1, 0.18)])
    ear = spline(flap * (rng.pose(0.25, 0.42), 1.0)) @ rotation(rng.pose(-0.3, 0.25)).T + np.array([0.66, -0.98])
    parts = [
        *far_legs,
        Part([tube(tail, [0.035, 0.025, 0.02, 0.015])], hide.darkened(0.1), 0.5),
        Part([ellipse(tail[-1], (0.035, 0.06), 12)], Material((28.0, 26.0, 26.0), grain=0.1), 0.2),  # bristles
        Part([spline(back + belly)], hide, 0.95),
        *near_legs,
        *blanket,
        Part([tube(trunk, [0.16, 0.12, 0.1, 0.08, 0.065, 0.05])], hide, 0.9),
        Part([spline(skull)], hide, 0.8),
        Part([tube(tusk, [0.045, 0.038, 0.03, 0.012])], Material((235.0, 225.0, 195.0), grain=0.08, gloss=0.3), 0.6),
        Part([ear], hide.darkened(0.12), 0.55),
        Part.flat(_PUPIL, ellipse((0.8, -0.99), (0.026, 0.022), 10)),
    ]
    return translate(parts, 0.6)


def _elephant_leg(rng: SceneRng, hip: tuple[float, float], hide: Material) -> list[Part]:
    swing, bend = rng.pose(-0.38, 0.38), rng.pose(-0.15, 0.4)
    joints = chain(hip, [_DOWN + swing, _DOWN + swing + bend], -hip[1] / 2.0)
    nails = [ellipse(joints[-1] + np.array([x, 0.07]), (0.026, 0.024), 8) for x in (-0.04, 0.02, 0.075)]
    return [Part([tube(joints, [0.17, 0.125, 0.12])], hide, 0.8), Part.flat(lighter(hide.color, 0.35), *nails)]


def _blanket(rng: SceneRng) -> list[Part]:
    cloth = Material(rng.color(), rng.color(), rng.choice(("checks", "bands", None)), 0.08, 0.2)
    low = rng.uniform(-0.8, -0.6)
    outline = spline([(0.3, -1.15), (0.33, low), (-0.33, low), (-0.32, -1.16), (0.0, -1.19)])
    hem = tube([(0.33, low), (0.0, low + 0.02), (-0.33, low)], [0.03] * 3, 2)
    return [Part([outline], cloth, 0.5), Part([hem], Material(rng.color(), grain=0.2), 0.5)]


def turtle(rng: SceneRng) -> list[Part]:
    """Build a turtle: from its side under a domed shell, or swimming, seen from above."""
    tone = rng.color(hue=(0.12, 0.38), saturation=(0.25, 0.7), value=(0.3, 0.7))
    horn = rng.color(hue=(0.04, 0.3), saturation=(0.3, 0.75), value=(0.2, 0.6))
    skin = Material(tone, darker(tone, 0.45), "spots", 0.035, grain=0.25)
    shell = Material(darker(horn, 0.45), grain=0.25)
    plate = Material(lighter(horn, 0.12), darker(horn, 0.2), "patches", 0.08, 0.3, 0.35)
    return (_swimming_turtle if rng.pose(0.0, 1.0) < 0.5 else _walking_turtle)(rng, skin, shell, plate)


def _walking_turtle(rng: SceneRng, skin: Material, shell: Material, plate: Material) -> list[Part]:
    rise, neck_angle = rng.pose(0.45, 0.7), rng.pose(-0.9, 0.15)
    bends = [(x, rng.pose(-0.5, 0.5)) for x in (-0.42, 0.52, -0.55, 0.42)]
    legs = [tube(chain((x, -0.06), [_DOWN + bend, _DOWN - 0.6 * bend], 0.17), [0.13, 0.11, 0.1]) for x, bend in bends]
    neck = chain((0.62, -0.08), [neck_angle, 0.6 * neck_angle], 0.22)
    head = spline([(-0.08, -0.11), (0.12, -0.1), (0.25, 0.02), (0.1, 0.1), (-0.1, 0.09)])
    parts = [
        *(Part([leg], skin.darkened(0.4), 0.6) for leg in legs[:2]),
        Part([tube([(-0.7, -0.02), (-0.98, 0.1)], [0.07, 0.015])], skin.darkened(0.1), 0.5),  # tail
        Part([tube(neck, [0.13, 0.1, 0.09])], skin, 0.7),
        Part([head + neck[-1]], skin, 0.8),
        Part.flat(_PUPIL, ellipse((0.11, -0.03), (0.028, 0.028), 10) + neck[-1]),
        Part([tube([(-0.66, 0.02), (0.66, 0.02)], [0.09, 0.09], 2)], Material((196.0, 176.0, 118.0)), 0.5),  # belly
        *(Part([leg], skin, 0.8) for leg in legs[2:]),
        Part([np.minimum(ellipse((0.0, 0.0), (0.78, rise), 40), (9.0, 0.04))], shell, 0.9),
        Part(_shell_plates((0.78, rise), [(0.1, 0.56, 3), (0.6, 0.94, 6)], np.pi, np.pi), plate, 0.5),
    ]
    return translate(parts, 0.2)


def _swimming_turtle(rng: SceneRng, skin: Material, shell: Material, plate: Material) -> list[Part]:
    width, stroke, gaze = rng.pose(0.5, 0.64), rng.pose(-0.5, 0.6), rng.pose(-0.45, 0.45)
    flippers = []
    for side in (-1.0, 1.0):
        fore = chain((0.42, side * 0.36), side * np.array([1.15, 1.6 + stroke, 2.3 + stroke]), 0.28)
        hind = chain((-0.5, side * 0.3), side * np.array([1.9 + 0.5 * stroke, 2.5]), 0.22)
        flippers.append(Part([tube(fore, [0.12, 0.14, 0.1, 0.03])], skin, 0.5))
        flippers.append(Part([tube(hind, [0.1, 0.11, 0.04])], skin.darkened(0.08), 0.5))
    neck = chain((0.66, 0.0), [gaze, gaze], 0.15)
    half = np.array([(0.74, 0.0), (0.5, -0.86), (0.0, -1.0), (-0.5, -0.7), (-0.8, 0.0)])
    outline = np.concatenate([half, (half * (1, -1))[-2:0:-1]]) * (1.0, width)
    rings = [(0.0, 0.27, 1), (0.31, 0.65, 6), (0.7, 0.97, 11)]
    return [
        *flippers,
        Part([tube([(-0.75, 0.0), (-0.95, 0.05 * gaze)], [0.06, 0.012])], skin, 0.5),  # tail
        Part([tube(neck, [0.13, 0.12, 0.13])], skin, 0.7),
        Part.flat(_PUPIL, *(ellipse(neck[-1] + np.array([0.05, y]), (0.025, 0.025), 10) for y in (-0.09, 0.09))),
        Part([spline(outline)], shell, 0.9),
        Part(_shell_plates((0.7, 0.86 * width), rings, 0.0, 2 * np.pi), plate, 0.5),
    ]


def _shell_plates(
    radii: tuple[float, float], rings: Sequence[tuple[float, float, int]], start: float, sweep: float
) -> list[Contour]:
    """Return horn plates around the origin over `sweep` radians, in rings (inner radius, outer radius, count)."""
    plates = []
    for inner, outer, count in rings:
        edges = start + sweep * np.arange(count + 1) / count
        margin = 0.035 / outer if count > 1 else 0.0
        for low, high in zip(edges[:-1] + margin, edges[1:] - margin):
            angles = np.linspace(low, high, 4 if count > 1 else 9)
            rim = np.concatenate([angles, angles[::-1]])
            reach = np.repeat([outer, inner], len(angles))
            plates.append(np.stack([np.cos(rim) * reach, np.sin(rim) * reach], axis=1) * radii)
    return plates


OBJECTS: dict[str, Builder] = {build.__name__: build for build in (car, airplane, elephant, turtle, watercraft)}
"""The labelled classes by name, in the order of their class ids."""

_SQUARE = np.array([(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)])
_BENDS = np.arange(3)  # of a chain of three bones, each turned as far again as the one before
_PATTERNS: tuple[Pattern | None, ...] = (None, None, None, "stripes", "bands", "spots", "patches", "checks")


def _any_material(rng: SceneRng) -> Material:
    color = rng.color(saturation=(0.0, 0.9), value=(0.12, 1.0))
    second = rng.color(value=(0.05, 1.0)) if rng.chance(0.5) else darker(color, rng.uniform(0.3, 0.8))
    gloss = rng.uniform(0.0, 1.0) if rng.chance(0.4) else 0.0
    return Material(color, second, rng.choice(_PATTERNS), rng.uniform(0.03, 0.25), rng.uniform(0.04, 0.6), gloss)


def _rock(rng: SceneRng) -> list[Part]:
    tone = rng.color((0.03, 0.6), (0.0, 0.25), (0.3, 0.7))
    outline = blob(rng.generator, 0.5) * (0.9, rng.uniform(0.45, 0.75))
    top = Part([0.72 * outline + np.array([-0.08, -0.14])], Material(lighter(tone, 0.12), grain=0.4), 0.3)
    return [Part([outline], Material(tone, darker(tone, 0.3), "patches", 0.15, 0.45), 0.9), top]


def _post(rng: SceneRng) -> list[Part]:
    lean, thick = rng.uniform(-0.2, 0.2), rng.uniform(0.04, 0.1)
    parts = [Part([tube([(0.0, 1.0), (lean, -1.0)], [thick, thick], 2)], _any_material(rng), 0.8)]
    if rng.chance(0.4):
        sign = round_corners(_SQUARE * (0.4, 0.25) + np.array([lean, -0.75]), 0.08)
        parts.append(Part([sign], _any_material(rng), 0.2))
    return parts


def _tuft(rng: SceneRng) -> list[Part]:
    tone = rng.color((0.12, 0.4), (0.3, 0.8), (0.25, 0.7))
    parts = []
    for _ in range(rng.integer(5, 11)):
        heading, bend = rng.uniform(-2.7, -0.45), rng.uniform(-0.35, 0.35)
        blade = chain((0.0, 0.8), heading + bend * _BENDS, rng.uniform(0.35, 0.6))
        green = darker(tone, rng.uniform(0.0, 0.5))
        parts.append(Part([tube(blade, [0.02, 0.1, 0.08, 0.01])], Material(green, grain=0.3), 0.5))
    return parts


_JUNK_SHAPES: dict[str, Callable[[SceneRng], Contour]] = {
    "lump": lambda rng: blob(rng.generator, 0.6) * rng.uniform(0.25, 0.6),
    "plate": lambda rng: round_corners(_SQUARE * rng.generator.uniform(0.12, 0.6, 2), 0.05, 2),
    "bar": lambda rng: tube(chain((0, 0), rng.uniform(0, 6.3) + rng.uniform(-0.6, 0.6) * _BENDS, 0.35), [0.08] * 4),
}


def _junk(rng: SceneRng) -> list[Part]:
    parts = []
    for _ in range(rng.integer(2, 5)):
        contour = _JUNK_SHAPES[rng.choice(list(_JUNK_SHAPES))](rng) + rng.generator.uniform(-0.3, 0.3, 2)
        parts.append(Part([contour], _any_material(rng), rng.uniform(0.2, 0.9)))
    return parts


DISTRACTORS: tuple[Builder, ...] = (_rock, _post, _tuft, _junk)
"""What lies about in a scene without a label."""
