"""labelme files become instances, masks exactly as labelme's own converters draw them."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from utils.classes import ClassIndex
from utils.errors import UserError
from utils.image_files import image_size, reasons, size_problem
from utils.json_reading import Location, get
from utils.labelme_drawing import POINTS, as_labelme_draws_shape
from utils.masks import Mask
from utils.readers.labelme import Shape, read_labelme_json, shapes_of
from utils.structures import Instances

OTHER_FORMATS = ("labelme-polygon/", "coco/instances.json")
"""How paths of other formats' JSON begin, which lies below labelme's own folder."""


def read_labelme(folder: Path, names: Sequence[str]) -> Iterator[tuple[str, Instances]]:
    """The annotations in a folder and below it, by their path without `.json`, in the order of the paths.

    What is hidden is left out, and the files of this project's other formats.

    Args:
        names: class names, indexed by class id.

    Raises:
        UserError: a file cannot be read or is none of labelme's, a shape is malformed or of a kind that is not read, or
            a label names no class.
    """
    index = ClassIndex(names)
    for path in sorted(folder.rglob("*.json")):
        relative = path.relative_to(folder).as_posix()
        if not relative.startswith(OTHER_FORMATS) and not re.search(r"(^|/)\.", relative):
            yield relative.removesuffix(".json"), labelme_instances(path, index)


def labelme_instances(path: Path, index: ClassIndex, tracked: bool = False) -> Instances:
    """The instances of a file, in the order of their first shapes; shapes of one label and group are one instance.

    A shape without a score has the score 1.

    Args:
        tracked: groups are tracks through a clip; a file with a shape that is in none has no tracks.

    Raises:
        UserError: the file cannot be read or is none of labelme's, a shape is malformed or of a kind that is not read,
            a label names no class, or the image's size is not known.
    """
    content = read_labelme_json(path)
    size, shapes = size_of(content, path), shapes_of(content, path)
    objects: dict[object, list[int]] = {}
    for i, shape in enumerate(shapes):
        objects.setdefault(i if shape.group_id is None else (shape.label, shape.group_id), []).append(i)
    firsts = {i: shapes[i] for i, *_ in objects.values()}
    drawings = [[drawn(shapes[i], size, f"{path}: shapes[{i}]") for i in group] for group in objects.values()]
    return Instances.of_masks(
        size,
        [index.class_id(shape.label, f"{path}: shapes[{i}].label") for i, shape in firsts.items()],
        [Mask.of(np.any(parts, axis=0)) for parts in drawings],
        [shape.scores.get("score", 1.0) for shape in firsts.values()],
        [shape.scores.get("mask_score", np.nan) for shape in firsts.values()],
        _tracks([*firsts.values()], path) if tracked else None,
    )


def _tracks(shapes: Sequence[Shape], path: Path) -> list[int] | None:
    """The group of each shape; None where one is in none."""
    groups = [shape.group_id for shape in shapes if shape.group_id is not None]
    for group in groups:
        if not -(2**63) <= group < 2**63:
            raise UserError(f"{path}: the group_id {group} cannot be a track: it has more than 64 bits")
    return groups if len(groups) == len(shapes) else None


def check_size(found: tuple[int, int], size: tuple[int, int], path: Path) -> None:
    """Raises UserError where an annotation's (height, width) is not that of its image."""
    if problem := size_problem(found, size):
        raise UserError(f"{path}: {problem}")


def drawn(shape: Shape, size: tuple[int, int], place: str) -> np.ndarray:
    """(H, W) bool: the shape as labelme's own converters draw it.

    Args:
        place: what messages call the shape.

    Raises:
        UserError: the shape is of a kind that labelme does not draw, or does not fit its points or the image.
    """
    check_drawable(shape, place)
    if shape.mask is not None and shape.kind == "mask":
        return _pasted(shape.points.astype(int), _crop(shape.mask, place), size, place)
    return as_labelme_draws_shape(shape.kind, shape.points, size)


def check_drawable(shape: Shape, place: str) -> None:
    """Raises UserError where a shape is of a kind that labelme does not draw, or lacks points or its mask."""
    if shape.kind not in POINTS:
        raise UserError(f'{place}.shape_type: "{shape.kind}" is not read, only {", ".join(POINTS)}')
    count, (least, most) = len(shape.points), POINTS[shape.kind]
    lacks_mask = shape.kind == "mask" and shape.mask is None
    if lacks_mask or not least <= count <= most:
        raise UserError(f"{place}: not a {shape.kind}: it has {count} points{' and no mask' if lacks_mask else ''}")


def _pasted(corners: np.ndarray, crop: np.ndarray, size: tuple[int, int], place: str) -> np.ndarray:
    """(H, W) bool: the crop between its (2, 2) inclusive corners."""
    picture = np.zeros(size, bool)
    (left, top), (right, bottom) = corners.tolist()
    window = picture[max(top, 0) : bottom + 1, max(left, 0) : right + 1]
    if crop.shape != window.shape or min(left, top) < 0:
        raise UserError(
            f"{place}.mask: {crop.shape[1]} x {crop.shape[0]} pixels do not fit between {[left, top]} and "
            f"{[right, bottom]}, both included, in an image of {size[1]} x {size[0]}"
        )
    window[:] = crop
    return picture


def _crop(encoded: str, place: str) -> np.ndarray:
    """(h, w) bool of a base64 PNG."""
    try:
        with reasons(), Image.open(io.BytesIO(base64.b64decode(encoded))) as picture:
            crop = np.array(picture).astype(bool)
            if crop.ndim != 2:
                raise ValueError(f"its mode is {picture.mode}")
            return crop
    except ValueError as error:
        raise UserError(f"{place}.mask: no mask as a base64 PNG: {error}") from error


def size_of(content: dict[str, Any], path: Path) -> tuple[int, int]:
    """(height, width) in pixels as a labelme file says, or else of its image.

    Raises:
        UserError: it says nothing, and the image cannot be read.
    """
    place = Location(str(path))
    height, width = (get(content, key, int, place, optional=True) for key in ("imageHeight", "imageWidth"))
    if height and width:
        return height, width
    image = path.parent / get(content, "imagePath", str, place).replace("\\", "/")
    try:
        return image_size(image)
    except ValueError as error:
        raise place.error(f"imageHeight and imageWidth are missing, and {image}: {error}") from error
