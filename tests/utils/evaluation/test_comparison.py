"""What a correction gained, over the images that both have."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from utils.annotations.source import AnnotationFolder
from utils.class_map import ClassMap
from utils.distributed import Session
from utils.evaluation.comparison import Comparison
from utils.label_maps import instances_of
from utils.structures import Sample


def test_metrics_of_both_and_the_difference(tmp_path: Path) -> None:
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
