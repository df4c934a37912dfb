"""The judge is labelme itself: its loader opens the files, its converter draws the polygons."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import labelme
import numpy as np
import pytest

from utils.formats.base import MSG_EMPTY_MASKS, MSG_POLYGON_IOU, Exporter, ExportSettings
from utils.formats.labelme_reader import read_labelme
from utils.formats.labelme_writer import LabelmePolygonExporter
from utils.formats.polygons import iou
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
    assert (exported.shapes, Counter(exported.losses)) == (len(loaded.shapes), Counter({MSG_EMPTY_MASKS: 1}))
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
    ((image_id, read),) = read_labelme(tmp_path, NAMES)
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
