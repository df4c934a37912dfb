"""Images with targets and what a weak model found in them, and the reports of such images; no model runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from tests.helpers.evaluate import provenance
from utils.classes import VOID, label_of
from utils.distributed import Session
from utils.engine import RunSummary
from utils.evaluation.evaluator import Evaluator
from utils.evaluation.report.pictures import WorstImages
from utils.io.writers import Writers
from utils.masks import Mask
from utils.structures import Detections, Instances, Sample

NAMES = ("car", "dog", "bird")

Scored = tuple[Sample, Instances]


def images(count: int, size: tuple[int, int] = (48, 64), names: Sequence[str] = NAMES) -> Iterator[Scored]:
    """Photographs of soft noise; in most of them a found object is shifted, missing or of another class."""
    for i in range(count):
        yield _image(f"clip {i % 3}/{i:04}", np.random.default_rng(i), size, len(names))


def write_report(
    folder: Path,
    scored: Iterable[Scored],
    names: Sequence[str] = NAMES,
    *,
    shown: int = 200,
    summary: RunSummary | None = None,
    title: str = "made up",
) -> Path:
    """The report of these images, written by the sink that a run has."""
    with Writers(2) as writers:
        evaluator = Evaluator(names, folder, writers, provenance(title), worst_images=WorstImages(shown))
        for sample, instances in scored:
            evaluator.write(sample, instances)
        evaluator.finish(summary or RunSummary(), Session())
    return folder / "report.html"


def _image(image_id: str, rng: np.random.Generator, size: tuple[int, int], num_classes: int) -> Scored:
    height, width = size
    coarse = rng.integers(0, 256, (height // 16 + 1, width // 16 + 1, 3), np.uint8)
    photo = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    cv2.add(photo, rng.integers(0, 24, photo.shape, np.uint8), photo)
    target, boxes, class_ids = np.zeros(size, np.uint8), [], []
    for _ in range(rng.integers(1, 4)):
        top, left = rng.integers(0, height * 2 // 3), rng.integers(0, width * 2 // 3)
        bottom, right = top + height // 4, left + width // 4
        class_id = int(rng.integers(num_classes))
        target[top:bottom, left:right] = label_of(class_id)
        shift = int(rng.integers(0, min(width // 8, width - right) + 1))
        if rng.random() < 0.85:
            boxes.append((left + shift, top, right + shift, bottom))
            class_ids.append(class_id if rng.random() < 0.9 else (class_id + 1) % num_classes)
    target[:2] = VOID
    masks = [Mask(left, top, np.ones((bottom - top, right - left), bool)) for left, top, right, bottom in boxes]
    scores = rng.uniform(0.3, 1, len(boxes))
    detections = Detections.from_arrays(boxes, scores, class_ids)
    instances = Instances(size, detections, masks, rng.uniform(0.5, 1, len(boxes)).astype(np.float32))
    return Sample(image_id, Path(f"{image_id}.jpg"), photo, target), instances
