"""Scenes and clips painted from a seed: pictures whose exact masks are known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np

from datasets.scenes.camera import Camera
from datasets.scenes.composition import Composition, Style, compose
from datasets.scenes.dice import POOLS, Dice
from datasets.scenes.layers import Layer, Motion, instance_map, paste, settle, with_void
from datasets.scenes.silhouettes import SILHOUETTES
from utils.classes import VOID, label_of

HEIGHT, WIDTH = 360, 640
_SHAPE = (HEIGHT, WIDTH)
HELDOUT = Style()
_MARGIN = 40  # how far the camera of a clip can pan, in px
_ATTEMPTS = 100


@dataclass(frozen=True)
class Scene:
    """One picture and what is seen in it.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        classes: (H, W) uint8: 0 background, class id + 1, 255 void.
        instances: (H, W) uint8: 0 background, k + 1 for the object of `class_ids[k]`, 255 void.
        class_ids: the classes of the objects, from 0.
        boxes: (N, 4) float32 x1, y1, x2, y2 in px, right and bottom exclusive, tight around the pixels of an object
            before the void border is drawn; zeros where another object or the image border hides it all.
    """

    image: np.ndarray
    classes: np.ndarray
    instances: np.ndarray
    class_ids: tuple[int, ...]
    boxes: np.ndarray


def class_names(things: bool = False) -> tuple[str, ...]:
    """Names in the order of the class ids; `things` adds the sixth class."""
    return (*SILHOUETTES, "thing") if things else tuple(SILHOUETTES)


def paint_scene(seed: int, index: int, style: Style = HELDOUT) -> Scene:
    """Paint scene `index` of `seed`; the same arguments give the same pixels.

    Raises:
        ValueError: a number is negative, or there is no such pool.
    """
    for dice in _attempts(seed, index, style.pool, kind=0):
        scene = compose(dice, style, _SHAPE)
        if any(layer.class_id is not None for layer in scene.layers):
            return _develop(scene, _camera(dice, style), dice, style)
    raise RuntimeError(f"scene {index} of seed {seed} shows no object")


def paint_clip(seed: int, index: int, frames: int, style: Style = HELDOUT) -> list[Scene]:
    """Paint clip `index` of `seed`: objects move through it and keep their instance ids.

    All objects are well seen in the first frame; later they may hide each other or leave.

    Raises:
        ValueError: a number is negative, there is no such pool, or no frame.
    """
    if frames < 1:
        raise ValueError(f"a clip has at least one frame, not {frames}")
    for dice in _attempts(seed, index, style.pool, kind=1):
        stage = compose(dice, style, (HEIGHT + 2 * _MARGIN, WIDTH + 2 * _MARGIN))
        first, last = dice.rng.integers(0, 2 * _MARGIN, (2, 2))
        pans = np.linspace(first, last, frames).astype(int)
        moving = [replace(layer, motion=_motion(dice, layer, frames)) for layer in stage.layers]
        kept = settle([layer.after(0, pans[0]) for layer in moving], _SHAPE, style.visible, style.void)
        stage = replace(stage, layers=tuple(moving[at] for at in kept))
        if any(layer.class_id is not None for layer in stage.layers):
            return _film(stage, pans, _camera(dice, style), dice, style)
    raise RuntimeError(f"clip {index} of seed {seed} shows no object")


def _attempts(seed: int, index: int, pool: str, kind: int) -> Iterator[Dice]:
    """Dice for one picture: the pool, the kind and the attempt are part of the seed."""
    if pool not in POOLS:
        raise ValueError(f"pool is one of {', '.join(POOLS)}, not {pool!r}")
    for attempt in range(_ATTEMPTS):
        yield Dice(np.random.default_rng([seed, index, POOLS.index(pool), kind, attempt]), pool)


def _camera(dice: Dice, style: Style) -> Camera:
    return Camera.rough(dice) if style.things else Camera.good(dice)


def _motion(dice: Dice, layer: Layer, frames: int) -> Motion:
    """Through the picture for an object, towards its farther side; none for clutter."""
    if layer.class_id is None:
        return Motion((0.0, 0.0), 0.0, 1.0)
    across = dice.free(0.15, 0.5) * (WIDTH if layer.at[0] < WIDTH / 2 else -WIDTH)
    down = dice.free(-0.15, 0.15) * HEIGHT
    growth = dice.free(0.8, 1.25) ** (1 / frames)
    return Motion((across / frames, down / frames), dice.free(-0.3, 0.3) / frames, growth)


def _film(stage: Composition, pans: np.ndarray, camera: Camera, dice: Dice, style: Style) -> list[Scene]:
    """One scene for every place of the camera in `pans`, (frames, 2) whole px."""
    scenes = []
    for frame, (x, y) in enumerate(pans):
        layers = tuple(layer.after(frame, (x, y)) for layer in stage.layers)
        window = stage.ground[y : y + HEIGHT, x : x + WIDTH].copy()
        scenes.append(_develop(Composition(window, layers, stage.light), camera, dice, style))
    return scenes


def _develop(scene: Composition, camera: Camera, dice: Dice, style: Style) -> Scene:
    """Paste the layers over the ground (changing it), photograph the result and label it."""
    for layer in scene.layers:
        paste(scene.ground, layer, scene.light)
    instances = instance_map(scene.layers, _SHAPE)
    class_ids = tuple(layer.class_id for layer in scene.layers if layer.class_id is not None)
    boxes = [_box(instances == number + 1) for number in range(len(class_ids))]
    classes = np.array([0, *(label_of(class_id) for class_id in class_ids)], np.uint8)[instances]
    if style.void:
        instances = with_void(instances)
        classes[instances == VOID] = VOID
    image = camera.photograph(scene.ground, dice.rng)
    return Scene(image, classes, instances, class_ids, np.array(boxes, np.float32).reshape(-1, 4))


def _box(mask: np.ndarray) -> tuple[float, float, float, float]:
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return float(x), float(y), float(x + width), float(y + height)
