"""YOLO: for every image the boxes of Ultralytics' `predict` on it alone, whatever else is in the batch.

Ultralytics' own predictor of the model's kind prepares images and reads the model's answer; what is done here is to
give it several images at a time, each letterboxed as if it were alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from models.ultralytics_quiet import quiet_ultralytics
from models.yolo_weights import HEADS, TRIAL_SIZE, check_export, is_export, load_yolo
from utils.boxes import ScoredBoxes
from utils.classes import MAX_CLASSES, match_classes, nearest
from utils.config import Config
from utils.errors import UserError, first_line, first_of

if TYPE_CHECKING:
    import torch
    from ultralytics.nn.tasks import BaseModel

LETTERBOXING = 4
"""Threads that letterbox the images of a batch for a GPU."""


class YoloDetector:
    """Run a model of Ultralytics that finds boxes: any YOLO, RT-DETR, World, YOLOE; also -seg, -pose and -obb.

    Args:
        weights: a checkpoint, or an export of one; an official one is downloaded where it is missing.
        device: where it runs.
        config: of the run.
        trust: whether the checkpoint may run code while it is loaded.

    Attributes:
        names: class names of the model, by class id. Of a model with more classes than a label map can hold, only those
            that the class filter names.

    Raises:
        UserError: the weights cannot be used, or lack a class that the class filter names.
    """

    def __init__(self, weights: Path, device: torch.device, config: Config, *, trust: bool = False) -> None:
        import torch

        quiet_ultralytics()
        settings = config.detector
        exported = is_export(weights)
        if exported:
            model, (task, head) = weights, check_export(weights, trust=trust)
        else:
            model = load_yolo(weights, trust=trust)
            head = type(model.model[-1]).__name__
            task = HEADS[head]
        arguments = {"conf": config.dataset.conf, "iou": settings.iou, "max_det": settings.max_det}
        arguments |= {"imgsz": settings.imgsz, "agnostic_nms": settings.agnostic_nms}
        try:
            self._predictor = _predictor_of(model, task, head, device, arguments)
        except Exception as error:  # the packages that run exports raise almost anything
            if exported:
                raise UserError(f"{weights}: cannot be run: {first_line(error)[:300]}") from error
            raise
        names = self._predictor.model.names
        self.names: tuple[str, ...] = tuple(names[i] for i in sorted(names))
        chosen = _filtered_ids(settings.classes, self.names)
        self._predictor.args.classes = chosen
        self._ids = np.arange(len(self.names))
        # With priority, so that its short kernels do not wait for SAM2's long ones.
        self._stream = torch.cuda.Stream(device, priority=-1) if device.type == "cuda" else None
        # On a CPU, OpenCV's own threads are enough; a GPU would wait for one image after the other.
        self._side_by_side = ThreadPoolExecutor(LETTERBOXING, "letterbox").map if device.type == "cuda" else map
        runs_nms = type(self._predictor).__name__ == "DetectionPredictor" and not exported
        self._nms_on_host = self._stream is not None and runs_nms and not self._predictor.model.end2end
        if chosen is not None and len(self.names) > MAX_CLASSES:
            self._ids = np.searchsorted(chosen, self._ids)
            self.names = tuple(self.names[i] for i in chosen)

    def __call__(self, images: Sequence[npt.NDArray[np.uint8]]) -> list[ScoredBoxes]:
        """Return the boxes of each image; images that are letterboxed to the same shape share a forward pass.

        Ultralytics clips boxes to their image, but not those of RT-DETR and not rotated ones (-obb).
        """
        letterboxed = [*self._side_by_side(lambda image: self._predictor.pre_transform([image])[0], images)]
        groups: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
        for i, image in enumerate(letterboxed):
            groups[image.shape].append(i)
        found: dict[int, ScoredBoxes] = {}
        for members in groups.values():
            stacked = np.stack([letterboxed[i] for i in members])
            found |= zip(members, self._predict(stacked, [images[i] for i in members]))
        return [found[i] for i in range(len(images))]

    def _predict(self, letterboxed: npt.NDArray[np.uint8], images: list[npt.NDArray[np.uint8]]) -> list[ScoredBoxes]:
        """Return the boxes of images, in their pixels, from (B, H, W, 3) what they are letterboxed to."""
        import torch

        from models.transfer import to_device

        predictor = self._predictor
        with torch.inference_mode(), torch.cuda.stream(self._stream):
            pixels = to_device(letterboxed, predictor.device).permute(0, 3, 1, 2).contiguous().float().div_(255)
            prepared = predictor.preprocess(pixels)
            predictor.batch = ([""] * len(images), images, [""] * len(images))
            answer = predictor.model(prepared)
            if self._nms_on_host:
                answer = candidates(answer, predictor.args.conf)
            results = predictor.postprocess(answer, prepared, images)
            # Here, since the copy must come after what this stream has still to do.
            found = [(result.boxes if result.obb is None else result.obb).cpu().numpy() for result in results]
        return [(boxes.xyxy, boxes.conf, self._ids[boxes.cls.astype(np.int64)]) for boxes in found]


def candidates(answer: Any, conf: float) -> torch.Tensor:
    """Copy what may become a box to the host, at once for a whole batch; the NMS there finds the same boxes.

    NMS asks the device for values several times for each image, and each time both wait.

    Args:
        answer: (B, 4 + C, A) boxes and scores of a YOLO, or a tuple that begins with them.
        conf: scores of A anchors that are no higher in any image are left out.

    Returns:
        (B, 4 + C, K) float32, the anchors in their order.
    """
    import torch.nn.functional as F

    scored = answer[0] if isinstance(answer, (list, tuple)) else answer
    (kept,) = (scored[:, 4:].amax(dim=1) > conf).any(dim=0).nonzero(as_tuple=True)
    found = scored[:, :, kept].float().cpu()
    # Ultralytics takes six columns for the answer of a model without NMS; nothing scores 0 or less.
    return F.pad(found, (0, 1)) if found.shape[2] == 6 else found


def _predictor_of(
    model: BaseModel | Path, task: str, head: str, device: torch.device, arguments: dict[str, Any]
) -> Any:
    """Set up Ultralytics' predictor for a model, or for the file of an export, as `predict` does for a single image.

    Args:
        task: what Ultralytics calls it.
        head: name of the last layer.
    """
    import torch
    import torchvision  # noqa: F401  (once it is there, ultralytics uses its NMS)
    from ultralytics.models.rtdetr import RTDETRPredictor
    from ultralytics.models.yolo import detect, obb, pose, segment

    kinds = {
        "detect": detect.DetectionPredictor,
        "segment": segment.SegmentationPredictor,
        "pose": pose.PosePredictor,
        "obb": obb.OBBPredictor,
    }
    kind = RTDETRPredictor if head == "RTDETRDecoder" else kinds[task]
    if head.startswith("YOLOE") and not isinstance(model, Path):  # as its own `predict` does
        arguments = {**arguments, "agnostic_nms": True}
    own = {"task": task, "mode": "predict", "rect": True, "save": False, "verbose": False}
    predictor = kind(overrides={**own, **arguments})
    predictor.args.device = device
    threads = torch.get_num_threads()
    predictor.setup_model(str(model) if isinstance(model, Path) else model, verbose=False)
    torch.set_num_threads(threads)  # on a CPU, setting up leaves one core free, and takes no more than eight
    if predictor.model.format == "pt" and predictor.model.end2end:  # as its `stream_inference` does
        predictor.model.model.set_head_attr(
            max_det=max(arguments["max_det"], 300), agnostic_nms=arguments["agnostic_nms"]
        )
    predictor.setup_source(np.zeros((TRIAL_SIZE, TRIAL_SIZE, 3), np.uint8))
    return predictor


def _filtered_ids(class_filter: Sequence[str] | None, names: Sequence[str]) -> list[int] | None:
    """Return the class ids of the names that a filter has, or None for all.

    Raises:
        UserError: the detector has no such class.
    """
    if class_filter is None:
        return None
    ids = match_classes(class_filter, names)
    for i, name in enumerate(class_filter):
        if i not in ids:
            close = nearest(name, names)
            hint = f"did you mean {close}?" if close else f"it has {first_of(names)}"
            raise UserError(f"detector.classes[{i}]: the detector has no class {name}; {hint}")
    return sorted(set(ids.values()))
