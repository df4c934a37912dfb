"""Read the objects of single images from files that any program may have written: a model, a tool, a person.

Each class below reads one kind of files, and knows it by its content. The table of formats (`registry.py`) lists them
beside the exporters.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from utils.classes import CLASS_NAMES, COCO_CLASSES, COCO_IDS, ClassIndex, canonical, find_class_names, is_class_list
from utils.errors import UserError
from utils.formats.coco import FILE_NAME, split_file
from utils.formats.coco_reader import CocoAnnotation, coco_instances, parse_coco, read_segmentation
from utils.formats.voc import labels_of, read_maps
from utils.formats.yolo import polygon_mask, unescape_images_dir
from utils.formats.yolo_labels import LabelReader
from utils.io.image_files import image_size, size_problem
from utils.io.json_files import Location, get, read_json
from utils.structures import Instances


class Predictions(ABC):
    """Objects by image, read when they are needed.

    Attributes:
        title: what messages call the kind of files.
        keys: what names each image: its path without a suffix, or a part of it; in results of COCO its id.
        complete: whether an image that is not among the keys has no objects; else it is missing.
    """

    title: ClassVar[str]
    keys: Sequence[str]
    complete: bool = False

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


class CocoInstances(Predictions):
    """COCO instances: a file with images, categories and annotations, or a folder with `instances*.json`."""

    title = "COCO instances"

    @staticmethod
    def recognizes(path: Path) -> bool:
        return bool(_coco_files(path)) if path.is_dir() else isinstance(_content(path), dict)

    def __init__(self, path: Path, index: ClassIndex, offset: str | None = None) -> None:
        self._path, self._index = path, index
        files = _coco_files(path) if path.is_dir() else [path]
        self._images = {image.image_id: image for image in parse_coco(*files)}
        self.keys = [*self._images]
        rows = [row for image in self._images.values() for row in image.annotations]
        for row in rows:
            self._index.class_id(row.category, row.place.child("category_id").name)
        _refuse_boxes(path, (bool(row.segmentation) for row in rows))

    def read(self, key: str, size: tuple[int, int]) -> Instances:
        return _ranked(coco_instances(self._images[key], self._index))

    def problem(self, key: str, size: tuple[int, int]) -> str | None:
        problem = size_problem(self._images[key].size, size)
        return problem and f'{self._path}: what it says of "{key}" {problem}'


class CocoResults(Predictions):
    """Results as pycocotools loads them: a list of rows with image_id, category_id, segmentation and score."""

    title, complete = "COCO results", True

    @staticmethod
    def recognizes(path: Path) -> bool:
        return path.is_file() and isinstance(_content(path), list)

    def __init__(self, path: Path, index: ClassIndex, offset: str | None = None) -> None:
        self._rows: defaultdict[str, list[tuple[int, CocoAnnotation]]] = defaultdict(list)
        ids = []
        for i, row in enumerate(read_json(path)):
            place = Location(f"{path}: [{i}]")
            if not isinstance(row, dict) or type(row.get("image_id")) not in (int, str):
                raise place.error("expected an object with an image_id")
            ids.append(get(row, "category_id", int, place))
            score = get(row, "score", float, place, optional=True)
            annotation = CocoAnnotation(place, "", None, row.get("segmentation"), score, score)
            self._rows[str(row["image_id"])].append((ids[-1], annotation))
        _refuse_boxes(path, (bool(row.segmentation) for rows in self._rows.values() for _, row in rows))
        self._class_ids, self.keys = _class_ids(path, sorted({*ids}), index.names, offset), [*self._rows]

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
        own, self._index = find_class_names(path), index
        self._listed, self._place = (index.names, str(path)) if own is None else (own.names, str(own.path))
        rows = [(each, row) for each in files for row in self._reader.labels(each)]
        _refuse_boxes(path, (len(row.points) > 2 for _, row in rows))
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


class VocTree(Predictions):
    """A Pascal VOC tree: label maps in `SegmentationClass/` and, perhaps, object maps in `SegmentationObject/`."""

    title = "a VOC tree"

    @staticmethod
    def recognizes(path: Path) -> bool:
        return (path / "SegmentationClass").is_dir()

    def __init__(self, path: Path, index: ClassIndex, offset: str | None = None) -> None:
        self._open(path / "SegmentationClass", path / "SegmentationObject", path / CLASS_NAMES, index)

    def _open(self, maps: Path, objects: Path | None, listed: Path, index: ClassIndex) -> None:
        self._maps, self._objects, self._labels = maps, objects, labels_of(listed, index)
        self.keys = [each.relative_to(maps).with_suffix("").as_posix() for each in sorted(maps.rglob("*.png"))]

    def read(self, key: str, size: tuple[int, int]) -> Instances:
        objects = None if self._objects is None else self._objects / f"{key}.png"
        return read_maps(self._maps / f"{key}.png", objects, self._labels)

    def problem(self, key: str, size: tuple[int, int]) -> str | None:
        path = self._maps / f"{key}.png"
        try:
            problem = size_problem(image_size(path), size)
            if problem is None:
                self.read(key, size)
        except (UserError, ValueError) as error:
            return str(error) if isinstance(error, UserError) else f"{path}: {error}"
        return problem and f"{path}: {problem}"


class LabelMaps(VocTree):
    """A folder of label maps: PNG files whose values are labels, 0 the background, as mmsegmentation writes them."""

    title = "label maps"

    @staticmethod
    def recognizes(path: Path) -> bool:
        pictures = path.is_dir() and not VocTree.recognizes(path) and not (path / "images").is_dir()
        return pictures and next(path.rglob("*.png"), None) is not None

    def __init__(self, path: Path, index: ClassIndex, offset: str | None = None) -> None:
        self._open(path, None, path / CLASS_NAMES, index)


def _content(path: Path) -> Any:
    """Read JSON; None for another file."""
    try:
        return read_json(path)
    except UserError:
        return None


def _coco_files(folder: Path) -> list[Path]:
    whole = folder / FILE_NAME
    return [whole] if whole.is_file() else sorted(folder.glob(split_file("*")))


def _label_files(folder: Path) -> tuple[Path, list[Path]]:
    """Return where paths of labels begin, and the files."""
    root = folder / "labels" if (folder / "labels").is_dir() else folder
    files = sorted(path for path in root.rglob("*.txt") if not is_class_list(path))
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
    if not fitting:
        outside = f"category ids {min(ids)} to {max(ids)} do not fit the {len(names)} classes"
        raise UserError(f"{path}: {outside}{f' with --category-offset {offset}' if offset else ''}")
    if len(fitting) > 1 and ids:
        choices = " or ".join(fitting)
        raise UserError(f"{path}: category ids may begin at {choices}: give --category-offset {choices}")
    return readings[fitting[0]]
