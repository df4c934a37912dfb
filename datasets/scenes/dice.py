"""The random draws behind one scene."""

from __future__ import annotations

import colorsys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import numpy as np

from datasets.scenes.textures import Colour, mix

T = TypeVar("T")

POOLS = ("train", "heldout")
_BINS = 12


class Dice:
    """Draws for one scene: free ones, and poses that the two pools never have in common.

    The range of every pose is cut into bins that go to the two pools in turn, so the
    pools look alike as a whole although no single value is ever drawn from both.
    """

    def __init__(self, rng: np.random.Generator, pool: str):
        """Draw from `rng`; raises ValueError if `pool` is not one of POOLS."""
        if pool not in POOLS:
            raise ValueError(f"pool must be one of {', '.join(POOLS)}, not {pool!r}")
        self.rng = rng
        self.pool = pool
        self._ground: np.ndarray | None = None
        self._share = 0.0

    @contextmanager
    def near_ground(self, ground: np.ndarray, share: float) -> Iterator[None]:
        """Within this context colours move `share` of the way to colours of `ground` (K, 3).

        A negative share moves them away from the ground instead.
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
    ) -> Colour:
        """An RGB colour (0..255) out of the given ranges, each within 0..1."""
        low, high = saturation
        dull = low + (high - low) * self.rng.random() ** 1.6  # dull colours are the common ones
        drawn = colorsys.hsv_to_rgb(self.free(*hue) % 1.0, dull, self.free(*value))
        red, green, blue = (255.0 * channel for channel in drawn)
        if self._ground is not None:
            nearby = self.pick(self._ground)
            moved = np.clip(mix((red, green, blue), tuple(nearby), self._share), 0.0, 255.0)
            red, green, blue = moved.tolist()
        return red, green, blue
