"""Painted, labelled scenes and clips: pictures whose exact masks are known.

Command line: `python -m datasets.scenes --seed 1 --count 40 --out scenes`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from datasets.camera import photograph
from datasets.dice import POOLS, Dice
from datasets.geometry import homography
from datasets.grounds import GROUNDS, dominant_colors, paint_ground, room, smooth_ground
from datasets.layers import Layer, Motion, label, paste, settle
from datasets.rendering import Light, render
from datasets.silhouettes import SILHOUETTES
from datasets.clutter import CLUTTER, Builder
from datasets.things import THINGS

CLASS_NAMES = tuple(SILHOUETTES)
THING = "thing"
SHAPE = HEIGHT, WIDTH = 360, 640
VOID = 255


@dataclass(frozen=True)
class Scene:
    """One picture and what is seen in it.

    image      uint8 (H, W, 3), RGB
    classes    uint8 (H, W): 0 background, class id + 1, 255 void
    instances  uint8 (H, W): 0 background, k + 1 for the object class_ids[k], 255 void
    class_ids  class of every object, 0-based
    boxes      float32 (N, 4): x1, y1, x2, y2 px of the visible pixels, right and bottom
               exclusive, measured before the void border; all zero for an unseen object
    """

    image: np.ndarray
    classes: np.ndarray
    instances: np.ndarray
    class_ids: tuple[int, ...]
    boxes: np.ndarray


@dataclass(frozen=True)
class Style:
    """Which kind of scene to paint; see the options of the command line."""

    pool: str = "heldout"
    things: bool = False
    plain: bool = False
    void: bool = False


def class_names(things: bool = False) -> tuple[str, ...]:
    """Names in the order of the class ids; `things` adds the sixth class."""
    return (*CLASS_NAMES, THING) if things else CLASS_NAMES


def paint_scene(
    seed: int,
    index: int,
    *,
    pool: str = "heldout",
    things: bool = False,
    plain: bool = False,
    void: bool = False,
) -> Scene:
    """Paint scene `index` of `seed`; the same arguments give the same pixels, always.

    Raises ValueError if `pool` is neither "train" nor "heldout".
    """
    style = Style(pool, things, plain, void)
    for attempt in range(100):
        dice = _dice(seed, index, pool, 2 * attempt)
        ground, layers, light = _compose(dice, style, SHAPE)
        if any(layer.class_id is not None for layer in layers):
            return _develop(ground, layers, light, dice, style)
    raise RuntimeError(f"scene {index} of seed {seed}: no object stays visible")


def paint_clip(
    seed: int,
    index: int,
    frames: int,
    *,
    pool: str = "heldout",
    things: bool = False,
    plain: bool = False,
    void: bool = False,
) -> list[Scene]:
    """Paint a clip of `frames` scenes through which objects move and keep their instance ids.

    Raises ValueError if `pool` is unknown or `frames` is not positive.
    """
    if frames < 1:
        raise ValueError(f"a clip has at least one frame, not {frames}")
    style = Style(pool, things, plain, void)
    dice = _dice(seed, index, pool, 1)
    margin = 40
    ground, layers, light = _compose(dice, style, (HEIGHT + 2 * margin, WIDTH + 2 * margin))
    moving = [replace(layer, motion=_motion(dice, layer, frames)) for layer in layers]
    start = dice.rng.uniform(0, 2 * margin, 2)
    end = dice.rng.uniform(0, 2 * margin, 2)
    scenes = []
    for frame in range(frames):
        pan = start + (end - start) * frame / max(frames - 1, 1)
        shown = [layer.after(frame, (pan[0], pan[1])) for layer in moving]
        if frame == 0:
            kept = {id(layer.sprite) for layer in settle(shown, SHAPE)}
            pairs = [(m, s) for m, s in zip(moving, shown) if id(s.sprite) in kept]
            moving, shown = [m for m, _ in pairs], [s for _, s in pairs]
        x, y = round(pan[0]), round(pan[1])
        window = ground[y : y + HEIGHT, x : x + WIDTH].copy()
        scenes.append(_develop(window, shown, light, dice, style))
    return scenes


def _dice(seed: int, index: int, pool: str, stream: int) -> Dice:
    number = POOLS.index(pool) if pool in POOLS else len(POOLS)
    return Dice(np.random.default_rng([seed, index, number, stream]), pool)


def _compose(
    dice: Dice, style: Style, shape: tuple[int, int]
) -> tuple[np.ndarray, list[Layer], Light]:
    """The ground, and the layers that lie on it from back to front."""
    ground = _paint_backdrop(dice, style, shape)
    dice.ground = dominant_colors(ground)
    turn = dice.free(-2.6, -0.5)
    light = Light((math.cos(turn), math.sin(turn)), dice.free(0.7, 1.2))
    layers: list[Layer] = []
    cluttered = not (style.plain or style.things)
    if cluttered:
        layers += [_clutter(dice, light, shape, CLUTTER) for _ in range(dice.count(0, 6))]
    for _ in range(dice.count(1, 3 if style.plain else 6)):
        layers.append(_object(dice, style, light, shape, layers))
    if cluttered and dice.chance(0.35):
        layers += [_clutter(dice, light, shape, CLUTTER) for _ in range(dice.count(1, 3))]
    return ground, settle(layers, shape), light


def _paint_backdrop(dice: Dice, style: Style, shape: tuple[int, int]) -> np.ndarray:
    if style.plain:
        return smooth_ground(dice, shape)
    if style.things and dice.chance(0.4):
        ground = dice.pick([room, smooth_ground])(dice, shape)
    else:
        ground = paint_ground(dice, shape, dice.pick(tuple(GROUNDS[style.pool])))
    return _defocus(ground, dice) if style.things and dice.chance(0.5) else ground


def _defocus(ground: np.ndarray, dice: Dice) -> np.ndarray:
    """`ground` with things far behind the labelled ones: out of focus, so without a label."""
    light = Light((-0.5, -0.8), 1.0)
    for _ in range(dice.count(0, 6)):
        paste(ground, _clutter(dice, light, ground.shape[:2], THINGS + CLUTTER), light)
    return cv2.GaussianBlur(ground, (0, 0), dice.free(2.0, 7.0))


def _object(
    dice: Dice, style: Style, light: Light, shape: tuple[int, int], others: list[Layer]
) -> Layer:
    """A labelled object, often close to one that is already there."""
    names = class_names(False)
    kind = dice.count(0, len(names) - 1)
    if style.things and dice.chance(0.65):
        kind = len(names)
    dice.borrow_colors(dice.free(0.5, 1.0) if not style.plain and dice.chance(0.3) else 0.0)
    parts = dice.pick(THINGS)(dice) if kind == len(names) else SILHOUETTES[names[kind]](dice)
    dice.borrow_colors(0.0)
    largest = 640.0 if style.things else 330.0
    size = 45.0 * (largest / 45.0) ** dice.free(0.0 if not style.plain else 0.5, 1.0)
    matrix = homography(
        size,
        dice.pose(-0.55, 0.55) * (3.0 if style.things and dice.chance(0.2) else 1.0),
        mirror=dice.chance(0.5),
        aspect=dice.free(0.8, 1.25),
        tilt=(dice.free(-0.12, 0.12), dice.free(-0.12, 0.12)),
    )
    sprite = render(parts, matrix, light, dice.rng)
    labelled = [layer for layer in others if layer.class_id is not None]
    if labelled and not style.plain and dice.chance(0.5):
        near = dice.pick(labelled)
        at = np.array(near.at) + dice.rng.normal(0, 0.35, 2) * (near.sprite.alpha.shape[1] + size) / 2
    else:
        at = dice.rng.uniform(0.08, 0.92, 2) * shape[::-1]
    at = np.clip(at, 0, np.array(shape[::-1]) - 1)
    return Layer(sprite, (int(at[0]), int(at[1])), kind, dice.free(0.0, 0.55))


def _clutter(
    dice: Dice, light: Light, shape: tuple[int, int], builders: Sequence[Builder]
) -> Layer:
    dice.borrow_colors(dice.free(0.3, 1.0) if dice.chance(0.6) else 0.0)
    parts = dice.pick(builders)(dice)
    dice.borrow_colors(0.0)
    size = 25.0 * 7.0 ** dice.rng.random()
    matrix = homography(
        size, dice.free(-0.5, 0.5), mirror=False, aspect=dice.free(0.7, 1.4), tilt=(0.0, 0.0)
    )
    sprite = render(parts, matrix, light, dice.rng)
    at = (int(dice.free(0, shape[1])), int(dice.free(0, shape[0])))
    return Layer(sprite, at, None, dice.free(0.0, 0.5))


def _motion(dice: Dice, layer: Layer, frames: int) -> Motion | None:
    if layer.class_id is None:
        return None
    x = dice.free(0.15, 0.5) * WIDTH * (1 if layer.at[0] < WIDTH / 2 else -1)
    y = dice.free(-0.15, 0.15) * HEIGHT
    growth = dice.free(0.8, 1.25) ** (1 / frames)
    return Motion((x / frames, y / frames), dice.free(-0.3, 0.3) / frames, growth)


def _develop(
    ground: np.ndarray, layers: list[Layer], light: Light, dice: Dice, style: Style
) -> Scene:
    """Paste `layers` over `ground` (changed in place), photograph the result and label it."""
    for layer in layers:
        paste(ground, layer, light)
    seen = label(layers, SHAPE)
    instance_of, class_of, class_ids = [0], [0], []
    for layer in layers:
        if layer.class_id is not None:
            class_ids.append(layer.class_id)
        instance_of.append(len(class_ids) if layer.class_id is not None else 0)
        class_of.append(layer.class_id + 1 if layer.class_id is not None else 0)
    instances, classes = np.uint8(instance_of)[seen], np.uint8(class_of)[seen]
    boxes = np.float32([_box(instances == k + 1) for k in range(len(class_ids))]).reshape(-1, 4)
    if style.void:
        edge = cv2.morphologyEx(instances, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
        instances[edge] = classes[edge] = VOID
    image = photograph(ground, dice, rough=style.things)
    return Scene(image, classes, instances, tuple(class_ids), boxes)


def _box(mask: np.ndarray) -> tuple[float, float, float, float]:
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return float(x), float(y), float(x + width), float(y + height)


if __name__ == "__main__":
    import sys

    from datasets.scene_tree import main

    sys.exit(main())
