"""Read the objects of single images from files that any program may have written: a model, a tool, a person.

Each class below reads one kind of files, and knows it by its content; those of label maps are in `voc.py`. The table of
formats (`registry.py`) lists them beside the exporters.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from utils.classes import (
    COCO_CLASSES,
    COCO_IDS,
    ClassIndex,
    canonical,
    find_class_names,
    is_class_list,
    match_classes,
)
from utils.errors import UserError
from utils.files import read_user_text
from utils.formats.coco import FILE_NAME, split_file
from utils.formats.coco_reader import (
    CocoAnnotation,
    coco_instances,
    entry_id,
    ids_of_files,
    parse_coco,
    read_segmentation,
)
from utils.formats.yolo import polygon_mask, unescape_images_dir
from utils.formats.yolo_labels import LabelReader
from utils.io.image_files import is_image_name, size_problem
from utils.io.json_files import Location, get, read_json
from utils.structures import Instances


class Predictions(ABC):
    """Objects by image, read when they are needed.

    Attributes:
        title: what messages call the kind of files.
        keys: what names each image: its path without a suffix, or a part of it; in results of COCO its id.
        complete: whether an image that is not among the keys has no objects; else it is missing.
        has_category_ids: whether its classes are ids alone, of which somebody may say where they begin.
        advice: what messages add where no image of a run is among the keys.
    """

    title: ClassVar[str]
    advice: ClassVar[str] = ""
    keys: Sequence[str]
    complete: bool = False
    has_category_ids: ClassVar[bool] = False

    @staticmethod
    @abstractmethod
    def recognizes(path: Path) -> bool:
        """Tell whether a file or folder is of this kind."""

    @abstractmethod
    def __init__(self, path: Path, index: ClassIndex, offset: str | None = None) -> None:
        """Open the files; `offset` says where category ids begin. UserError if they cannot be used.

        Args:
            index: class ids of names; ids that files leave unnamed index its names.
        """

    @abstractmethod
    def read(self, key: str, size: tuple[int, int]) -> Instances:
        """Read the objects of an image of a (height, width). UserError if they cannot be used."""

    def problem(self, key: str, size: tuple[int, int]) -> str | None:
        """Say, with the file, why an image cannot be used, as far as that is quickly known."""
        return None

    def doubts(self) -> list[str]:
        """Say, with the file, where what was read so far may have been meant otherwise."""
        return []


class CocoInstances(Predictions):
    """COCO instances: a file with images, categories and annotations, or a folder with `instances*.json`."""

    title = "COCO instances"

    @staticmethod
    def recognizes(path: Path) -> bool:
        if path.is_dir():
            return bool(_coco_files(path)) and not _json_in(path)[0]
        return isinstance(_content(path), dict)

    def __init__(self, path: Path, index: ClassIndex, offset: str | None = None) -> None:
        self._open(path, index, _coco_files(path) if path.is_dir() else [path])

    def _open(self, path: Path, index: ClassIndex, files: Sequence[Path], results: Path | None = None) -> None:
        self._path, self._index = path, index
        self._images = {image.image_id: image for image in parse_coco(*files, results=results)}
        self.keys = [*self._images]
        rows = [row for image in self._images.values() for row in image.annotations]
        for row in rows:
            self._index.class_id(row.category, row.place.child("category_id").name)
        _refuse_boxes(path, (bool(row.segmentation) for row in rows))
        self._crowds = sum(row.is_crowd for row in rows)

    def doubts(self) -> list[str]:
        fact = f"{self._path}: {self._crowds} of its objects are crowds (iscrowd), which stand for many"
        return [f"{fact}; each counts as one object"] if self._crowds else []

    def read(self, key: str, size: tuple[int, int]) -> Instances:
        return _ranked(coco_instances(self._images[key], self._index))

    def problem(self, key: str, size: tuple[int, int]) -> str | None:
        problem = size_problem(self._images[key].size, size)
        return problem and f'{self._path}: what it says of "{key}" {problem}'


class CocoResults(Predictions):
    """Results as pycocotools loads them: a list of rows with image_id, category_id, segmentation and score."""

    title, complete, has_category_ids = "COCO results", True, True
    advice = "; where the ids are those of an instances file, name a folder that holds both files"

    @staticmethod
    def recognizes(path: Path) -> bool:
        if path.is_dir():
            results, instances = _json_in(path)
            return bool(results) and not instances
        return isinstance(_content(path), list)

    def __init__(self, path: Path, index: ClassIndex, offset: str | None = None) -> None:
        path = _only(path, _json_in(path)[0], self.title) if path.is_dir() else path
        rows: defaultdict[str, list[tuple[int, CocoAnnotation]]] = defaultdict(list)
        for i, row in enumerate(read_json(path)):
            place = Location(f"{path}: [{i}]")
            image_id, category = entry_id(row, "image_id", place), entry_id(row, "category_id", place)
            if not category.removeprefix("-").isdecimal():
                raise place.child("category_id").error(f'expected an integer, found "{category}"')
            score = get(row, "score", float, place, optional=True)
            annotation = CocoAnnotation(place, "", None, row.get("segmentation"), score, score)
            rows[image_id].append((int(category), annotation))
        _refuse_boxes(path, (bool(row.segmentation) for found in rows.values() for _, row in found))
        files = [image_id for image_id in rows if is_image_name(image_id)]
        stems = dict(zip(files, ids_of_files(files, Location(str(path)))))
        self._rows: defaultdict[str, list[tuple[int, CocoAnnotation]]] = defaultdict(list)
        for image_id, found in rows.items():
            self._rows[stems.get(image_id, image_id)] += found
        ids = sorted({category_id for found in rows.values() for category_id, _ in found})
        self._class_ids, self.keys = _class_ids(path, ids, index.names, offset), [*self._rows]

    def read(self, key: str, size: tuple[int, int]) -> Instances:
        rows = self._rows[key]
        return Instances.from_masks(
            size,
            [self._class_ids[category_id] for category_id, _ in rows],
            [read_segmentation(row, size) for _, row in rows],
            [1.0 if row.score is None else row.score for _, row in rows],
            [np.nan if row.score is None else row.score for _, row in rows],
        )

    def problem(self, key: str, size: tuple[int, int]) -> str | None:
        try:
            read_segmentation(self._rows[key][0][1], size)
        except UserError as error:
            return str(error)
        return None


class CocoResultsOfInstances(CocoInstances):
    """A folder with results and the instances file that says what their image ids and category ids mean."""

    title = "COCO results with their instances file"

    @staticmethod
    def recognizes(path: Path) -> bool:
        return path.is_dir() and all(_json_in(path))

    def __init__(self, path: Path, index: ClassIndex, offset: str | None = None) -> None:
        results, instances = _json_in(path)
        whole = _only(path, instances, CocoInstances.title)
        self._open(path, index, [whole], _only(path, results, CocoResults.title))


class YoloLabels(Predictions):
    """YOLO-seg labels: a text file per image, in the folder or in `labels/` below it."""

    title, complete = "YOLO labels", True

    @staticmethod
    def recognizes(path: Path) -> bool:
        return path.is_dir() and bool(_label_files(path)[1])

    def __init__(self, path: Path, index: ClassIndex, offset: str | None = None) -> None:
        root, files = _label_files(path)
        self._files = {unescape_images_dir(each.relative_to(root).with_suffix("").as_posix()): each for each in files}
        self._reader, self.keys = LabelReader(files), [*self._files]
        self._path, own, self._index = path, find_class_names(path), index
        self._listed, self._place = (index.names, str(path)) if own is None else (own.names, str(own.path))
        rows = [(each, row) for each in files for row in self._reader.labels(each)]
        _refuse_boxes(path, (len(row.points) > 2 for _, row in rows))
        self._are_quadrangles = {len(row.points) for _, row in rows} == {4}
        for each, row in rows:
            if not 0 <= row.class_id < len(self._listed):
                raise UserError(
                    f"{each}:{row.line}: the class {row.class_id} is outside the {len(self._listed)} classes"
                )
            self._class_id(row.class_id)

    def _class_id(self, class_id: int) -> int:
        return self._index.class_id(self._listed[class_id], f"{self._place}: names[{class_id}]")

    def read(self, key: str, size: tuple[int, int]) -> Instances:
        rows = self._reader.labels(self._files[key])
        scored = any(row.confidence < 1 for row in rows)
        found = Instances.from_masks(
            size,
            [self._class_id(row.class_id) for row in rows],
            [polygon_mask(row, size) for row in rows],
            [row.confidence for row in rows],
        )
        return _ranked(found) if scored else found

    def doubts(self) -> list[str]:
        fact = f"{self._path}: every outline has four corners, as oriented boxes have"
        advice = "they count as masks; -p takes boxes as prompts, and SAM2 makes the masks"
        return [f"{fact}: {advice}"] if self._are_quadrangles else []


def _content(path: Path) -> Any:
    """Read JSON; None for another file."""
    try:
        return read_json(path)
    except UserError:
        return None


def _coco_files(folder: Path) -> list[Path]:
    whole = folder / FILE_NAME
    return [whole] if whole.is_file() else sorted(folder.glob(split_file("*")))


def _json_in(folder: Path) -> tuple[list[Path], list[Path]]:
    """List the COCO results with masks in a folder, and the instances files, whatever all of these are called."""
    results, instances = list[Path](), list[Path]()
    for path in sorted(folder.glob("*.json")):
        with suppress(UserError):
            text = read_user_text(path).lstrip()
            if text.startswith("[") and _is_result(text):
                results.append(path)
            elif text.startswith("{") and '"images"' in text and '"categories"' in text:
                instances.append(path)
    return results, instances


def _is_result(rows: str) -> bool:
    """Tell it by the first of the rows: such files may be large."""
    with suppress(ValueError):
        row, _ = json.JSONDecoder().raw_decode(rows[1:].lstrip())
        return isinstance(row, dict) and "image_id" in row and bool(row.get("segmentation"))
    return False


def _only(folder: Path, files: Sequence[Path], title: str) -> Path:
    """Return the only file of a kind in a folder; UserError if there are several."""
    if len(files) > 1:
        raise UserError(f"{folder}: both {files[0].name} and {files[1].name} are {title}; leave one of them here")
    return files[0]


def _label_files(folder: Path) -> tuple[Path, list[Path]]:
    """Return where paths of labels begin, and the files."""
    root = folder / "labels" if (folder / "labels").is_dir() else folder
    files = sorted(path for path in root.rglob("*.*") if path.suffix.lower() == ".txt" and not is_class_list(path))
    parts = {path: path.relative_to(root).parts for path in files}
    return root, [
        path for path in files if "ImageSets" not in parts[path] and not any(p[0] == "." for p in parts[path])
    ]


def _refuse_boxes(path: Path, masks: Iterable[bool]) -> None:
    """Raise UserError where no object has a mask."""
    known = [*masks]
    if known and not any(known):
        raise UserError(f"{path}: holds boxes, no masks; -p takes them as prompts, and SAM2 makes the masks")


def _ranked(found: Instances) -> Instances:
    """Let scores decide which object gets a pixel that several claim, where a model gave one score an object."""
    unknown = np.isnan(found.mask_scores) & (found.detections.scores < 1)
    return replace(found, mask_scores=np.where(unknown, found.detections.scores, found.mask_scores))


def _class_ids(path: Path, ids: Sequence[int], names: Sequence[str], offset: str | None) -> Mapping[int, int]:
    """Return the class id of each category id; UserError where it is open where ids begin."""
    readings = {start: {i + int(start): i for i in range(len(names))} for start in ("0", "1")}
    if [*map(canonical, names)] == [*COCO_CLASSES]:
        readings["coco91"] = {category_id: i for i, category_id in enumerate(COCO_IDS)}
    fitting = [start for start, known in readings.items() if {*ids} <= known.keys() and offset in (None, start)]
    if not fitting and offset in (None, "coco91"):  # some of COCO's classes, found by a model that knows them all
        some = {COCO_IDS[i]: class_id for i, class_id in match_classes(COCO_CLASSES, names).items()}
        fitting = ["coco91"] if {*ids} <= some.keys() else []
        readings["coco91"] = some
    if not fitting:
        outside = f"category ids {min(ids)} to {max(ids)} do not fit the {len(names)} classes"
        said = f" with --category-offset {offset}" if offset else ""
        raise UserError(f"{path}: {outside}{said}{CocoResults.advice}")
    if len(fitting) > 1 and ids:
        choices = " or ".join(fitting)
        raise UserError(f"{path}: category ids may begin at {choices}: give --category-offset {choices}")
    return readings[fitting[0]]
