"""Surfaces that parts of objects are made of."""

from __future__ import annotations

from dataclasses import dataclass, replace

from datasets.scenes.dice import Dice
from datasets.scenes.textures import Color, darker


@dataclass(frozen=True)
class Material:
    """How a surface looks.

    Attributes:
        colour: its main colour.
        second: the other colour of its pattern.
        pattern: one that `textures.pattern` knows, or None.
        scale: width of one stripe or spot, in object units.
        grain: how strongly its lightness varies, 0 to 1.
        gloss: how brightly it shines, 0 to 1.
    """

    colour: Color
    second: Color = (0.0, 0.0, 0.0)
    pattern: str | None = None
    scale: float = 0.1
    grain: float = 0.15
    gloss: float = 0.0

    def shaded(self, by: float) -> Material:
        """The same material with `by` (0..1) of its light taken away."""
        return replace(self, colour=darker(self.colour, by), second=darker(self.second, by))


RUBBER = Material((28.0, 28.0, 32.0), grain=0.1)
GLASS: Color = (58.0, 74.0, 92.0)
PUPIL: Color = (16.0, 13.0, 12.0)

_PATTERNS = (None, None, None, "stripes", "bands", "spots", "patches", "checks")


def any_material(dice: Dice) -> Material:
    """Any surface: plain or patterned, dull or glossy."""
    colour = dice.colour(saturation=(0.0, 0.9), value=(0.12, 1.0))
    other = dice.colour(value=(0.05, 1.0)) if dice.chance(0.5) else darker(colour, dice.free(0.3, 0.8))
    gloss = dice.free(0.0, 1.0) if dice.chance(0.4) else 0.0
    return Material(colour, other, dice.pick(_PATTERNS), dice.free(0.03, 0.25), dice.free(0.04, 0.6), gloss)
