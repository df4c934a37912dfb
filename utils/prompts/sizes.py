"""The sizes of images as a prompt file has them: its boxes are in pixels of these, so they must be the real ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from utils.errors import UserError
from utils.image_files import size_problem
from utils.prompts.joining import NONE, Joined
from utils.prompts.rows import Rows, RunImages, Size


def stated_size(entry: dict[str, Any], height: str, width: str) -> Size | None:
    """The (height, width) that an object has under two keys, or None unless both are numbers above 0."""
    sides: tuple[Any, Any] = entry.get(height), entry.get(width)
    return sides if all(type(side) in (int, float) and side > 0 for side in sides) else None


def check_sizes(rows: Rows, joined: Joined, images: RunImages) -> None:
    """Compares what the file says of the images that its rows are for with their headers, of which no others are read.

    Raises:
        UserError: it is for images of other sizes.
    """
    used = np.unique(rows.key_of_row).tolist()
    position_of = {key: int(joined.of_key[key]) for key in used if key in rows.sizes and joined.of_key[key] != NONE}
    problems = {
        key: problem
        for key, size in zip(position_of, images.sizes([*position_of.values()]))
        if size is not None and (problem := size_problem(rows.sizes[key], size))
    }
    if problems:
        key, problem = next(iter(problems.items()))
        which = f'what it says of "{rows.keys[key]}" {problem}'
        raise UserError(f"{rows.path}: {which} ({len(problems)} of {len(position_of)} images like this)")
