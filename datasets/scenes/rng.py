"""Draw the random numbers, poses and colors behind one scene."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

T = TypeVar("T")
Range = tuple[float, float]
Image = npt.NDArray[np.uint8]
Color = tuple[float, float, float]
"""RGB, each 0..255."""


def lerp(first: Sequence[float] | Image, second: Sequence[float] | Image, weight: float) -> Color:
    """Return the color `weight` of the way from `first` to `second`; weights outside [0, 1] extrapolate."""
    red, green, blue = (a + (b - a) * weight for a, b in zip(first, second))
    return red, green, blue


def darker(color: Color, by: float) -> Color:
    """Move `color` by `by` (0..1) of the way to black."""
    return lerp(color, (0.0, 0.0, 0.0), by)


def lighter(color: Color, by: float) -> Color:
    """Move `color` by `by` (0..1) of the way to white."""
    return lerp(color, (255.0, 255.0, 255.0), by)


@dataclass(frozen=True)
class SceneRng:
    """Draw numbers, poses and colors from `generator`.

    Every color is moved by `color_weight` of the way to one of `nearby_colors` (K, 3); a negative weight moves it away.
    """

    generator: np.random.Generator
    nearby_colors: Image | None = None
    color_weight: float = 0.0

    def pose(self, low: float, high: float) -> float:
        """Draw a shape or pose parameter in [low, high), from every second of 12 equal bins.

        The demo's weights were trained on poses from the other bins, so they have seen none that is painted now.
        """
        odd_bin = 2 * int(self.generator.integers(6)) + 1
        return low + (high - low) * (odd_bin + self.generator.random()) / 12

    def uniform(self, low: float, high: float) -> float:
        """Draw a number uniformly from [low, high)."""
        return low + (high - low) * self.generator.random()

    def integer(self, low: int, high: int) -> int:
        """Draw a whole number from `low` to `high`, both included."""
        return int(self.generator.integers(low, high + 1))

    def chance(self, probability: float) -> bool:
        """Return True with this probability (0..1)."""
        return bool(self.generator.random() < probability)

    def choice(self, options: Sequence[T]) -> T:
        """Draw one of `options`, all equally likely."""
        return options[self.integer(0, len(options) - 1)]

    def color(self, hue: Range = (0.0, 1.0), saturation: Range = (0.15, 0.85), value: Range = (0.25, 0.95)) -> Color:
        """Draw a color whose hue, saturation and value lie in the given ranges, each within 0..1."""
        low, high = saturation
        drawn_saturation = low + (high - low) * self.generator.random() ** 1.6  # low saturation is the common case
        rgb = colorsys.hsv_to_rgb(self.uniform(*hue) % 1.0, drawn_saturation, self.uniform(*value))
        red, green, blue = (255.0 * channel for channel in rgb)
        if self.nearby_colors is not None:
            nearby = self.nearby_colors[self.integer(0, len(self.nearby_colors) - 1)]
            red, green, blue = np.clip(lerp((red, green, blue), nearby, self.color_weight), 0.0, 255.0).tolist()
        return red, green, blue
