"""Read the objects of single images from files that any program may have written: a model, a tool, a person.

Each class reads one kind of files, and recognizes it by its content. Those of COCO are below, the others in
`labelme_reader.py`, `yolo.py` and `voc.py`. The table of formats (`registry.py`) lists them beside the exporters.

Prompt files (`utils/prompts/`) are partly the same files, and both ways to read them share how a file is parsed, how
its paths are matched with images (`utils/matching.py`) and what its category ids mean (`categories.py`). They differ
where they must. Prompts are read whole into columns of numbers, since millions of boxes are wanted at once, and each
row looks for its image. Here each image looks for its objects when it is due: masks of all of them would not fit, and
a million labelme files are never listed.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from utils.classes import ClassIndex
from utils.errors import UserError
from utils.files import read_user_text
from utils.formats.categories import RESULTS_ADVICE
from utils.formats.coco import FILE_NAME, split_file
from utils.formats.coco_reader import coco_instances, parse_coco, parse_results, read_segmentation
from utils.io.image_files import size_problem
from utils.io.json_files import JSON_FILES
from utils.io.terminal import counted
from utils.label_maps import MAX_LOST
from utils.matching import PathIndex, keys_of_place, names_of_image, number_of, unique_aliases, without_upload
from utils.structures import Instances

ROBOFLOW_FILE = "_annotations.coco.json"
"""What Roboflow calls the instances of a split, among its images."""

BOXES_ARE_PROMPTS = "-p takes boxes as prompts, and SAM2 makes the masks"


class Predictions(ABC):
    """Objects by image, read when they are needed.

    Args:
        path: the file or folder.
        index: class ids of names; ids that files leave unnamed index its names.
        offset: where category ids begin, if somebody says it.
        place: where the run's images lie below the folder; keys of others are no images of it, see `keys_of_place`.

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

    title: str
    advice = ""
    complete = False
    has_category_ids = False

    def __init__(self, path: Path, index: ClassIndex, offset: str | None = None, place: str = "") -> None:
        self.path, self.index, self.offset = path, index, offset
        self._ordered = list[tuple[int, int]]()  # pixels of the objects of an image, and those that their order decides
        self.keys = self._open()
        paths = [(short, str(key)) for key, short in keys_of_place(self.keys or (), place).items()]
        self._paths = PathIndex(paths)
        self._numbers = unique_aliases((number_of(short), key) for short, key in paths if "/" not in short)
        self._uploads = PathIndex((before, key) for short, key in paths if (before := without_upload(short)) != short)

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
        found = self._paths.find(image_id, "", names_of_image)
        if found == "":
            found = self._numbers.get(number_of(image_id.rpartition("/")[2]), "")
        if found == "":
            found = self._uploads.find(image_id, "", names_of_image)
        if found is None:
            raise UserError(f"{self.path}: several of its images may be {image_id}")
        return found or None

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
        try:
            return self._problems(key, size)
        except UserError as error:
            return [str(error)]

    def _problems(self, key: str, size: tuple[int, int] | None) -> list[str]:
        """Return `problems`, or raise the first one."""
        return []

    def doubts(self) -> list[str]:
        """Say, with the file, where what was read so far may have been meant otherwise."""
        return []

    def note_order(self, found: Instances) -> None:
        """Note how far the order of the objects of an image decides its label map, if none has a score."""
        if np.isnan(found.mask_scores).all():
            labels, other = found.to_semantic(), found[::-1].to_semantic()
            self._ordered.append((int(np.count_nonzero(labels)), int(np.count_nonzero(labels != other))))

    def order_doubts(self, advice: str) -> list[str]:
        """Say it if the order of objects, which the format leaves open, decides more than a slip of their pixels."""
        pixels, decided = np.sum(self._ordered, axis=0) if self._ordered else (0, 0)
        if decided <= MAX_LOST * pixels:
            return []
        fact = f"objects of several classes claim {100 * decided / pixels:.0f} % of the pixels of objects"
        return [f"{self.path}: {fact}; they have no scores, so the later one gets them; {advice}"]


def visible_files(folder: Path, pattern: str) -> Iterator[Path]:
    """Find files in a folder and below it, those whose path there has a name with a dot before it left out."""
    return (path for path in folder.rglob(pattern) if not re.search(r"(^|/)\.", path.relative_to(folder).as_posix()))


def path_without(path: Path, folder: Path, part: str = "") -> str:
    """Return the path below a folder, without suffix, and without the first folder called `part`, as image ids are."""
    parts = [*path.relative_to(folder).with_suffix("").parts]
    if part in parts[:-1]:
        parts.remove(part)
    return "/".join(parts)


class CocoFiles(Predictions):
    """COCO instances, results as pycocotools loads them, or a folder of either.

    A folder may hold both: then the instances file says what the image ids and category ids of the results mean.
    """

    title = "COCO instances or results"

    @staticmethod
    def recognizes(path: Path) -> bool:
        return any(coco_files(path))

    def _open(self) -> Sequence[str]:
        instances, results = coco_files(self.path)
        if results:
            self._refuse_several(results, "COCO results")
            self._refuse_several(instances, "COCO instances")
        if instances:
            self.title = "COCO results with their instances file" if results else "COCO instances"
            images = parse_coco(*instances, results=results[0] if results else None)
        else:
            self.title, self.complete, self.has_category_ids, self.advice = "COCO results", True, True, RESULTS_ADVICE
            images = parse_results(results[0], self.index.names, self.offset)
        self._images = {image.image_id: image for image in images}
        rows = [row for image in images for row in image.annotations]
        for row in rows:
            self.index.class_id(row.category, row.place.child("category_id").name)
        self._boxes = box_doubts(self.path, (bool(row.segmentation) for row in rows))
        self._crowds, self._repeats = sum(row.is_crowd for row in rows), list[int]()
        return [*self._images]

    def _refuse_several(self, files: Sequence[Path], what: str) -> None:
        if len(files) > 1:
            raise UserError(f"{self.path}: both {files[0].name} and {files[1].name} are {what}; leave one of them here")

    def doubts(self) -> list[str]:
        crowds = f"{self._crowds} of its objects are crowds (iscrowd), which stand for many; each counts as one object"
        repeats = f"{sum(self._repeats)} of its objects repeat others with all their values; each counts as an object"
        found = [f"{self.path}: {fact}" for fact, n in ((crowds, self._crowds), (repeats, sum(self._repeats))) if n]
        return [*self._boxes, *found, *self.order_doubts("scores would say which one is surer")]

    def read(self, key: str, size: tuple[int, int], tracked: bool = False) -> Instances:
        return ranked(coco_instances(self._images[key], size, self.index))

    def _problems(self, key: str, size: tuple[int, int] | None) -> list[str]:
        image = self._images[key]
        if size and image.size and (problem := size_problem(image.size, size)):
            return [f'{self.path}: what it says of "{key}" {problem}']
        rows = image.annotations
        each = {(row.category, row.score, row.bbox, repr(row.segmentation)) for row in rows}
        self._repeats.append(len(rows) - len(each))
        if size and all(row.score is None and row.mask_score is None for row in rows):
            self.note_order(self.read(key, size))
        elif size and not image.size:  # results say it with each mask
            read_segmentation(rows[0], size)
        return []


def coco_files(path: Path) -> tuple[list[Path], list[Path]]:
    """List the files of COCO instances and of COCO results that a path means, each read once; their JSON may be broken.

    In a folder, results are lists whose first row has a mask, whatever their files are called. So are the instances
    beside them; without results, instances are files of the names that they have here, of all splits.
    """
    if not path.is_dir():
        text = _start(path)
        return [path] * text.startswith("{"), [path] * text.startswith("[")
    instances, results = list[Path](), list[Path]()
    for file in sorted(path.glob(JSON_FILES)):
        text = _start(file)
        if text.startswith("[") and _first_has_mask(text):
            results.append(file)
        elif text.startswith("{") and '"images"' in text and '"categories"' in text:
            instances.append(file)
    if results:
        return instances, results
    whole = path / FILE_NAME
    own = [whole] if whole.is_file() else sorted(path.glob(split_file("*")))
    splits = (path / split / ROBOFLOW_FILE for split in ("", "train", "valid", "test"))
    return own or [file for file in splits if file.is_file()], []


def _start(path: Path) -> str:
    """Return the text of a file from its first character on; nothing where it cannot be read."""
    with suppress(UserError):
        return read_user_text(path).lstrip()
    return ""


def _first_has_mask(rows: str) -> bool:
    """Tell whether the first row of a JSON list is a COCO result with a mask; the others may be many."""
    with suppress(ValueError):
        row, _ = json.JSONDecoder().raw_decode(rows[1:].lstrip())
        return isinstance(row, dict) and "image_id" in row and bool(row.get("segmentation"))
    return False


def box_doubts(path: Path, masks: Iterable[bool]) -> list[str]:
    """Say how many objects have no mask, so that their box is filled; UserError if none has one."""
    known = [*masks]
    if known and not any(known):
        raise UserError(f"{path}: holds boxes, no masks; -p takes them as prompts, and SAM2 makes the masks")
    boxes = f"{path}: {known.count(False)} of {counted(len(known), 'object')} have a box, no mask"
    return [] if all(known) else [f"{boxes}: each counts as a filled box; {BOXES_ARE_PROMPTS}"]


def ranked(found: Instances) -> Instances:
    """Take the score of an object as its mask score where a model gave one score alone.

    The mask score decides which object gets a pixel that several claim.
    """
    unknown = np.isnan(found.mask_scores) & (found.detections.scores < 1)
    return replace(found, mask_scores=np.where(unknown, found.detections.scores, found.mask_scores))
