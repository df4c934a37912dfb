"""COCO instances JSON becomes instances; pycocotools decodes the masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import numpy as np

from utils.classes import ClassIndex
from utils.json_reading import Location, coerce, describe, get, read_json
from utils.masks import Mask
from utils.polygons import filled_box
from utils.readers.coco import entries_by_id, entry_id
from utils.structures import Instances

FILE_NAME = "instances.json"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CocoAnnotation:
    """One object as its file has it.

    Attributes:
        place: what messages call it.
        category: the class by its name.
        bbox: left, top, width and height in pixels, or None.
        segmentation: polygons or run lengths, unchecked.
        score, mask_score: as this project's exporter writes them, or None.
    """

    place: Location
    category: str
    bbox: tuple[float, ...] | None
    segmentation: Any
    score: float | None
    mask_score: float | None


@dataclass(frozen=True, slots=True)
class CocoImage:
    """An image with its annotations, in the order of the file.

    Attributes:
        image_id: `file_name` without its suffix.
        size: (height, width) in pixels.
    """

    image_id: str
    size: tuple[int, int]
    annotations: list[CocoAnnotation] = field(default_factory=list)


def read_coco(source: Path, names: Sequence[str]) -> Iterator[tuple[str, Instances]]:
    """The annotations of a COCO file, or of `instances.json` in a folder: every image once, in the order of the file.

    Args:
        names: class names, indexed by class id.

    Raises:
        UserError: the file cannot be read or is no COCO file, a segmentation is malformed, or a category names no
            class.
    """
    index = ClassIndex(names)
    for image in parse_coco(source / FILE_NAME if source.is_dir() else source):
        yield image.image_id, coco_instances(image, index)


def parse_coco(path: Path) -> list[CocoImage]:
    """The images of a COCO file with their annotations; categories may be any.

    Raises:
        UserError: the file cannot be read or is no COCO file, an id is given twice, or an annotation belongs to no
            image or to no category.
    """
    content, place = read_json(path), Location(str(path))
    images = entries_by_id(content, "images", place, _image)
    categories = entries_by_id(content, "categories", place, lambda row, at: get(row, "name", str, at))
    for i, row in enumerate(get(content, "annotations", list, place)):
        at = Location(f"{path}: annotations[{i}]")
        image = _known(images, row, "image_id", at)
        image.annotations.append(_annotation(row, _known(categories, row, "category_id", at), at))
    return list(images.values())


def coco_instances(image: CocoImage, index: ClassIndex) -> Instances:
    """The instances of an image; annotations without a score have the score 1.

    Raises:
        UserError: a segmentation is malformed, or a category names no class.
    """
    rows = image.annotations
    return Instances.of_masks(
        image.size,
        [index.class_id(row.category, row.place.child("category_id").name) for row in rows],
        [_mask(row, image.size) for row in rows],
        [1.0 if row.score is None else row.score for row in rows],
        [np.nan if row.mask_score is None else row.mask_score for row in rows],
    )


def _known(entries: dict[int | str, T], row: Any, key: str, place: Location) -> T:
    """The entry whose id the row has under a key."""
    named = entry_id(row, key, place)
    if named not in entries:
        raise place.child(key).error(f"nothing has the id {named}")
    return entries[named]


def _image(row: Any, place: Location) -> CocoImage:
    name = PurePosixPath(get(row, "file_name", str, place).replace("\\", "/"))
    if not name.name:
        raise place.child("file_name").error("is empty")
    return CocoImage(str(name.with_suffix("")), (get(row, "height", int, place), get(row, "width", int, place)))


def _annotation(row: Any, category: str, place: Location) -> CocoAnnotation:
    bbox, at = get(row, "bbox", list, place, optional=True), place.child("bbox")
    if bbox is not None:
        bbox = tuple(coerce(float, number, at.at(i)) for i, number in enumerate(bbox))
        if len(bbox) != 4:
            raise at.error(f"expected four numbers, found {describe([*bbox])}")
    score, mask_score = (get(row, key, float, place, optional=True) for key in ("score", "mask_score"))
    return CocoAnnotation(place, category, bbox, row.get("segmentation"), score, mask_score)


def _mask(row: CocoAnnotation, size: tuple[int, int]) -> Mask:
    """The mask of an annotation: polygons, run lengths as numbers or compressed text, or, without either, its box."""
    from pycocotools import mask as coco

    encoded = row.segmentation
    if not encoded and row.bbox is not None:
        corner, sides = np.reshape(row.bbox, (2, 2))
        return Mask.of(filled_box(np.stack([corner, corner + sides]), size))
    if isinstance(encoded, dict) and encoded.get("size") != list(size):
        reason = f"the image is {size[0]} high and {size[1]} wide, this is not"
        raise row.place.child("segmentation.size").error(reason)
    try:
        if isinstance(encoded, list):
            encoded = coco.merge(coco.frPyObjects([polygon for polygon in encoded if len(polygon) >= 6], *size))
        elif isinstance(encoded["counts"], list):
            encoded = coco.frPyObjects(encoded, *size)
        return Mask.of(coco.decode(encoded))
    except Exception as error:  # its parsers raise almost anything
        raise row.place.child("segmentation").error(f"neither polygons nor run lengths: {error}") from error
