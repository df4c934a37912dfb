"""The random draws behind one scene."""

from __future__ import annotations

import colorsys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import numpy as np

from datasets.scenes.textures import Color, mix

T = TypeVar("T")

POOLS = ("train", "heldout")
_BINS = 12


class Dice:
    """Draws for one scene: free ones, and poses that the two pools never have in common.

    The range of every pose is cut into bins that go to the two pools in turn: the pools look alike, although no value
    is ever drawn in both.
    """

    def __init__(self, rng: np.random.Generator, pool: str) -> None:
        """Draw from `rng` for one of POOLS."""
        self.rng = rng
        self.pool = pool
        self._ground: np.ndarray | None = None
        self._share = 0.0

    @contextmanager
    def near_ground(self, ground: np.ndarray, share: float) -> Iterator[None]:
        """Inside this context, colours come closer to some of `ground` (K, 3): by `share` (0..1) of the difference.

        A negative share takes them away from it.
        """
        self._ground, self._share = ground, share
        try:
            yield
        finally:
            self._ground, self._share = None, 0.0

    def pose(self, low: float, high: float) -> float:
        """A shape or pose parameter in [low, high), out of the bins of this pool only."""
        drawn = 2 * int(self.rng.integers(_BINS // 2)) + POOLS.index(self.pool)
        return low + (high - low) * (drawn + self.rng.random()) / _BINS

    def free(self, low: float, high: float) -> float:
        """A uniform draw in [low, high)."""
        return low + (high - low) * self.rng.random()

    def count(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        return int(self.rng.integers(low, high + 1))

    def chance(self, share: float) -> bool:
        """True in `share` (0..1) of all calls."""
        return bool(self.rng.random() < share)

    def pick(self, options: Sequence[T]) -> T:
        """One of `options`."""
        return options[int(self.rng.integers(len(options)))]

    def colour(
        self,
        hue: tuple[float, float] = (0.0, 1.0),
        saturation: tuple[float, float] = (0.15, 0.85),
        value: tuple[float, float] = (0.25, 0.95),
    ) -> Color:
        """An RGB colour (0..255) out of the given ranges, each within 0..1."""
        low, high = saturation
        dull = low + (high - low) * self.rng.random() ** 1.6  # dull colours are the common ones
        drawn = colorsys.hsv_to_rgb(self.free(*hue) % 1.0, dull, self.free(*value))
        red, green, blue = (255.0 * channel for channel in drawn)
        if self._ground is not None:
            nearby = mix((red, green, blue), self._ground[self.count(0, len(self._ground) - 1)], self._share)
            red, green, blue = np.clip(nearby, 0.0, 255.0).tolist()
        return red, green, blue
