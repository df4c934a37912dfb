"""Tables for a terminal, whatever script names are written in."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Collection, Sequence

WIDEST = 15
"""Columns of the terminal that a cell may take; longer ones are cut."""


def framed(
    heads: Sequence[str], rows: Sequence[Sequence[str]], left: Collection[int] = (), separate_last: bool = False
) -> list[str]:
    """The lines of a table with a frame, as mmsegmentation's.

    Args:
        left: positions of the columns that are flush left; numbers are flush right.
        separate_last: whether a line sets the last row off.
    """
    cells = [[_cut(cell) for cell in row] for row in (heads, *rows)]
    widths = [max(map(columns, column)) for column in zip(*cells)]
    rule = "+".join(["", *("-" * (width + 2) for width in widths), ""])
    lines = [_line(row, widths, left) for row in cells]
    head, body, last = lines[:1], lines[1:-1], lines[-1:]
    return [rule, *head, rule, *body, *([rule] if separate_last else []), *last, rule]


def percent(value: float) -> str:
    """A share of 1 in percent, as mmsegmentation prints it; `-` for NaN."""
    return "-" if math.isnan(value) else f"{100 * value:.2f}"


def columns(text: str) -> int:
    """How many columns of a terminal a text takes: two for a wide character, none for an accent of its own."""
    return sum(_columns(char) for char in text)


def _columns(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _line(row: Sequence[str], widths: Sequence[int], left: Collection[int]) -> str:
    padded = []
    for i, (cell, width) in enumerate(zip(row, widths)):
        blank = " " * (width - columns(cell))
        padded.append(f"{cell}{blank}" if i in left else f"{blank}{cell}")
    return f"| {' | '.join(padded)} |"


def _cut(text: str) -> str:
    """The text on one line, shortened with an ellipsis where it is too wide."""
    text = " ".join(text.split())
    if columns(text) <= WIDEST:
        return text
    while columns(text) >= WIDEST:
        text = text[:-1]
    return f"{text}…"
