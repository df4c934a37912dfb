"""Read the objects of single images from files that any program may have written: a model, a tool, a person.

Each class reads one kind of files, and recognizes it by its content. Those of COCO are below, the others in
`labelme_reader.py`, `yolo.py` and `voc.py`. The table of formats (`registry.py`) lists them beside the exporters.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from utils.classes import (
    COCO_CLASSES,
    COCO_IDS,
    ClassIndex,
    canonical,
    match_classes,
)
from utils.errors import UserError
from utils.files import read_user_text
from utils.formats.coco import FILE_NAME, split_file
from utils.formats.coco_reader import (
    CocoAnnotation,
    CocoImage,
    coco_instances,
    entry_id,
    ids_of_files,
    parse_coco,
    read_segmentation,
)
from utils.formats.label_studio import refuse_tasks
from utils.io.image_files import is_image_name, size_problem
from utils.io.json_files import JSON_FILES, Location, get, read_json
from utils.matching import number_of, unique_aliases, without_upload
from utils.structures import Instances


class Predictions(ABC):
    """Objects by image, read when they are needed.

    Args:
        path: the file or folder.
        index: class ids of names; ids that files leave unnamed index its names.
        offset: where category ids begin, if somebody says it.

    Attributes:
        title: what messages call the kind of files.
        keys: what names each image: its path without a suffix, or a part of it; in results of COCO its id. None: each
            image has a file of its own, which is looked for.
        complete: whether an image that is not among the keys has no objects; else it is missing.
        has_category_ids: whether its classes are ids alone, of which somebody may say where they begin.
        advice: what messages add where no image of a run is among the keys.

    Raises:
        UserError: the files cannot be used.
    """

    title: ClassVar[str]
    advice: ClassVar[str] = ""
    complete: ClassVar[bool] = False
    has_category_ids: ClassVar[bool] = False

    def __init__(self, path: Path, index: ClassIndex, offset: str | None = None) -> None:
        self.path, self.index, self.offset = path, index, offset
        self.keys = self._open()
        self._exact = {*(self.keys or ())}
        names = ((key.rpartition("/")[2], key) for key in self.keys or ())
        self._alike = unique_aliases((alias, key) for name, key in names for alias in (name, number_of(name)))
        before = ((without_upload(key), key) for key in self.keys or ())
        self._uploaded = unique_aliases((path.rpartition("/")[2], key) for path, key in before if path != key)

    @staticmethod
    @abstractmethod
    def recognizes(path: Path) -> bool:
        """Tell whether a file or folder is of this kind."""

    @abstractmethod
    def _open(self) -> Sequence[str] | None:
        """Open the files; return `keys`. UserError if they cannot be used."""

    @abstractmethod
    def read(self, key: str, size: tuple[int, int], tracked: bool = False) -> Instances:
        """Read the objects of an image of a (height, width). UserError if they cannot be used.

        Args:
            tracked: it is a frame of a clip, and objects may have tracks through it.
        """

    def key(self, image_id: str) -> str | None:
        """Return what names an image in the files; None: nothing does. UserError if several may."""
        for exact in (image_id, image_id.replace("/", "_")):
            if exact in self._exact:
                return exact
        name = image_id.rpartition("/")[2]
        for alias, meant in ((name, self._alike), (number_of(name), self._alike), (name, self._uploaded)):
            if alias in meant:
                key = meant[alias]
                if key is None:
                    raise UserError(f"{self.path}: several of its images are called {alias}, and none {image_id}")
                # A key with folders is for another image, unless one path is the end of the other: then the folder of
                # the run or that of the annotations lies higher.
                path = without_upload(key) if meant is self._uploaded else key
                longer, shorter = sorted((f"/{path}", f"/{image_id}"), key=len, reverse=True)
                return key if "/" not in key or longer.endswith(shorter) else None
        return None

    def place(self, image_id: str) -> Path:
        """Return the file or folder that messages about an image name."""
        return self.path

    def lacking(self, image_id: str) -> str:
        """Say that no image of a run is among the keys; the id is that of its first one."""
        first = f'the first image here is "{min(self.keys or (), default="")}", that of the run {image_id}'
        return f"{first}: no image of the run is among {self.title}{self.advice}"

    def problems(self, key: str, size: tuple[int, int] | None) -> list[str]:
        """Say, with the file, why an image of a (height, width) cannot be used, as far as that is quickly known.

        Args:
            size: None where the image itself cannot be read.
        """
        return []

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
        return _begins(path, "{")

    def _parse(self) -> list[CocoImage]:
        return parse_coco(*(_coco_files(self.path) if self.path.is_dir() else [self.path]))

    def _open(self) -> Sequence[str]:
        self._images = {image.image_id: image for image in self._parse()}
        rows = [row for image in self._images.values() for row in image.annotations]
        for row in rows:
            self.index.class_id(row.category, row.place.child("category_id").name)
        refuse_boxes(self.path, (bool(row.segmentation) for row in rows))
        self._crowds = sum(row.is_crowd for row in rows)
        return [*self._images]

    def doubts(self) -> list[str]:
        fact = f"{self.path}: {self._crowds} of its objects are crowds (iscrowd), which stand for many"
        return [f"{fact}; each counts as one object"] if self._crowds else []

    def read(self, key: str, size: tuple[int, int], tracked: bool = False) -> Instances:
        return ranked(coco_instances(self._images[key], self.index))

    def problems(self, key: str, size: tuple[int, int] | None) -> list[str]:
        problem = size and size_problem(self._images[key].size, size)
        return [f'{self.path}: what it says of "{key}" {problem}'] if problem else []


class CocoResults(Predictions):
    """Results as pycocotools loads them: a list of rows with image_id, category_id, segmentation and score."""

    title, complete, has_category_ids = "COCO results", True, True
    advice = "; where the ids are those of an instances file, name a folder that holds both files"

    @staticmethod
    def recognizes(path: Path) -> bool:
        if path.is_dir():
            results, instances = _json_in(path)
            return bool(results) and not instances
        return _begins(path, "[")

    def _open(self) -> Sequence[str]:
        path = _only(self.path, _json_in(self.path)[0], self.title) if self.path.is_dir() else self.path
        rows: defaultdict[str, list[tuple[int, CocoAnnotation]]] = defaultdict(list)
        content = read_json(path)
        refuse_tasks(content, path)
        for i, row in enumerate(content):
            place = Location(f"{path}: [{i}]")
            image_id, category = entry_id(row, "image_id", place), entry_id(row, "category_id", place)
            if not category.removeprefix("-").isdecimal():
                raise place.child("category_id").error(f'expected an integer, found "{category}"')
            score = get(row, "score", float, place, optional=True)
            mask = row.get("segmentation")
            annotation = CocoAnnotation(place, category="", bbox=None, segmentation=mask, score=score, mask_score=score)
            rows[image_id].append((int(category), annotation))
        refuse_boxes(path, (bool(row.segmentation) for found in rows.values() for _, row in found))
        files = [image_id for image_id in rows if is_image_name(image_id)]
        stems = dict(zip(files, ids_of_files(files, Location(str(path)))))
        self._rows: defaultdict[str, list[tuple[int, CocoAnnotation]]] = defaultdict(list)
        for image_id, found in rows.items():
            self._rows[stems.get(image_id, image_id)] += found
        ids = sorted({category_id for found in rows.values() for category_id, _ in found})
        self._class_ids = _class_ids(path, ids, self.index.names, self.offset)
        return [*self._rows]

    def read(self, key: str, size: tuple[int, int], tracked: bool = False) -> Instances:
        rows = self._rows[key]
        return Instances.from_masks(
            size,
            [self._class_ids[category_id] for category_id, _ in rows],
            [read_segmentation(row, size) for _, row in rows],
            [1.0 if row.score is None else row.score for _, row in rows],
            [np.nan if row.score is None else row.score for _, row in rows],
        )

    def problems(self, key: str, size: tuple[int, int] | None) -> list[str]:
        try:
            if size:
                read_segmentation(self._rows[key][0][1], size)
        except UserError as error:
            return [str(error)]
        return []


class CocoResultsOfInstances(CocoInstances):
    """A folder with results and the instances file that says what their image ids and category ids mean."""

    title = "COCO results with their instances file"

    @staticmethod
    def recognizes(path: Path) -> bool:
        return path.is_dir() and all(_json_in(path))

    def _parse(self) -> list[CocoImage]:
        results, instances = _json_in(self.path)
        whole = _only(self.path, instances, CocoInstances.title)
        return parse_coco(whole, results=_only(self.path, results, CocoResults.title))


def _begins(path: Path, bracket: str) -> bool:
    """Tell whether the text of a file begins with a bracket; whether the rest is JSON shows when it is opened."""
    with suppress(UserError):
        return read_user_text(path).lstrip().startswith(bracket)
    return False


def _coco_files(folder: Path) -> list[Path]:
    whole = folder / FILE_NAME
    return [whole] if whole.is_file() else sorted(folder.glob(split_file("*")))


def _json_in(folder: Path) -> tuple[list[Path], list[Path]]:
    """List the COCO results with masks in a folder, and the instances files, whatever all of these are called."""
    results, instances = list[Path](), list[Path]()
    for path in sorted(folder.glob(JSON_FILES)):
        with suppress(UserError):
            text = read_user_text(path).lstrip()
            if text.startswith("[") and _first_has_mask(text):
                results.append(path)
            elif text.startswith("{") and '"images"' in text and '"categories"' in text:
                instances.append(path)
    return results, instances


def _first_has_mask(rows: str) -> bool:
    """Tell whether the first row of a JSON list is a COCO result with a mask; the others may be many."""
    with suppress(ValueError):
        row, _ = json.JSONDecoder().raw_decode(rows[1:].lstrip())
        return isinstance(row, dict) and "image_id" in row and bool(row.get("segmentation"))
    return False


def _only(folder: Path, files: Sequence[Path], title: str) -> Path:
    """Return the only file of a kind in a folder; UserError if there are several."""
    if len(files) > 1:
        raise UserError(f"{folder}: both {files[0].name} and {files[1].name} are {title}; leave one of them here")
    return files[0]


def refuse_boxes(path: Path, masks: Iterable[bool]) -> None:
    """Raise UserError where no object has a mask."""
    known = [*masks]
    if known and not any(known):
        raise UserError(f"{path}: holds boxes, no masks; -p takes them as prompts, and SAM2 makes the masks")


def ranked(found: Instances) -> Instances:
    """Take the score of an object as its mask score where a model gave one score alone.

    The mask score decides which object gets a pixel that several claim.
    """
    unknown = np.isnan(found.mask_scores) & (found.detections.scores < 1)
    return replace(found, mask_scores=np.where(unknown, found.detections.scores, found.mask_scores))


def _class_ids(path: Path, ids: Sequence[int], names: Sequence[str], offset: str | None) -> Mapping[int, int]:
    """Return the class id of each category id; UserError if no beginning of the ids fits, or several do."""
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
