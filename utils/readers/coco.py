"""COCO's classes and ids, and the tables of a COCO JSON: https://cocodataset.org/#format-data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from utils.strict_json import Place, convert, member

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


def _entry_id(value: Any, place: Place) -> int | str:
    return value if isinstance(value, str) else int(convert(int, value, place))


EntryId = Annotated[int | str, _entry_id]
"""What `member` takes for an id: an integer or, as some write it, a string."""


def entries_by_id(content: Any, key: str, place: Place, read: Callable[[Any, Place], T]) -> dict[int | str, T]:
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
    for i, row in enumerate(member(content, key, list, place)):
        at = Place(f"{place.name}: {key}[{i}]", place.folder)
        entry_id = member(row, "id", EntryId, at)
        if entry_id in entries:
            raise at.of("id").error(f"{entry_id} is given twice")
        entries[entry_id] = read(row, at)
    return entries
