"""What a run says of its models before it begins."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.notices import demo_warnings, describe_device, missing_class_warnings, models_line
from utils.classes import COCO_CLASSES
from utils.cli.options import Options
from utils.config import ArchConfig, Config, DatasetConfig, DetectorConfig, SegmenterConfig
from utils.config.official import DEMO_WEIGHTS, REPOSITORY

ARCH = ArchConfig(yolo_weights=Path("/w/yolov8x.pt"), sam_weights=Path("/w/sam2.1_hiera_large.pt"))
OPTIONS = Options(Config(arch=ARCH), ("evaluate",), (), None, "cpu", False)


def test_the_line_names_models_device_and_boxes() -> None:
    device = describe_device(torch.device("cuda:0"), torch.bfloat16, "torch")
    start, end = "SAM2 sam2.1_hiera_large.pt", "cuda:0 bf16 · boxes from "
    assert models_line(OPTIONS, COCO_CLASSES, device) == f"detector yolov8x.pt (80 classes) · {start} · {end}YOLO"
    assert models_line(OPTIONS, ("ship",), device).startswith("detector yolov8x.pt (1 class) · ")
    sliced = replace(OPTIONS, config=replace(OPTIONS.config, detector=DetectorConfig(slice=640)))
    assert models_line(sliced, ("ship",), device).startswith("detector yolov8x.pt (1 class, slices of 640 px) · ")
    by_window = replace(OPTIONS, config=replace(OPTIONS.config, segmenter=SegmenterConfig(window="auto")))
    assert f" · {start} by window · " in models_line(by_window, ("ship",), device)
    prompted = replace(OPTIONS, prompt=Path("/p/boxes.json"), boxes="file")
    assert models_line(prompted, (), device) == f"{start} · {end}/p/boxes.json"
    assert models_line(replace(OPTIONS, boxes="target"), (), device) == f"{start} · {end}the ground truth"


def test_classes_with_an_alias_can_be_found_and_long_lists_are_cut() -> None:
    voc = ("aeroplane", "sofa", "tvmonitor", "unicorn", "dog")
    assert missing_class_warnings(COCO_CLASSES, voc, None) == [
        "the detector has no class unicorn: its IoU will be 0",
    ]
    assert missing_class_warnings(voc, voc, None) == missing_class_warnings(COCO_CLASSES, voc[:3], voc) == []
    (line,) = missing_class_warnings(voc, COCO_CLASSES[:19], None)
    assert line == (
        "the detector has no class person, bicycle, car, motorcycle, bus, train, truck, boat, traffic light, "
        "fire hydrant and 7 more: their IoU will be 0"
    )
    assert missing_class_warnings(COCO_CLASSES, ("aeroplane", "dog", "cat"), ("airplane",)) == [
        "detector.classes leaves out dog, cat: their IoU will be 0",
    ]


@pytest.mark.parametrize("used", ["both", "yolo", "sam", "neither"])
def test_either_toy_is_warned_of_where_it_is_used(used: str, tmp_path: Path) -> None:
    yolo, sam = DEMO_WEIGHTS
    other = tmp_path / "other.pt"
    other.write_bytes(b"x" * yolo.stat().st_size)
    arch = ArchConfig(
        yolo_weights=yolo if used in ("both", "yolo") else other, sam_weights=sam if used in ("both", "sam") else other
    )
    options = replace(OPTIONS, config=Config(arch=arch), source=(tmp_path,))
    lines = demo_warnings(options)
    named = {path.name for path in (yolo, sam) if lines and str(path) in lines[0]}
    assert named == {"both": {yolo.name, sam.name}, "yolo": {yolo.name}, "sam": {sam.name}, "neither": set()}[used]
    prompted = replace(options, prompt=other, boxes="file")
    prompted = replace(prompted, config=replace(prompted.config, dataset=DatasetConfig(classes=("car",))))
    assert bool(demo_warnings(prompted)) == (used in ("both", "sam"))
    assert demo_warnings(replace(options, annotations=tmp_path)) == []


def test_the_committed_demo_is_known_as_painted() -> None:
    yolo, sam = DEMO_WEIGHTS
    config = Config(
        arch=ArchConfig(yolo_weights=yolo, sam_weights=sam),
        dataset=DatasetConfig(data_dir=REPOSITORY / "datasets/demo"),
    )
    assert demo_warnings(replace(OPTIONS, config=config)) == []
