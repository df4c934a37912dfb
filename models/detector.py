"""Where boxes come from: YOLO, a prompt file, or the target."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from models.box_sources import BoxSanitizer, Detector, GroundTruthDetector, JoinedDetector, PromptFileDetector
from models.ultralytics_quiet import quiet_ultralytics
from models.weights import load_yolo, yolo_weights
from utils.classes import MAX_CLASSES, match_classes, nearest
from utils.cli.options import Options
from utils.config import Config, DetectorConfig
from utils.distributed import Session
from utils.errors import UserError
from utils.prompts.prompts import Prompts
from utils.structures import Detections, Sample

if TYPE_CHECKING:
    import torch
    from ultralytics.nn.tasks import DetectionModel


def class_names(options: Options) -> tuple[str, ...]:
    """The class names of a run, by class id: the dataset's, or the detector's where the dataset has none.

    Raises:
        UserError: the detector's weights are needed and cannot be used, or there are too many classes or not as many
            as `dataset.num_classes` says.
    """
    dataset, names = options.config.dataset, options.config.dataset.classes
    if names is None:
        names = _names_of(_load(options.config, trust=options.trust_weights))
    if len(names) > MAX_CLASSES:
        raise UserError(f"there are {len(names)} classes, more than the {MAX_CLASSES} that a label map can hold")
    dataset.check_num_classes(names)
    return names


def build_detector(
    options: Options, device: torch.device, names: Sequence[str], prompts: Prompts | None = None
) -> Detector:
    """What gives the boxes of a run: the prompt file if there is one, else YOLO.

    Args:
        names: class names of the run.
        prompts: the boxes of the prompt file, or None.

    Raises:
        UserError: the weights cannot be used.
    """
    assert options.prompt is None or prompts is not None, "read_prompts comes first"
    if options.boxes == "target":
        return GroundTruthDetector()
    detector = _build_detector(options, device, names, prompts)
    return JoinedDetector(detector, GroundTruthDetector()) if options.attribute else detector


def _build_detector(options: Options, device: torch.device, names: Sequence[str], prompts: Prompts | None) -> Detector:
    """The prompt file's boxes if there is one, else YOLO."""
    config = options.config
    if prompts is not None:
        return PromptFileDetector(prompts, config.dataset.conf)
    model = _load(config, trust=options.trust_weights)
    return YoloDetector(model, device, names, config.dataset.conf, config.detector)


class YoloDetector:
    """YOLO's boxes, best first: for every image those of `YOLO.predict` on it alone, whatever else is in the batch.

    Args:
        model: a YOLO model in float32; it is fused and moved.
        device: where it runs.
        names: class names of the run. Boxes of classes that are not among them, by name or alias, are counted and left
            out.
        conf: boxes must score higher.
        settings: image size, NMS and class filter.

    Raises:
        UserError: the model has no class of the run, or lacks one that the class filter names.
    """

    def __init__(
        self, model: DetectionModel, device: torch.device, names: Sequence[str], conf: float, settings: DetectorConfig
    ) -> None:
        quiet_ultralytics()
        from ultralytics.data.augment import LetterBox
        from ultralytics.utils.checks import check_imgsz

        self._names = _names_of(model)
        class_of = match_classes(self._names, names)
        if not class_of:
            raise UserError(
                f"the detector and the dataset share no class: the detector has {', '.join(self._names)}; "
                f"the dataset has {', '.join(names)}"
            )
        self._class_ids = np.array([class_of.get(i, -1) for i in range(len(self._names))], np.int64)
        self._filter = _filtered_ids(settings.classes, self._names)
        self._conf, self._settings, self._device = conf, settings, device
        self._model = model.fuse().eval().to(device)
        stride = max(int(model.stride.max()), 32)
        self._letterbox = LetterBox(check_imgsz(settings.imgsz, stride, min_dim=2), auto=True, stride=stride)
        self._check = BoxSanitizer("detector")
        self._unmapped: Counter[str] = Counter()

    def __call__(self, samples: Sequence[Sample]) -> list[Detections]:
        """The boxes of each image; images that are letterboxed to the same shape share a forward pass."""
        letterboxed = [self._letterbox(image=sample.image) for sample in samples]
        groups: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
        for i, image in enumerate(letterboxed):
            groups[image.shape].append(i)
        rows: dict[int, torch.Tensor] = {}
        for members in groups.values():
            rows |= zip(members, self._predict(np.stack([letterboxed[i] for i in members])))
        return [self._detections(rows[i], letterboxed[i].shape[:2], sample.size) for i, sample in enumerate(samples)]

    def summary_lines(self, session: Session) -> list[str]:
        """What was left out, and why."""
        counts = ", ".join(f"{name} {count}" for name, count in session.sum_counts(self._unmapped).most_common())
        unmapped = [f"detector: boxes dropped, since the dataset lacks their classes: {counts}"] if counts else []
        return [*unmapped, *self._check.summary_lines(session)]

    def _predict(self, images: np.ndarray) -> list[torch.Tensor]:
        """For each of (B, H, W, 3) uint8 RGB images its (N, 6+) rows x1, y1, x2, y2, score, class; in their pixels."""
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
                nc=len(self._names),
                max_time_img=float("inf"),  # by default, images that are late lose their boxes
            )

    def _detections(self, rows: torch.Tensor, letterboxed: tuple[int, int], size: tuple[int, int]) -> Detections:
        """The detections of one image, in its own pixels, with the class ids of the run."""
        import torch
        from ultralytics.utils.ops import scale_boxes

        scaled = scale_boxes(letterboxed, rows[:, :4].clone(), size)
        boxes, scores, classes = np.split(torch.cat((scaled, rows[:, 4:6]), 1).cpu().numpy(), (4, 5), axis=1)
        found = classes[:, 0].astype(np.int64)
        class_ids = self._class_ids[found]
        mapped = class_ids >= 0
        self._unmapped.update(self._names[i] for i in found[~mapped])
        return self._check(boxes[mapped], scores[mapped, 0], class_ids[mapped], size)


def _load(config: Config, *, trust: bool) -> DetectionModel:
    """The model of `arch.yolo_weights`."""
    return load_yolo(yolo_weights(config.arch), trust=trust)


def _names_of(model: DetectionModel) -> tuple[str, ...]:
    return tuple(model.names[i] for i in sorted(model.names))


def _filtered_ids(wanted: Sequence[str] | None, names: Sequence[str]) -> list[int] | None:
    """The class ids of the names that are wanted, or None for all.

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
