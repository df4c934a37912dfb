"""Annotations of clips in every format; the judges are pycocotools, labelme, Pillow and our own VOC dataset."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import labelme
import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from datasets.voc import VocDataset
from tests.helpers.clips import clip, instances, sample
from utils.annotations.review import ReviewExporter, ReviewSettings
from utils.errors import SampleError
from utils.formats.base import Exporter, ExportSettings, FrameExporter
from utils.formats.coco import CocoExporter
from utils.formats.labelme_writer import LabelmeExporter, LabelmePolygonExporter
from utils.formats.voc import MSG_16_BITS, VocExporter
from utils.formats.yolo import YoloExporter
from utils.masks import Mask

NAMES = ("dog", "cat")


def coco_file(folder: Path, pairs: list[Any], write: Callable) -> Any:
    write(CocoExporter(ExportSettings(folder, NAMES)), folder, pairs)
    return COCO(folder / "instances.json")


def test_coco_knows_videos_and_tracks(tmp_path: Path, write: Callable) -> None:
    changing = [(one, instances(i, [2, 5], [0, i % 2])) for i, (one, _) in enumerate(clip("b/x", 4))]
    pairs = [*clip("a", 3, tracks=(1, 2), class_ids=(0, 1)), *changing]
    coco = coco_file(tmp_path, pairs, write)
    images, annotations = coco.dataset["images"], coco.dataset["annotations"]
    assert coco.dataset["videos"] == [{"id": 1, "name": "a"}, {"id": 2, "name": "b/x"}]
    assert [(image["video_id"], image["frame_index"]) for image in images] == [
        *((1, i) for i in range(3)),
        *((2, i) for i in range(4)),
    ]
    assert coco.dataset["tracks"] == [
        {"id": 1, "category_id": 1, "video_id": 1},
        {"id": 2, "category_id": 2, "video_id": 1},
        {"id": 3, "category_id": 1, "video_id": 2},
        {"id": 4, "category_id": 2, "video_id": 2},
    ], "the class of a track is its last one"
    assert [annotation["track_id"] for annotation in annotations] == [1, 2] * 3 + [3, 4] * 4
    for annotation in annotations:
        assert annotation["video_id"] == coco.imgs[annotation["image_id"]]["video_id"]
    for annotation, mask in zip(annotations, (mask for _, found in pairs for mask in found.masks)):
        np.testing.assert_array_equal(coco.annToMask(annotation), mask.to_full(pairs[0][0].size))


def test_coco_without_clips_is_as_ever(tmp_path: Path, write: Callable) -> None:
    pairs = [(replace(one, frame=None), replace(found, track_ids=None)) for one, found in clip("a", 2)]
    coco = coco_file(tmp_path, pairs, write)
    assert coco.dataset.keys() == {"info", "licenses", "categories", "annotations", "images"}
    assert coco.dataset["images"][0].keys() == {"id", "file_name", "height", "width"}
    assert not coco.dataset["annotations"][0].keys() & {"track_id", "video_id"}


def test_a_clip_in_which_nothing_was_found_is_a_video_all_the_same(tmp_path: Path, write: Callable) -> None:
    coco = coco_file(tmp_path, list(clip("a", 2, tracks=(), class_ids=())), write)
    assert (coco.dataset["videos"], coco.dataset["tracks"]) == ([{"id": 1, "name": "a"}], [])


def test_voc_numbers_are_tracks_and_the_clips_are_listed(tmp_path: Path, write: Callable) -> None:
    pairs = [*clip("a", 2, tracks=(4, 9)), *clip("b/x", 3, tracks=(1,), class_ids=(1,))]
    write(VocExporter(ExportSettings(tmp_path, NAMES, split="val")), tmp_path, pairs)
    lists = tmp_path / "ImageSets" / "Segmentation"
    assert (lists / "val_videos.txt").read_text() == "a\nb/x\n"
    assert (lists / "val.txt").read_text().split() == [one.image_id for one, _ in pairs]
    for one, found in pairs:
        path = tmp_path / "JPEGImages" / f"{one.image_id}{one.path.suffix}"
        path.unlink()  # a link to a frame that this test has not made
        Image.fromarray(one.image).save(path)
        numbers = np.asarray(Image.open(tmp_path / "SegmentationObject" / f"{one.image_id}.png"))
        np.testing.assert_array_equal(numbers, found.rasterize(found.track_ids))
    dataset = VocDataset(tmp_path, "val", with_gt_masks=True, with_gt_instances=True)
    assert dataset.ids == [one.image_id for one, _ in pairs]
    assert dataset.load(2).gt_instances.detections.class_ids.tolist() == [1]


def test_voc_tracks_above_254_go_to_16_bits_and_leave_out_void(tmp_path: Path, write: Callable) -> None:
    ids = ((1, 254), (254, 255), (255, 700))
    pairs = [(sample("a", i, 3), instances(i, tracks, [0, 1])) for i, tracks in enumerate(ids)]
    made = write(VocExporter(ExportSettings(tmp_path, NAMES)), tmp_path, pairs)
    pictures = [Image.open(tmp_path / "SegmentationObject" / f"{one.image_id}.png") for one, _ in pairs]
    numbers = [sorted(np.unique(np.asarray(picture)).tolist()) for picture in pictures]
    assert numbers == [[0, 1, 254], [0, 254, 256], [0, 256, 701]]
    assert [picture.mode[0] for picture in pictures] == ["P", "I", "I"]
    assert [one.losses.get(MSG_16_BITS, 0) for one in made] == [0, 1, 1]


@pytest.mark.parametrize("track", [65535, 0, -3])
def test_voc_refuses_tracks_that_no_object_map_holds(track: int, tmp_path: Path) -> None:
    """Groups that people give are any integers."""
    with pytest.raises(SampleError, match=f"no object map holds the track {track}$"):
        VocExporter(ExportSettings(tmp_path, NAMES)).export(sample("a", 0, 1), instances(0, [track], [0]))


@pytest.mark.parametrize("exporter", [LabelmeExporter, LabelmePolygonExporter])
def test_labelme_groups_are_tracks_and_parts_share_theirs(
    exporter: Callable[[ExportSettings], Exporter], tmp_path: Path, write: Callable
) -> None:
    path = tmp_path / "a" / "000000.png"
    path.parent.mkdir()
    one, found = next(clip("a", 1, tracks=(3, 8), path=path))
    Image.fromarray(one.image).save(path)
    two_parts = np.zeros(one.size, bool)
    two_parts[5:20, 5:20] = two_parts[30:50, 60:90] = True
    found = replace(found, masks=[Mask.from_array(two_parts), found.masks[1]])
    write(exporter(ExportSettings(tmp_path, NAMES)), tmp_path, [(one, found)])
    shapes = labelme.LabelFile(str(tmp_path / "a" / "000000.json")).shapes
    assert [shape["group_id"] for shape in shapes] == ([3, 3, 8] if exporter is LabelmePolygonExporter else [3, 8])


def test_frames_of_a_video_file_become_images_that_labelme_opens(tmp_path: Path, write: Callable) -> None:
    (tmp_path / "video.mp4").write_bytes(b"a film")
    pairs = list(clip("video", 3, path=tmp_path / "video.mp4"))
    out = tmp_path / "out"
    write(FrameExporter(ExportSettings(out, NAMES)), out, pairs)
    for exporter, folder in ((LabelmeExporter, out), (LabelmePolygonExporter, out / "labelme-polygon")):
        write(exporter(ExportSettings(folder, NAMES, frames=out)), folder, pairs)
        for one, found in pairs:
            file = labelme.LabelFile(str(folder / f"{one.image_id}.json"))
            assert json.loads((folder / f"{one.image_id}.json").read_text())["imageData"] is None
            shown = labelme.utils.img_data_to_arr(file.image_data)
            assert shown.shape == one.image.shape
            assert np.abs(shown.astype(int) - one.image).mean() < 2
            assert [shape["group_id"] for shape in file.shapes] == [1, 2]
            assert (file.shapes[0]["mask"] is not None) == (exporter is LabelmeExporter)
            assert len(found) == len(file.shapes)


def test_coco_and_yolo_name_the_frames(tmp_path: Path, write: Callable) -> None:
    (tmp_path / "video.MP4").write_bytes(b"a film")
    pairs = list(clip("video", 2, path=tmp_path / "video.MP4"))
    coco = coco_file(tmp_path, pairs, write)
    assert [image["file_name"] for image in coco.dataset["images"]] == ["video/000000.jpg", "video/000001.jpg"]
    write(YoloExporter(ExportSettings(tmp_path, NAMES)), tmp_path, pairs)
    for one, _ in pairs:
        path = tmp_path / "images" / f"{one.image_id}.jpg"
        assert not path.is_symlink()
        assert np.abs(cv2.imread(str(path))[:, :, ::-1].astype(int) - one.image).mean() < 2
        assert len((tmp_path / "labels" / f"{one.image_id}.txt").read_text().splitlines()) == 2


def test_the_review_names_the_track_of_the_least_sure_object(tmp_path: Path, write: Callable) -> None:
    pairs = [(one, replace(found, mask_scores=np.array([0.9, 0.1], np.float32))) for one, found in clip("a", 2, (3, 8))]
    settings = ReviewSettings(tmp_path, NAMES)
    write(ReviewExporter(settings), tmp_path, pairs)
    assert [row["track"] for row in csv.DictReader((tmp_path / "review.csv").open())] == ["8", "8"]
    write(ReviewExporter(settings), tmp_path, [(one, replace(found, track_ids=None)) for one, found in pairs])
    assert "track" not in (tmp_path / "review.csv").read_text()
