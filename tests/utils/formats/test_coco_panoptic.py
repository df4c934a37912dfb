"""The map is read by the formula of the format's own page, and the whole by panopticapi where it is installed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from utils.errors import SampleError
from utils.formats.base import ExportSettings
from utils.formats.coco_panoptic import CocoPanopticExporter
from utils.formats.voc import MSG_HIDDEN
from utils.masks import Mask
from utils.structures import Instances, Sample

NAMES = ("car", "air plane: 1", "汽车")
Scene = tuple[Sample, Instances]


def test_map_and_list_agree_with_the_label_map(tmp_path: Path, scene: Scene, write: Callable) -> None:
    sample, instances = scene
    (made,) = write(CocoPanopticExporter(ExportSettings(tmp_path, NAMES)), tmp_path, [scene])
    file = json.loads((tmp_path / "panoptic.json").read_bytes())
    (annotation,), (image,) = file["annotations"], file["images"]
    assert annotation["image_id"] == image["id"] and (image["height"], image["width"]) == sample.size
    assert [(each["id"], each["name"], each["isthing"]) for each in file["categories"]] == [
        (i + 1, name, 1) for i, name in enumerate(NAMES)
    ]
    rgb = np.asarray(Image.open(tmp_path / "panoptic" / annotation["file_name"]), np.int64)
    ids = rgb @ (1, 256, 256**2)
    segments = {segment["id"]: segment for segment in annotation["segments_info"]}
    assert {*np.unique(ids)} - {0} == segments.keys() and made.shapes == len(segments)
    labels = np.zeros(sample.size, np.int64)
    for i, segment in segments.items():
        labels[ids == i] = segment["category_id"]
        rows, columns = np.nonzero(ids == i)
        x, y, w, h = segment["bbox"]
        assert (x, y, x + w, y + h) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert segment["area"] == len(rows)
    np.testing.assert_array_equal(labels, instances.to_semantic())


def test_more_objects_than_a_byte_holds_and_one_wholly_hidden(tmp_path: Path, write: Callable) -> None:
    full = np.zeros((300, 20, 30), bool)
    full[np.arange(300), np.arange(300) // 30, np.arange(300) % 30] = True
    masks = [Mask.from_array(mask) for mask in [*full, full[7]]]
    scores = [*np.linspace(0.5, 0.9, 300), 0.1]
    instances = Instances.from_masks((20, 30), [0] * 301, masks, mask_scores=scores)
    pair = Sample("a", Path("a.png"), np.zeros((20, 30, 3), np.uint8)), instances
    (made,) = write(CocoPanopticExporter(ExportSettings(tmp_path, NAMES)), tmp_path, [pair])
    assert (made.shapes, made.losses[MSG_HIDDEN]) == (300, 1)
    rgb = np.asarray(Image.open(tmp_path / "panoptic" / "a.png"), np.int64)
    np.testing.assert_array_equal((rgb @ (1, 256, 256**2)).ravel()[:300], np.arange(1, 301))


def test_each_split_has_a_file_and_panopticapi_finds_the_maps(tmp_path: Path, scene: Scene, write: Callable) -> None:
    pairs = [(Sample(i, scene[0].path, scene[0].image), scene[1]) for i in ("a", "b", "c")]
    settings = ExportSettings(tmp_path, NAMES, splits={"a": "train", "b": "val", "c": "train"})
    write(CocoPanopticExporter(settings), tmp_path, pairs)
    files = {split: json.loads((tmp_path / f"panoptic_{split}.json").read_bytes()) for split in ("train", "val")}
    names = {split: [each["file_name"] for each in file["annotations"]] for split, file in files.items()}
    assert names == {"train": ["a.png", "c.png"], "val": ["b.png"]}


@pytest.mark.parametrize("track", [0, 1 << 24])
def test_a_track_that_no_map_holds_is_the_images_own_failure(tmp_path: Path, track: int) -> None:
    instances = Instances.from_masks((4, 4), [0], [Mask.from_array(np.ones((4, 4), bool))], track_ids=[track])
    with pytest.raises(SampleError, match=f"holds the track {track}"):
        CocoPanopticExporter(ExportSettings(tmp_path, NAMES)).export(
            Sample("a", Path("a.png"), np.zeros((4, 4, 3), np.uint8)), instances
        )


def test_panopticapi_finds_a_perfect_match_with_itself(tmp_path: Path, scene: Scene, write: Callable) -> None:
    evaluation = pytest.importorskip("panopticapi.evaluation", reason="panopticapi is not installed")
    write(CocoPanopticExporter(ExportSettings(tmp_path, NAMES)), tmp_path, [scene])
    file = json.loads((tmp_path / "panoptic.json").read_bytes())
    categories, folder = {each["id"]: each for each in file["categories"]}, tmp_path / "panoptic"
    (annotation,) = file["annotations"]
    # Not `pq_compute`, which divides by zero where no class is stuff.
    found = evaluation.pq_compute_single_core(0, [(annotation, annotation)], folder, folder, categories)
    assert found.pq_average(categories, isthing=True)[0] == {"pq": 1, "sq": 1, "rq": 1, "n": 3}
