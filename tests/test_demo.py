"""The embedded demo: no toy, and solved better than by the simple ways to fill a box."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import yolo_sam
from datasets.voc import VocDataset
from utils.masks import Mask
from utils.metrics.segmentation import LabelCounts, confusion_matrix, mean_iou
from utils.structures import Detections, Instances, Sample

REPOSITORY = Path(__file__).parents[1]
DEMO = REPOSITORY / "datasets" / "demo"
NUM_LABELS = 6

# The scores in datasets/demo/README.md less a margin for other processors; better weights raise them.
DETECTOR_IOU, DETECTOR_ACCURACY, TRUE_BOX_IOU, CLIP_J = 0.905, 0.975, 0.91, 0.83

# Of the embedded weights, other ones change them; computed when found and true boxes were still one list.
BOXES = {"found": 104, "true": 97, "matched": 97, "false": 7, "missed": 0, "wrong_class": 0}
PARTS = {"false": 0.0032, "badly_placed": 0.0114, "missed": 0.0, "wrong_class": 0.0, "sam2": 0.0697}


@pytest.fixture(scope="module")
def demo() -> list[tuple[Sample, Detections]]:
    """The demo's samples with their true boxes."""
    dataset = VocDataset(DEMO, "val", with_gt_masks=True, with_gt_instances=True)
    return [(sample, sample.gt_instances.detections) for sample in map(dataset.load, range(len(dataset)))]


def filled(sample: Sample, box: np.ndarray) -> np.ndarray:
    """(H, W) bool: the box itself."""
    x1, y1, x2, y2 = box.astype(int)
    mask = np.zeros(sample.size, bool)
    mask[y1:y2, x1:x2] = True
    return mask


def grab_cut(sample: Sample, box: np.ndarray) -> np.ndarray:
    """(H, W) bool: what OpenCV cuts out of the box."""
    x1, y1, x2, y2 = box.astype(int).tolist()
    labels = np.zeros(sample.size, np.uint8)
    models = np.zeros((2, 1, 65))
    cv2.setRNGSeed(0)
    cv2.grabCut(sample.image, labels, (x1, y1, x2 - x1, y2 - y1), models[0], models[1], 5, cv2.GC_INIT_WITH_RECT)
    return np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD))


Fill = Callable[[Sample, np.ndarray], np.ndarray]


@pytest.mark.slow
@pytest.mark.parametrize(("fill", "most"), [(filled, 0.65), (grab_cut, 0.75)])
def test_the_task_is_no_toy(fill: Fill, most: float, demo: list[tuple[Sample, Detections]]) -> None:
    def counted(sample: Sample, boxes: Detections) -> np.ndarray:
        masks = [Mask.from_array(fill(sample, box)) for box in boxes.boxes]
        instances = Instances(sample.size, boxes, masks, np.linspace(0, 1, len(masks), dtype=np.float32))
        return confusion_matrix(instances.to_semantic(), sample.gt_mask, NUM_LABELS)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        matrix = sum(pool.map(counted, *zip(*demo[::10])))  # a tenth, since grabCut takes seconds for each
    assert mean_iou(LabelCounts.from_matrix(matrix)) <= most


def evaluated(tmp_path: Path, *arguments: str) -> dict[str, Any]:
    """metrics.json of an evaluation."""
    config = ["-c", str(REPOSITORY / "config.json"), "--device", "cpu", "--set", f"evaluator.save_dir={tmp_path}"]
    assert yolo_sam.main([*config, *arguments]) == 0
    return json.loads((tmp_path / "metrics.json").read_text())


@pytest.mark.slow
def test_the_demo_with_the_detectors_boxes_and_its_error_attribution(tmp_path: Path) -> None:
    metrics = evaluated(tmp_path, "--attribute")
    assert metrics["Mean_IOU"] >= DETECTOR_IOU
    assert metrics["Pixel_Accuracy"] >= DETECTOR_ACCURACY
    attribution = json.loads((tmp_path / "attribution.json").read_text())
    assert attribution["boxes"] == BOXES
    assert attribution["parts"] == pytest.approx(PARTS, abs=2e-3)
    assert attribution["missing"] == pytest.approx(sum(PARTS.values()), abs=2e-3)
    boxes_right = [error for error in PARTS if error != "sam2"]
    (with_true_boxes,) = [each for each in attribution["coalitions"] if each["corrected"] == boxes_right]
    assert with_true_boxes["Mean_IOU"] >= TRUE_BOX_IOU


def test_the_prompt_file_has_the_true_boxes(demo: list[tuple[Sample, Detections]]) -> None:
    rows = json.loads((DEMO / "prediction.json").read_text())
    for sample, true in demo:
        own = [row for row in rows if row["image_id"] == sample.image_id]
        assert [row["bbox"] for row in own] == true.boxes.tolist()
        assert [row["category_id"] for row in own] == true.class_ids.tolist()


@pytest.mark.slow
def test_the_clip_is_followed_from_the_boxes_of_its_first_frame(tmp_path: Path) -> None:
    clips = evaluated(tmp_path, "--video", "--keyframe-interval=0", "-p", str(DEMO / "prediction.json"))["clips"]
    assert clips["J"] >= CLIP_J
    assert clips["id_switches"] == 0
