"""Pascal VOC's index maps become instances."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from utils.classes import BACKGROUND, VOID, ClassIndex, label_of, load_class_names
from utils.errors import UserError
from utils.image_files import read_index_map, read_object_map
from utils.objects import instances_of
from utils.structures import Instances
from utils.voc_tree import CLASS_NAMES


def read_voc(folder: Path, names: Sequence[str]) -> Iterator[tuple[str, Instances]]:
    """The annotations of a VOC tree, by their path below SegmentationClass and in the order of the paths.

    Images are not needed. Labels are those of `class_names.txt`, or of `names` where there is none. Objects are those
    of SegmentationObject, else connected parts of a class; void pixels belong to none.

    Args:
        names: class names, indexed by class id.

    Raises:
        UserError: a file cannot be read, two maps differ in size, or a label names no class.
    """
    labels = _labels(folder / CLASS_NAMES, names)
    for path in sorted((folder / "SegmentationClass").rglob("*.png")):
        relative = path.relative_to(folder / "SegmentationClass")
        yield relative.with_suffix("").as_posix(), _instances(path, folder / "SegmentationObject" / relative, labels)


def _labels(path: Path, names: Sequence[str]) -> np.ndarray:
    """(256,) int64: the label that each value of a map means; -1 for those that mean nothing."""
    index, own = ClassIndex(names), load_class_names(path) if path.is_file() else names
    labels = np.full(256, -1)
    labels[[BACKGROUND, VOID]] = BACKGROUND, VOID
    for i, name in enumerate(own):
        labels[label_of(i)] = label_of(index.class_id(name, f"{path}, line {i + 1}"))
    return labels


def _instances(path: Path, objects: Path, labels: np.ndarray) -> Instances:
    try:
        found = labels[values := read_index_map(path)]
        if found.min(initial=0) < 0:
            raise ValueError(f"the value {values[found < 0][0]} is the label of no class")
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    try:
        return instances_of(found.astype(np.uint8), read_object_map(objects) if objects.is_file() else None)
    except ValueError as error:
        raise UserError(f"{objects}: {error}") from error
