"""Every format, written and read back, on real photographs with their true masks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from datasets.voc import VocDataset
from utils.formats.base import POLYGON_IOU, ExportSettings, Format, format_folder
from utils.formats.registry import FORMATS, IMPORTERS
from utils.structures import Instances, Sample

DATA = Path(__file__).parents[3] / ".." / "shared" / "data"
EXACT = ("labelme", "coco")
POLYGONS = ("labelme-polygon", "yolo")


def test_every_format_has_its_exporter_and_its_importer() -> None:
    assert set(FORMATS) == set(IMPORTERS) == set(get_args(Format))
    assert format_folder(Path("out"), "labelme") == Path("out")
    assert format_folder(Path("out"), "labelme-polygon") == Path("out/labelme-polygon")


@pytest.mark.parametrize("name", get_args(Format))
def test_the_same_instances_give_the_same_bytes(tmp_path: Path, scene: tuple[Sample, Instances], name: Format) -> None:
    settings = ExportSettings(tmp_path, ("car", "airplane", "turtle"))
    assert FORMATS[name](settings).export(*scene) == FORMATS[name](settings).export(*scene)


@pytest.mark.skipif(not DATA.is_dir(), reason="the real photographs are not here")
@pytest.mark.parametrize("name", get_args(Format))
def test_real_masks_survive(tmp_path: Path, write: Callable, name: Format) -> None:
    names = tuple((DATA / "coco" / "class_names.txt").read_text("utf-8").split("\n"))
    split = VocDataset(DATA / "coco", "val", with_truth=True)
    samples = [split.load(i) for i in range(8)]
    pairs = [(sample, sample.gt_instances) for sample in samples]
    made = write(FORMATS[name](ExportSettings(tmp_path, names)), tmp_path, pairs)
    read = dict(IMPORTERS[name](tmp_path, names))
    assert sorted(read) == sorted(sample.image_id for sample, _ in pairs)
    for sample, instances in pairs:
        again = read[sample.image_id]
        if name not in POLYGONS:
            np.testing.assert_array_equal(again.to_semantic(), instances.to_semantic())
        if name in EXACT:
            masks = zip(again.masks, instances.masks)
            assert all(np.array_equal(a.to_full(again.size), b.to_full(again.size)) for a, b in masks)
    ious = [number for one in made for number in one.measures.get(POLYGON_IOU, [])]
    assert len(ious) == (sum(len(instances) for _, instances in pairs) if name in POLYGONS else 0)
    assert not ious or np.mean(ious) > 0.98
