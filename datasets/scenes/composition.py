"""What lies where in a scene: the ground, the objects, and the clutter around them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from datasets.scenes.clutter import CLUTTER
from datasets.scenes.dice import Dice
from datasets.scenes.geometry import homography
from datasets.scenes.grounds import GROUNDS, colours_of, room, smooth_ground
from datasets.scenes.layers import Layer, paste, settle
from datasets.scenes.rendering import Builder, Light, render
from datasets.scenes.silhouettes import SILHOUETTES
from datasets.scenes.textures import speckled
from datasets.scenes.things import THINGS

THING_ID = len(SILHOUETTES)
_GRIT = (16.0, 26.0)  # how rough a ground is, in grey levels: what lies on it is smoother, whatever its colours
_SMALLEST, _LARGEST, _LARGEST_THING = 150.0, 450.0, 640.0  # length of an object in px


@dataclass(frozen=True)
class Style:
    """Which kind of scene to paint.

    Attributes:
        pool: `heldout` or `train`, which have no ground and no pose in common.
        things: objects of a sixth class, thing, of any shape, too; and rougher photographs.
        plain: few, separate, contrasting objects on a smooth ground.
        void: a border labelled 255 around every object.
        visible: the least share of its silhouette, 0 to 1, that is seen of an object.
    """

    pool: str = "heldout"
    things: bool = False
    plain: bool = False
    void: bool = False
    visible: float = 0.75


@dataclass(frozen=True)
class Composition:
    """A painted ground, (H, W, 3) uint8 RGB, and the layers to lay over it, back to front."""

    ground: np.ndarray
    layers: tuple[Layer, ...]
    light: Light


def compose(dice: Dice, style: Style, shape: tuple[int, int]) -> Composition:
    """Draw a scene of `shape` (H, W), without objects of which too little would be seen."""
    turn = dice.free(-2.6, -0.5)
    light = Light((math.cos(turn), math.sin(turn)), dice.free(0.7, 1.2))
    ground = _paint_backdrop(dice, style, shape, light)
    if not (style.things or style.plain):
        ground = speckled(ground, dice.rng, dice.free(*_GRIT))
    painter = _Painter(dice, style, light, ground)
    if style.plain:
        painter.add_apart()
    else:
        painter.add_crowd()
    kept = settle(painter.layers, shape, style.visible, style.void)
    return Composition(ground, tuple(painter.layers[index] for index in kept), light)


def _paint_backdrop(dice: Dice, style: Style, shape: tuple[int, int], light: Light) -> np.ndarray:
    if style.plain:
        return smooth_ground(dice, shape)
    if style.things and dice.chance(0.4):
        ground = dice.pick((room, smooth_ground))(dice, shape)
    else:
        ground = dice.pick(GROUNDS[style.pool])(dice, shape)
    return _defocused(dice, style, ground, light) if style.things and dice.chance(0.5) else ground


def _defocused(dice: Dice, style: Style, ground: np.ndarray, light: Light) -> np.ndarray:
    """A blurred background; the things in it carry no label, so they must be out of focus, too."""
    painter = _Painter(dice, style, light, ground)
    for _ in range(dice.count(0, 6)):
        painter.add_clutter(THINGS)
    for layer in painter.layers:
        paste(ground, layer, light)
    return cv2.GaussianBlur(ground, (0, 0), dice.free(2.0, 7.0))


class _Painter:
    """Paints sprites one by one and chooses where they go."""

    def __init__(self, dice: Dice, style: Style, light: Light, ground: np.ndarray) -> None:
        self.layers: list[Layer] = []
        self._dice, self._style, self._light = dice, style, light
        self._shape = ground.shape[:2]
        self._ground = ground

    def add_apart(self) -> None:
        """Up to three objects side by side, in colours that stand out."""
        width = self._shape[1] / 3
        for column in range(self._dice.count(1, 3)):
            at = int(width * (column + 0.5)), int(self._dice.free(0.35, 0.65) * self._shape[0])
            self._add_object(self._dice.free(0.45, 0.85) * width, at, colour_share=-0.35)

    def add_crowd(self) -> None:
        """Objects behind and before each other, with clutter around and sometimes in front."""
        dice = self._dice
        cluttered = not self._style.things  # beside things, clutter would look like one of them
        for _ in range(dice.count(0, 3) if cluttered else 0):
            self.add_clutter(CLUTTER)
        largest = _LARGEST_THING if self._style.things else _LARGEST
        for _ in range(dice.count(1, 4)):
            size = _SMALLEST * (largest / _SMALLEST) ** dice.free(0.0, 1.0)
            at = self._near_or_anywhere(size)
            # Much like the ground, so that colour alone does not tell an object; in photographs most differ from it.
            share = dice.free(0.85, 1.0) if cluttered or dice.chance(0.3) else 0.0
            self._add_object(size, at, share)
            if cluttered and dice.chance(0.06):
                self.add_clutter(CLUTTER, close=True)

    def add_clutter(self, builders: Sequence[Builder], close: bool = False) -> None:
        """Something without a label; `close` puts it before or beside an object."""
        dice = self._dice
        size = 25.0 * 7.0 ** dice.free(0.0, 1.0)
        at = self._near_or_anywhere(size, 1.0 if close else 0.0)
        share = dice.free(0.3, 1.0) if dice.chance(0.6) else 0.0
        with dice.near_ground(self._colours_around(at, size), share):
            parts = dice.pick(builders)(dice)
        turn, aspect = dice.free(-0.5, 0.5), dice.free(0.7, 1.4)
        matrix = homography(size, turn, mirror=False, aspect=aspect, tilt=(0.0, 0.0))
        sprite = render(parts, matrix, self._light, dice.rng)
        self.layers.append(Layer(sprite, at, None, dice.free(0.0, 0.5)))

    def _add_object(self, size: float, at: tuple[int, int], colour_share: float) -> None:
        dice = self._dice
        class_id = dice.count(0, THING_ID - 1)
        if self._style.things and dice.chance(0.65):
            class_id = THING_ID
        builders = THINGS if class_id == THING_ID else (tuple(SILHOUETTES.values())[class_id],)
        with dice.near_ground(self._colours_around(at, size), colour_share):
            parts = dice.pick(builders)(dice)
        tumbled = self._style.things and dice.chance(0.2)
        matrix = homography(
            size,
            dice.pose(-0.55, 0.55) * (3.0 if tumbled else 1.0),
            mirror=dice.chance(0.5),
            aspect=dice.free(0.8, 1.25),
            tilt=(dice.free(-0.12, 0.12), dice.free(-0.12, 0.12)),
        )
        sprite = render(parts, matrix, self._light, dice.rng, rim=class_id != THING_ID)
        self.layers.append(Layer(sprite, at, class_id, dice.free(0.35, 0.7)))

    def _colours_around(self, at: tuple[int, int], size: float) -> np.ndarray:
        """Colours (K, 3) of the ground that an object of `size` px at `at` lies on."""
        top, left = (max(0, int(place - size / 2)) for place in reversed(at))
        return colours_of(self._ground[top : top + int(size), left : left + int(size)])

    def _near_or_anywhere(self, size: float, near: float = 0.06) -> tuple[int, int]:
        """A place in the picture; in `near` (0..1) of all cases close to an object there is."""
        dice = self._dice
        objects = [layer for layer in self.layers if layer.class_id is not None]
        height, width = self._shape
        x, y = dice.free(0.08, 0.92) * width, dice.free(0.08, 0.92) * height
        if objects and dice.chance(near):
            other = dice.pick(objects)
            reach = 0.2 * (other.sprite.alpha.shape[1] + size)
            x, y = dice.rng.normal(other.at, reach)
        return int(np.clip(x, 0, width - 1)), int(np.clip(y, 0, height - 1))
