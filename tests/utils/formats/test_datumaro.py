"""The judge is datumaro: the one of PyPI, or CVAT's own, with which it imports; docs/contributing.md installs them.

Each has formats that the other lacks, and layouts of its own. Class names are hard, and some images lie in folders.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from datasets.scenes import main as paint
from datasets.voc import VocDataset
from utils.formats.base import ExportSettings
from utils.formats.registry import FORMATS
from utils.structures import Instances, Sample

datumaro = pytest.importorskip("datumaro", reason="datumaro is not installed")
annotation = pytest.importorskip("datumaro.components.annotation")
environment = pytest.importorskip("datumaro.components.environment")
media = pytest.importorskip("datumaro.components.media")

NAMES = ("car", "air plane: 1", '汽车 "x"', "turtle", "watercraft")
SPLITS = {"a": "train", "b": "train", "clip/c": "val", "d": "val"}
KNOWN = {*environment.Environment().importers}
BY_CVAT = bool(KNOWN & {"yolov8_segmentation", "yolo_ultralytics_segmentation"})

Pairs = dict[str, tuple[Sample, Instances]]
Found = list[tuple[str, Any]]
"""Label and annotation of each object of an image."""


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    """A painted split with its true objects, under other names."""
    tree = tmp_path_factory.mktemp("painted")
    assert paint(["--seed", "5", "--count", str(len(SPLITS)), "--out", str(tree)]) == 0
    split = VocDataset(tree, "val", with_gt_masks=True, with_gt_instances=True)
    loaded = [replace(split.load(i), image_id=image_id) for i, image_id in enumerate(SPLITS)]
    return {sample.image_id: (sample, sample.gt_instances) for sample in loaded if sample.gt_instances is not None}


@pytest.fixture
def read(tmp_path: Path, pairs: Pairs, write: Callable) -> Callable[..., dict[str, Found]]:
    """Writes a format, lets datumaro read a copy of it without links, and gives what it found in each image."""

    def read(name: str, *importers: str, arrange: Callable[[Path], Path] = lambda tree: tree, **how: str) -> Any:
        importer = next((each for each in importers if each in KNOWN), None)
        if importer is None:
            pytest.skip(f"this datumaro does not read {importers[0]}")
        settings = ExportSettings(tmp_path / name, NAMES, splits=SPLITS)
        write(FORMATS[name].exporter(settings), tmp_path / name, [*pairs.values()])
        shutil.copytree(tmp_path / name, tmp_path / "copy")
        read = datumaro.Dataset.import_from(str(arrange(tmp_path / "copy")), importer, **how)
        labels = [label.name for label in read.categories()[annotation.AnnotationType.label]]
        assert [label for label in labels if label != "background"] == [*NAMES]
        items = {item.id: item for item in read}
        assert len(items) == len([*read]) == len(SPLITS)
        # CVAT's datumaro takes the first folder below images/ for that of a split, or images/ itself for a part of it.
        keys = {i: next(key for key in (i, f"images/{i}", i.rpartition("/")[2]) if key in items) for i in SPLITS}
        assert name.startswith("yolo") or {i: items[key].subset for i, key in keys.items()} == SPLITS
        return {i: [(labels[each.label], each) for each in items[key].annotations] for i, key in keys.items()}

    return read


def matched(found: dict[str, Found], pairs: Pairs, kind: str) -> Iterator[tuple[np.ndarray, Any]]:
    """The pixels of each object and the annotation of the same label that is nearest; there are no others."""
    for image_id, (sample, instances) in pairs.items():
        objects = [(label, each) for label, each in found[image_id] if each.type.name == kind]
        labels = [NAMES[i] for i in instances.detections.class_ids]
        assert sorted(label for label, _ in objects) == sorted(labels)
        for label, mask in zip(labels, instances.masks):
            pixels = mask.to_full(sample.size)
            distances = [np.abs(each.get_bbox() - box_of(pixels)).max() for _, each in objects]
            nearest = min((i for i, (other, _) in enumerate(objects) if other == label), key=distances.__getitem__)
            yield pixels, objects.pop(nearest)[1]


def box_of(pixels: np.ndarray) -> np.ndarray:
    rows, columns = np.nonzero(pixels)
    return np.array([columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1], float)


def in_official_layout(tree: Path) -> Path:
    """What the COCO challenge has: `annotations/<task>_<split>.json`, panoptic maps beside them, and `images/`."""
    home, maps = tree / "official", tree / "panoptic"
    (home / "annotations").mkdir(parents=True)
    (home / "images").mkdir()
    for path in tree.glob("*.json"):
        path.rename(home / "annotations" / path.name)
        if maps.is_dir():
            shutil.copytree(maps, home / "annotations" / path.stem)
    return home


@pytest.mark.parametrize("name, importer", [("coco", "coco_instances"), ("coco-panoptic", "coco_panoptic")])
def test_masks_of_coco_are_the_same_pixels(read: Callable, pairs: Pairs, name: str, importer: str) -> None:
    # Painted objects do not overlap, so panoptic maps hold all of their pixels.
    for pixels, each in matched(read(name, importer, arrange=in_official_layout), pairs, "mask"):
        np.testing.assert_array_equal(np.asarray(each.image, bool), pixels)


def test_cvat_reads_a_file_of_coco_alone(tmp_path: Path, pairs: Pairs, write: Callable) -> None:
    if not BY_CVAT:
        pytest.skip("the datumaro of PyPI wants the official folders")
    write(FORMATS["coco"].exporter(ExportSettings(tmp_path, NAMES)), tmp_path, [*pairs.values()])
    read = datumaro.Dataset.import_from(str(tmp_path / "instances.json"), "coco_instances")
    found = {item.id: [(NAMES[each.label], each) for each in item.annotations] for item in read}
    for pixels, each in matched(found, pairs, "mask"):
        np.testing.assert_array_equal(np.asarray(each.image, bool), pixels)


@pytest.mark.parametrize("importer", ["voc_segmentation", "voc_instance_segmentation", "voc"])
def test_masks_of_voc_are_the_same_pixels(read: Callable, pairs: Pairs, importer: str) -> None:
    if importer == "voc" and not BY_CVAT:
        pytest.skip("there it reads boxes only")
    for pixels, each in matched(read("voc", importer), pairs, "mask"):
        np.testing.assert_array_equal(np.asarray(each.image, bool), pixels)


@pytest.mark.parametrize("importer", ["voc_detection", "voc"])
def test_boxes_of_voc_are_tight(read: Callable, pairs: Pairs, importer: str) -> None:
    how = {} if BY_CVAT else {"coordinate_mode": "voc-one-based"}
    for pixels, each in matched(read("voc-detect", importer, **how), pairs, "bbox"):
        # CVAT takes pixels counted from 1 for coordinates from 0.
        np.testing.assert_array_equal(each.get_bbox(), box_of(pixels) + BY_CVAT * np.array((1, 1, -1, -1)))


def test_boxes_of_yolo_are_tight(read: Callable, pairs: Pairs) -> None:
    for pixels, each in matched(
        read("yolo-detect", "yolov8_detection", "yolo_ultralytics_detection", "yolo"), pairs, "bbox"
    ):
        np.testing.assert_allclose(each.get_bbox(), box_of(pixels), atol=1e-3)


def test_polygons_of_yolo_cover_the_masks(read: Callable, pairs: Pairs) -> None:
    from pycocotools.mask import decode, frPyObjects

    ious = []
    for pixels, each in matched(read("yolo", "yolov8_segmentation", "yolo_ultralytics_segmentation"), pairs, "polygon"):
        drawn = decode(frPyObjects([each.points], *pixels.shape))[..., 0].astype(bool)
        ious.append((drawn & pixels).sum() / (drawn | pixels).sum())
    assert min(ious) > 0.9


def test_rotated_boxes_hold_the_masks_and_are_no_larger_than_upright_ones(read: Callable, pairs: Pairs) -> None:
    for pixels, each in matched(
        read("yolo-obb", "yolov8_oriented_boxes", "yolo_ultralytics_oriented_boxes"), pairs, "bbox"
    ):
        corners = cv2.boxPoints(
            ((each.x + each.w / 2, each.y + each.h / 2), (each.w, each.h), each.attributes.get("rotation", 0))
        )
        centers = np.argwhere(pixels)[:, ::-1] + 0.5
        assert min(cv2.pointPolygonTest(corners, (float(x), float(y)), True) for x, y in centers) > 0.4
        assert each.w * each.h <= np.prod(box_of(pixels)[2:]) + 1


def test_masks_that_datumaro_colors_are_read_as_they_were(tmp_path: Path, pairs: Pairs) -> None:
    items = [
        datumaro.DatasetItem(
            image_id,
            subset="val",
            media=media.Image.from_numpy(sample.image),
            annotations=[
                annotation.Mask(mask.to_full(sample.size), label=class_id + 1, group=i + 1, z_order=i)
                for i, (mask, class_id) in enumerate(zip(instances.masks, instances.detections.class_ids))
            ],
        )
        for image_id, (sample, instances) in pairs.items()
    ]
    names = [name.replace(":", "") for name in NAMES]  # datumaro's own file has no room for a colon in a name
    colors = {0: (0, 0, 0), **{i + 1: (250 - i, 50, 83 + i) for i in range(len(names))}}
    labels = annotation.LabelCategories.from_iterable(["background", *names])
    categories = {
        annotation.AnnotationType.label: labels,
        annotation.AnnotationType.mask: annotation.MaskCategories(colors),
    }
    dataset = datumaro.Dataset.from_iterable(items, categories=categories)
    tree = tmp_path / "voc"
    dataset.export(str(tree), "voc_segmentation", save_media=True, apply_colormap=True, label_map="source")
    split = VocDataset(tree, "val", classes=names[::-1], with_gt_masks=True, with_gt_instances=True)
    assert split.colors is not None and [*split.colors.names] == names
    for i, image_id in enumerate(split.ids):
        sample, instances = pairs[image_id]
        found = split.load(i)
        expected = instances.to_semantic()
        np.testing.assert_array_equal(found.gt_mask, np.where(expected == 0, 0, len(names) + 1 - expected.astype(int)))
        assert found.gt_instances is not None and found.has_instance_ids
        for mask, same in zip(found.gt_instances.masks, instances.masks, strict=True):
            np.testing.assert_array_equal(mask.to_full(sample.size), same.to_full(sample.size))
