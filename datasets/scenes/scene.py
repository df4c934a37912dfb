"""Paint scenes and clips, whose exact masks are known, from a seed.

A scene is drawn as a background and sprites, each of which becomes a `Layer`: labelled objects and distractors. The
layers are pasted over the background, what stays visible of them is labelled, and a camera adds blur and noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from datasets.scenes.geometry import homography, rotation
from datasets.scenes.objects import DISTRACTORS, OBJECTS
from datasets.scenes.rendering import Light, Sprite, darken, render
from datasets.scenes.rng import Image, SceneRng
from datasets.scenes.textures import BACKGROUNDS, Shape, add_noise, scale_light, smooth_gradient
from utils.classes import label_of

_SHAPE = HEIGHT, WIDTH = 360, 640
MIN_AREA = 900  # an object stays in a scene if at least so many of its pixels are visible, and
MIN_VISIBLE = 0.75  # at least this share of its silhouette
_MIN_SIZE, _MAX_SIZE = 150.0, 450.0  # length of an object in px
_MARGIN = 40  # how far the camera of a clip can pan, in px


@dataclass(frozen=True)
class Scene:
    """One image and what is visible in it."""

    image: Image  # (H, W, 3) RGB
    classes: Image  # (H, W): 0 background, else class id + 1
    instances: Image  # (H, W): 0 background, k + 1 for the object of `class_ids[k]`
    class_ids: tuple[int, ...]  # of the objects, from 0
    boxes: npt.NDArray[np.float32]  # (N, 4) xyxy px, ends exclusive, tight around the visible pixels; zeros if none


def class_names() -> tuple[str, ...]:
    """Return the names of the classes, in the order of their ids."""
    return tuple(OBJECTS)


def paint_scene(seed: int, index: int, plain: bool = False) -> Scene:
    """Paint scene `index` of `seed`; the same arguments give the same pixels.

    A `plain` scene has up to three separate objects on a smooth background. Raises ValueError for a negative number.
    """
    for rng in _attempts(seed, index, kind=0):
        composition = _Composition(rng, _SHAPE, plain)
        if composition.layers:
            return _develop(composition.background, composition.layers, composition.light, _draw_camera(rng))
    raise RuntimeError(f"scene {index} of seed {seed} shows no object")


def paint_clip(seed: int, index: int, frames: int, plain: bool = False) -> list[Scene]:
    """Paint clip `index` of `seed`: objects move through it and keep their instance ids.

    All objects are well visible in the first frame; later they may hide each other or leave. Raises ValueError for a
    negative number, and for no frame.
    """
    if frames < 1:
        raise ValueError(f"a clip has at least one frame, not {frames}")
    for rng in _attempts(seed, index, kind=1):
        composition = _Composition(rng, (HEIGHT + 2 * _MARGIN, WIDTH + 2 * _MARGIN), plain)
        first, last = rng.generator.integers(0, 2 * _MARGIN, (2, 2))
        pans = np.linspace(first, last, frames).astype(int)
        layers = [_draw_motion(rng, layer, frames) for layer in composition.layers]
        layers = [layers[at] for at in drop_hidden([layer.at_frame(0, pans[0]) for layer in layers], _SHAPE)]
        if layers:
            capture = _draw_camera(rng)
            windows = [composition.background[y : y + HEIGHT, x : x + WIDTH].copy() for x, y in pans]
            moved = [[layer.at_frame(frame, pan) for layer in layers] for frame, pan in enumerate(pans)]
            return [_develop(window, each, composition.light, capture) for window, each in zip(windows, moved)]
    raise RuntimeError(f"clip {index} of seed {seed} shows no object")


def _attempts(seed: int, index: int, kind: int) -> Iterator[SceneRng]:
    """Yield random numbers for 100 attempts; the 1 in their seed is 0 in that of the demo weights' training data."""
    for attempt in range(100):
        yield SceneRng(np.random.default_rng([seed, index, 1, kind, attempt]))


@dataclass(frozen=True)
class Layer:
    """A sprite in an image, and how it moves in a clip."""

    sprite: Sprite
    position: tuple[int, int]  # where the sprite's origin lies, (x, y) px
    class_id: int | None  # None for a distractor
    shadow: float  # how much light its cast shadow takes away, 0 to 1
    velocity: tuple[float, float] = (0.0, 0.0)  # (x, y) px per frame
    angular_velocity: float = 0.0  # radians per frame
    scale_rate: float = 1.0  # factor per frame

    def at_frame(self, frame: int, pan: npt.NDArray[np.int64]) -> Layer:
        """Return this layer in a frame of a clip, where the camera has moved by `pan` (x, y) px."""
        exact = np.asarray(self.position) + frame * np.asarray(self.velocity) - pan
        whole = np.floor(exact)
        linear = self.scale_rate**frame * rotation(self.angular_velocity * frame)
        sprite = self.sprite
        far = np.add(sprite.origin, sprite.alpha.shape[::-1])
        corners = np.array([(x, y) for x in (sprite.origin[0], far[0]) for y in (sprite.origin[1], far[1])])
        reached = corners @ linear.T + (exact - whole)
        low = np.floor(reached.min(axis=0)).astype(int)
        size = (np.ceil(reached.max(axis=0)).astype(int) - low).tolist()
        # cv2 counts from the middle of the first pixel, sprites from its corner.
        offset = linear @ (np.array(sprite.origin) + 0.5) + (exact - whole) - low - 0.5
        matrix = np.concatenate([linear, offset[:, None]], axis=1)
        color, alpha = (cv2.warpAffine(plane, matrix, size).astype(np.uint8) for plane in (sprite.color, sprite.alpha))
        warped = Sprite(color, alpha, (int(low[0]), int(low[1])))
        return replace(self, sprite=warped, position=(int(whole[0]), int(whole[1])))


def _draw_motion(rng: SceneRng, layer: Layer, frames: int) -> Layer:
    """Move an object through the image, towards its farther side; a distractor stays where it is."""
    if layer.class_id is None:
        return layer
    across = rng.uniform(0.15, 0.5) * (WIDTH if layer.position[0] < WIDTH / 2 else -WIDTH)
    down = rng.uniform(-0.15, 0.15) * HEIGHT
    scale = rng.uniform(0.8, 1.25) ** (1 / frames)
    velocity, angle = (across / frames, down / frames), rng.uniform(-0.3, 0.3)
    return replace(layer, velocity=velocity, angular_velocity=angle / frames, scale_rate=scale)


def _overlap(layer: Layer, shape: Sequence[int], shift: Sequence[int] = (0, 0)) -> tuple[tuple[slice, ...], ...]:
    """Return where a layer moved by `shift` px meets an image of `shape`: rows and columns of image and of sprite."""
    start = np.array(layer.position) + layer.sprite.origin + shift  # of the sprite's top left pixel, (x, y)
    low = np.maximum(start, 0)
    high = np.maximum(np.minimum(start + layer.sprite.alpha.shape[::-1], shape[1::-1]), low)
    on_image, on_sprite = zip(low, high), zip(low - start, high - start)
    return tuple(slice(*ends) for ends in on_image)[::-1], tuple(slice(*ends) for ends in on_sprite)[::-1]


def _paste(image: Image, layer: Layer, light: Light) -> None:
    """Lay `layer` and its cast shadow over an image (H, W, 3), in place."""
    reach = 3 + int(0.07 * math.sqrt(layer.sprite.alpha.size))
    there, here = _overlap(layer, image.shape, [round(-reach * along) for along in light.direction])
    if image[there].size:
        darken(image[there], cv2.boxFilter(layer.sprite.alpha[here], -1, (reach, reach)), layer.shadow)
    there, here = _overlap(layer, image.shape)
    if image[there].size:
        below = scale_light(image[there], ~layer.sprite.alpha[here])
        image[there] = cv2.add(below, np.ascontiguousarray(layer.sprite.color[here]))


def _instance_map(layers: Sequence[Layer], shape: Sequence[int]) -> Image:
    """Return which object is visible at each pixel of (H, W): objects are numbered from 1, the rest is 0."""
    instances = np.zeros(shape, np.uint8)
    count = 0
    for layer in layers:
        there, here = _overlap(layer, shape)
        count += layer.class_id is not None
        instances[there][layer.sprite.alpha[here] > 127] = 0 if layer.class_id is None else count
    return instances


def drop_hidden(layers: Sequence[Layer], shape: Shape) -> list[int]:
    """Return the indices of `layers` without objects that are hidden too far; none if no object is left."""
    kept = list(range(len(layers)))
    silhouettes = [np.count_nonzero(layer.sprite.alpha > 127) for layer in layers]
    while True:
        instances = _instance_map([layers[index] for index in kept], shape)
        objects = [index for index in kept if layers[index].class_id is not None]
        visible = np.bincount(instances.ravel(), minlength=len(objects) + 1)[1:]
        hidden = [i for i, area in zip(objects, visible) if area < max(MIN_AREA, MIN_VISIBLE * silhouettes[i])]
        if not hidden:
            return kept if objects else []
        kept.remove(hidden[0])  # this may uncover others, so only one goes at a time


class _Composition:
    """A drawn scene of `shape` (H, W): its background (H, W, 3), its layers, back to front, and the light on them."""

    def __init__(self, rng: SceneRng, shape: Shape, plain: bool) -> None:
        self._rng, self._shape = rng, shape
        angle = rng.uniform(-2.6, -0.5)
        self.light = Light((math.cos(angle), math.sin(angle)), rng.uniform(0.7, 1.2))
        self.background = (smooth_gradient if plain else rng.choice(BACKGROUNDS))(rng, shape)
        self.layers: list[Layer] = []
        if plain:  # up to three objects side by side, in colors that stand out against the background
            column_width = shape[1] / 3
            for column in range(rng.integer(1, 3)):
                position = int(column_width * (column + 0.5)), int(rng.uniform(0.35, 0.65) * shape[0])
                self._add(rng.uniform(0.45, 0.85) * column_width, position, -0.35, rng.integer(0, len(OBJECTS) - 1))
        else:
            # Objects are smoother than what they lie on, whatever their colors.
            self.background = add_noise(self.background, rng.generator, rng.uniform(16.0, 26.0))
            self._add_crowd()
        self.layers = [self.layers[index] for index in drop_hidden(self.layers, shape)]

    def _add_crowd(self) -> None:
        """Add objects behind and before each other, with distractors around and sometimes in front."""
        rng = self._rng
        for _ in range(rng.integer(0, 3)):
            self._add_distractor(near=0.06)
        for _ in range(rng.integer(1, 4)):
            size = _MIN_SIZE * (_MAX_SIZE / _MIN_SIZE) ** rng.uniform(0.0, 1.0)
            position = self._draw_position(size, near=0.06)
            # Objects have much the colors of the background, so that color alone does not find them.
            self._add(size, position, rng.uniform(0.85, 1.0), rng.integer(0, len(OBJECTS) - 1))
            if rng.chance(0.06):
                self._add_distractor(near=1.0)

    def _add_distractor(self, near: float) -> None:
        rng = self._rng
        size = 25.0 * 7.0 ** rng.uniform(0.0, 1.0)
        position = self._draw_position(size, near)
        self._add(size, position, rng.uniform(0.3, 1.0) if rng.chance(0.6) else 0.0, None)

    def _draw_position(self, size: float, near: float) -> tuple[int, int]:
        """Draw a position (x, y) in the image; with probability `near` close to an object, if there is one."""
        rng, (height, width) = self._rng, self._shape
        objects = [layer for layer in self.layers if layer.class_id is not None]
        x, y = rng.uniform(0.08, 0.92) * width, rng.uniform(0.08, 0.92) * height
        if objects and rng.chance(near):
            other = rng.choice(objects)
            x, y = rng.generator.normal(other.position, 0.2 * (other.sprite.alpha.shape[1] + size))
        return int(np.clip(x, 0, width - 1)), int(np.clip(y, 0, height - 1))

    def _add(self, size: float, position: tuple[int, int], color_weight: float, class_id: int | None) -> None:
        """Add an object or a distractor about `size` px long; `color_weight` moves its colors to the background's."""
        rng = self._rng
        left, top = (max(0, int(middle - size / 2)) for middle in position)
        behind = self.background[top : top + int(size), left : left + int(size)]
        nearby = cv2.resize(behind, (64, 36), interpolation=cv2.INTER_AREA).reshape(-1, 3).astype(np.uint8)
        build = rng.choice(DISTRACTORS) if class_id is None else list(OBJECTS.values())[class_id]
        parts = build(SceneRng(rng.generator, nearby, color_weight))
        if class_id is None:
            pose = homography(size, rng.uniform(-0.5, 0.5), False, rng.uniform(0.7, 1.4), (0.0, 0.0))
        else:
            angle, mirror, aspect = rng.pose(-0.55, 0.55), rng.chance(0.5), rng.uniform(0.8, 1.25)
            pose = homography(size, angle, mirror, aspect, (rng.uniform(-0.12, 0.12), rng.uniform(-0.12, 0.12)))
        sprite = render(parts, pose, self.light, rng.generator)
        shadow = rng.uniform(0.0, 0.5) if class_id is None else rng.uniform(0.35, 0.7)
        self.layers.append(Layer(sprite, position, class_id, shadow))


def _draw_camera(rng: SceneRng) -> Callable[[Image], Image]:
    """Draw exposure, color cast, blur and noise that hardly show; return what takes an image with them."""
    gains = [rng.uniform(0.9, 1.12) for _ in range(3)]
    noise, gamma, blur = rng.uniform(2.0, 5.0), rng.uniform(0.85, 1.1), rng.uniform(0.45, 0.8)
    curves = (np.arange(256) / 255)[:, None] ** gamma * gains
    levels = np.clip(255 * curves, 0, 255).astype(np.uint8)[None]

    def capture(image: Image) -> Image:
        blurred = cv2.GaussianBlur(cv2.LUT(image, levels), (0, 0), blur)
        return add_noise(np.asarray(blurred, np.uint8), rng.generator, noise)

    return capture


def _develop(background: Image, layers: Sequence[Layer], light: Light, capture: Callable[[Image], Image]) -> Scene:
    """Paste the layers over the background (changing it), label what is visible, and take the image."""
    for layer in layers:
        _paste(background, layer, light)
    instances = _instance_map(layers, background.shape[:2])
    class_ids = tuple(layer.class_id for layer in layers if layer.class_id is not None)
    classes = np.array([0, *(label_of(class_id) for class_id in class_ids)], np.uint8)[instances]
    rects = [cv2.boundingRect((instances == number).astype(np.uint8)) for number in range(1, len(class_ids) + 1)]
    boxes = np.array([(x, y, x + width, y + height) for x, y, width, height in rects], np.float32).reshape(-1, 4)
    return Scene(capture(background), classes, instances, class_ids, boxes)
