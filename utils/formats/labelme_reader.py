"""Read labelme files, check them, and turn their shapes into instances."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from utils.boxes import box_of_points
from utils.classes import ClassIndex
from utils.errors import UserError
from utils.formats.label_studio import refuse_tasks
from utils.formats.polygons import POINTS, rasterize_labelme_shape
from utils.formats.predictions import Predictions, visible_files
from utils.io.image_files import image_size, size_problem
from utils.io.json_files import JSON_FILES, Location, describe, get, read_json
from utils.io.map_files import decode_mask
from utils.io.writers import safe_path
from utils.masks import Mask, union
from utils.structures import Instances

OTHER_NAMES = {"rotation": "oriented_rectangle", "quadrilateral": "polygon"}
"""Shape types of X-AnyLabeling -> those of labelme that are the same."""
MAX_SIDE = 2**20
"""Pixels; the sides of no image that is read are longer."""

FLAT_KINDS = ("point", "points", "line", "linestrip")
"""Shape types that enclose no area."""


@dataclass(frozen=True)
class Shape:
    """Hold one shape.

    Attributes:
        label: the class name as it was written.
        kind: labelme's name of its `shape_type`, such as `rectangle`, `polygon` or `mask`.
        points: (K, 2) float64 x y in pixels, K >= 1. Those of a mask are the two inclusive corners of its crop.
        group_id: shapes of one label and group id are parts of one object; None: an object of its own.
        mask: the base64 PNG of a mask's crop, or None.
        scores: `score` and `mask_score` within [0, 1], where the shape has them.
    """

    label: str
    kind: str
    points: npt.NDArray[np.float64]
    group_id: int | None
    mask: str | None
    scores: Mapping[str, float]

    def box(self) -> npt.NDArray[np.float64] | None:
        """Compute the tight box, (4,) float64 x1 y1 x2 y2 in pixels; None for a shape that encloses no area."""
        if self.kind in FLAT_KINDS:
            return None
        if self.kind == "circle":  # its centre and a point of its rim
            radius = np.hypot(*np.ptp(self.points, axis=0))
            return np.concatenate([self.points[0] - radius, self.points[0] + radius])
        box = box_of_points(self.points)
        box[2:] += self.kind == "mask"  # the corners of a mask are its outermost pixels
        return box


def labelme_path(folder: Path, image_id: str) -> Path:
    """Return the labelme file of an image, whether or not it is there; its suffix may be in capitals."""
    path = safe_path(folder, image_id, ".json")
    capital = path.with_suffix(".JSON")
    return capital if os.path.isfile(capital) and not os.path.isfile(path) else path


def read_labelme_json(path: Path) -> dict[str, Any]:
    """Read a labelme file; it has a list of shapes.

    Raises:
        UserError: the file cannot be read or is none of labelme's.
    """
    content = read_json(path, json.loads)  # labelme, too, writes and reads NaN
    if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
        refuse_tasks(content, path)
        is_other = isinstance(content, list) or (
            isinstance(content, dict) and {"images", "annotations"} <= content.keys()
        )
        advice = "; of COCO's files, -p and -a take the file itself, not its folder" if is_other else ""
        raise UserError(f"{path}: not a labelme file: it has no list of shapes{advice}")
    return content


def shapes_of(content: Mapping[str, Any], path: Path) -> list[Shape]:
    """Check the shapes of a labelme file that is already read.

    Raises:
        UserError: a shape is malformed.
    """
    return [_shape(entry, Location(f"{path}: shapes[{i}]")) for i, entry in enumerate(content["shapes"])]


def _shape(entry: Any, place: Location) -> Shape:
    label, group_id = get(entry, "label", str, place), get(entry, "group_id", int, place, optional=True)
    mask = get(entry, "mask", str, place, optional=True)
    kind = get({"shape_type": "polygon", **entry}, "shape_type", str, place)  # labelme's first years had no others
    points = _points(entry.get("points"), f"{place.name}.points")
    kind = OTHER_NAMES.get(kind, kind)
    if kind == "rectangle" and len(points) == 4:  # X-AnyLabeling's has all corners
        upright = len(np.unique(points[:, 0])) <= 2 and len(np.unique(points[:, 1])) <= 2
        kind, points = ("rectangle", box_of_points(points).reshape(2, 2)) if upright else ("polygon", points)
    scores = {key: score for key in ("score", "mask_score") if (score := _score(entry.get(key))) is not None}
    return Shape(label, kind, points, group_id, mask, scores)


def _points(value: Any, place: str) -> npt.NDArray[np.float64]:
    try:
        points = np.array(value)
    except ValueError:  # rows of unequal lengths
        points = np.empty(0)
    if points.ndim != 2 or points.shape[1] != 2 or points.dtype.kind not in "if" or not np.isfinite(points).all():
        raise UserError(f"{place}: expected a list of points [x, y], found {describe(value)}")
    return points.astype(np.float64)


def _score(value: Any) -> float | None:
    """Return a score within [0, 1], else None: other tools may mean something else by the key."""
    return float(value) if type(value) in (int, float) and 0 <= value <= 1 else None


POLYGONS = "labelme-polygon"
"""The folder of polygons below that of masks; like these, they keep their records themselves."""

LOOKED_AT = 50
"""JSON files that are opened to find one of labelme's in a folder."""


class LabelmeFiles(Predictions):
    """A folder with a labelme file per image, `<image_id>.json`, whose labels are classes of the run."""

    title = "labelme files"

    @staticmethod
    def recognizes(path: Path) -> bool:
        """Tell whether labelme's files are among the first visible JSON files in a folder and below it."""
        for file in islice(visible_files(path, JSON_FILES) if path.is_dir() else (), LOOKED_AT):
            with suppress(UserError):
                read_labelme_json(file)
                return True
        return False

    def _open(self) -> None:
        """Open nothing; a million files need not be listed."""

    def key(self, image_id: str) -> str | None:
        # Unlike Path.is_file, this takes names that are too long for the disk.
        return image_id if os.path.isfile(self.place(image_id)) else None

    def place(self, image_id: str) -> Path:
        return labelme_path(self.path, image_id)

    def read(self, key: str, size: tuple[int, int], tracked: bool = False) -> Instances:
        return labelme_instances(self.place(key), self.index, tracked, size)

    def lacking(self, image_id: str) -> str:
        return f"no image of the run has an annotation here; the first one's would be {self.place(image_id)}"

    def _problems(self, key: str, size: tuple[int, int] | None) -> list[str]:
        """Check labels, kinds of shapes, points and sizes; the masks are not drawn."""
        path, found = self.place(key), list[str]()
        content = read_labelme_json(path)
        shapes, own = shapes_of(content, path), size_of(content, path, size)
        check_size(own, size or own, path)
        for i, shape in enumerate(shapes):
            try:
                check_drawable(shape, place := f"{path}: shapes[{i}]")
                self.index.class_id(shape.label, f"{place}.label")
            except UserError as error:
                found.append(str(error))
        return found


def labelme_instances(
    path: Path, index: ClassIndex, tracked: bool = False, known_size: tuple[int, int] | None = None
) -> Instances:
    """Read the instances of a file, in the order of their first shapes; shapes of one label and group are one instance.

    A shape without a score has the score 1.

    Args:
        tracked: groups are tracks through a clip; a file with a shape that is in none has no tracks.
        known_size: (height, width) of its image where that is known, for a file that does not say it.

    Raises:
        UserError: the file cannot be read or is none of labelme's, a shape is malformed or of a kind that is not read,
            a label names no class, or the image's size is not known.
    """
    content = read_labelme_json(path)
    size, shapes = size_of(content, path, known_size), shapes_of(content, path)
    groups = grouped(shapes)
    firsts = {i: shapes[i] for i, *_ in groups}
    drawings = [[rasterize(shapes[i], size, f"{path}: shapes[{i}]") for i in group] for group in groups]
    return Instances.from_masks(
        size,
        [index.class_id(shape.label, f"{path}: shapes[{i}].label") for i, shape in firsts.items()],
        [union(parts) for parts in drawings],
        [shape.scores.get("score", 1.0) for shape in firsts.values()],
        [shape.scores.get("mask_score", np.nan) for shape in firsts.values()],
        _tracks([*firsts.values()], path) if tracked else None,
    )


def grouped(shapes: Sequence[Shape]) -> list[list[int]]:
    """Return the positions of the shapes of each object, in the order of its first one.

    Shapes of one label and group id are parts of one object.
    """
    objects: dict[object, list[int]] = {}
    for i, shape in enumerate(shapes):
        objects.setdefault(i if shape.group_id is None else (shape.label, shape.group_id), []).append(i)
    return [*objects.values()]


def _tracks(shapes: Sequence[Shape], path: Path) -> list[int] | None:
    """Return the group of each shape; None where one is in none."""
    groups = [shape.group_id for shape in shapes if shape.group_id is not None]
    for group in groups:
        if not -(2**63) <= group < 2**63:
            raise UserError(f"{path}: the group_id {group} cannot be a track: it has more than 64 bits")
    return groups if len(groups) == len(shapes) else None


def check_size(found: tuple[int, int], size: tuple[int, int], path: Path) -> None:
    """Raise UserError where an annotation's (height, width) is not that of its image."""
    if problem := size_problem(found, size):
        raise UserError(f"{path}: {problem}")


def rasterize(shape: Shape, size: tuple[int, int], place: str) -> Mask:
    """Rasterize a shape as labelme's own converters do, in an image of a (height, width).

    Args:
        place: what messages call the shape.

    Raises:
        UserError: the shape is of a kind that labelme does not draw, or does not fit its points or the image.
    """
    check_drawable(shape, place)
    if shape.mask is None or shape.kind != "mask":
        return rasterize_labelme_shape(shape.kind, shape.points, size)
    try:
        crop = decode_mask(shape.mask)
    except ValueError as error:
        raise UserError(f"{place}.mask: no mask as a base64 PNG: {error}") from error
    (left, top), (right, bottom) = shape.points.astype(int).tolist()  # inclusive
    window = len(range(size[0])[max(top, 0) : bottom + 1]), len(range(size[1])[max(left, 0) : right + 1])
    if crop.shape != window or min(left, top) < 0:
        raise UserError(
            f"{place}.mask: {crop.shape[1]} x {crop.shape[0]} pixels do not fit between {[left, top]} and "
            f"{[right, bottom]}, both included, in an image of {size[1]} x {size[0]}"
        )
    return Mask.from_array(crop).moved(left, top)


def check_drawable(shape: Shape, place: str) -> None:
    """Raise UserError where a shape is of a kind that labelme does not draw, or lacks points or its mask."""
    if shape.kind not in POINTS:
        raise UserError(f'{place}.shape_type: "{shape.kind}" is not read, only {", ".join(POINTS)}')
    count, (least, most) = len(shape.points), POINTS[shape.kind]
    lacks_mask = shape.kind == "mask" and shape.mask is None
    if lacks_mask or not least <= count <= most:
        raise UserError(f"{place}: its {shape.kind} has {count} points{' and no mask' if lacks_mask else ''}")


def size_of(content: dict[str, Any], path: Path, known: tuple[int, int] | None = None) -> tuple[int, int]:
    """Return the (height, width) in pixels that a labelme file says, or else that of its image.

    Args:
        known: the size of the image, where that is known. Otherwise it is that of the file to which `imagePath` leads
            or, where the photos were moved, of the one of that name beside the annotation.

    Raises:
        UserError: it says nothing, and the image cannot be read.
    """
    place = Location(str(path))
    height, width = (get(content, key, int, place, optional=True) for key in ("imageHeight", "imageWidth"))
    if height is not None and width is not None and (height or width):
        if not (0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE):
            raise place.error(f"imageHeight and imageWidth: no image has {width} x {height} pixels")
        return height, width
    if known is not None:
        return known
    image = path.parent / get(content, "imagePath", str, place).replace("\\", "/")
    beside = path.parent / image.name
    try:
        return image_size(beside if os.path.isfile(beside) and not os.path.isfile(image) else image)
    except ValueError as error:
        raise place.error(f"imageHeight and imageWidth are missing, and {image}: {error}") from error
