"""Prompt files that are JSON: lists of rows, and COCO instances.

The parser hands over one row after another, which leaves its numbers in columns and is forgotten: a million rows need
little more memory than their file.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from utils.errors import UserError
from utils.json_reading import Location, describe, get, read_json
from utils.prompts.rows import COCO_INSTANCES, SEED, ULTRALYTICS, Columns, Rows, Size
from utils.prompts.sizes import stated_size
from utils.readers.coco import entries_by_id

KEYS = ("image_id", "category_id", "bbox")
NO_SCORE = -1.0
LARGEST = 2**63
"""Integers from here on are refused: no pixel lies there, and not every number type can hold them."""


def read_json_rows(path: Path) -> Rows:
    """The rows of a JSON file, their values checked.

    Raises:
        UserError: the file cannot be read, or is neither a list of rows nor COCO instances.
    """
    if path.suffix == ".txt" and path.is_file():
        raise UserError(f"{path}: a text file; -p takes the folder of YOLO labels")
    parsed = _Parsed(path)
    # Not strict: Python's json writes NaN, which is counted later, not refused.
    content = read_json(path, partial(json.loads, object_hook=parsed.take))
    if isinstance(content, list):
        return parsed.of_list(content)
    if isinstance(content, dict) and "annotations" in content:
        return parsed.of_instances(content)
    if isinstance(content, dict) and "shapes" in content:
        raise UserError(f"{path}: a labelme file; -p takes the folder of such files")
    raise UserError(f"{path}: expected a list of rows or COCO instances, found {describe(content)}")


class _Parsed:
    """Rows on their way from the parser into columns."""

    TAKEN: ClassVar[dict[str, Any]] = {}
    """Stands for a row that was taken; told by its identity."""

    def __init__(self, path: Path) -> None:
        self.path, self.columns = path, Columns()
        self.place = Location(str(path))
        self.count = self.named = self.crowds = 0

    def take(self, row: dict[str, Any]) -> dict[str, Any]:
        """json's object_hook: what becomes of an object. One that is no sound row stays what it is."""
        if _problem(row):
            return row
        number, self.count = self.count, self.count + 1
        if row.get("iscrowd"):
            self.crowds += 1
            return self.TAKEN
        name = row["image_id"]
        if "file_name" in row:
            name = row["file_name"]
            self.named += 1
        key = self.columns.position_of(name)
        self.columns.add(key, number, row["bbox"], row["category_id"], row.get("score", NO_SCORE))
        return self.TAKEN

    def of_list(self, content: list[Any]) -> Rows:
        """The rows of a file that is a list of them."""
        self._refuse_others(content, "")
        rows = self.columns.rows(self.path, ULTRALYTICS if self.named else SEED, ": [{number}]")
        if self.named not in (0, len(rows)):
            raise UserError(f"{self.path}: file_name stands in {self.named} of {len(rows)} rows, not in all")
        if (rows.scores == NO_SCORE).any():
            raise UserError(f"{rows.place_of(int(np.argmax(rows.scores == NO_SCORE)))}.score: is missing")
        keys = [_path_id(str(name)) for name in rows.keys] if self.named else rows.keys
        return replace(rows, keys=keys, left_out=self._left_out())

    def of_instances(self, content: dict[str, Any]) -> Rows:
        """The rows of COCO instances; an annotation without a score is sure."""
        annotations = content["annotations"]
        if not isinstance(annotations, list):
            raise UserError(f"{self.path}: annotations: expected a list, found {describe(annotations)}")
        self._refuse_others(annotations, "annotations")
        images = entries_by_id(content, "images", self.place, _image)
        rows = self.columns.rows(self.path, COCO_INSTANCES, ": annotations[{number}]")
        for image_id in rows.keys:
            if image_id not in images:
                raise UserError(f"{self.path}: annotations: image_id {image_id} is none of the images")
        ids = dict.fromkeys([*rows.keys, *images])  # those without boxes are images of the file, too
        positions, class_names = self._categories(content, rows)
        return replace(
            rows,
            keys=[_path_id(images[image_id][0]) for image_id in ids],
            scores=np.where(rows.scores == NO_SCORE, np.float32(1), rows.scores),
            category_ids=positions,
            class_names=class_names,
            left_out=self._left_out(),
            sizes={key: size for key, image_id in enumerate(ids) if (size := images[image_id][1])},
        )

    def _categories(self, content: dict[str, Any], rows: Rows) -> tuple[np.ndarray, tuple[str, ...]]:
        """For each row the position of its category, (R,) int64, and the names of all categories."""
        categories = entries_by_id(content, "categories", self.place, lambda row, at: get(row, "name", str, at))
        position_of = {category_id: i for i, category_id in enumerate(categories)}
        used, inverse = np.unique(rows.category_ids, return_inverse=True)
        positions = np.array([position_of.get(category_id, -1) for category_id in used.tolist()], np.int64)[inverse]
        if (positions < 0).any():
            row = int(np.argmax(positions < 0))
            message = f"{rows.category_ids[row]} is none of the categories"
            raise UserError(f"{rows.place_of(row)}.category_id: {message}")
        return positions, tuple(categories.values())

    def _refuse_others(self, entries: list[Any], key: str) -> None:
        """Raises UserError unless the rows that were taken are exactly these entries."""
        for i, entry in enumerate(entries):
            if entry is not self.TAKEN:
                raise UserError(f"{self.path}: {key}[{i}]{_problem(entry)}")
        if self.count != len(entries):
            raise UserError(f"{self.path}: it has rows inside others, or outside the list")

    def _left_out(self) -> dict[str, int]:
        return {"that are crowds, not objects": self.crowds} if self.crowds else {}


def _image(row: dict[str, Any], at: Location) -> tuple[str, Size | None]:
    """The file's name and size of one of COCO's images."""
    return get(row, "file_name", str, at), stated_size(row, "height", "width")


def _path_id(file_name: str) -> str:
    """The path of a file without its suffix, with forward slashes, as image ids are."""
    folder, slash, name = file_name.replace("\\", "/").rpartition("/")
    return folder + slash + (name.rpartition(".")[0] or name)


def _problem(row: Any) -> str | None:
    """What is wrong with a row and where in it, or None."""
    if not isinstance(row, dict):
        return f": expected an object, found {describe(row)}"
    for key in KEYS:
        if key not in row:
            return f".{key}: is missing"
    image_id, category_id, box, score = row["image_id"], row["category_id"], row["bbox"], row.get("score", 1)
    if type(image_id) not in (str, int):
        return f".image_id: expected a string or an integer, found {describe(image_id)}"
    if type(category_id) is not int or abs(category_id) >= LARGEST:
        return f".category_id: expected an integer, found {describe(category_id)}"
    if type(box) is not list or len(box) != 4 or not all(map(_is_number, box)):
        return f".bbox: expected four numbers, found {describe(box)}"
    if not _is_number(score) or not 0 <= score <= 1:
        return f".score: expected a number from 0 to 1, found {describe(score)}"
    if "file_name" in row and (type(row["file_name"]) is not str or not row["file_name"]):
        return f".file_name: expected a string, found {describe(row['file_name'])}"
    return None


def _is_number(value: Any) -> bool:
    return type(value) is float or (type(value) is int and abs(value) < LARGEST)
