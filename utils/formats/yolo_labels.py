"""Read the rows of YOLO labels, whose columns all rows of a folder together tell."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from utils.boxes import box_of_points, cxcywh_to_xyxy, xyxy_to_cxcywh
from utils.classes import is_no_label_file
from utils.errors import UserError
from utils.files import read_user_text
from utils.formats.predictions import path_without

LOWEST, HIGHEST = -0.01, 1.01
"""Limits of coordinates as shares of an image's side, as ultralytics has them: rounding leads beyond 0 and 1."""

MAX_MISFITS = 0.1
"""Rows may contradict what is said of their columns up to this share; then each is a mistake of its own."""

LARGEST_ID = 2**63

DOTA_ROW = re.compile(r"imagesource:|gsd:|(\S*\d\S*\s+){8}[^\W\d]")
"""The two lines with which files of DOTA begin, and their rows: four corners in pixels, a name, a difficulty."""

DOTA_ADVICE = "of DOTA's labels, convert_dota_to_yolo_obb of ultralytics.data.converter makes YOLO labels"

LabelColumns: TypeAlias = Literal[
    "x y w h",
    "x y w h conf",
    "x y w h id",
    "x y w h conf id",
    "conf x y w h",
    "polygon",
    "polygon conf",
    "polygon id",
    "polygon conf id",
    "x y w h keypoints",
    "x y w h keypoints conf",
    "x y w h keypoints id",
    "x y w h keypoints conf id",
]
"""What may follow the class in a row: a box or a polygon, a confidence, the id of a track, keypoints."""

Numbers: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Label:
    """Hold one row.

    Attributes:
        line: its number in the file, from 1.
        class_id: from 0.
        points: (K, 2) float64 x y, shares of the image's width and height: the polygon of a segment row, K >= 3, or
            the upper left and the lower right corner of a box row, K = 2.
        confidence: in [0, 1]; 1 where the row has none.
    """

    line: int
    class_id: int
    points: Numbers
    confidence: float

    def box(self) -> np.ndarray:
        """Compute the tight box, (4,) float64 x1 y1 x2 y2."""
        return box_of_points(self.points)


def label_files(folder: Path, texts: Iterable[Path]) -> dict[str, Path]:
    """Find the labels among the text files of a folder, by the id of their image; in a dataset, those in `labels`.

    Args:
        texts: the visible text files in the folder and below it, in any order.

    Raises:
        UserError: two files are of one image.
    """
    parts = {path: path.relative_to(folder).parts for path in texts}
    files = [path for path in parts if "ImageSets" not in parts[path] and not is_no_label_file(path)]
    found: dict[str, Path] = {}
    for path in sorted([path for path in files if "labels" in parts[path][:-1]] or files):
        other = found.setdefault(key := unescape_images_dir(path_without(path, folder, "labels")), path)
        if other != path:
            raise UserError(f"{folder}: both {other} and {path} are labels of {key}; leave one of them here")
    return found


def escape_images_dir(image_id: str) -> str:
    """Turn an id into a path in `images/`: a folder `images` in it becomes `images_`, and `images_` becomes `images__`.

    For ultralytics the last folder called `images` is the one beside `labels`.
    """
    folder, slash, name = image_id.rpartition("/")
    return "/".join(re.sub("^(images_*)$", r"\1_", part) for part in folder.split("/")) + slash + name


def unescape_images_dir(stem: str) -> str:
    """Turn a path that `escape_images_dir` made into its id."""
    folder, slash, name = stem.rpartition("/")
    return "/".join(re.sub("^(images_*)_$", r"\1", part) for part in folder.split("/")) + slash + name


class Row(NamedTuple):
    """One row as it stands: the numbers behind the class are not yet told apart."""

    path: Path
    line: int
    class_id: int
    numbers: Numbers

    @property
    def place(self) -> str:
        """What messages call it."""
        return f"{self.path}:{self.line}"


class LabelReader:
    """Read label files that one tool wrote in one way: all their rows together tell what the columns are.

    Args:
        paths: the files.
        columns: what the columns are, where somebody says it; rows of which it cannot be said are told apart as ever.
        keypoints: how many numbers the keypoints of a row have, where that is known.

    Attributes:
        columns: what was found, for messages: each kind of columns that rows have.
        counts: how many numbers rows have, each once.

    Raises:
        UserError: a file cannot be read, a line is no row of numbers, or what its columns are cannot be decided.
    """

    def __init__(self, paths: Iterable[Path], columns: LabelColumns | None = None, keypoints: int = 0) -> None:
        self._rows = {path: [*_rows(path)] for path in paths}
        every = [row for rows in self._rows.values() for row in rows]
        groups: defaultdict[int, list[Row]] = defaultdict(list)
        for row in every:
            groups[_group(len(row.numbers))].append(row)
        posed = None if columns else _keypoint_columns(every, keypoints)
        polygons_too = any(group > CONF_AND_ID for group in groups)
        self._columns: dict[int, LabelColumns] = {}
        for group in sorted(groups):
            possible = POSSIBLE[group]
            given = columns if columns in possible or (columns in KEYPOINTS and group > CONF_AND_ID) else posed
            self._columns[group] = given or _decide(groups[group], possible, polygons_too=polygons_too)
        self.columns = [*dict.fromkeys(self._columns.values())]
        self.counts = sorted({len(row.numbers) for row in every})

    def labels(self, path: Path) -> list[Label]:
        """Return the rows of a file, in its order.

        Raises:
            UserError: coordinates or a confidence are outside their limits.
        """
        labels = []
        for row in self._rows[path]:
            try:
                labels.append(_label(row, self._columns[_group(len(row.numbers))]))
            except ValueError as error:
                raise UserError(f"{row.place}: {error}") from error
        return labels


BOX, CONF, CONF_AND_ID = 4, 5, 6
"""How many numbers a box has, alone and with more columns; a polygon has six or more."""

ODD, EVEN = 7, 8
"""Stand for all numbers from there on: polygons have any number of points."""

POSSIBLE: dict[int, tuple[LabelColumns, ...]] = {
    BOX: ("x y w h",),
    CONF: ("x y w h conf", "x y w h id", "conf x y w h"),
    CONF_AND_ID: ("x y w h conf id", "polygon"),
    ODD: ("polygon conf", "polygon id"),
    EVEN: ("polygon", "polygon conf id"),
}
"""What so many numbers may be, most common first."""

KEYPOINTS: tuple[LabelColumns, ...] = tuple(columns for columns in get_args(LabelColumns) if "keypoints" in columns)

POSED_NUMBERS, POSED_ROWS = 11, 3
"""So many rows of so many numbers, all alike, are no polygons where the first four numbers are a box of the others.

Fewer numbers have oriented boxes, which are polygons of four points.
"""


def _group(count: int) -> int:
    return count if count <= CONF_AND_ID else (EVEN, ODD)[count % 2]


def _keypoint_columns(rows: Sequence[Row], known: int) -> LabelColumns | None:
    """Return the columns of rows that have a box and keypoints; None for others.

    Args:
        known: how many numbers the keypoints of a row have; 0: not known.
    """
    counts = {len(row.numbers) for row in rows}
    if len(counts) != 1 or min(counts) <= CONF_AND_ID:
        return None
    numbers = np.stack([row.numbers for row in rows])
    for columns in KEYPOINTS:
        length = numbers.shape[1] - BOX - len(columns.split()[BOX + 1 :])
        body = numbers[:, BOX : BOX + length]
        if known and length != known:
            continue
        if (known or _are_keypoints(numbers[:, :BOX], body)) and all(_fits(row, columns) for row in rows):
            return columns
    return None


def _are_keypoints(boxes: Numbers, body: Numbers) -> bool:
    """Tell whether (R, K) numbers are keypoints of (R, 4) boxes: each with a visibility, or nearly all in the box."""
    if body.shape[1] % 3 == 0 and np.isin(body[:, 2::3], (0, 1, 2)).all():
        return True
    if len(body) < POSED_ROWS or BOX + body.shape[1] < POSED_NUMBERS:
        return False
    for size in (2, 3):
        if body.shape[1] % size == 0:
            points = body.reshape(len(body), -1, size)[:, :, :2]
            away = np.abs(points - boxes[:, None, :2]) > boxes[:, None, 2:] * (0.5 + MAX_MISFITS)
            if (away.any(axis=2) & points.any(axis=2)).mean() <= MAX_MISFITS:
                return True
    return False


def _decide(rows: Sequence[Row], possible: Sequence[LabelColumns], *, polygons_too: bool) -> LabelColumns:
    """Choose the columns that all rows fit, or else almost all.

    Args:
        polygons_too: whether the folder has rows that are too long for a box.

    Raises:
        UserError: several fit, and it matters which, or none does.
    """
    if len(possible) == 1:
        return possible[0]
    misfits = {columns: sum(not _fits(row, columns) for row in rows) for columns in possible}
    fitting = [columns for columns in possible if not misfits[columns]]
    if not fitting:
        fitting = [columns for columns in possible if misfits[columns] <= MAX_MISFITS * len(rows)]
    if not fitting:  # boxes that stick out of their images; where that is not all, `labels` names the row
        return next((each for each in possible if all(_fits(row, each, inside=False) for row in rows)), possible[0])
    if fitting == ["x y w h conf id", "polygon"]:  # triangles alone are rare, and do not all end in an integer
        return "polygon" if polygons_too else "x y w h conf id"
    if len(rows[0].numbers) % 2 and all(row.numbers[-1] == 1 for row in rows):
        fitting = [columns for columns in fitting if not columns.endswith(" id")]  # a confidence of 1 says the same
    if len(fitting) > 1:
        either = " or ".join(f'"{columns}"' for columns in fitting)
        raise UserError(
            f"{rows[0].place}: the {len(rows[0].numbers)} numbers behind the class may be {either} "
            f"({len(rows)} row{'s' * (len(rows) > 1)} like this): give one of the two as --label-columns"
        )
    return fitting[0]


def _fits(row: Row, columns: LabelColumns, *, inside: bool = True) -> bool:
    """Tell whether a row is sound and, if `inside`, its box lies in the image."""
    try:
        points = _label(row, columns).points
    except ValueError:
        return False
    limited = ((points >= LOWEST) & (points <= HIGHEST)).all() and (len(points) > 2 or (points[0] <= points[1]).all())
    return bool(limited) or not inside


def _label(row: Row, columns: LabelColumns) -> Label:
    """Read a row by its columns. ValueError says which number cannot be what they make it."""
    words, numbers, track, confidence = columns.split(), row.numbers, 0.0, 1.0
    if words[-1] == "id":
        words, numbers, track = words[:-1], numbers[:-1], float(numbers[-1])
    if words[-1] == "conf":
        words, numbers, confidence = words[:-1], numbers[:-1], float(numbers[-1])
    if words[0] == "conf":
        numbers, confidence = numbers[1:], float(numbers[0])
    if columns.startswith("polygon"):  # corners of oriented boxes may lie outside; ultralytics checks center and size
        points, coordinates = numbers.reshape(-1, 2), xyxy_to_cxcywh(box_of_points(numbers.reshape(-1, 2)))
    else:
        points, coordinates = cxcywh_to_xyxy(numbers[:BOX]).reshape(-1, 2), numbers[:BOX]
    if not ((coordinates >= LOWEST) & (coordinates <= HIGHEST)).all():
        raise ValueError("the coordinates are no shares of the image's width and height, from 0 to 1")
    if not 0 <= confidence <= 1:
        raise ValueError(f"the confidence, {confidence:g}, is not within 0 to 1")
    if track < 0 or track != np.floor(track):
        raise ValueError(f"the track id, {track:g}, is no integer from 0")
    return Label(row.line, row.class_id, points, confidence)


def _rows(path: Path) -> Iterator[Row]:
    """Read the rows of a file; the class may be written as `0.0`, as tools of arrays write it."""
    for line, text in enumerate(read_user_text(path).splitlines(), 1):
        if not (words := text.split()):
            continue
        try:
            class_id, numbers = float(words[0]), np.array(words[1:], np.float64)
        except ValueError:
            advice = f"; {DOTA_ADVICE}" if DOTA_ROW.match(text) else ""
            raise UserError(f"{path}:{line}: expected an integer, the class, and numbers{advice}") from None
        if not class_id.is_integer() or abs(class_id) >= LARGEST_ID:
            raise UserError(f"{path}:{line}: expected an integer, the class, found {words[0]}")
        if len(numbers) < BOX:
            raise UserError(f"{path}:{line}: expected a class and at least four numbers, found {len(numbers)}")
        yield Row(path, line, int(class_id), numbers)
