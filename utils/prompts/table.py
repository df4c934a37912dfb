"""The rows of a prompt file as it gives them, before anything is decided."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from utils.formats.yolo_labels import LabelColumns

if TYPE_CHECKING:
    from utils.prompts.source import PromptSource

BoxFormat: TypeAlias = Literal["xyxy", "xywh"]

CategoryOffset: TypeAlias = Literal["0", "1", "coco91"]

Size: TypeAlias = tuple[float, float]
"""(height, width) in pixels as a file states it."""


@dataclass(frozen=True)
class Interpretation:
    """What the numbers of a file mean.

    Attributes:
        bbox_format: `xyxy`, two corners, or `xywh`, the upper left corner and the size.
        category_offset: the id of the first class, `0` or `1`, or `coco91`: COCO's own ids, with gaps.
    """

    bbox_format: BoxFormat
    category_offset: CategoryOffset

    def __str__(self) -> str:
        return self.described()

    def described(self, boxes: str = "", classes: str = "") -> str:
        """Say what boxes and category ids are, for messages; what is known otherwise is given."""
        coco = self.category_offset == "coco91"
        ids = "category ids are COCO's own" if coco else f"category ids count from {self.category_offset}"
        return f"{boxes or f'bbox is {self.bbox_format}'}, {classes or ids}"


@dataclass(frozen=True)
class PromptOverrides:
    """What the command line says about the prompt file; None: nothing.

    Attributes:
        bbox_format: what its boxes mean.
        category_offset: where its category ids begin.
        class_names: the names that its category ids index, in place of the run's.
        label_columns: what follows the class in the rows of YOLO labels.
    """

    bbox_format: BoxFormat | None = None
    category_offset: CategoryOffset | None = None
    class_names: tuple[str, ...] | None = None
    label_columns: LabelColumns | None = None


@dataclass(frozen=True)
class PromptFormat:
    """A kind of prompt file.

    Attributes:
        title: what messages call it.
        recognizes: whether a file or folder is of this kind.
        read: reads it into a table that has this format.
        interpretation: what its numbers mean unless they contradict it.
        images_by: how it names images: by `ids`, which may be image ids or, as Ultralytics and COCO have it, the number
            in a file's name; by `names` of files whose folders are lost; by `paths` of files.
        fixed_boxes: what its boxes are, for messages, where they can be nothing else.
        normalized: its boxes are shares of the image's sides; else they are pixels.
        names_classes: it names its classes itself.
        coco_offsets: where category ids may begin if the classes are COCO's 80, in place of any number.
        other_title: what messages call it where its numbers contradict `interpretation`.
    """

    title: str
    recognizes: Callable[[PromptSource], bool]
    read: Callable[[PromptSource, PromptFormat], PromptTable]
    interpretation: Interpretation
    images_by: Literal["ids", "names", "paths"]
    fixed_boxes: str = ""
    normalized: bool = False
    names_classes: bool = False
    coco_offsets: tuple[CategoryOffset, ...] = ()
    other_title: str = ""

    def meaning(self, interpretation: Interpretation) -> str:
        """Say what a file of this format means by an interpretation, for messages."""
        return interpretation.described(self.fixed_boxes, "classes are named" if self.names_classes else "")


@dataclass(frozen=True)
class PromptTable:
    """The R rows of a prompt file, in its order; R >= 0.

    Attributes:
        path: the file or folder.
        format: its format.
        boxes: (R, 4) float64 as the file gives them: they may be NaN, inverted or outside. Those of a normalized format
            are x1 y1 x2 y2 in shares of the image's sides.
        scores: (R,) float32 in [0, 1].
        category_ids: (R,) int64.
        image_keys: what names the images of the file, each once.
        key_of_row: (R,) int64 index into `image_keys`.
        numbers: (R,) int64, the number of each row in its list or file.
        place: what follows the path in a row's location, with `{key}` and `{number}` for those of the row.
        class_names: those that the file has itself, which `category_ids` then index, or None.
        left_out: counts of what was not taken for a row, by a phrase.
        names_file: the file beside those with rows that has `class_names`, or None.
        sizes: those of images, by their position in `image_keys`, where the file states them.
        columns: what its rows consist of, for messages, where files of the format differ.
    """

    path: Path
    format: PromptFormat
    boxes: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float32]
    category_ids: npt.NDArray[np.int64]
    image_keys: Sequence[str | int]
    key_of_row: npt.NDArray[np.int64]
    numbers: npt.NDArray[np.int64]
    place: str
    class_names: tuple[str, ...] | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)
    names_file: Path | None = None
    sizes: Mapping[int, Size] = field(default_factory=dict)
    columns: str = ""

    def __len__(self) -> int:
        return len(self.boxes)

    def location(self, row: int) -> str:
        """Say where a row is, for messages."""
        return str(self.path) + self.place.format(key=self.key(row), number=self.numbers[row])

    def short_location(self, row: int) -> str:
        """Say where a row is, without the path."""
        return self.location(row).removeprefix(str(self.path)).lstrip(":/ ")

    def key(self, row: int) -> str | int:
        """Return what names the image of a row."""
        return self.image_keys[self.key_of_row[row]]


class TableBuilder:
    """Collects rows while they are read: numbers in columns, no object a row, so that millions of them fit."""

    def __init__(self) -> None:
        self._boxes, self._scores = array("d"), array("d")
        self._category_ids, self._key_of_row, self._numbers = array("q"), array("q"), array("q")
        self._keys: dict[str | int, int] = {}
        self._classes: dict[str, int] = {}

    def key(self, name: str | int) -> int:
        """Return the position of what names an image; a new name goes to the end."""
        return self._keys.setdefault(name, len(self._keys))

    def class_id(self, name: str) -> int:
        """Return the position of a class name; a new name goes to the end."""
        return self._classes.setdefault(name, len(self._classes))

    def add(self, key: int, number: int, box: Iterable[float], category_id: int, score: float) -> None:
        """Add a row, by the position of its key; the attributes of `PromptTable` say what the others are."""
        self._key_of_row.append(key)
        self._numbers.append(number)
        self._boxes.extend(box)
        self._category_ids.append(category_id)
        self._scores.append(score)

    def build(self, path: Path, format: PromptFormat, place: str, **more: Any) -> PromptTable:
        """Return the table of all rows; `more` are further attributes of it."""
        columns = {
            "boxes": np.array(self._boxes, np.float64).reshape(-1, 4),
            "scores": np.array(self._scores, np.float32),
            "category_ids": np.array(self._category_ids, np.int64),
            "image_keys": list(self._keys),
            "key_of_row": np.array(self._key_of_row, np.int64),
            "numbers": np.array(self._numbers, np.int64),
        }
        named = {"class_names": tuple(self._classes)} if format.names_classes else {}
        return PromptTable(path=path, format=format, place=place, **{**columns, **named, **more})
