"""COCO's classes and ids, and the tables of a COCO JSON: https://cocodataset.org/#format-data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from utils.json_reading import Location, get

T = TypeVar("T")

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


def entry_id(row: Any, key: str, location: Location) -> int | str:
    """Return the id that an entry has under a key: an integer or, as some write it, a string.

    Raises:
        UserError: the entry is no object, or has no such id.
    """
    named = isinstance(row, dict) and isinstance(row.get(key), str)
    found: int | str = get(row, key, str if named else int, location)
    return found


def entries_by_id(content: Any, key: str, place: Location, read: Callable[[Any, Location], T]) -> dict[int | str, T]:
    """A table of a COCO JSON by the `id` of its entries.

    Args:
        content: what the file says.
        key: the table, `images` or `categories`.
        place: the file.
        read: makes of an entry, which stands at the place, what is wanted of it.

    Raises:
        UserError: the table is no list of objects with an id, or an id is given twice.
    """
    entries: dict[int | str, T] = {}
    for i, row in enumerate(get(content, key, list, place)):
        at = Location(f"{place.name}: {key}[{i}]")
        own_id = entry_id(row, "id", at)
        if own_id in entries:
            raise at.child("id").error(f"{own_id} is given twice")
        entries[own_id] = read(row, at)
    return entries
