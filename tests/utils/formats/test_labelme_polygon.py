"""The judge is labelme itself: its loader opens the files, its converter draws the polygons."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import labelme
import numpy as np
import pytest

from tests.helpers.read_back import read_back
from utils.formats.base import MSG_EMPTY_MASKS, MSG_POLYGON_IOU, Exporter, ExportSettings
from utils.formats.labelme_writer import MSG_SPECKS, LabelmePolygonExporter
from utils.formats.polygons import MAX_POINTS, iou, polygons_on_pixel_centers
from utils.masks import Mask
from utils.structures import Instances, Sample

NAMES = ("car", "airplane", "turtle")


def exporter(folder: Path, tolerance: float = 1.0) -> Exporter:
    return LabelmePolygonExporter(ExportSettings(folder, NAMES, tolerance=tolerance))


@pytest.mark.parametrize("tolerance", [0, 1, 3])
def test_the_iou_told_is_that_of_the_masks_that_labelme_draws(
    tmp_path: Path, scene: tuple[Sample, Instances], write: Callable, tolerance: float
) -> None:
    sample, instances = scene
    (exported,) = write(exporter(tmp_path / "out", tolerance), tmp_path / "out", [scene])
    loaded = labelme.LabelFile(str(tmp_path / "out" / "clip" / "a.json"))
    assert loaded.image_data == sample.path.read_bytes()
    shapes = iter(loaded.shapes)
    found = []
    for i, mask in enumerate(instances.masks):
        if mask.crop.size:
            parts = [shape for shape in loaded.shapes if shape["other_data"]["score"] == instances.detections.scores[i]]
            drawn = [labelme.utils.shape_to_mask(instances.size, part["points"], "polygon") for part in parts]
            found.append(iou(np.any(drawn, axis=0), mask.to_full(instances.size)))
            assert {part["label"] for part in parts} == {NAMES[instances.detections.class_ids[i]]}
            assert all(next(shapes) is part for part in parts)
    assert exported.measures[MSG_POLYGON_IOU] == found
    assert exported.shapes == len(loaded.shapes)
    assert exported.losses[MSG_EMPTY_MASKS] == 1
    assert (exported.losses[MSG_SPECKS] == 0) == (tolerance == 0)
    assert tolerance > 0 or found == [1.0] * 6


def test_parts_of_one_mask_are_one_object_for_labelme(
    tmp_path: Path, scene: tuple[Sample, Instances], write: Callable
) -> None:
    write(exporter(tmp_path), tmp_path, [scene])
    loaded = labelme.LabelFile(str(tmp_path / "clip" / "a.json"))
    _, objects = labelme.utils.shapes_to_label((40, 60), loaded.shapes, {name: i for i, name in enumerate(NAMES)})
    assert objects.max() == 6
    groups = [shape["group_id"] for shape in loaded.shapes]
    assert groups[:5] == [0, 0, 1, 1, None]
    ((image_id, read),) = read_back(tmp_path, NAMES)
    assert (image_id, len(read)) == ("clip/a", 6)


def test_tracks_are_the_groups(scene: tuple[Sample, Instances], tmp_path: Path) -> None:
    sample, found = scene
    tracked = Instances(found.size, found.detections, found.masks, found.mask_scores, np.arange(7) + 40)
    (content,) = exporter(tmp_path).export(sample, tracked).files.values()
    shapes = json.loads(content)["shapes"]
    assert [shape["group_id"] for shape in shapes[:5]] == [40, 40, 41, 41, 42]


def test_an_image_without_objects_has_its_file(scene: tuple[Sample, Instances], tmp_path: Path) -> None:
    none = Instances.from_masks((40, 60), [], [])
    exported = exporter(tmp_path).export(scene[0], none)
    assert (exported.shapes, Counter(exported.losses), exported.measures) == (0, Counter(), {})
    assert json.loads(exported.files["clip/a.json"])["shapes"] == []


def ragged(seed: int) -> np.ndarray:
    """An object as SAM2 draws it where it is unsure: frayed, with pin holes and specks, (400, 600) bool."""
    random, angles = np.random.default_rng(seed), np.linspace(0, 2 * np.pi, 720, endpoint=False)
    waves = sum(random.normal(0, 6) * np.cos(k * angles + random.uniform(0, 6)) for k in range(2, 6))
    radii = 110 + waves + random.normal(0, 2.5, len(angles))
    points = np.stack([300 + 1.6 * radii * np.cos(angles), 200 + radii * np.sin(angles)], 1)
    body = cv2.fillPoly(np.zeros((400, 600), np.uint8), [points.astype(np.int32)], 1).astype(bool)
    return body ^ (random.random((400, 600)) < 0.004)


def test_common_objects_have_few_points_and_no_specks(tmp_path: Path, scene: tuple[Sample, Instances]) -> None:
    masks = [Mask.from_array(ragged(seed)) for seed in range(8)]
    assert min(sum(map(len, polygons_on_pixel_centers(mask.crop, 1.0))) for mask in masks) > 10 * MAX_POINTS
    instances = Instances.from_masks((400, 600), [0] * 8, masks)
    exported = exporter(tmp_path).export(scene[0], instances)
    (content,) = exported.files.values()
    shapes = json.loads(content)["shapes"]
    assert len(shapes) == exported.shapes == 8
    assert max(len(shape["points"]) for shape in shapes) <= MAX_POINTS == 60
    for shape, mask in zip(shapes, masks):
        drawn = labelme.utils.shape_to_mask((400, 600), shape["points"], "polygon")
        assert iou(drawn, mask.to_full((400, 600))) > 0.94
    assert exported.losses[MSG_SPECKS] > 1000


def test_a_second_part_and_a_large_hole_stay(tmp_path: Path, scene: tuple[Sample, Instances]) -> None:
    picture = np.zeros((100, 200), bool)
    picture[10:90, 10:100] = picture[20:60, 130:180] = True
    picture[30:60, 30:60] = False
    instances = Instances.from_masks((100, 200), [1], [Mask.from_array(picture)])
    exported = exporter(tmp_path).export(scene[0], instances)
    (content,) = exported.files.values()
    parts = json.loads(content)["shapes"]
    drawn = [labelme.utils.shape_to_mask((100, 200), part["points"], "polygon") for part in parts]
    assert len(parts) == 2
    assert iou(np.any(drawn, axis=0), picture) > 0.99
    assert exported.losses[MSG_SPECKS] == 0
