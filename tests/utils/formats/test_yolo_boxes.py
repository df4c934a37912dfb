"""The judge is ultralytics: its scan of the labels, and the boxes that its detectors train on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from models.ultralytics_quiet import quiet_ultralytics
from utils.formats.base import ExportSettings
from utils.formats.registry import FORMATS
from utils.formats.yolo import MSG_UPRIGHT
from utils.formats.yolo_labels import LabelReader
from utils.masks import Mask
from utils.structures import Instances, Sample

NAMES = ("car", "air plane: 1", "汽车")


def scanned(folder: Path, task: str) -> Any:
    """What ultralytics makes of the folder, as it does before it trains."""
    quiet_ultralytics()
    from ultralytics.data import YOLODataset
    from ultralytics.data.utils import check_det_dataset

    data = check_det_dataset(folder / "data.yaml", autodownload=False)
    return YOLODataset(img_path=data["train"], data=data, task=task, augment=False, imgsz=60, rect=False)


def test_ultralytics_reads_the_tight_boxes(tmp_path: Path, scene: tuple[Sample, Instances], write: Callable) -> None:
    write(FORMATS["yolo-detect"].exporter(ExportSettings(tmp_path, NAMES)), tmp_path, [scene])
    (label,) = scanned(tmp_path, "detect").labels
    masks = [(i, mask) for i, mask in enumerate(scene[1].masks) if mask.crop.size]
    assert label["cls"].ravel().tolist() == [scene[1].detections.class_ids[i] for i, _ in masks]
    for (x, y, w, h), (_, mask) in zip(label["bboxes"] * (60, 40, 60, 40), masks):
        np.testing.assert_allclose((x - w / 2, y - h / 2, x + w / 2, y + h / 2), mask.box, atol=1e-4)


@pytest.mark.parametrize("angle", [0, 20, 45, 80, 130])
def test_ultralytics_trains_on_the_rectangle_that_was_drawn(tmp_path: Path, write: Callable, angle: float) -> None:
    from ultralytics.utils.ops import xyxyxyxy2xywhr

    size, drawn = (160, 240), np.zeros((160, 240), np.uint8)
    cv2.fillPoly(drawn, [cv2.boxPoints(((120, 80), (90, 30), angle)).round().astype(int)], 1)
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    cv2.imwrite(str(path := tmp_path / "a.png"), image[:, :, ::-1])
    pair = Sample("a", path, image), Instances.from_masks(size, [1], [Mask.from_array(drawn)])
    write(FORMATS["yolo-obb"].exporter(ExportSettings(tmp_path / "out", NAMES)), tmp_path / "out", [pair])
    (label,) = scanned(tmp_path / "out", "obb").labels
    ((x, y, w, h, turned),) = xyxyxyxy2xywhr((label["segments"][0] * (240, 160)).reshape(1, 8))
    corners = cv2.boxPoints(((x, y), (w, h), np.degrees(turned)))
    hull = cv2.convexHull(np.argwhere(np.kron(drawn, np.ones((2, 2))))[:, ::-1].astype(np.float32) / 2)[:, 0]
    assert all(cv2.pointPolygonTest(corners, (float(px), float(py)), True) > -0.6 for px, py in hull)
    assert abs((w, h) - np.array((91, 31))).max() < 2 and abs(x - 120.5) < 1 and abs(y - 80.5) < 1
    assert abs((np.degrees(turned) - angle + 90) % 180 - 90) < 2


def test_ultralytics_keeps_images_with_turned_objects_at_their_edges(tmp_path: Path, write: Callable) -> None:
    """It leaves out an image, whole, with a row that it finds out of bounds."""
    size, masks = (40, 60), np.zeros((3, 40, 60), np.uint8)
    cv2.fillPoly(masks[0], [np.array([[0, 0], [12, 0], [44, 30]])], 1)
    cv2.fillPoly(masks[1], [np.array([[45, 5], [58, 15], [40, 38], [27, 28]])], 1)
    cv2.line(masks[2], (0, 0), (59, 39), 1, 1)
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    cv2.imwrite(str(path := tmp_path / "a.png"), image[:, :, ::-1])
    pair = Sample("a", path, image), Instances.from_masks(size, [0, 1, 2], [Mask.from_array(mask) for mask in masks])
    (made,) = write(FORMATS["yolo-obb"].exporter(ExportSettings(tmp_path / "out", NAMES)), tmp_path / "out", [pair])
    (label,) = scanned(tmp_path / "out", "obb").labels
    assert len(label["cls"]) == 3
    assert made.losses[MSG_UPRIGHT] == 1
    labels = tmp_path / "out" / "labels" / "a.txt"
    rows = LabelReader([labels]).labels(labels)  # so -p and -a take them, too, though corners lie outside
    assert min(row.points.min() for row in rows) < -0.01
    np.testing.assert_allclose([row.points for row in rows], label["segments"], atol=1e-6)


def test_masks_of_every_kind_have_a_rotated_box(
    tmp_path: Path, scene: tuple[Sample, Instances], write: Callable
) -> None:
    (made,) = write(FORMATS["yolo-obb"].exporter(ExportSettings(tmp_path, NAMES)), tmp_path, [scene])
    (label,) = scanned(tmp_path, "obb").labels
    assert len(label["cls"]) == made.shapes == 6
