"""The door of detectors: a class, and a line in a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

import yolo_sam
from datasets.scenes import main as paint
from models.detector import DETECTORS, find_detector
from tests.doors.conftest import Example
from utils.boxes import ScoredBoxes
from utils.cli.guard import guarded
from utils.config import Config, DatasetConfig

REPOSITORY = Path(__file__).parents[2]


class CornerDetector:
    """Finds one object of each of its classes, the k-th in the k-th quarter of the image; its weights are its names."""

    def __init__(self, weights: Path, device: object, config: Config, *, trust: bool) -> None:
        self.names = tuple(weights.read_text().split())
        self._conf = config.dataset.conf

    def __call__(self, images: Sequence[npt.NDArray[np.uint8]]) -> list[ScoredBoxes]:
        return [self._find(*image.shape[:2]) for image in images]

    def _find(self, height: int, width: int) -> ScoredBoxes:
        ids = np.arange(len(self.names))
        left = ids * width / 4
        boxes = np.stack([left, 0 * left, left + width / 4, 0 * left + height], axis=1).astype(np.float32)
        scores = (0.9 - ids / 100).astype(np.float32)
        found = scores > self._conf
        return boxes[found], scores[found], ids[found]


def test_a_detector_needs_one_line_in_its_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(DETECTORS, "corner", CornerDetector)
    assert paint(["--seed", "8", "--count", "2", "--out", str(tmp_path / "tree"), "--plain"]) == 0
    (tmp_path / "toy.txt").write_text("turtle unicorn aeroplane car")
    demo = json.loads((REPOSITORY / "config.json").read_text())["arch"]
    sam = {key: str(REPOSITORY / demo[key]) for key in ("sam_config", "sam_weights")}
    config: dict[str, Any] = {
        "arch": {"yolo": "corner", "yolo_weights": "toy.txt", **sam},
        "dataset": {"data_dir": "tree", "classes": "tree/class_names.txt"},
        **{section: {"save_dir": f"out/{section}"} for section in ("evaluator", "auto_mask")},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    command = ["-c", str(tmp_path / "config.json"), "--device", "cpu", "--also", "annotate", "--set"]
    assert guarded(lambda: yolo_sam.main([*command, "dataset.conf=0.875"])) == 0
    printed = capsys.readouterr().out
    assert "detector: boxes dropped, since the dataset lacks their classes: unicorn 2\n" in printed
    labels = [
        shape["label"]
        for path in sorted((tmp_path / "out/auto_mask").glob("val_*.json"))
        for shape in json.loads(path.read_text())["shapes"]
    ]
    assert set(labels) == {"turtle", "airplane"}, "the dataset calls it airplane; car scores less than dataset.conf"
    labelled = json.loads((tmp_path / "out/evaluator/metrics.json").read_text())["labels"]
    names = (tmp_path / "tree/class_names.txt").read_text().split()
    predicted = {names[i - 1] for i, each in enumerate(labelled) if i and each["predicted_pixels"]}
    assert predicted == {"turtle", "airplane"}


def test_the_detector_of_the_page_finds_what_is_bright(tmp_path: Path, example: Example) -> None:
    example("A detector")
    (tmp_path / "lamp.txt").write_text("lamp\n")
    config = Config(dataset=DatasetConfig(conf=0.5))
    detector = find_detector("bright")(tmp_path / "lamp.txt", torch.device("cpu"), config, trust=False)
    image = np.zeros((40, 60, 3), np.uint8)
    image[5:15, 20:50] = 255
    (boxes, scores, class_ids), (nothing, *_) = detector([image, 0 * image])
    assert detector.names == ("lamp",)
    assert boxes.tolist() == [[20, 5, 50, 15]] and 0.5 < scores[0] <= 1 and class_ids.tolist() == [0]
    assert nothing.shape == (0, 4)
