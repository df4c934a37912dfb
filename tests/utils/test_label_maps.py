from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from utils.label_maps import SPECK, count_specks, instances_of, pair_counts, value_counts

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
needs_photos = pytest.mark.skipif(not SHARED.is_dir(), reason="the test photographs are not here")


def read(path: Path) -> np.ndarray:
    return np.array(Image.open(path))


@needs_photos
@pytest.mark.parametrize("image_id", ["2011_000003", "2011_000006", "2011_000025"])
def test_objects_are_those_that_labelme_drew(image_id: str) -> None:
    root = SHARED / "labelme_instance"
    labels = read(root / "SegmentationClass" / f"{image_id}.png")
    objects = read(root / "SegmentationObject" / f"{image_id}.png")
    instances = instances_of(labels, objects)
    numbers = [number for number in np.unique(objects) if number not in (0, 255)]
    assert len(instances) == len(numbers) > 0
    for mask, number in zip(instances.masks, numbers):
        np.testing.assert_array_equal(mask.to_full(labels.shape), objects == number)
    names = (root / "class_names.txt").read_text().split("\n")[1:]  # the first is the background
    shapes = json.loads((root / "labelme_json" / f"{image_id}.json").read_text())["shapes"]
    drawn = {shape["label"] for shape in shapes} - {"__ignore__"}
    assert {names[class_id] for class_id in instances.detections.class_ids} == drawn
    np.testing.assert_array_equal(instances.to_semantic(), np.where(labels == 255, 0, labels))


@needs_photos
def test_boxes_are_those_that_the_prompts_were_made_from() -> None:
    root = SHARED / "coco"
    rows = json.loads((root / "prediction.json").read_text())
    image_id = rows[0]["image_id"]
    boxes = np.array([row["bbox"] for row in rows if row["image_id"] == image_id])
    class_ids = [row["category_id"] for row in rows if row["image_id"] == image_id]
    labels = read(root / "SegmentationClass" / f"{image_id}.png")
    objects = read(root / "SegmentationObject" / f"{image_id}.png")
    detections = instances_of(labels, objects).detections
    assert sorted(detections.class_ids.tolist()) == sorted(class_ids)
    for box, class_id in zip(detections.boxes, detections.class_ids):
        near = [abs(other - box).max() for other, other_id in zip(boxes, class_ids) if other_id == class_id]
        assert min(near) < 0.05 * max(labels.shape)  # the file's boxes are jittered


def test_numbers_without_a_class_are_left_out_and_void_belongs_to_none() -> None:
    labels = np.array([[0, 3, 1, 1], [255, 255, 0, 255]], np.uint8)
    objects = np.array([[7, 9, 9, 9], [7, 9, 9, 255]], np.uint8)
    instances = instances_of(labels, objects)
    assert instances.detections.class_ids.tolist() == [0]  # of object 9, two pixels have label 1 and one label 3
    assert instances.track_ids.tolist() == [9]
    assert instances.masks[0].to_full(labels.shape).tolist() == [[False, True, True, True], [False, False, True, False]]


def test_connected_parts_touch_at_corners_and_are_of_one_class() -> None:
    labels = np.array([[1, 0, 0, 2], [0, 1, 2, 255], [0, 0, 0, 2]], np.uint8)
    instances = instances_of(labels, None)
    assert instances.detections.class_ids.tolist() == [0, 1]
    assert instances.track_ids is None
    assert instances.detections.boxes.tolist() == [[0, 0, 2, 2], [2, 0, 4, 3]]
    assert [mask.area for mask in instances.masks] == [2, 3]
    assert np.isnan(instances.mask_scores).all()


def test_connected_parts_equal_those_of_scipy() -> None:
    rng = np.random.default_rng(0)
    labels = rng.choice(np.array([0, 0, 1, 2, 255], np.uint8), (12, 16))
    instances = instances_of(labels, None)
    expected = []
    for label in (1, 2):
        parts, count = ndimage.label(labels == label, np.ones((3, 3)))
        expected += [(label - 1, (parts == part).tobytes()) for part in range(1, count + 1)]
    found = zip(instances.detections.class_ids.tolist(), instances.masks)
    assert sorted((class_id, mask.to_full(labels.shape).tobytes()) for class_id, mask in found) == sorted(expected)


@needs_photos
def test_specks_of_photographs_are_no_objects_and_real_objects_are_no_specks() -> None:
    maps = [read(path) for path in sorted((SHARED / "voc" / "SegmentationClass").glob("*.png"))]
    kept = [instances_of(labels, None, specks=False) for labels in maps]
    specks = sum(map(count_specks, maps))
    assert specks == sum(len(instances_of(labels, None)) for labels in maps) - sum(map(len, kept)) > 300
    assert min(mask.area for instances in kept for mask in instances.masks) >= SPECK
    for path in (SHARED / "coco" / "SegmentationObject").glob("*.png"):
        found = instances_of(read(SHARED / "coco" / "SegmentationClass" / path.name), read(path), specks=False)
        assert min((mask.area for mask in found.masks), default=SPECK) >= SPECK, "a person drew them"


def test_what_is_a_speck_depends_on_a_small_image() -> None:
    labels = np.zeros((40, 100), np.uint8)
    labels[0, 0], labels[10, :2] = 1, 2
    assert [mask.area for mask in instances_of(labels, None, specks=False).masks] == [2]
    assert count_specks(labels) == 1


def test_nothing_there() -> None:
    empty = np.zeros((4, 5), np.uint8)
    for objects in (None, empty):
        instances = instances_of(empty, objects)
        assert len(instances) == 0
        assert instances.size == (4, 5)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (67, 129), (1, 70_000)])
def test_counts_are_numpy_s(size: tuple[int, int]) -> None:
    first, second = np.random.default_rng(0).integers(0, 256, (2, *size), np.uint8)
    expected = np.bincount(first.ravel() * np.int64(256) + second.ravel(), minlength=1 << 16).reshape(256, 256)
    np.testing.assert_array_equal(pair_counts(first, second), expected)
    np.testing.assert_array_equal(value_counts(first), expected.sum(axis=1))


def test_maps_may_be_parts_of_others() -> None:
    whole = np.random.default_rng(0).integers(0, 256, (40, 50), np.uint8)
    part = whole[3:30:2, 5:41]
    np.testing.assert_array_equal(value_counts(part), np.bincount(part.ravel(), minlength=256))


def test_more_pixels_than_float32_counts() -> None:
    size = (4098, 4100)
    labels = np.full(size, 7, np.uint8)
    labels[0, 0] = 3
    assert int(np.float32(labels.size - 1)) != labels.size - 1
    counts = value_counts(labels)
    assert (counts[7], counts[3]) == (labels.size - 1, 1)
