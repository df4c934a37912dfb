"""A prompt file or folder that is read, and its rows as it gives them, before anything is decided."""

from __future__ import annotations

import json
import os
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from utils.errors import UserError
from utils.formats.base import RECORDS
from utils.formats.categories import CategoryOffset
from utils.formats.coco_reader import usual_annotation
from utils.formats.labelme_reader import POLYGONS
from utils.formats.predictions import visible_files
from utils.formats.yolo_labels import LabelColumns
from utils.io.json_files import describe, read_json

BoxFormat: TypeAlias = Literal["xyxy", "xywh"]

Size: TypeAlias = tuple[float, float]
"""(height, width) in pixels as a file states it."""

NO_SCORE, INTEGER_LIMIT = -1.0, 2**63
"""In place of a score; and integers that are refused: no pixel lies there, and not every number type can hold them."""


class Interpretation(NamedTuple):
    """What the numbers of a file mean.

    Attributes:
        bbox_format: `xyxy`, two corners, or `xywh`, the upper left corner and the size.
        category_offset: the id of the first class, `0` or `1`, or `coco91`: COCO's own ids, with gaps.
    """

    bbox_format: BoxFormat
    category_offset: CategoryOffset


CORNERS_FROM_0 = Interpretation("xyxy", "0")


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
class PromptSource:
    """A prompt file or folder that is about to be read.

    Attributes:
        path: the file or folder.
        overrides: what the command line says about it.
    """

    path: Path
    overrides: PromptOverrides = field(default_factory=PromptOverrides)

    @cached_property
    def files(self) -> Mapping[str, list[Path]]:
        """List visible files by suffix in lower case, sorted; none of those in `outputs`.

        An output of a run may hold the same objects as another one, whose boxes would count twice. Annotations in place
        of the models (`-a`) are of one kind, and their files are not listed if each image has its own.
        """
        files = defaultdict[str, list[Path]](list)
        for path, folders, names in os.walk(self.path):
            folder = Path(path)
            folders[:] = [name for name in folders if name[0] != "." and not _is_output(folder / name)]
            for name in names:
                if name[0] != ".":
                    files[Path(name).suffix.lower()].append(folder / name)
        for paths in files.values():
            paths.sort()
        return files

    def outputs(self) -> list[Path]:
        """List the folders below that are outputs of this program."""
        return sorted(path for path in visible_files(self.path, "*") if _is_output(path))

    @cached_property
    def json(self) -> JsonRows:
        """Parse a file as JSON, once for all formats; what is no JSON has the content None and an error."""
        return JsonRows(self.path)

    @cached_property
    def results(self) -> list[JsonRows]:
        """Parse COCO results and the instances whose ids they have, the only JSON files of a folder; else nothing."""
        files = self.files[".json"]
        pair = sorted(map(JsonRows, files if len(files) == 2 else ()), key=lambda each: isinstance(each.content, dict))
        is_pair = [type(each.content) for each in pair] == [list, dict] and not pair[
            0
        ].with_file_name  # a path for each
        return pair if is_pair and {"images", "categories"} <= pair[1].content.keys() else []


def _is_output(folder: Path) -> bool:
    return folder.name == POLYGONS or (folder / RECORDS).exists()


@dataclass(frozen=True)
class PromptFormat:
    """A kind of prompt file.

    Attributes:
        title: what messages call it.
        recognizes: whether a file or folder is of this kind.
        read: reads it into a table that has this format; UserError where it is not sound, with the place.
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
    interpretation: Interpretation = CORNERS_FROM_0
    images_by: Literal["ids", "names", "paths"] = "paths"
    fixed_boxes: str = ""
    normalized: bool = False
    names_classes: bool = False
    coco_offsets: tuple[CategoryOffset, ...] = ()
    other_title: str = ""

    def meaning(self, interpretation: Interpretation) -> str:
        """Say what a file of this format means by an interpretation, for messages."""
        bbox_format, offset = interpretation
        ids = "category ids are COCO's own" if offset == "coco91" else f"category ids count from {offset}"
        return f"{self.fixed_boxes or f'bbox is {bbox_format}'}, {'classes are named' if self.names_classes else ids}"


@dataclass(frozen=True)
class PromptTable:
    """The R rows of a prompt file, in its order; R >= 0.

    Attributes:
        path: the file or folder.
        overrides: what the command line says about it.
        format: its format.
        boxes: (R, 4) float64 as the file gives them: they may be NaN, inverted or outside. Those of a normalized format
            are x1 y1 x2 y2 in shares of the image's sides.
        scores: (R,) float32 in [0, 1].
        category_ids: (R,) int64.
        image_keys: what names the images of the file, each once.
        key_of_row: (R,) int64 index into `image_keys`.
        numbers: (R,) int64, the number of each row in its list or file.
        place: what follows its file in a row's location, with `{number}` for that of the row.
        files: the file of each of `image_keys`; none where all rows are in one.
        class_names: those that the file has itself, which `category_ids` then index, or None.
        left_out: counts of what was not taken for a row, by a phrase.
        names_file: the file beside those with rows that has `class_names`, or None.
        sizes: those of images, by their position in `image_keys`, where the file states them.
        variant: how its rows are written, for messages, where files of the format differ.
    """

    path: Path
    overrides: PromptOverrides
    format: PromptFormat
    boxes: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float32]
    category_ids: npt.NDArray[np.int64]
    image_keys: Sequence[str | int]
    key_of_row: npt.NDArray[np.int64]
    numbers: npt.NDArray[np.int64]
    place: str
    files: Sequence[Path] = ()
    class_names: tuple[str, ...] | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)
    names_file: Path | None = None
    sizes: Mapping[int, Size] = field(default_factory=dict)
    variant: str = ""

    def __len__(self) -> int:
        return len(self.boxes)

    def location(self, row: int) -> str:
        """Say where a row is, for messages."""
        file = self.files[self.key_of_row[row]] if self.files else self.path
        return f"{file}{self.place.format(number=self.numbers[row])}"

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
        self._files: list[Path] = []
        self._classes: dict[str, int] = {}

    def key(self, name: str | int, file: Path | None = None) -> int:
        """Return the position of what names an image; a new name goes to the end, with its `file` if it has its own."""
        if file is not None and name not in self._keys:
            self._files.append(file)
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

    def build(self, source: PromptSource, format: PromptFormat, place: str, **more: Any) -> PromptTable:
        """Return the table of all rows; `more` are further attributes of it."""
        columns = {
            "boxes": np.array(self._boxes, np.float64).reshape(-1, 4),
            "scores": np.array(self._scores, np.float32),
            "category_ids": np.array(self._category_ids, np.int64),
            "image_keys": list(self._keys),
            "key_of_row": np.array(self._key_of_row, np.int64),
            "numbers": np.array(self._numbers, np.int64),
            "files": self._files,
        }
        named = {"class_names": tuple(self._classes)} if format.names_classes else {}
        known = {"path": source.path, "overrides": source.overrides, "format": format, "place": place}
        return PromptTable(**{**known, **columns, **named, **more})


class JsonRows:
    """The rows of a JSON file, and what else it says.

    Rows go into columns while the parser runs, and TAKEN stands in their place in the content: a large file costs the
    memory of its text and its numbers, not that of an object a row.

    Attributes:
        path: the file.
        content: what it says; None where it cannot be read.
        error: why it cannot be read, or None.
        with_file_name: how many rows have a `file_name`.
    """

    TAKEN: ClassVar[dict[str, Any]] = {}
    """Known by its identity."""

    def __init__(self, path: Path) -> None:
        self.path, self._rows = path, TableBuilder()
        self.content: Any = None
        self.error: UserError | None = None
        self.with_file_name = self._count = self._crowds = 0
        try:
            # Not strict: Python's json writes NaN, which is counted later, not refused.
            self.content = read_json(path, partial(json.loads, object_hook=self._take))
        except UserError as error:
            self.error = error

    def _take(self, row: dict[str, Any]) -> dict[str, Any]:
        """Replace an object by TAKEN if it is a sound row; another one stays what it is. For json's object_hook."""
        if _problem(row := usual_annotation(row)):
            return row
        number, self._count = self._count, self._count + 1
        if row.get("iscrowd"):
            self._crowds += 1
            return self.TAKEN
        self.with_file_name += "file_name" in row
        key = self._rows.key(row.get("file_name", row["image_id"]))
        self._rows.add(key, number, row["bbox"], row["category_id"], row.get("score", NO_SCORE))
        return self.TAKEN

    def build(self, source: PromptSource, format: PromptFormat, key: str = "") -> PromptTable:
        """Return the table of the rows, which must be exactly the entries of a list.

        Args:
            key: that of the list in the content; none where it is the content.

        Raises:
            UserError: an entry is no sound row, or there are rows elsewhere.
        """
        entries = self.content[key] if key else self.content
        if not isinstance(entries, list):
            raise UserError(f"{self.path}: {key}: expected a list, found {describe(entries)}")
        for i, entry in enumerate(entries):
            if entry is not self.TAKEN:
                raise UserError(f"{self.path}: {key}[{i}]{_problem(entry)}")
        if self._count != len(entries):
            raise UserError(f"{self.path}: it has rows inside others, or outside the list")
        left_out = {"that are crowds, not objects": self._crowds}
        return self._rows.build(source, format, f": {key}[{{number}}]", left_out=left_out)


def _problem(row: Any) -> str | None:
    """Say what is wrong with a row and where in it, or return None."""
    if not isinstance(row, dict):
        return f": expected an object, found {describe(row)}"
    for key in ("image_id", "category_id", "bbox"):
        if key not in row:
            return f".{key}: is missing"
    image_id, category_id, box, score = row["image_id"], row["category_id"], row["bbox"], row.get("score", 1)
    if type(image_id) not in (str, int):
        return f".image_id: expected a string or an integer, found {describe(image_id)}"
    if type(category_id) is not int or abs(category_id) >= INTEGER_LIMIT:
        return f".category_id: expected an integer, found {describe(category_id)}"
    if type(box) is not list or len(box) != 4 or not all(map(_is_number, box)):
        return f".bbox: expected four numbers, found {describe(box)}"
    if not _is_number(score) or not 0 <= score <= 1:
        return f".score: expected a number from 0 to 1, found {describe(score)}"
    if "file_name" in row and (type(row["file_name"]) is not str or not row["file_name"]):
        return f".file_name: expected a string, found {describe(row['file_name'])}"
    return None


def _is_number(value: Any) -> bool:
    return type(value) is float or (type(value) is int and abs(value) < INTEGER_LIMIT)
