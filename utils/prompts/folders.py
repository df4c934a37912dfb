"""Prompt files that are folders: YOLO labels and labelme files, one for each image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from utils.classes import load_class_names
from utils.errors import UserError
from utils.prompts.rows import LABELME, YOLO_LABELS, Columns, Rows, Size
from utils.prompts.sizes import stated_size
from utils.readers.labelme import FLAT_KINDS, Shape, read_labelme_json, shapes_of
from utils.readers.yolo import read_labels

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
