"""Prompt files: boxes found elsewhere, which take the place of the detector's.

A file is a list of `{"image_id": "23960", "category_id": 3, "bbox": [x1, y1, x2, y2], "score": 0.9004}`, with boxes in
pixels of the upright image and category ids from 0.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from utils.errors import UserError
from utils.strict_json import found, read_json

KEYS = ("image_id", "category_id", "bbox", "score")
LARGEST = 2**63
"""Integers from here on are refused: no pixel lies there, and not every number type can hold them."""


@dataclass(frozen=True)
class PromptFile:
    """The R rows of a prompt file, in its order; R >= 0.

    Attributes:
        path: the file.
        boxes: (R, 4) float32, x1 y1 x2 y2 in pixels as the file says them: they may be NaN, inverted or outside.
        scores: (R,) float32 in [0, 1].
        category_ids: (R,) int64.
        by_image: image id -> (n,) int64 indices of its rows, ascending.
    """

    path: Path
    boxes: np.ndarray
    scores: np.ndarray
    category_ids: np.ndarray
    by_image: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.boxes)

    def rows_of(self, image_id: str) -> np.ndarray:
        """(n,) int64 indices of an image's rows; the ids must be equal as strings."""
        return self.by_image.get(image_id, np.zeros(0, np.int64))

    def check_classes(self, count: int) -> None:
        """Raises UserError, naming the first such row, if a category id is not within 0 to `count` - 1."""
        outside = np.flatnonzero((self.category_ids < 0) | (self.category_ids >= count))
        if len(outside):
            category_id = self.category_ids[outside[0]]
            raise UserError(
                f"{self.path}: [{outside[0]}].category_id: {category_id} is outside the {count} classes, "
                f"which have the ids 0 to {count - 1} ({len(outside)} of {len(self)} rows)"
            )

    def count_outside(self, image_ids: Iterable[str]) -> int:
        """How many rows belong to none of the images.

        Raises:
            UserError: there are rows, and all of them do.
        """
        ids = set(image_ids)
        outside = sum(len(rows) for image_id, rows in self.by_image.items() if image_id not in ids)
        if outside and outside == len(self):
            raise UserError(
                f"{self.path}: none of its {len(self)} rows is for an image of the run: "
                f'the first image_id here is "{next(iter(self.by_image))}", that of the run is "{min(ids, default="")}"'
            )
        return outside


def read_prompts(path: Path) -> PromptFile:
    """The rows of a prompt file, their form checked.

    Raises:
        UserError: the file cannot be read, is no list of rows as above, or is in Ultralytics' own form.
    """
    content = read_json(path, json.loads)  # not strict: Python's json writes NaN, which is counted later, not refused
    if not isinstance(content, list):
        raise UserError(f"{path}: expected a list of rows, found {found(content)}")
    rows_by_image: defaultdict[str, list[int]] = defaultdict(list)
    for i, row in enumerate(content):
        if problem := _problem(row):
            raise UserError(f"{path}: [{i}]{problem}")
        rows_by_image[row["image_id"]].append(i)
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite and is dropped with the NaNs
        return PromptFile(
            path,
            np.array([row["bbox"] for row in content], np.float64).reshape(-1, 4).astype(np.float32),
            np.array([row["score"] for row in content], np.float32),
            np.array([row["category_id"] for row in content], np.int64),
            {image_id: np.array(rows, np.int64) for image_id, rows in rows_by_image.items()},
        )


def _problem(row: Any) -> str | None:
    """What is wrong with a row and where in it, or None."""
    if not isinstance(row, dict):
        return f": expected an object, found {found(row)}"
    if "file_name" in row:
        return ".file_name: only Ultralytics' own form has it, whose boxes and ids mean something else; it is not read"
    for key in KEYS:
        if key not in row:
            return f".{key}: is missing"
    if not isinstance(row["image_id"], str):
        return f".image_id: expected a string, found {found(row['image_id'])}"
    if not _is_number(row["category_id"]) or isinstance(row["category_id"], float):
        return f".category_id: expected an integer, found {found(row['category_id'])}"
    box, score = row["bbox"], row["score"]
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
        return f".bbox: expected four numbers x1, y1, x2, y2, found {found(box)}"
    if not _is_number(score) or not 0 <= score <= 1:
        return f".score: expected a number from 0 to 1, found {found(score)}"
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < LARGEST)
