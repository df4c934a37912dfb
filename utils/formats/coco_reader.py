"""COCO instances: read and checked, as written here or by other tools."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import numpy as np

from utils.boxes import box_of_points, xywh_to_xyxy, xyxy_to_xywh
from utils.classes import ClassIndex
from utils.formats.categories import decided_class_ids
from utils.formats.label_studio import refuse_tasks
from utils.formats.polygons import filled_box
from utils.io.image_files import check_pixels, is_image_name
from utils.io.json_files import Location, coerce, describe, get, read_json
from utils.masks import Mask
from utils.structures import Instances

T = TypeVar("T")


def entry_id(row: Any, key: str, location: Location) -> str:
    """Return the id that an entry has under a key, as text: some write 7, some "7", and some both in one file.

    Raises:
        UserError: the entry is no object, or has no such id.
    """
    named = isinstance(row, dict) and isinstance(row.get(key), str)
    return str(get(row, key, str if named else int, location))


def entries_by_id(content: Any, key: str, place: Location, read: Callable[[Any, Location], T]) -> dict[str, T]:
    """Read a table of a COCO JSON by the `id` of its entries, as text.

    Args:
        content: what the file says.
        key: the table, `images` or `categories`.
        place: the file.
        read: converts an entry, given its place.

    Raises:
        UserError: the table is no list of objects with an id, or an id is given twice.
    """
    entries: dict[str, T] = {}
    for i, row in enumerate(get(content, key, list, place)):
        at = Location(f"{place.name}: {key}[{i}]")
        own_id = entry_id(row, "id", at)
        if own_id in entries:
            raise at.child("id").error(f"{own_id} is given twice")
        entries[own_id] = read(row, at)
    return entries


@dataclass(frozen=True, slots=True)
class CocoAnnotation:
    """Hold one object as its file has it.

    Attributes:
        place: what messages call it.
        category: the class by its name.
        bbox: left, top, width and height in pixels, or None.
        segmentation: polygons or run lengths, unchecked.
        score, mask_score: as this project's exporter writes them, or None.
        is_crowd: whether it stands for many objects.
    """

    place: Location
    category: str
    bbox: tuple[float, ...] | None
    segmentation: Any
    score: float | None
    mask_score: float | None
    is_crowd: bool = False


@dataclass(frozen=True, slots=True)
class CocoImage:
    """Hold an image with its annotations, in the order of the file.

    Attributes:
        image_id: as `ids_of_files` makes it of `file_name`.
        size: (height, width) in pixels; None in results alone, which do not say it.
    """

    image_id: str
    size: tuple[int, int] | None
    annotations: list[CocoAnnotation] = field(default_factory=list)


def parse_coco(*paths: Path, results: Path | None = None) -> list[CocoImage]:
    """Read the images of COCO files with their annotations; categories may be any.

    Where files lie in several folders, as one for each split, `file_name` starts at the folder of its file.

    Args:
        results: a file of results whose rows take the place of the annotations, as in `loadRes` of pycocotools.

    Raises:
        UserError: a file cannot be read or is no COCO file, an id is given twice, two images have the same `file_name`,
            or an annotation belongs to no image or to no category.
    """
    top = Path(os.path.commonpath([path.parent for path in paths]))
    images, names = list[CocoImage](), list[str]()
    for path in paths:
        images += (found := _parse(path, results))
        names += [(path.parent.relative_to(top) / image.image_id).as_posix() for image in found]
    ids = ids_of_files(names, Location(str(paths[0] if len(paths) == 1 else top)))
    return [replace(image, image_id=image_id) for image, image_id in zip(images, ids)]


def _parse(path: Path, results: Path | None) -> list[CocoImage]:
    """Read one file; `image_id` is the whole `file_name` yet."""
    content, place = read_json(path), Location(str(path))
    refuse_tasks(content, path)
    images = entries_by_id(content, "images", place, _read_image)
    categories = entries_by_id(content, "categories", place, lambda row, at: get(row, "name", str, at))
    rows = get(content, "annotations", list, place) if results is None else read_json(results)
    for i, row in enumerate(rows):
        at = Location(f"{path}: annotations[{i}]" if results is None else f"{results}: [{i}]")
        image = _known(images, row, "image_id", at)
        image.annotations.append(_read_annotation(row, _known(categories, row, "category_id", at), at))
    return list(images.values())


def id_of_file(name: str) -> str:
    """Return the path in a `file_name` without its suffix, with forward slashes, as image ids are."""
    path = PurePosixPath(name.replace("\\", "/"))
    return str(path.with_suffix("")) if path.name else str(path)  # "." and "" have no name


def ids_of_files(names: Sequence[str], place: Location) -> list[str]:
    """Return the image id of each `file_name`, as a run has it: without suffix, unless files differ in nothing else.

    Raises:
        UserError: two images have the same `file_name`.
    """
    paths = [name.replace("\\", "/") for name in names]
    if twice := next((path for path, count in Counter(paths).items() if count > 1), None):
        raise place.child("images").error(f'several have the file_name "{twice}"')
    stems = [*map(id_of_file, paths)]
    alike = Counter(stems)
    return [stem if alike[stem] == 1 else path for stem, path in zip(stems, paths)]


def category_names(path: Path) -> list[str]:
    """Return the names of the categories of a COCO file, in its order.

    Without those that are the `supercategory` of others and have no object: Roboflow writes one as the first category.

    Raises:
        UserError: the file cannot be read, or its categories have no names.
    """
    content, place = read_json(path), Location(str(path))
    rows = entries_by_id(
        content, "categories", place, lambda row, at: (get(row, "name", str, at), row.get("supercategory"))
    )
    groups = {group for name, group in rows.values() if group != name}
    used = {str(row.get("category_id")) for row in content.get("annotations") or [] if isinstance(row, dict)}
    return [name for own_id, (name, _) in rows.items() if own_id in used or name not in groups]


def parse_results(path: Path, names: Sequence[str], offset: str | None) -> list[CocoImage]:
    """Read results as pycocotools loads them, a list of rows with image_id, category_id, segmentation and score.

    Args:
        names: class names of the run.
        offset: where category ids begin, if somebody says it.

    Raises:
        UserError: the file cannot be read, or what the category ids mean cannot be decided.
    """
    content, rows = read_json(path), list[tuple[str, CocoAnnotation]]()
    refuse_tasks(content, path)
    for i, row in enumerate(content):
        at = Location(f"{path}: [{i}]")
        image_id, category_id = entry_id(row, "image_id", at), entry_id(row, "category_id", at)
        if not category_id.removeprefix("-").isdecimal():
            raise at.child("category_id").error(f'expected an integer, found "{category_id}"')
        annotation = _read_annotation(row, category_id, at)
        rows.append((image_id, replace(annotation, mask_score=annotation.score)))
    numbers = sorted({int(row.category) for _, row in rows})
    name_of = {number: names[i] for number, i in zip(numbers, decided_class_ids(path, numbers, names, offset))}
    files = [image_id for image_id in dict.fromkeys(image_id for image_id, _ in rows) if is_image_name(image_id)]
    stems = dict(zip(files, ids_of_files(files, Location(str(path)))))
    images: dict[str, CocoImage] = {}
    for image_id, row in rows:
        stem, found = stems.get(image_id, image_id), replace(row, category=name_of[int(row.category)])
        images.setdefault(stem, CocoImage(stem, None)).annotations.append(found)
    return [*images.values()]


def coco_instances(image: CocoImage, size: tuple[int, int], index: ClassIndex) -> Instances:
    """Convert the annotations of an image to instances; those without a score have the score 1.

    Args:
        size: (height, width) of the image where its file does not say it.

    Raises:
        UserError: a segmentation is malformed, or a category names no class.
    """
    rows, size = image.annotations, image.size or size
    return Instances.from_masks(
        size,
        [index.class_id(row.category, row.place.child("category_id").name) for row in rows],
        [read_segmentation(row, size) for row in rows],
        [1.0 if row.score is None else row.score for row in rows],
        [np.nan if row.mask_score is None else row.mask_score for row in rows],
    )


def _known(entries: dict[str, T], row: Any, key: str, place: Location) -> T:
    """The entry whose id the row has under a key."""
    wanted = entry_id(row, key, place)
    if wanted not in entries:
        raise place.child(key).error(f"nothing has the id {wanted}")
    return entries[wanted]


def _read_image(row: Any, place: Location) -> CocoImage:
    name = PurePosixPath(get(row, "file_name", str, place).replace("\\", "/"))
    if not name.name:
        raise place.child("file_name").error("is empty")
    height, width = get(row, "height", int, place), get(row, "width", int, place)
    if height <= 0 or width <= 0:
        raise place.error(f"no image has {width} x {height} pixels")
    try:
        check_pixels((height, width))
    except ValueError as error:
        raise place.error(str(error)) from error
    return CocoImage(str(name), (height, width))


def _read_score(row: Any, key: str, place: Location) -> float | None:
    score: float | None = get(row, key, float, place, optional=True)
    if score is not None and not 0 <= score <= 1:
        raise place.child(key).error(f"expected a number from 0 to 1, found {describe(score)}")
    return score


def _read_annotation(row: Any, category: str, place: Location) -> CocoAnnotation:
    bbox, at = get(row, "bbox", list, place, optional=True), place.child("bbox")
    if bbox:
        bbox = tuple(coerce(float, number, at.at(i)) for i, number in enumerate(bbox))
        if len(bbox) != 4:
            raise at.error(f"expected four numbers, found {describe([*bbox])}")
    score, mask_score = (_read_score(row, key, place) for key in ("score", "mask_score"))
    is_crowd = row.get("iscrowd") in (1, True)
    return CocoAnnotation(place, category, bbox or None, row.get("segmentation"), score, mask_score, is_crowd)


def usual_annotation(row: dict[str, Any]) -> dict[str, Any]:
    """Write an annotation of COCO as most tools do: ids as integers, and a box where it has only an outline."""
    if "bbox" not in row and "poly" in row:  # the corners of an oriented box, as ultralytics predicts it
        row = row | {"bbox": segmentation_box([row["poly"]])}
    if not {"image_id", "category_id"} <= row.keys() or not row.keys() & {"id", "iscrowd", "segmentation"}:
        return row  # the rows of predictions have no id of their own, and are what one of two programs writes
    row = {key: int(value) if type(value) is float and value.is_integer() else value for key, value in row.items()}
    if isinstance(category_id := row["category_id"], str) and category_id.isascii() and category_id.isdecimal():
        row["category_id"] = int(category_id)
    if not row.get("bbox") and row.get("segmentation"):
        row["bbox"] = segmentation_box(row["segmentation"])
    return row


def segmentation_box(segmentation: Any) -> list[float] | None:
    """Compute the box around a segmentation, left, top, width and height in pixels; None where it is none.

    Args:
        segmentation: polygons or run lengths, unchecked.
    """
    try:
        if isinstance(segmentation, dict):
            mask = _mask_of_runs(_run_lengths(segmentation), segmentation["size"][0])
            return [float(side) for side in xyxy_to_xywh(mask.box)]
        points = np.concatenate([np.array(ring, np.float64).reshape(-1, 2) for ring in segmentation])
        return [float(side) for side in xyxy_to_xywh(box_of_points(points))]
    except Exception:  # its parsers raise almost anything
        return None


def _run_lengths(segmentation: Mapping[str, Any]) -> list[int]:
    """Return run lengths, of which the first is of the background; Exception for those of another number of pixels."""
    counts, (height, width) = segmentation["counts"], segmentation["size"]
    lengths = _decompressed(counts) if isinstance(counts, str) else [int(length) for length in counts]
    if min(lengths, default=0) < 0 or sum(lengths) != height * width or not 0 < height * width < 2**32 or width < 0:
        raise ValueError(f"the run lengths are not those of {height} x {width} pixels")
    return lengths


def _mask_of_runs(lengths: Sequence[int], height: int) -> Mask:
    """Make a mask of run lengths, which go down the columns of an image; only those of the mask are drawn."""
    ends = np.cumsum(lengths, dtype=np.int64)
    runs = ends[: len(ends) // 2 * 2].reshape(-1, 2)  # the first pixel of each, and the one after the last
    runs = runs[runs[:, 0] < runs[:, 1]]
    if not len(runs):
        return Mask.from_array(np.zeros((1, 1)))
    left, right = int(runs[0, 0] // height), int((runs[-1, 1] - 1) // height) + 1
    changes = np.zeros((right - left) * height + 1, np.int8)
    changes[runs[:, 0] - left * height] += 1
    changes[runs[:, 1] - left * height] -= 1
    return Mask.from_array(np.cumsum(changes[:-1], dtype=np.int8).reshape(-1, height).T).moved(left, 0)


def _decompressed(text: str) -> list[int]:
    """Decompress the text of run lengths: five bits a character, from the third on differences to the last but one."""
    lengths, value, bits = list[int](), 0, 0
    for character in text.encode("ascii"):
        if not 0 <= (digit := character - 48) < 64 or bits > 35:
            raise ValueError("not the text of run lengths")
        value, bits = value | (digit & 31) << bits, bits + 5
        if not digit & 32:
            value -= (1 << bits) if digit & 16 else 0
            lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
            value = bits = 0
    if bits:
        raise ValueError("the text of run lengths breaks off")
    return lengths


def _polygon(points: Sequence[Any], size: tuple[int, int]) -> list[float]:
    """Return x and y of the points, in turn; ValueError far outside the image, where pycocotools would not end."""
    numbers = np.array(points, np.float64)
    if not (np.abs(numbers) <= 3 * max(size)).all():
        raise ValueError("a point lies far outside the image")
    return [*numbers.tolist()]


def read_segmentation(row: CocoAnnotation, size: tuple[int, int]) -> Mask:
    """Decode an annotation's mask: polygons, run lengths as numbers or compressed text, or, without either, its box."""
    from pycocotools import mask as coco

    encoded = row.segmentation
    if not encoded and row.bbox is not None:
        return Mask.from_array(filled_box(xywh_to_xyxy(np.array(row.bbox)), size))
    if isinstance(encoded, dict) and encoded.get("size") != list(size):
        reason = f"the image is {size[0]} high and {size[1]} wide, this is not"
        raise row.place.child("segmentation.size").error(reason)
    try:
        if isinstance(encoded, list):
            polygons = [_polygon(polygon, size) for polygon in encoded if len(polygon) >= 6]
            merged = coco.merge(coco.frPyObjects(polygons, *size))
            return _mask_of_runs(_decompressed(merged["counts"].decode()), size[0])
        return _mask_of_runs(_run_lengths(encoded), size[0])
    except Exception as error:  # its parsers raise almost anything
        raise row.place.child("segmentation").error(f"neither polygons nor run lengths: {error}") from error
