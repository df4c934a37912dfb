"""Rows 1 to 4 of a comparison: what others offer. Each puts images through to the outputs of a scope."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from benchmarks import plain
from benchmarks.gates import Evidence, Found
from benchmarks.plain import Boxes, Masks
from benchmarks.workload import CONF, IMGSZ, Workload
from models.ultralytics_quiet import quiet_ultralytics

SCOPES = {
    "model": frozenset[str](),
    "metrics": frozenset({"metrics"}),
    "annotations": frozenset({"annotations"}),
    "metrics+annotations": frozenset({"metrics", "annotations"}),
    "overlays": frozenset({"overlays"}),
    "all": frozenset({"metrics", "annotations", "overlays"}),
}
"""Scope -> what is made of the masks, which every scope brings to the host."""


class UnavailableError(Exception):
    """A row cannot be measured here; the message says why."""


class Row(Protocol):
    """One system under comparison, its models loaded."""

    def ready(self, scope: str, count: int) -> Callable[[], int]:
        """Clears the way; what is returned puts the first `count` images through and says how many it did."""

    def evidence(self, count: int) -> Evidence:
        """What the row finds in the first `count` images."""


def autocast(precision: str, device: str) -> AbstractContextManager[None]:
    """What a user writes for a precision: nothing for fp32, else autocast."""
    import torch

    kind = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    low = kind != torch.float32
    return torch.autocast(device, dtype=kind if low else torch.bfloat16, enabled=low)


def emptied(folder: Path) -> Path:
    """The folder, without what an earlier pass left in it."""
    shutil.rmtree(folder, ignore_errors=True)
    return folder


class Finder:
    """The boxes of a workload's images: the fixed ones, or what its YOLO finds."""

    def __init__(self, work: Workload) -> None:
        self.work, self.yolo = work, None
        if work.yolo_weights:
            quiet_ultralytics()
            from ultralytics import YOLO

            self.yolo = YOLO(work.yolo_weights)

    def __call__(self, indices: Sequence[int], images: Sequence[np.ndarray]) -> list[Boxes]:
        """The boxes of each image of a batch; those of YOLO at the settings that the project gets."""
        if self.yolo is None:
            return [self.work.boxes(i) for i in indices]
        most, device = self.work.order.most_boxes, self.work.order.device
        return plain.find_boxes(self.yolo, images, conf=CONF, imgsz=IMGSZ, max_det=most, device=device)


class PlainRow:
    """Rows 1 and 2: the plain loop, batch by batch; the scope says whether it renders."""

    def __init__(self, work: Workload, precision: str) -> None:
        self.work, self.precision = work, precision
        self.predictor = plain.load_predictor(work.sam_config, work.sam_weights, work.order.device)
        self.finder = Finder(work)
        self.batch = work.order.batch
        self.out = work.folder / f"{type(self).__name__}-{precision}"

    def ready(self, scope: str, count: int) -> Callable[[], int]:
        """See Row."""
        emptied(self.out)
        return partial(self._run, SCOPES[scope], count)

    def evidence(self, count: int) -> Evidence:
        """See Row."""
        return Evidence([Found.of(*masks, boxes.class_ids) for _, _, boxes, masks in self._results(count)])

    def segment(self, images: Sequence[np.ndarray], boxes: Sequence[np.ndarray]) -> list[Masks]:
        """Masks of the images of a batch."""
        return plain.segment_batch(self.predictor, images, boxes)

    def _results(self, count: int) -> Iterator[tuple[int, np.ndarray, Boxes, Masks]]:
        """Index, pixels, boxes and masks of each image."""
        import torch

        for start in range(0, count, self.batch):
            indices = range(start, min(start + self.batch, count))
            images = [plain.read_image(self.work.image(i)) for i in indices]
            boxes = self.finder(indices, images)
            with torch.inference_mode(), autocast(self.precision, self.work.order.device):
                masks = self.segment(images, [each.xyxy for each in boxes])
            yield from zip(indices, images, boxes, masks)

    def _run(self, outputs: frozenset[str], count: int) -> int:
        names, labels = self.work.names, len(self.work.names) + 1
        matrix = np.zeros((labels, labels), np.int64)
        for i, image, boxes, (masks, scores) in self._results(count):
            name = self.work.image_id(i)
            if "metrics" in outputs:
                predicted = plain.label_map(masks, scores, boxes.class_ids)
                matrix += plain.histogram(predicted, self.work.target(i), labels)
            if "annotations" in outputs:
                plain.annotate(self.out / f"{name}.json", self.work.image(i), masks, boxes, names)
            if "overlays" in outputs:
                plain.draw(self.out / f"{name}.jpg", image, masks, boxes, names)
        return count


class OfficialRow(PlainRow):
    """Row 3: the plain loop with SAM2's own way for one image, `set_image` and `predict`."""

    def __init__(self, work: Workload, precision: str) -> None:
        super().__init__(work, precision)
        self.batch = 1

    def segment(self, images: Sequence[np.ndarray], boxes: Sequence[np.ndarray]) -> list[Masks]:
        """Masks of one image."""
        return [plain.segment_one(self.predictor, image, each) for image, each in zip(images, boxes)]


class AutoAnnotateRow:
    """Row 4: the loop of ultralytics' `auto_annotate`, with its own SAM2, which here is loaded once and stays.

    It offers one precision, fp32, and one output, polygons in text files; so it has one scope, `annotations`.

    Raises:
        UnavailableError: ultralytics has no such architecture.
    """

    def __init__(self, work: Workload) -> None:
        order = work.order
        if order.model == "demo" or order.image_size not in (None, 1024):
            raise UnavailableError("ultralytics builds SAM2.1's official architectures only, at 1024 px")
        quiet_ultralytics()
        from ultralytics import SAM

        self.work, self.finder = work, Finder(work)
        self.sam = SAM(str(work.sam_weights))
        self.out = work.folder / "auto_annotate"

    def ready(self, scope: str, count: int) -> Callable[[], int]:
        """See Row."""
        emptied(self.out).mkdir()
        return partial(self._run, count)

    def evidence(self, count: int) -> Evidence:
        """See Row; its masks are not those of the official predictor, since it letterboxes images."""
        raise UnavailableError("not compared: ultralytics scales images in another way than SAM2's predictor")

    def _run(self, count: int) -> int:
        import cv2

        for i in range(count):
            image = np.asarray(cv2.imread(str(self.work.image(i))))
            boxes = self.finder([i], [image[:, :, ::-1]])[0]
            if not len(boxes.xyxy):
                continue
            found = self.sam(image, bboxes=boxes.xyxy, verbose=False, save=False, device=self.work.order.device)
            polygons = found[0].masks.xyn if found[0].masks is not None else []
            with open(self.out / f"{self.work.image_id(i)}.txt", "w", encoding="utf-8") as file:
                for class_id, polygon in zip(boxes.class_ids, polygons):
                    if len(polygon) >= 3:
                        file.write(f"{class_id} " + " ".join(map(str, polygon.reshape(-1).tolist())) + "\n")
        return count
