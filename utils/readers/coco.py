"""COCO's classes and ids, and the tables of a COCO JSON: https://cocodataset.org/#format-data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from utils.errors import UserError
from utils.strict_json import found

COCO_CLASSES = (
    *("person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light"),
    *("fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow"),
    *("elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee"),
    *("skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard"),
    *("tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich"),
    *("orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed"),
    *("dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven"),
    *("toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush"),
)
"""The 80 names in the order of detectors trained on COCO."""

_NEVER_USED = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}  # COCO drew up 91 categories and labelled 80
COCO_IDS = tuple(category_id for category_id in range(1, 91) if category_id not in _NEVER_USED)
"""COCO's own category ids of these names."""


def names_by_id(content: Mapping[str, Any], key: str, name_key: str, path: Path) -> dict[int | str, str]:
    """A table of a COCO JSON: the ids of its `images` with their `file_name`, or of its `categories` with their `name`.

    Args:
        content: what the file says.
        key: the table, `images` or `categories`.
        name_key: what names an entry, `file_name` or `name`.
        path: the file, for messages.

    Raises:
        UserError: the table is no list of objects with an id and a name, or an id stands twice.
    """
    table = content.get(key)
    if not isinstance(table, list):
        raise UserError(f"{path}: {key}: expected a list, found {found(table)}")
    names: dict[int | str, str] = {}
    for i, entry in enumerate(table):
        place = f"{path}: {key}[{i}]"
        if not isinstance(entry, dict):
            raise UserError(f"{place}: expected an object, found {found(entry)}")
        entry_id, name = entry.get("id"), entry.get(name_key)
        if not isinstance(entry_id, int | str) or isinstance(entry_id, bool):
            raise UserError(f"{place}.id: expected an integer, found {found(entry_id)}")
        if not isinstance(name, str) or not name:
            raise UserError(f"{place}.{name_key}: expected a string, found {found(name)}")
        if entry_id in names:
            raise UserError(f"{place}.id: {entry_id} stands twice")
        names[entry_id] = name
    return names
