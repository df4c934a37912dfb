"""YOLO: for every image the boxes of Ultralytics' `predict` on it alone, whatever else is in the batch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from models.ultralytics_quiet import quiet_ultralytics
from models.weights import load_yolo
from utils.boxes import ScoredBoxes
from utils.classes import match_classes, nearest
from utils.config import Config
from utils.errors import UserError

if TYPE_CHECKING:
    import torch


class YoloDetector:
    """A YOLO detector of Ultralytics.

    Args:
        weights: a checkpoint; an official one is downloaded where it is missing.
        device: where it runs.
        config: of the run.
        trust: whether the checkpoint may run code while it is loaded.

    Attributes:
        names: class names of the model, by class id.

    Raises:
        UserError: the weights cannot be used, or lack a class that the class filter names.
    """

    def __init__(self, weights: Path, device: torch.device, config: Config, *, trust: bool = False) -> None:
        quiet_ultralytics()
        from ultralytics.data.augment import LetterBox
        from ultralytics.utils.checks import check_imgsz

        self._conf, self._settings, self._device = config.dataset.conf, config.detector, device
        model = load_yolo(weights, trust=trust)
        self.names: tuple[str, ...] = tuple(model.names[i] for i in sorted(model.names))
        self._filter = _filtered_ids(self._settings.classes, self.names)
        self._model = model.fuse().eval().to(device)
        stride = max(int(model.stride.max()), 32)
        self._letterbox = LetterBox(check_imgsz(self._settings.imgsz, stride, min_dim=2), auto=True, stride=stride)

    def __call__(self, images: Sequence[npt.NDArray[np.uint8]]) -> list[ScoredBoxes]:
        """Return the boxes of each image; images that are letterboxed to the same shape share a forward pass."""
        letterboxed = [self._letterbox(image=image) for image in images]
        groups: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
        for i, image in enumerate(letterboxed):
            groups[image.shape].append(i)
        rows: dict[int, torch.Tensor] = {}
        for members in groups.values():
            rows |= zip(members, self._predict(np.stack([letterboxed[i] for i in members])))
        return [
            _to_image_pixels(rows[i], letterboxed[i].shape[:2], (image.shape[0], image.shape[1]))
            for i, image in enumerate(images)
        ]

    def _predict(self, images: npt.NDArray[np.uint8]) -> list[torch.Tensor]:
        """Return for each of (B, H, W, 3) images its (N, 6+) rows x1, y1, x2, y2, score, class; in their pixels."""
        import torch
        import torchvision  # noqa: F401  (once it is there, ultralytics uses its NMS)
        from ultralytics.utils.nms import non_max_suppression

        from models.transfer import to_device

        with torch.inference_mode():
            pixels = to_device(images, self._device).permute(0, 3, 1, 2).contiguous().float().div_(255)
            return non_max_suppression(
                self._model(pixels),
                self._conf,
                self._settings.iou,
                self._filter,
                max_det=self._settings.max_det,
                nc=len(self.names),
                max_time_img=float("inf"),  # by default, images that are late lose their boxes
            )


def _to_image_pixels(rows: torch.Tensor, letterboxed: tuple[int, int], size: tuple[int, int]) -> ScoredBoxes:
    """Split (N, 6+) rows into boxes, scores and class ids; the boxes from letterboxed to image pixels."""
    import torch
    from ultralytics.utils.ops import scale_boxes

    scaled = scale_boxes(letterboxed, rows[:, :4].clone(), size)
    boxes, scores, classes = np.split(torch.cat((scaled, rows[:, 4:6]), 1).cpu().numpy(), (4, 5), axis=1)
    return boxes, scores[:, 0], classes[:, 0].astype(np.int64)


def _filtered_ids(wanted: Sequence[str] | None, names: Sequence[str]) -> list[int] | None:
    """Return the class ids of the names that are wanted, or None for all.

    Raises:
        UserError: the detector has no such class.
    """
    if wanted is None:
        return None
    ids = match_classes(wanted, names)
    for i, name in enumerate(wanted):
        if i not in ids:
            close = nearest(name, names)
            hint = f"did you mean {close}?" if close else f"it has {', '.join(names)}"
            raise UserError(f"detector.classes[{i}]: the detector has no class {name}; {hint}")
    return sorted(ids.values())
