"""Whole runs on painted scenes: a merged evaluation equals one of data that was merged by hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

import yolo_sam
import yolo_sam_auto_anno_generator
from datasets.scenes import main as paint
from utils.classes import VOC_PALETTE

CLASS_MAP = {"car": "vehicle", "watercraft": "vehicle", "turtle": None}
NAMES = ("vehicle", "airplane", "elephant")
LABELS = (0, 1, 2, 3, 0, 1)
"""New label of each label of the painted masks: car, airplane, elephant, turtle, watercraft."""


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A painted split, and a copy whose masks and boxes have the merged classes."""
    folder = tmp_path_factory.mktemp("trees")
    painted, merged = folder / "painted", folder / "merged"
    assert paint(["--seed", "5", "--count", "4", "--out", str(painted)]) == 0
    shutil.copytree(painted, merged)
    labels = np.arange(256, dtype=np.uint8)
    labels[: len(LABELS)] = LABELS
    for path in (merged / "SegmentationClass").rglob("*.png"):
        picture = Image.fromarray(cv2.LUT(np.asarray(Image.open(path)), labels))
        picture.putpalette(VOC_PALETTE)
        picture.save(path)
    return painted, merged


def evaluate(tree: Path, out: Path, *more: str) -> dict[str, Any]:
    arguments = ["--set", f"dataset.data_dir={tree}", "-o", str(out), *more]
    assert yolo_sam.main(["--boxes", "target", *arguments]) == 0
    return json.loads((out / "evaluation" / "metrics.json").read_text())


def test_a_merged_evaluation_equals_one_of_merged_data(trees: tuple[Path, Path], tmp_path: Path) -> None:
    painted, merged = trees
    ours = evaluate(painted, tmp_path / "ours", "--set", f"dataset.class_map={json.dumps(CLASS_MAP)}")
    theirs = evaluate(merged, tmp_path / "theirs", "--set", f"dataset.classes={json.dumps(NAMES)}")
    for key in ("Pixel_Accuracy", "Mean_IOU", "Class_IOU"):
        assert ours[key] == theirs[key], key


def test_all_outputs_name_the_merged_classes(trees: tuple[Path, Path], tmp_path: Path) -> None:
    key = f"dataset.class_map={json.dumps(CLASS_MAP | {'truck': 'vehicle'})}"
    arguments = ["--set", f"dataset.data_dir={trees[0]}", "--boxes", "target", "-o", str(tmp_path), "--set", key]
    assert yolo_sam_auto_anno_generator.main([*arguments, "--format", "labelme", "coco"]) == 0
    labels = [
        shape["label"]
        for path in (tmp_path / "annotations").glob("val_*.json")
        for shape in json.loads(path.read_text())["shapes"]
    ]
    assert {*labels} <= {*NAMES} and "vehicle" in labels
    file = json.loads((tmp_path / "annotations" / "coco" / "instances.json").read_text())
    assert [each["name"] for each in file["categories"]] == list(NAMES)


@pytest.mark.parametrize("mapped", [False, True])
def test_annotations_may_have_the_names_before_or_after_the_map(
    trees: tuple[Path, Path], tmp_path: Path, mapped: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """All that reads them gives them the classes of the run: `-a`, and `--diff` of both scripts."""
    arguments, key = ["--set", f"dataset.data_dir={trees[0]}"], f"dataset.class_map={json.dumps(CLASS_MAP)}"
    made, maps = tmp_path / "made", ["--set", key]
    annotate = yolo_sam_auto_anno_generator.main
    assert annotate([*arguments, "--boxes", "target", "-o", str(made), *(maps if mapped else [])]) == 0
    folder = str(made / "annotations")
    expected = evaluate(trees[0], tmp_path / "models", *maps, "--diff", folder)
    comparison = json.loads((tmp_path / "models" / "evaluation" / "comparison.json").read_text())
    assert comparison["Mean_IOU"] == {"before": expected["Mean_IOU"], "now": expected["Mean_IOU"], "gain": 0}
    assert yolo_sam.main([*arguments, "-a", folder, "-o", str(tmp_path / "read"), *maps]) == 0
    read = json.loads((tmp_path / "read" / "evaluation" / "metrics.json").read_text())
    assert read["Class_IOU"] == expected["Class_IOU"]
    capsys.readouterr()
    assert annotate([*arguments, "--boxes", "target", "-o", str(tmp_path / "new"), *maps, "--diff", folder]) == 0
    assert "objects 0 extra, 0 missing, 0 low overlap, in 0 images" in capsys.readouterr().out


def test_what_a_map_drops_and_never_meets_is_said(
    trees: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = f"dataset.class_map={json.dumps(CLASS_MAP | {'truck': 'vehicle'})}"
    evaluate(trees[0], tmp_path, "--set", key)
    printed = capsys.readouterr().out
    assert "class_map: objects of dropped classes: turtle " in printed
    assert "class_map: nothing was called truck" in printed
