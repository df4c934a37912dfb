"""Every format, written and read back, on real photographs with their true masks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from datasets.voc import VocDataset
from tests.helpers.read_back import read_back
from utils.formats.base import MSG_POLYGON_IOU, ExportSettings
from utils.formats.registry import FORMATS, format_folder
from utils.structures import Instances, Sample

DATA = Path(__file__).parents[3] / ".." / "shared" / "data"
EXACT = ("labelme", "coco")
POLYGONS = ("labelme-polygon", "yolo")


def test_the_table_names_what_each_format_writes(scene: tuple[Sample, Instances], tmp_path: Path) -> None:
    sample, instances = scene
    for form in FORMATS.values():
        made = form.exporter(ExportSettings(tmp_path, ("car", "airplane", "turtle"))).export(sample, instances)
        photo = [f"{form.photo(sample.image_id)}{sample.path.suffix}"] if form.photo else []
        assert sorted([*made.files, *made.links]) == sorted([*form.files(sample.image_id), *photo])


def test_labelme_files_lie_in_the_annotation_folder_itself() -> None:
    assert format_folder(Path("out"), "labelme") == Path("out")
    assert format_folder(Path("out"), "labelme-polygon") == Path("out/labelme-polygon")


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_instances_give_the_same_bytes(tmp_path: Path, scene: tuple[Sample, Instances], name: str) -> None:
    settings = ExportSettings(tmp_path, ("car", "airplane", "turtle"))
    assert FORMATS[name].exporter(settings).export(*scene) == FORMATS[name].exporter(settings).export(*scene)


@pytest.mark.skipif(not DATA.is_dir(), reason="the real photographs are not here")
@pytest.mark.parametrize("name", FORMATS)
def test_real_masks_survive(tmp_path: Path, write: Callable, name: str) -> None:
    if not FORMATS[name].predictions and not FORMATS[name].is_labelme:
        pytest.skip(f"nothing reads {name}")
    names = tuple((DATA / "coco" / "class_names.txt").read_text("utf-8").splitlines())
    split = VocDataset(DATA / "coco", "val", with_gt_instances=True)
    samples = [split.load(i) for i in range(8)]
    pairs = [(sample, sample.gt_instances) for sample in samples]
    made = write(FORMATS[name].exporter(ExportSettings(tmp_path, names)), tmp_path, pairs)
    read = dict(read_back(tmp_path, names))
    assert sorted(read) == sorted(sample.image_id for sample, _ in pairs)
    for sample, instances in pairs:
        again = read[sample.image_id]
        if name not in POLYGONS:
            np.testing.assert_array_equal(again.to_semantic(), instances.to_semantic())
        if name in EXACT:
            masks = zip(again.masks, instances.masks)
            assert all(np.array_equal(a.to_full(again.size), b.to_full(again.size)) for a, b in masks)
    ious = [number for one in made for number in one.measures.get(MSG_POLYGON_IOU, [])]
    assert len(ious) == (sum(len(instances) for _, instances in pairs) if name in POLYGONS else 0)
    assert not ious or np.mean(ious) > 0.98
