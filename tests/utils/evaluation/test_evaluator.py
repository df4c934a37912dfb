"""The sink that evaluates: what it prints and writes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.evaluate import NAMES, provenance, random_pairs
from utils.annotations.source import AnnotationFolder
from utils.class_map import ClassMap
from utils.distributed import Session
from utils.engine import RunSummary
from utils.errors import SampleError
from utils.evaluation.evaluator import Comparison, Evaluator
from utils.io.writers import WriterError, Writers
from utils.label_maps import instances_of
from utils.masks import Mask
from utils.metrics.calibration import Calibration
from utils.structures import Detections, Instances, Sample


@pytest.fixture
def writers() -> Iterator[Writers]:
    with Writers(2) as writers:
        yield writers


def sample_of(image_id: str, target: np.ndarray) -> Sample:
    return Sample(image_id, Path(f"{image_id}.jpg"), np.zeros((*target.shape, 3), np.uint8), target)


def test_an_image_without_detections_counts_as_background(tmp_path: Path, writers: Writers) -> None:
    target = np.array([[0, 1], [1, 1]], np.uint8)
    evaluator = Evaluator(["car"], tmp_path, writers, provenance())
    evaluator.write(sample_of("missed", target), Instances((2, 2), Detections.empty(), [], np.zeros(0, np.float32)))
    lines = evaluator.finish(RunSummary(), Session()).lines
    assert lines[-3:] == ["Pixel_Accuracy: 0.2500", "Mean_IOU: 0.1250", "Class_IOU: 0:0.2500 1:0.0000"]


def test_metrics_json_has_full_precision_null_for_nan_and_names_failures(tmp_path: Path, writers: Writers) -> None:
    target = np.array([[0, 1, 1]], np.uint8)
    found = Detections.from_arrays([[1, 0, 2, 1]], [0.5], [0])
    evaluator = Evaluator(["car", "dog"], tmp_path, writers, provenance())
    mask = Mask(1, 0, np.ones((1, 1), bool))
    evaluator.write(sample_of("a", target), Instances((1, 3), found, [mask], np.array([0.9], np.float32)))
    failure = SampleError("b", Path("b.jpg"), "missing")
    lines = evaluator.finish(RunSummary([failure]), Session()).lines
    assert lines[-3:-1] == ["Pixel_Accuracy: 0.6667 over 1 of 2 images", "Mean_IOU: 0.5000 over 1 of 2 images"]
    assert lines[-1] == "Class_IOU: 0:0.5000 1:0.5000 2:nan"
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written["Pixel_Accuracy"] == 2 / 3
    assert written["Class_IOU"] == {"0": 0.5, "1": 0.5, "2": None}
    assert (written["images"], written["failed"], written["failures"]) == (1, 1, {"b": "missing"})


def test_the_progress_bar_shows_the_measures_so_far(tmp_path: Path, writers: Writers) -> None:
    evaluator = Evaluator(["car"], tmp_path, writers, provenance())
    assert all(np.isnan(value) for value in evaluator.running_metrics().values())
    nothing = Instances((2, 2), Detections.empty(), [], np.zeros(0, np.float32))
    evaluator.write(sample_of("missed", np.array([[0, 1], [1, 1]], np.uint8)), nothing)
    writers.flush()
    assert evaluator.running_metrics() == {"accuracy": 0.25, "mIoU": 0.125}


def test_the_order_of_the_images_changes_no_byte(tmp_path: Path, writers: Writers) -> None:
    pairs, printed = random_pairs(12), []
    for name, order in (("run", pairs), ("backwards", pairs[::-1])):
        evaluator = Evaluator(NAMES, tmp_path / name, writers, provenance())
        for sample, instances in order:
            evaluator.write(sample, instances)
        printed.append(evaluator.finish(RunSummary(), Session()).lines)
    assert printed[0] == printed[1]
    for file in ("metrics.json", "per_image.csv", "confusion_matrix.csv"):
        assert (tmp_path / "run" / file).read_bytes() == (tmp_path / "backwards" / file).read_bytes()


def test_an_image_that_cannot_be_scored_ends_the_run(tmp_path: Path) -> None:
    class Broken(Instances):
        def to_semantic(self) -> np.ndarray:
            raise MemoryError

    def run() -> None:
        with Writers(1) as writers:
            evaluator = Evaluator(["car"], tmp_path, writers, provenance())
            broken = Broken((2, 2), Detections.empty(), [], np.zeros(0, np.float32))
            evaluator.write(sample_of("a", np.zeros((2, 2), np.uint8)), broken)
            evaluator.finish(RunSummary(), Session())

    with pytest.raises(WriterError, match=r"metrics\.json"):
        run()


def test_an_evaluation_with_enough_objects_writes_what_their_scores_mean(tmp_path: Path, writers: Writers) -> None:
    """Every image has two objects, of which the one with the lower scores is wrong."""
    evaluator = Evaluator(["car", "dog"], tmp_path, writers, provenance())
    target = np.zeros((8, 8), np.uint8)
    target[:4] = 1
    masks = [Mask(0, 0, np.ones((4, 8), bool)), Mask(0, 6, np.ones((2, 8), bool))]
    for i in range(40):
        found = Instances.from_masks((8, 8), [0, 0], masks, [0.9, 0.4 + i / 1000], [0.95, 0.7])
        evaluator.write(sample_of(str(i), target), found)
    lines = evaluator.finish(RunSummary(), Session()).lines
    (line,) = [line for line in lines if line.startswith("calibration: ")]
    calibration = Calibration.load(tmp_path / "calibration.json")
    assert (calibration.images, calibration.objects) == (40, 80)
    assert calibration.iou_map(np.array([[0.9, 0.95], [0.4, 0.7]]), ["car", "car"]).tolist() == pytest.approx(
        [1, 0], abs=0.01
    )
    assert f"{calibration.error:.4f}, of the mask score alone 0.3750" in line


def test_a_comparison_gives_the_metrics_of_both_and_the_difference(tmp_path: Path) -> None:
    target = np.zeros((8, 10), np.uint8)
    target[2:6, 2:8] = 1
    shape = {"label": "car", "points": [[2, 2], [4, 5]], "shape_type": "rectangle"}  # the left half of the object
    content = {"shapes": [shape], "imagePath": "a.png", "imageHeight": 8, "imageWidth": 10}
    (tmp_path / "a.json").write_text(json.dumps(content))
    class_map = ClassMap.from_targets(("car", "bus"), {})
    comparison = Comparison(class_map, AnnotationFolder(tmp_path, class_map.index))
    for image_id in "ab":
        sample = Sample(image_id, Path(f"{image_id}.png"), np.zeros((8, 10, 3), np.uint8), target)
        comparison.add(sample, instances_of(target, None))
    written, lines = comparison.result(Session())
    half, ground = 12 / 24, 56 / 68
    assert written["images"] == 1 and list(written["without"]) == ["b"]
    assert written["Class_IOU"]["1"] == {"before": half, "now": 1, "gain": half}
    assert written["Class_IOU"]["2"] == {"before": None, "now": None, "gain": None}
    assert written["Mean_IOU"]["gain"] == pytest.approx(1 - (half + ground) / 2)
    assert lines[0] == f"comparison: over 1 image, from {tmp_path} to this run"
    assert "b.json" in lines[1]
    assert "comparison: 1:car                0.5000 -> 1.0000  +0.5000" in lines
