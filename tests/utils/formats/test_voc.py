"""The judges: Pillow shows the maps, our own VOC dataset reads the tree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.voc import VocDataset
from tests.helpers.read_back import read_back
from utils.classes import VOC_PALETTE
from utils.formats.base import MSG_EMPTY_MASKS, ExportSettings
from utils.formats.voc import MSG_16_BITS, MSG_HIDDEN, MSG_OVERLAPS, VocExporter, skip_void
from utils.masks import Mask
from utils.structures import Instances, Sample

NAMES = ("car", "airplane", "turtle")
Scene = tuple[Sample, Instances]


def exporter(folder: Path) -> VocExporter:
    return VocExporter(ExportSettings(folder, NAMES, split="train"))


def dataset(folder: Path) -> VocDataset:
    """The tree, opened as a dataset."""
    return VocDataset(folder, "train", with_gt_masks=True, with_gt_instances=True)


def test_our_own_dataset_reads_what_was_written(tmp_path: Path, scene: Scene, write: Callable) -> None:
    _, instances = scene
    (exported,) = write(exporter(tmp_path), tmp_path, [scene])
    split = dataset(tmp_path)
    loaded = split.load(0)
    true = loaded.gt_instances
    assert true is not None
    assert loaded.image_id == "clip/a"
    np.testing.assert_array_equal(loaded.gt_mask, instances.to_semantic())
    owners = instances.rasterize(np.arange(7), -1)
    visible = [i for i in range(7) if (owners == i).any()]
    np.testing.assert_array_equal(true.detections.class_ids, instances.detections.class_ids[visible])
    for i, mask in zip(visible, true.masks):
        np.testing.assert_array_equal(mask.to_full(true.size), owners == i)
    assert (tmp_path / "class_names.txt").read_text() == "car\nairplane\nturtle\n"
    areas = sum(mask.area for mask in instances.masks)
    assert exported.shapes == len(visible)
    assert exported.losses[MSG_OVERLAPS] == areas - (owners >= 0).sum()
    assert (exported.losses[MSG_EMPTY_MASKS], exported.losses.get(MSG_HIDDEN, 0)) == (1, 6 - len(visible))


def test_maps_have_the_palette_of_voc_and_the_number_of_the_detection(
    tmp_path: Path, scene: Scene, write: Callable
) -> None:
    write(exporter(tmp_path), tmp_path, [scene])
    for folder in ("SegmentationClass", "SegmentationObject"):
        picture = Image.open(tmp_path / folder / "clip" / "a.png")
        assert picture.mode == "P"
        assert bytes(picture.getpalette() or []) == VOC_PALETTE
    owners = scene[1].rasterize(np.arange(7), -1)
    np.testing.assert_array_equal(np.asarray(picture), owners + 1)


@pytest.mark.parametrize("count", [254, 255, 700])
def test_no_object_number_wraps_or_means_void(tmp_path: Path, scene: Scene, write: Callable, count: int) -> None:
    sample = scene[0]
    places = np.arange(40 * 60).reshape(40, 60) // 3
    instances = Instances.from_masks(
        (40, 60), [i % 3 for i in range(count)], [Mask.from_array(places == i) for i in range(count)]
    )
    (exported,) = write(exporter(tmp_path), tmp_path, [(sample, instances)])
    true = dataset(tmp_path).load(0).gt_instances
    assert true is not None
    assert len(true) == count == exported.shapes
    assert true.detections.class_ids.tolist() == instances.detections.class_ids.tolist()
    assert all(np.array_equal(m.to_full((40, 60)), n.to_full((40, 60))) for m, n in zip(true.masks, instances.masks))
    assert exported.losses.get(MSG_16_BITS, 0) == (count > 254)
    assert 255 not in skip_void(np.arange(1, count + 1))


def test_an_image_without_objects_is_all_background(tmp_path: Path, scene: Scene, write: Callable) -> None:
    (exported,) = write(exporter(tmp_path), tmp_path, [(scene[0], Instances.from_masks((40, 60), [], []))])
    assert not np.asarray(Image.open(tmp_path / "SegmentationClass" / "clip" / "a.png")).any()
    assert (exported.shapes, Counter(exported.losses)) == (0, Counter())
    assert [(image_id, len(found)) for image_id, found in read_back(tmp_path, NAMES)] == [("clip/a", 0)]


def test_an_object_wholly_under_another_is_told(tmp_path: Path, scene: Scene) -> None:
    whole = np.ones((40, 60), bool)
    instances = Instances.from_masks(
        (40, 60), [0, 1], [Mask.from_array(np.eye(40, 60, dtype=bool)), Mask.from_array(whole)]
    )
    exported = exporter(tmp_path).export(scene[0], instances)
    assert (exported.shapes, Counter(exported.losses)) == (1, Counter({MSG_HIDDEN: 1, MSG_OVERLAPS: 40}))


def test_the_list_of_a_split_from_elsewhere_stays_in_the_folder(tmp_path: Path) -> None:
    files = VocExporter(ExportSettings(tmp_path, NAMES, split="../../Main/val")).assemble([("a", {})])
    assert sorted(files) == ["ImageSets/Segmentation/val.txt", "class_names.txt", "dataset_meta.json"]
