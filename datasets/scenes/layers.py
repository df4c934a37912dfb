"""Sprites laid over each other: pasting them, their shadows, and which pixels stay visible."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from datasets.scenes.rendering import Light, Sprite, darken
from utils.classes import VOID

MIN_AREA = 900  # an object is kept if at least so many of its pixels are seen
MIN_CORE = 100  # and so many inside its void border


@dataclass(frozen=True)
class Motion:
    """Change per frame: `shift` (x, y) in px, `spin` in radians, `growth` as a factor."""

    shift: tuple[float, float]
    spin: float
    growth: float


@dataclass(frozen=True)
class Layer:
    """A sprite in a picture.

    Attributes:
        sprite: what it shows.
        at: where the sprite's origin lies, (x, y) px.
        class_id: its class, or None for clutter without a label.
        shadow: how much light its cast shadow takes away, 0 to 1.
        motion: how it moves in a clip.
    """

    sprite: Sprite
    at: tuple[int, int]
    class_id: int | None
    shadow: float = 0.0
    motion: Motion = Motion((0.0, 0.0), 0.0, 1.0)

    def after(self, frames: int, pan: tuple[int, int]) -> Layer:
        """This layer `frames` frames later, in a picture whose camera moved by `pan` px."""
        x, y = np.asarray(self.at) + frames * np.asarray(self.motion.shift) - pan
        whole = math.floor(x), math.floor(y)
        turned = _turn(self.sprite, self.motion, frames, (x - whole[0], y - whole[1]))
        return replace(self, sprite=turned, at=whole)


def _turn(sprite: Sprite, motion: Motion, frames: int, rest: tuple[float, float]) -> Sprite:
    """`sprite` spun and grown around its origin, then moved by the fraction `rest` of a pixel."""
    scale, angle = motion.growth**frames, motion.spin * frames
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    linear = np.array([[cos, -sin], [sin, cos]])
    left, top = sprite.origin
    height, width = sprite.alpha.shape
    corners = np.array([(x, y) for x in (left, left + width) for y in (top, top + height)])
    reached = corners @ linear.T + rest
    low = np.floor(reached.min(axis=0)).astype(int)
    size = (np.ceil(reached.max(axis=0)).astype(int) - low).tolist()
    moved = linear @ (np.array(sprite.origin) + 0.5) + rest - low - 0.5  # warpAffine counts from pixel centres
    matrix = np.concatenate([linear, moved[:, None]], axis=1)
    colour, alpha = (cv2.warpAffine(plane, matrix, size) for plane in (sprite.colour, sprite.alpha))
    return Sprite(colour, alpha, (int(low[0]), int(low[1])))


def overlap(
    layer: Layer, shape: tuple[int, int], move: tuple[int, int] = (0, 0)
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where a layer moved by `move` px meets a picture of `shape`: picture and sprite windows."""
    on_picture, on_sprite = [], []
    for axis in (1, 0):
        start = layer.at[axis] + layer.sprite.origin[axis] + move[axis]
        length = layer.sprite.alpha.shape[1 - axis]
        first, last = max(start, 0), max(min(start + length, shape[1 - axis]), max(start, 0))
        on_picture.append(slice(first, last))
        on_sprite.append(slice(first - start, last - start))
    return (on_picture[0], on_picture[1]), (on_sprite[0], on_sprite[1])


def paste(canvas: np.ndarray, layer: Layer, light: Light) -> None:
    """Lay `layer` and its cast shadow over `canvas` (H, W, 3) uint8, in place."""
    if layer.shadow > 0:
        _cast_shadow(canvas, layer, light)
    there, here = overlap(layer, canvas.shape[:2])
    if canvas[there].size:
        keep = cv2.bitwise_not(layer.sprite.alpha[here])
        below = cv2.multiply(canvas[there], cv2.merge([keep, keep, keep]), scale=1 / 255)
        canvas[there] = cv2.add(below, np.ascontiguousarray(layer.sprite.colour[here]))


def _cast_shadow(canvas: np.ndarray, layer: Layer, light: Light) -> None:
    reach = 3 + int(0.07 * math.sqrt(layer.sprite.alpha.size))
    move = (round(-reach * light.direction[0]), round(-reach * light.direction[1]))
    there, here = overlap(layer, canvas.shape[:2], move)
    if canvas[there].size:
        darken(canvas[there], cv2.boxFilter(layer.sprite.alpha[here], -1, (reach, reach)), layer.shadow)


def instance_map(layers: Sequence[Layer], shape: tuple[int, int]) -> np.ndarray:
    """Which object is seen at each pixel: uint8 (H, W), objects counted from 1, else 0."""
    seen = np.zeros(shape, np.uint8)
    count = 0
    for layer in layers:
        there, here = overlap(layer, shape)
        count += layer.class_id is not None
        seen[there][layer.sprite.alpha[here] > 127] = 0 if layer.class_id is None else count
    return seen


def with_void(instances: np.ndarray) -> np.ndarray:
    """A copy of `instances` with a border of 255, 3 px wide, along every outline."""
    edge = cv2.morphologyEx(instances, cv2.MORPH_GRADIENT, np.ones((4, 4), np.uint8)) > 0
    return np.where(edge, np.uint8(VOID), instances)


def settle(layers: Sequence[Layer], shape: tuple[int, int], visible: float, void: bool) -> list[int]:
    """Indices of `layers` without the objects of which too little is seen: less than `visible`, 0..1, of a silhouette.

    With `void`, enough must be left of an object inside its void border, too.
    """
    kept = list(range(len(layers)))
    whole = [np.count_nonzero(layer.sprite.alpha > 127) for layer in layers]
    while True:
        instances = instance_map([layers[index] for index in kept], shape)
        objects = [index for index in kept if layers[index].class_id is not None]
        areas = np.bincount(instances.ravel(), minlength=len(objects) + 1)[1:]
        inner = with_void(instances) if void else instances
        cores = np.bincount(inner.ravel(), minlength=len(objects) + 1)[1:]
        hidden = [
            index
            for index, area, core in zip(objects, areas, cores[: len(objects)])
            if area < max(MIN_AREA, visible * whole[index]) or core < MIN_CORE
        ]
        if not hidden:
            return kept
        kept.remove(hidden[0])  # this may uncover others, so only one goes at a time
