"""Boxes from slices against sahi's own `get_sliced_prediction` with the same weights."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from datasets.scenes import paint_scene
from models.loading import load_detector
from models.slices import SlicedDetector
from models.ultralytics_quiet import quiet_ultralytics
from utils.boxes import ScoredBoxes, box_iou
from utils.config import ArchConfig, Config, DatasetConfig, DetectorConfig
from utils.errors import RunError, UserError

REPOSITORY = Path(__file__).parents[2]
DEMO_WEIGHTS = REPOSITORY / "yolo/yolov8/demo.pt"
pytest.importorskip("sahi")
CPU = torch.device("cpu")
SIDE, OVERLAP, IMGSZ = 256, 0.3, 256


def config_of(conf: float = 0.25, **detector: object) -> Config:
    settings = replace(DetectorConfig(slice=SIDE, overlap=OVERLAP, imgsz=IMGSZ), **detector)
    return Config(arch=ArchConfig(yolo_weights=DEMO_WEIGHTS), dataset=DatasetConfig(conf=conf), detector=settings)


def find(images: list[np.ndarray], config: Config) -> list[ScoredBoxes]:
    return load_detector(config, CPU, trust=False)(images)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """Painted scenes side by side, half and a third as large: objects are shorter and longer than an overlap."""
    scenes = [paint_scene(5, i).image for i in range(10)]
    halves = [cv2.resize(each, (320, 180), interpolation=cv2.INTER_AREA) for each in scenes[:6]]
    thirds = [cv2.resize(each, (240, 135), interpolation=cv2.INTER_AREA) for each in scenes[6:]]
    return np.vstack([np.hstack(row) for row in (halves[:3], thirds, halves[3:])])


@pytest.mark.parametrize(
    ("conf", "agnostic"),
    [
        (0.25, False),
        pytest.param(0.25, True, marks=pytest.mark.slow),
        pytest.param(0.02, False, marks=pytest.mark.slow),
    ],
)
def test_boxes_equal_those_of_sahi(conf: float, agnostic: bool, picture: np.ndarray) -> None:
    quiet_ultralytics()
    from sahi import AutoDetectionModel
    from sahi.predict import get_sliced_prediction

    alone = load_detector(config_of(conf, slice=None), CPU, trust=False)  # in a slice, sahi leaves Ultralytics' own NMS
    ((boxes, scores, class_ids),) = SlicedDetector(alone, config_of(conf, agnostic_nms=agnostic))([picture])
    weights = str(DEMO_WEIGHTS)
    model = AutoDetectionModel.from_pretrained("ultralytics", weights, None, None, "cpu", None, conf, image_size=IMGSZ)
    result = get_sliced_prediction(
        picture, model, SIDE, SIDE, OVERLAP, OVERLAP, postprocess_class_agnostic=agnostic, verbose=0
    )
    rows = [[*each.bbox.to_xyxy(), each.score.value, each.category.id] for each in result.object_prediction_list]
    assert len(boxes) == len(rows) > 15
    unlike = np.abs(np.column_stack([boxes, scores, class_ids])[:, None] - np.array(rows)[None]).max(axis=2)
    assert unlike.min(axis=0).max() < 0.01 and unlike.min(axis=1).max() < 0.01
    assert (np.diff(scores) <= 0).all()
    ((alone_boxes, *_),) = alone([picture])
    assert len(boxes) > len(alone_boxes), "slices found nothing that the whole image did not show"


def test_an_image_no_larger_than_a_slice_is_not_sliced_and_its_boxes_are_not_merged(picture: np.ndarray) -> None:
    images = [picture[:SIDE, :SIDE], picture[:SIDE, 10:100]]
    found, plain = find(images, config_of(0.02)), find(images, config_of(0.02, slice=None))
    for ours, theirs in zip(found, plain, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b)
    (first, *_), _ = plain
    assert (box_iou(first, first) > 0.5).sum() > len(first), "nothing overlaps, so nothing could be merged"


@pytest.mark.slow
def test_the_boxes_of_an_image_do_not_depend_on_the_batch(picture: np.ndarray) -> None:
    images = [picture[:300, :400], picture[:200, :200], picture[100:400, :300]]
    config = config_of()
    together = find(images, replace(config, dataloader=replace(config.dataloader, batch_size=3)))
    for ours, image in zip(together, images, strict=True):
        for a, b in zip(ours, find([image], config)[0], strict=True):
            np.testing.assert_allclose(a, b, atol=0.01)
    assert find([], config) == []


class Edges:
    """A detector whose box leaves each image on all sides, and one that is no box."""

    names = ("all",)

    def __call__(self, images: list[np.ndarray]) -> list[ScoredBoxes]:
        boxes = [[[-9, -9, image.shape[1] + 9, image.shape[0] + 9], [5, 5, 5, 9]] for image in images]
        return [(np.array(each, np.float32), np.float32([0.5, 0.9]), np.zeros(2, np.int64)) for each in boxes]


def test_boxes_that_leave_their_slices_are_clipped_and_what_is_no_box_is_dropped() -> None:
    ((boxes, scores, _),) = SlicedDetector(Edges(), config_of())([np.zeros((300, 1000, 3), np.uint8)])
    assert [0, 0, 1000, 300] in boxes.tolist()
    assert boxes.min() == 0 and (boxes.max(axis=0) <= [1000, 300, 1000, 300]).all()
    assert set(scores.tolist()) == {0.5}


def test_slices_are_halved_when_memory_runs_out_and_a_single_one_is_refused() -> None:
    sizes: list[int] = []

    class Full(Edges):
        most = 2

        def __call__(self, images: list[np.ndarray]) -> list[ScoredBoxes]:
            sizes.append(len(images))
            if len(images) > self.most:
                raise torch.OutOfMemoryError("no memory")
            return super().__call__(images)

    detector, image = SlicedDetector(Full(), config_of()), np.zeros((400, 600, 3), np.uint8)
    assert len(detector([image])[0][0])
    assert sizes[0] == 7 and max(sizes[-2:]) <= 2
    Full.most = 0
    with pytest.raises(RunError, match=r"one slice \(no memory\)"):
        detector([image])


def test_without_sahi_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.slices.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"^detector.slice: sahi is not installed.*pip install sahi$"):
        load_detector(config_of(), CPU, trust=False)
    assert load_detector(config_of(slice=None), CPU, trust=False).names


def test_loggers_stay_as_they_are() -> None:
    before = logging.getLoggerClass()
    SlicedDetector(Edges(), config_of())
    assert logging.getLoggerClass() is before
