from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from utils.annotations.fingerprint import SAMPLE_BYTES, dependency_files, file_signature, json_hash, run_settings
from utils.cli.options import Options
from utils.config import ArchConfig, CleanupConfig, Config, DataloaderConfig, DatasetConfig, VideoConfig


@pytest.fixture
def options(tmp_path: Path) -> Options:
    for name in ("yolo.pt", "sam.pt", "sam.yaml"):
        (tmp_path / name).write_text(name)
    arch = ArchConfig("yolov8", tmp_path / "yolo.pt", "sam2", str(tmp_path / "sam.yaml"), tmp_path / "sam.pt")
    config = Config(arch=arch, dataset=DatasetConfig(classes=("car", "tree")))
    return Options(config, ("annotate",), (), None, "cpu", False)


def of(options: Options) -> str:
    return json_hash(run_settings(options))


def with_config(options: Options, **sections: object) -> Options:
    return replace(options, config=replace(options.config, **sections))  # type: ignore[arg-type]


def test_what_is_called_or_computed_otherwise_is_the_same(options: Options, tmp_path: Path) -> None:
    before = of(options)
    (tmp_path / "moved").mkdir()
    moved = [(tmp_path / name).rename(tmp_path / "moved" / name) for name in ("yolo.pt", "sam.pt", "sam.yaml")]
    arch = ArchConfig("yolov8", moved[0], "sam2", str(moved[2]), moved[1])
    moved_options = with_config(options, arch=arch, dataloader=DataloaderConfig(3, 0), name="other")
    assert of(replace(moved_options, device="cuda")) == before


@pytest.mark.parametrize("name", ["yolo.pt", "sam.pt", "sam.yaml"])
def test_another_content_is_another_model(name: str, options: Options, tmp_path: Path) -> None:
    before = of(options)
    (tmp_path / name).write_text("other")
    assert of(options) != before


def test_every_setting_that_changes_masks_counts(options: Options) -> None:
    changed = [
        options,
        with_config(options, dataset=DatasetConfig(classes=("car", "tree"), conf=0.3)),
        with_config(options, dataset=DatasetConfig(classes=("tree", "car"))),
        with_config(options, detector=replace(options.config.detector, max_det=10)),
        with_config(options, segmenter=replace(options.config.segmenter, precision="bf16")),
        with_config(options, detector=replace(options.config.detector, agnostic_nms=True)),
        with_config(options, detector=replace(options.config.detector, slice=640)),
        with_config(options, segmenter=replace(options.config.segmenter, window="auto")),
        with_config(options, cleanup=CleanupConfig(clip_to_box=True)),
        with_config(options, cleanup=CleanupConfig(disjoint=True)),
    ]
    assert len({of(each) for each in changed}) == len(changed)


def test_keys_that_came_later_leave_what_was_made_before_finished(options: Options) -> None:
    settings = run_settings(options)
    assert settings["cleanup"].keys() == {"clip_to_box", "largest_hole", "smallest_part", "largest_part_only"}
    assert settings["detector"].keys() == {"imgsz", "iou", "max_det", "classes"}


def test_settings_of_video_count_with_video_only(options: Options, tmp_path: Path) -> None:
    slower = with_config(options, video=VideoConfig(keyframe_interval=9))
    assert of(slower) == of(options)
    assert "video" not in run_settings(options)
    following = replace(options, video=True)
    assert len({of(options), of(following), of(replace(slower, video=True))}) == 3
    annotated = replace(options, annotations=tmp_path)
    assert of(annotated) != of(replace(annotated, video=True)) == of(replace(slower, annotations=tmp_path, video=True))


def test_prompts_take_the_place_of_the_detector(options: Options, tmp_path: Path) -> None:
    prompted = replace(options, prompt=tmp_path / "boxes.json")
    before = of(prompted)
    assert before != of(options)
    (tmp_path / "yolo.pt").unlink()
    assert before == of(with_config(prompted, detector=replace(options.config.detector, max_det=10)))


def test_without_classes_the_detector_names_them_also_with_prompts(options: Options, tmp_path: Path) -> None:
    prompted = with_config(replace(options, prompt=tmp_path / "boxes.json"), dataset=DatasetConfig())
    before = of(prompted)
    (tmp_path / "yolo.pt").write_text("other")
    assert of(prompted) != before


def test_a_config_inside_the_sam2_package_counts_by_its_content(options: Options) -> None:
    arch = replace(options.config.arch, sam_config=None, sam_weights=Path("sam2.1_hiera_tiny.pt"))
    implied = run_settings(with_config(options, arch=arch))["sam_config"]
    named = replace(arch, sam_config="configs/sam2.1/sam2.1_hiera_t.yaml")
    assert implied == run_settings(with_config(options, arch=named))["sam_config"]
    assert len(implied) == 64
    other = replace(arch, sam_config="configs/sam2.1/sam2.1_hiera_l.yaml")
    assert implied != run_settings(with_config(options, arch=other))["sam_config"]


def test_images_are_told_apart_by_length_and_end(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    contents = [
        b"",
        b"x",
        b"x" * SAMPLE_BYTES,
        b"x" * (SAMPLE_BYTES + 1),
        b"y" * SAMPLE_BYTES,
        b"x" * SAMPLE_BYTES + b"y",
    ]
    marks = set()
    for content in contents:
        path.write_bytes(content)
        marks.add(file_signature(path))
    assert len(marks) == len(contents)
    assert file_signature(tmp_path / "b.jpg") == ""


def test_another_scene_of_the_same_length_and_end_is_another_image(tmp_path: Path) -> None:
    path, marks = tmp_path / "a.bmp", set()
    pictures = [np.full((200, 300, 3), 255, np.uint8) for _ in range(4)]
    pictures[1][60:140, 100:200] = 40  # an object on a white ground
    pictures[2][20:60, 20:80] = 40
    pictures[3][:10] = 40
    for picture in pictures:
        Image.fromarray(picture).save(path)
        marks.add(file_signature(path))
    assert path.stat().st_size > 10 * SAMPLE_BYTES
    assert len({mark.split()[0] for mark in marks}) == 1 and len(marks) == len(pictures)


def test_what_takes_the_place_of_models_counts_in_their_place(options: Options, tmp_path: Path) -> None:
    dataset = DatasetConfig(data_dir=tmp_path / "voc", classes=("car", "tree"))
    found = with_config(options, dataset=dataset)
    target, annotated = replace(found, boxes="target"), replace(found, annotations=tmp_path / "made")
    assert len({of(found), of(target), of(annotated)}) == 3
    assert dependency_files(found, "clip/a") == []
    assert dependency_files(annotated, "clip/a") == [tmp_path / "made/clip/a.json"]
    folders = ("SegmentationClass", "SegmentationObject")
    assert dependency_files(target, "clip/a") == [tmp_path / f"voc/{folder}/clip/a.png" for folder in folders]
    before = of(target), of(annotated)
    for name in ("yolo.pt", "sam.pt"):
        (tmp_path / name).write_text("other")
        expected = (of(target) == before[0], of(annotated) == before[1])
        assert expected == (name == "yolo.pt", True)
