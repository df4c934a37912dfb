"""A prompt file or folder that is about to be read: what lies in the folder, what the file says."""

from __future__ import annotations

import json
import shlex
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar

from utils.errors import UserError
from utils.formats.coco_reader import segmentation_box
from utils.io.json_files import describe, read_json
from utils.prompts.table import PromptFormat, PromptOverrides, PromptTable, TableBuilder

KEYS = ("image_id", "category_id", "bbox")

NO_SCORE = -1.0

INTEGER_LIMIT = 2**63
"""Integers from here on are refused: no pixel lies there, and not every number type can hold them."""


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
    def files(self) -> defaultdict[str, list[Path]]:
        """List the files in a folder and below it by suffix, sorted; hidden ones, such as records, are left out."""
        by_suffix: defaultdict[str, list[Path]] = defaultdict(list)
        for path in sorted(self.path.rglob("*")) if self.path.is_dir() else ():
            if not any(part.startswith(".") for part in path.relative_to(self.path).parts):
                by_suffix[path.suffix].append(path)
        return by_suffix

    @cached_property
    def json(self) -> JsonRows:
        """Parse a file as JSON, once for all formats; what is no JSON has the content None and an error."""
        return JsonRows(self.path)


def _labels_near(path: Path) -> Path:
    """Return the folder of labels that a file of a YOLO dataset most likely stands for."""
    above = next((folder for folder in path.parents if folder.name == "labels"), path.parent)
    return above / "labels" if (above / "labels").is_dir() else above


class JsonRows:
    """The rows of a JSON file, and what else it says.

    Rows go into columns while the parser runs, and TAKEN stands in their place in the content: a large file costs the
    memory of its text and its numbers, not that of an object a row.

    Attributes:
        content: what the file says; None where it cannot be read.
        error: why it cannot be read, or None.
        rows: those that were taken.
        with_file_name: how many of them have a `file_name`.
    """

    TAKEN: ClassVar[dict[str, Any]] = {}
    """Known by its identity."""

    def __init__(self, path: Path) -> None:
        self.path, self.rows = path, TableBuilder()
        self.content: Any = None
        self.error: UserError | None = None
        self.with_file_name = self._count = self._crowds = 0
        try:
            if path.suffix in (".txt", ".yaml", ".yml") and path.is_file():
                kind = "a text file" if path.suffix == ".txt" else "describes a YOLO dataset"
                raise UserError(
                    f"{path}: {kind}; -p takes the folder of YOLO labels: -p {shlex.quote(str(_labels_near(path)))}"
                )
            # Not strict: Python's json writes NaN, which is counted later, not refused.
            self.content = read_json(path, partial(json.loads, object_hook=self._take))
        except UserError as error:
            self.error = error

    def _take(self, row: dict[str, Any]) -> dict[str, Any]:
        """Replace an object by TAKEN if it is a sound row; another one stays what it is. For json's object_hook."""
        if _problem(row := _usual(row)):
            return row
        number, self._count = self._count, self._count + 1
        if row.get("iscrowd"):
            self._crowds += 1
            return self.TAKEN
        self.with_file_name += "file_name" in row
        key = self.rows.key(row.get("file_name", row["image_id"]))
        self.rows.add(key, number, row["bbox"], row["category_id"], row.get("score", NO_SCORE))
        return self.TAKEN

    def build(self, format: PromptFormat, entries: Sequence[Any], prefix: str) -> PromptTable:
        """Return the table of the rows, which must be exactly these entries of the content.

        Args:
            entries: a list in the content, or the content itself.
            prefix: its key.

        Raises:
            UserError: an entry is no sound row, or there are rows elsewhere.
        """
        for i, entry in enumerate(entries):
            if entry is not self.TAKEN:
                raise UserError(f"{self.path}: {prefix}[{i}]{_problem(entry)}")
        if self._count != len(entries):
            raise UserError(f"{self.path}: it has rows inside others, or outside the list")
        left_out = {"that are crowds, not objects": self._crowds}
        return self.rows.build(self.path, format, f": {prefix}[{{number}}]", left_out=left_out)


def _usual(row: dict[str, Any]) -> dict[str, Any]:
    """Write an annotation of COCO as most tools do: ids as integers, and a box where it has only a segmentation."""
    if not {"image_id", "category_id"} <= row.keys() or not row.keys() & {"id", "iscrowd", "segmentation"}:
        return row  # the rows of predictions have no id of their own, and are what one of two programs writes
    row = {key: int(value) if type(value) is float and value.is_integer() else value for key, value in row.items()}
    if isinstance(category_id := row["category_id"], str) and category_id.isascii() and category_id.isdecimal():
        row["category_id"] = int(category_id)
    if not row.get("bbox") and row.get("segmentation"):
        row["bbox"] = segmentation_box(row["segmentation"])
    return row


def _problem(row: Any) -> str | None:
    """Say what is wrong with a row and where in it, or return None."""
    if not isinstance(row, dict):
        return f": expected an object, found {describe(row)}"
    for key in KEYS:
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
