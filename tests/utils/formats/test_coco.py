"""The judge is pycocotools: it loads the file, decodes the masks and scores them."""

from __future__ import annotations

import json
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from pycocotools.mask import encode

from tests.helpers.read_back import read_back
from utils.formats.base import MSG_EMPTY_MASKS, MSG_POLYGON_IOU, ExportSettings
from utils.formats.coco import CocoExporter
from utils.masks import Mask
from utils.structures import Instances, Sample

NAMES = ("car", "airplane", "汽车")
Scene = tuple[Sample, Instances]


def twice(scene: Scene) -> list[Scene]:
    """The scene, an image without objects, and the scene again under another id."""
    sample, instances = scene
    empty = Instances.from_masks(instances.size, [], [])
    ids = ("clip/b", "none", "a.b")
    return [(Sample(i, sample.path, sample.image), empty if i == "none" else instances) for i in ids]


def test_pycocotools_decodes_every_pixel(tmp_path: Path, scene: Scene, write: Callable) -> None:
    (first, _, _) = write(CocoExporter(ExportSettings(tmp_path, NAMES)), tmp_path, twice(scene))
    instances = scene[1]
    coco = COCO(tmp_path / "instances.json")
    assert [image["file_name"] for image in coco.dataset["images"]] == ["clip/b.png", "none.png", "a.b.png"]
    assert sorted(coco.imgs) == [1, 2, 3]
    assert [annotation["id"] for annotation in coco.dataset["annotations"]] == list(range(1, 13))
    assert [category["name"] for category in coco.loadCats([1, 2, 3])] == list(NAMES)
    kept = [i for i in range(7) if i != 4]
    for image_id in (1, 3):
        for i, annotation in zip(kept, coco.imgToAnns[image_id]):
            mask = instances.masks[i].to_full(instances.size)
            np.testing.assert_array_equal(coco.annToMask(annotation), mask)
            rows, columns = np.nonzero(mask)
            box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
            assert (annotation["bbox"], annotation["area"]) == (box, mask.sum())
            assert annotation["category_id"] == instances.detections.class_ids[i] + 1
            assert np.float32(annotation["score"]) == instances.detections.scores[i]
            assert ("mask_score" in annotation) == (i != 2)
    assert (first.files, first.shapes, first.losses, first.measures) == ({}, 6, {MSG_EMPTY_MASKS: 1}, {})


@pytest.mark.parametrize("segmentation", ["rle", "polygon"])
def test_pycocotools_scores_the_file_against_itself(
    tmp_path: Path, scene: Scene, write: Callable, segmentation: Any
) -> None:
    settings = ExportSettings(tmp_path, NAMES, segmentation=segmentation)
    write(CocoExporter(settings), tmp_path, twice(scene))
    coco = COCO(tmp_path / "instances.json")
    found = coco.loadRes([dict(annotation) for annotation in coco.dataset["annotations"]])
    evaluation = COCOeval(coco, found, "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1)


def test_polygons_without_tolerance_lose_nothing(tmp_path: Path, scene: Scene, write: Callable) -> None:
    settings = ExportSettings(tmp_path, NAMES, tolerance=0, segmentation="polygon")
    (exported,) = write(CocoExporter(settings), tmp_path, [scene])
    masks = [mask for mask in scene[1].masks if mask.crop.size]
    coco = COCO(tmp_path / "instances.json")
    for mask, annotation, told in zip(masks, coco.dataset["annotations"], exported.measures[MSG_POLYGON_IOU]):
        drawn, true = coco.annToMask(annotation).astype(bool), mask.to_full((40, 60))
        assert told == 1
        np.testing.assert_array_equal(drawn, true)
    assert Counter(exported.losses) == Counter({MSG_EMPTY_MASKS: 1})


def test_run_lengths_are_those_of_pycocotools(tmp_path: Path) -> None:
    """At every border of the image, with columns that are full or empty, and of a single pixel."""
    rng, sample = np.random.default_rng(0), Sample("a", tmp_path / "a.png", np.zeros((1, 1, 3), np.uint8))
    for trial in range(600):
        full = rng.random(rng.integers(1, 12, 2)) < rng.choice([0.05, 0.5, 0.95, 1])
        full[:, : trial % 3] = True
        full[:, -1 : trial % 2] = False
        instances = Instances.from_masks((full.shape[0], full.shape[1]), [0], [Mask.from_array(full)])
        exported = CocoExporter(ExportSettings(tmp_path, NAMES)).export(sample, instances)
        expected = encode(np.asfortranarray(full.view(np.uint8)))
        for annotation in exported.record["annotations"]:
            found = annotation["segmentation"]
            assert (found["counts"].encode(), found["size"]) == (expected["counts"], expected["size"])
        assert exported.shapes == full.any()


@pytest.mark.parametrize("segmentation", ["rle", "polygon"])
def test_what_is_read_back_is_what_was_written(
    tmp_path: Path, scene: Scene, write: Callable, segmentation: Any
) -> None:
    settings = ExportSettings(tmp_path, NAMES, segmentation=segmentation)
    write(CocoExporter(settings), tmp_path, twice(scene))
    read = dict(read_back(tmp_path / "instances.json", NAMES))
    assert list(read) == ["clip/b", "none", "a.b"]
    assert len(read["none"]) == 0
    kept = [i for i in range(7) if i != 4]
    again, instances = read["a.b"], scene[1]
    np.testing.assert_array_equal(again.detections.scores, instances.detections.scores[kept])
    mask_scores = instances.mask_scores[kept]  # where there is none, the only score decides which object is in front
    expected = np.where(np.isnan(mask_scores), instances.detections.scores[kept], mask_scores)
    np.testing.assert_array_equal(again.mask_scores, expected)
    np.testing.assert_array_equal(again.detections.class_ids, instances.detections.class_ids[kept])
    if segmentation == "rle":
        ranked = replace(instances[kept], mask_scores=expected)
        np.testing.assert_array_equal(again.to_semantic(), ranked.to_semantic())


def test_records_are_read_once_and_not_kept(scene: Scene, tmp_path: Path) -> None:
    exporter = CocoExporter(ExportSettings(tmp_path, NAMES))
    record = json.dumps(exporter.export(*scene).record)
    count = 1000

    def records() -> Iterator[tuple[str, Any]]:
        for i in range(count):
            yield str(i), json.loads(record)

    tracemalloc.start()
    content = exporter.assemble(records())["instances.json"]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(json.loads(content)["annotations"]) == 6 * count
    assert peak < 1.5 * len(content)
