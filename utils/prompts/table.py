"""The rows of a prompt file as it gives them, before anything is decided, and the forms that there are."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

import numpy as np

BoxFormat: TypeAlias = Literal["xyxy", "xywh"]

CategoryOffset: TypeAlias = Literal["0", "1", "coco91"]

Keys: TypeAlias = Literal["ids", "names", "paths"]

Size: TypeAlias = tuple[float, float]
"""(height, width) in pixels as somebody wrote it down."""


@dataclass(frozen=True)
class Reading:
    """What the numbers of a file mean.

    Attributes:
        bbox_format: `xyxy`, two corners, or `xywh`, the upper left corner and the size.
        category_offset: the id of the first class, `0` or `1`, or `coco91`: COCO's own ids, with gaps.
    """

    bbox_format: BoxFormat
    category_offset: CategoryOffset

    @property
    def boxes(self) -> str:
        """What boxes are, for messages."""
        return f"bbox is {self.bbox_format}"

    @property
    def ids(self) -> str:
        """What category ids are, for messages."""
        coco = self.category_offset == "coco91"
        return "category ids are COCO's own" if coco else f"category ids count from {self.category_offset}"

    def __str__(self) -> str:
        return f"{self.boxes}, {self.ids}"


@dataclass(frozen=True)
class Form:
    """A kind of prompt file.

    Attributes:
        title: what messages call it.
        reading: what its numbers mean unless they contradict it.
        keys: how it names images: by `ids`, which may be image ids or, as Ultralytics and COCO have it, the number in
            a file's name; by `names` of files whose folders are lost; by `paths` of files.
        fixed_boxes: what its boxes are, for messages, where they can be nothing else.
        in_shares: its boxes are shares of the image's sides; else they are pixels.
        fixed_classes: it names its classes itself.
    """

    title: str
    reading: Reading
    keys: Keys
    fixed_boxes: str = ""
    in_shares: bool = False
    fixed_classes: bool = False

    def means(self, reading: Reading) -> str:
        """What a file of this form means by a reading, for messages."""
        return f"{self.fixed_boxes or reading.boxes}, {'classes are named' if self.fixed_classes else reading.ids}"


SEED = Form("the seed's form", Reading("xyxy", "0"), "ids")

ULTRALYTICS = Form("Ultralytics' form since 8.3.188", Reading("xywh", "1"), "names")

COCO_INSTANCES = Form("COCO instances", Reading("xywh", "0"), "paths", fixed_classes=True)

YOLO_LABELS = Form(
    "YOLO labels", Reading("xyxy", "0"), "paths", "boxes are shares of their images' sides", in_shares=True
)

LABELME = Form("labelme shapes", Reading("xyxy", "0"), "paths", "boxes are around shapes", fixed_classes=True)


@dataclass(frozen=True)
class Rows:
    """The R rows of a prompt file, in its order; R >= 0.

    Attributes:
        path: the file or folder.
        form: its form.
        boxes: (R, 4) float64 as the file gives them: they may be NaN, inverted or outside. Those of YOLO labels are x1
            y1 x2 y2 in shares of the image's sides.
        scores: (R,) float32 in [0, 1].
        category_ids: (R,) int64.
        keys: what names the images of the file, each once.
        key_of_row: (R,) int64 index into `keys`.
        numbers: (R,) int64, what number each row has in its list or file.
        place: what follows the path where a row stands, with `{key}` and `{number}` for what is the row's.
        class_names: those that the file has itself, which `category_ids` then index, or None.
        left_out: what was not taken for a row, counted by a phrase.
        names_file: the file beside those with rows from which `class_names` are, or None.
        sizes: those of images, by their position in `keys`, where the file has them.
    """

    path: Path
    form: Form
    boxes: np.ndarray
    scores: np.ndarray
    category_ids: np.ndarray
    keys: Sequence[str | int]
    key_of_row: np.ndarray
    numbers: np.ndarray
    place: str
    class_names: tuple[str, ...] | None = None
    left_out: dict[str, int] = field(default_factory=dict)
    names_file: Path | None = None
    sizes: Mapping[int, Size] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.boxes)

    def place_of(self, row: int) -> str:
        """Where a row stands, for messages."""
        return str(self.path) + self._after_path(row)

    def spot_of(self, row: int) -> str:
        """The same without the path."""
        return self._after_path(row).lstrip(":/ ")

    def _after_path(self, row: int) -> str:
        return self.place.format(key=self.keys[self.key_of_row[row]], number=self.numbers[row])


class Columns:
    """Rows as they are read: numbers in columns, no object a row."""

    def __init__(self) -> None:
        self._boxes, self._scores = array("d"), array("d")
        self._category_ids, self._key_of_row, self._numbers = array("q"), array("q"), array("q")
        self._keys: dict[str | int, int] = {}

    def position_of(self, key: str | int) -> int:
        """The position of a key; a new one goes to the end."""
        return self._keys.setdefault(key, len(self._keys))

    def add(self, key: int, number: int, box: Iterable[float], category_id: int, score: float) -> None:
        """Adds a row, whose key is given by its position."""
        self._key_of_row.append(key)
        self._numbers.append(number)
        self._boxes.extend(box)
        self._category_ids.append(category_id)
        self._scores.append(score)

    def rows(self, path: Path, form: Form, place: str) -> Rows:
        """What was added."""
        return Rows(
            path,
            form,
            np.array(self._boxes, np.float64).reshape(-1, 4),
            np.array(self._scores, np.float32),
            np.array(self._category_ids, np.int64),
            list(self._keys),
            np.array(self._key_of_row, np.int64),
            np.array(self._numbers, np.int64),
            place,
        )


@dataclass(frozen=True)
class PromptOverrides:
    """What the command line says of the prompt file; None: nothing.

    Attributes:
        bbox_format: what its boxes mean.
        category_offset: where its category ids begin.
        class_names: the names that its category ids index, in place of the run's.
    """

    bbox_format: BoxFormat | None = None
    category_offset: CategoryOffset | None = None
    class_names: tuple[str, ...] | None = None


class RunImages(Protocol):
    """The images of a run."""

    @property
    def ids(self) -> Sequence[str]:
        """Their ids, each once."""

    def sizes(self, positions: Sequence[int]) -> list[tuple[int, int] | None]:
        """(height, width) in pixels of the upright images at these positions; None for one that cannot be read."""
