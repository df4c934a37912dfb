"""What all rows work on: painted images of any size, their boxes and targets, a config, and random weights."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from benchmarks.plain import Boxes
from benchmarks.random_weights import write_sam, write_yolo
from datasets.scenes import class_names, paint_scene
from utils.config.official import REPOSITORY

DISTINCT = 16
"""How many images are painted; further ones are links to the same files, with boxes of their own."""
SKEWED = (0, 1, 10, 1, 3, 30, 0, 5)
"""Boxes of the images of a skewed mix, over and over."""
CLIP = "clip"
IMGSZ = 640
CONF = 0.25
CALIBRATION_HEIGHT, CALIBRATION_BOXES = 256, 10
MODELS = {"tiny": "t", "small": "s", "base+": "b+", "large": "l", "demo": ""}
"""Model name -> what sam2's config is called after; the demo's architecture is this project's."""


@dataclass(frozen=True)
class Order:
    """What to measure on.

    Attributes:
        model: one of MODELS.
        image_size: side of SAM2's square input in pixels, or None for the architecture's own.
        size: (width, height) of the images in pixels.
        images: how many there are.
        boxes: boxes an image, or None for the skewed mix.
        batch: images a batch.
        device: `cpu` or `cuda`.
        detector: a YOLO architecture, such as `yolov8n`, that finds at most `boxes` boxes an image, or None for
            fixed boxes.
        clip: whether the images are the frames of a clip.
    """

    model: str
    image_size: int | None
    size: tuple[int, int]
    images: int
    boxes: int | None
    batch: int
    device: str
    detector: str | None = None
    clip: bool = False

    def boxes_of(self, index: int) -> int:
        """How many boxes image `index` has."""
        return SKEWED[index % len(SKEWED)] if self.boxes is None else self.boxes

    @property
    def most_boxes(self) -> int:
        """The most boxes that an image has."""
        return max(SKEWED) if self.boxes is None else self.boxes


@dataclass(frozen=True)
class Workload:
    """An order, carried out in a folder; it can be sent to other processes."""

    order: Order
    folder: Path

    @property
    def tree(self) -> Path:
        """The images as a Pascal VOC tree, with `prediction.json`."""
        return self.folder / "tree"

    @property
    def config(self) -> Path:
        """The project's config."""
        return self.folder / "config.json"

    @property
    def sam_config(self) -> Path:
        """SAM2's architecture."""
        return self.folder / "sam2.yaml"

    @property
    def sam_weights(self) -> Path:
        """SAM2's weights; of the name by which ultralytics knows the architecture, too."""
        return self.folder / f"sam2.1_{MODELS[self.order.model].rstrip('+') or 'demo'}.pt"

    @property
    def yolo_weights(self) -> Path | None:
        """YOLO's weights, or None where boxes are fixed."""
        return self.folder / "yolo.pt" if self.order.detector else None

    @property
    def names(self) -> tuple[str, ...]:
        """Class names, by class id."""
        return class_names()

    @property
    def prompts(self) -> Path:
        """The fixed boxes as a prompt file."""
        return self.tree / "prediction.json"

    def image_id(self, index: int) -> str:
        """The id of an image."""
        name = f"image_{index:05d}"
        return f"{CLIP}/{name}" if self.order.clip else name

    def image(self, index: int) -> Path:
        """The file of an image."""
        return self.tree / "JPEGImages" / f"{self.image_id(index)}.jpg"

    def target(self, index: int) -> np.ndarray:
        """(H, W) uint8 labels of an image."""
        return np.array(Image.open(self.tree / "SegmentationClass" / f"{self.image_id(index)}.png"))

    def boxes(self, index: int) -> Boxes:
        """The fixed boxes of an image, random but always the same."""
        rng = np.random.default_rng([1, index])
        count, (width, height) = self.order.boxes_of(index), self.order.size
        side, place = rng.uniform(0.05, 0.6, (count, 2)), rng.uniform(0, 1, (count, 2))
        corner = place * (1 - side)
        xyxy = np.hstack([corner, corner + side]) * [width, height, width, height]
        scores = rng.uniform(CONF + 0.05, 1, count)
        return Boxes(xyxy.astype(np.float32), scores.astype(np.float32), rng.integers(0, len(self.names), count))


def write_workload(order: Order, folder: Path, sam_weights: bytes | None = None) -> Workload:
    """Paints the images and writes everything else that the rows read.

    Args:
        sam_weights: the weight file of an earlier workload of the same architecture; left out, it is made.
    """
    work = Workload(order, folder)
    painted = _write_images(work)
    lists = work.tree / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("".join(f"{work.image_id(i)}\n" for i in range(order.images)))
    (lists / "val_videos.txt").write_text(f"{CLIP}\n" if order.clip else "")
    work.prompts.write_text(json.dumps([row for i in range(order.images) for row in _prompt_rows(work, i)]))
    work.config.write_text(json.dumps(_settings(work), indent=2))
    work.sam_config.write_text(_architecture(order))
    if sam_weights is not None:
        work.sam_weights.write_bytes(sam_weights)
    else:
        _write_sam(work, painted[0])
    if work.yolo_weights is not None:
        write_yolo(f"{order.detector}.yaml", work.names, painted[:8], IMGSZ, work.yolo_weights)
    return work


def _write_sam(work: Workload, image: np.ndarray) -> None:
    """Writes SAM2's random weights, set by a small copy of an image and the first boxes of the workload."""
    boxes = np.concatenate([work.boxes(i).xyxy for i in range(len(SKEWED))])[:CALIBRATION_BOXES]
    factor = min(1.0, CALIBRATION_HEIGHT / image.shape[0])
    small = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    write_sam(work.sam_config, work.sam_weights, small, boxes * np.float32(factor))


def _write_images(work: Workload) -> Sequence[np.ndarray]:
    """Writes images and targets; the (H, W, 3) uint8 RGB images that were painted."""
    painted = []
    folders = {work.tree / "JPEGImages": ".jpg", work.tree / "SegmentationClass": ".png"}
    for folder in folders:
        (folder / work.image_id(0)).parent.mkdir(parents=True)
    for i in range(min(DISTINCT, work.order.images)):
        scene = paint_scene(3, i)
        painted.append(cv2.resize(scene.image, work.order.size, interpolation=cv2.INTER_CUBIC))
        target = cv2.resize(scene.classes, work.order.size, interpolation=cv2.INTER_NEAREST)
        for (folder, suffix), pixels in zip(folders.items(), (painted[-1], target)):
            Image.fromarray(pixels).save(folder / f"{work.image_id(i)}{suffix}", quality=92)
    for i in range(DISTINCT, work.order.images):
        for folder, suffix in folders.items():
            os.link(folder / f"{work.image_id(i % DISTINCT)}{suffix}", folder / f"{work.image_id(i)}{suffix}")
    return painted


def _prompt_rows(work: Workload, index: int) -> list[dict[str, Any]]:
    columns = (column.tolist() for column in work.boxes(index))
    return [
        {"image_id": work.image_id(index), "category_id": class_id, "bbox": box, "score": score}
        for box, score, class_id in zip(*columns)
    ]


def _architecture(order: Order) -> str:
    """The yaml of SAM2's architecture, with the image size that was asked for."""
    if order.model == "demo":
        path = REPOSITORY / "sam" / "sam2.1" / "sam2.1_hiera_demo.yaml"
    else:
        import sam2

        path = Path(sam2.__path__[0], "configs", "sam2.1", f"sam2.1_hiera_{MODELS[order.model]}.yaml")
    text = path.read_text()
    size = order.image_size
    return text if size is None else re.sub(r"^(\s*image_size:).*", rf"\1 {size}", text, flags=re.MULTILINE)


def _settings(work: Workload) -> dict[str, Any]:
    """The project's config; annotations, overlays and metrics go below the folder `out`."""
    arch = {"sam_config": work.sam_config.name, "sam_weights": work.sam_weights.name}
    sections = {"evaluator": "evaluation", "predictor": "masks", "auto_mask": "annotations"}
    return {
        "arch": arch | ({"yolo_weights": work.yolo_weights.name} if work.yolo_weights else {}),
        "dataset": {"data_dir": "tree", "classes": list(work.names), "conf": CONF},
        "dataloader": {"batch_size": work.order.batch},
        "detector": {"imgsz": IMGSZ, "max_det": work.order.most_boxes},
        **{section: {"save_dir": f"out/{name}"} for section, name in sections.items()},
    }
