"""YOLO labels become instances, masks as ultralytics draws them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from utils.classes import ClassIndex, yaml_names
from utils.errors import UserError
from utils.exporters.yolo import unescaped
from utils.image_files import image_size, is_image_name
from utils.masks import Mask
from utils.polygons import as_ultralytics_draws, filled_box
from utils.readers.yolo import Label, read_labels
from utils.structures import Instances


def read_yolo(folder: Path, names: Sequence[str]) -> Iterator[tuple[str, Instances]]:
    """The annotations of a folder that holds `images/` and `labels/`, in the order of the images' paths.

    Class ids are those of `data.yaml`, or of `names` where there is none; an image without a label file has no objects.

    Args:
        names: class names, indexed by class id.

    Raises:
        UserError: there are no images, a file cannot be read, a row is malformed, or a class is none of `names`.
    """
    images = sorted(path for path in (folder / "images").rglob("*") if is_image_name(path.name))
    if not images:
        raise UserError(f"{folder / 'images'}: no images, by whose sizes labels are read")
    class_ids = _class_ids(folder / "data.yaml", names)
    for image in images:
        stem = image.relative_to(folder / "images").with_suffix("").as_posix()
        yield unescaped(stem), yolo_instances(folder / "labels" / f"{stem}.txt", _size_of(image), class_ids)


def yolo_instances(path: Path, size: tuple[int, int], class_ids: Sequence[int]) -> Instances:
    """The instances of a label file, in the order of its rows; none where there is no file.

    Args:
        size: (height, width) of the upright image.
        class_ids: what the rows' class ids mean.

    Raises:
        UserError: the file cannot be read, a row is malformed, or a class id has no meaning.
    """
    rows = read_labels(path) if path.is_file() else []
    for row in rows:
        if not 0 <= row.class_id < len(class_ids):
            raise UserError(f"{path}:{row.line}: the class {row.class_id} is outside the {len(class_ids)} classes")
    return Instances.of_masks(
        size,
        [class_ids[row.class_id] for row in rows],
        [_mask(row, size) for row in rows],
        [row.confidence for row in rows],
    )


def _mask(row: Label, size: tuple[int, int]) -> Mask:
    """The polygon as ultralytics draws it; a box is filled."""
    points = row.points * (size[1], size[0])
    is_box = len(points) == 2
    return Mask.of(filled_box(points, size) if is_box else as_ultralytics_draws(np.floor(points), size))


def _class_ids(path: Path, names: Sequence[str]) -> list[int]:
    """The class id that each class id of a `data.yaml` means."""
    if not path.is_file():
        return list(range(len(names)))
    index = ClassIndex(names)
    return [index.class_id(name, f"{path}: names[{i}]") for i, name in enumerate(yaml_names(path))]


def _size_of(image: Path) -> tuple[int, int]:
    try:
        return image_size(image)
    except ValueError as error:
        raise UserError(f"{image}: {error}") from error
