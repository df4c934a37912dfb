"""Readers of prompt files: JSON lists, COCO and labelme files, folders of YOLO labels."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from utils.classes import load_class_names
from utils.errors import UserError
from utils.formats.coco import entries_by_id
from utils.formats.labelme_reader import FLAT_KINDS, Shape, read_labelme_json, shapes_of
from utils.formats.yolo import read_labels
from utils.json_reading import Location, describe, get, read_json
from utils.prompts.matching import stated_size
from utils.prompts.table import COCO_INSTANCES, LABELME, SEED, ULTRALYTICS, YOLO_LABELS, Columns, Rows, Size

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


CLASSES_FILE = "classes.txt"
"""Where labelImg keeps the class names, among the labels."""


def read_folder(folder: Path, *, names_given: bool = False) -> Rows:
    """The rows of all label files in a folder and below it; each file's path without suffix names its image.

    What is hidden is left out, such as the records of annotations.

    Args:
        names_given: the class names of YOLO labels are given elsewhere, so those among them do not count.

    Raises:
        UserError: there is neither a `.txt` nor a `.json`, there are both, or a file cannot be read.
    """
    texts = files_below(folder, ".txt")
    labels = [path for path in texts if path.name != CLASSES_FILE]
    shapes = files_below(folder, ".json")
    if labels and shapes:
        raise UserError(f"{folder}: holds {labels[0].name} and {shapes[0].name}: name a folder of one kind")
    if not labels and not shapes:
        raise UserError(f"{folder}: no YOLO labels (.txt) and no labelme files (.json) here")
    if shapes:
        return _labelme(folder, shapes)
    rows = _yolo(folder, labels)
    return rows if names_given else _named(rows, [path for path in texts if path.name == CLASSES_FILE])


def files_below(folder: Path, *suffixes: str) -> list[Path]:
    """The files with one of the suffixes in a folder and below it, sorted; hidden ones are left out."""
    found = (path for path in folder.rglob("*") if path.suffix in suffixes)
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def _yolo(folder: Path, files: list[Path]) -> Rows:
    columns = Columns()
    for path in files:
        key = columns.position_of(_key(folder, path))
        for label in read_labels(path):
            columns.add(key, label.line, label.box(), label.class_id, label.confidence)
    return columns.rows(folder, YOLO_LABELS, "/{key}.txt:{number}")


def _named(rows: Rows, files: list[Path]) -> Rows:
    """YOLO labels with the class names that lie among them, if any.

    Raises:
        UserError: names cannot be read, or two files have different ones.
    """
    names_of = {path: load_class_names(path) for path in files}
    for path in files[1:]:
        if names_of[path] != names_of[files[0]]:
            raise UserError(f"{files[0]} and {path} name different classes; what settles it: --prompt-names")
    return replace(rows, class_names=names_of[files[0]], names_file=files[0]) if files else rows


def _labelme(folder: Path, files: list[Path]) -> Rows:
    columns, class_ids, flat, sizes = Columns(), dict[str, int](), Counter[str](), dict[int, Size]()
    for path in files:
        key, content = columns.position_of(_key(folder, path)), read_labelme_json(path)
        shapes = shapes_of(content, path)
        if size := stated_size(content, "imageHeight", "imageWidth"):
            sizes[key] = size
        flat.update(shape.kind for shape in shapes if shape.kind in FLAT_KINDS)
        for numbers, box in _objects(shapes):
            class_id = class_ids.setdefault(shapes[numbers[0]].label, len(class_ids))
            score = max(shapes[i].scores.get("score", 1.0) for i in numbers)
            columns.add(key, numbers[0], box, class_id, score)
    rows = columns.rows(folder, LABELME, "/{key}.json: shapes[{number}]")
    left_out = {f"that are a {kind}, which encloses nothing": count for kind, count in flat.items()}
    return replace(rows, class_names=tuple(class_ids), left_out=left_out, sizes=sizes)


def _key(folder: Path, path: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()


def _objects(shapes: list[Shape]) -> Iterator[tuple[list[int], np.ndarray]]:
    """For each object the numbers of its shapes and its (4,) float64 x1 y1 x2 y2 box in pixels.

    Shapes of one label and group id are parts of one object.
    """
    boxes = {i: box for i, shape in enumerate(shapes) if (box := shape.box()) is not None}
    objects: dict[object, list[int]] = {}
    for i in boxes:
        shape = shapes[i]
        objects.setdefault(i if shape.group_id is None else (shape.label, shape.group_id), []).append(i)
    for numbers in objects.values():
        parts = np.array([boxes[i] for i in numbers])
        yield numbers, np.concatenate([parts[:, :2].min(axis=0), parts[:, 2:].max(axis=0)])
