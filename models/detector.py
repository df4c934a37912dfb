"""Where the boxes of a run come from: a detector of the table, a prompt file, or the ground truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from models.yolo_detector import YoloDetector
from utils.boxes import ScoredBoxes, Size, sanitize
from utils.classes import match_classes, nearest
from utils.distributed import Session
from utils.errors import UserError, first_of
from utils.prompts.prompts import Prompts
from utils.structures import Detections, Sample


class Detector(Protocol):
    """Find boxes and their classes.

    Attributes:
        names: class names of the detector, by class id of the detector.
    """

    @property
    def names(self) -> tuple[str, ...]: ...

    def __call__(self, images: Sequence[npt.NDArray[np.uint8]]) -> list[ScoredBoxes]:
        """Return the boxes of each (H, W, 3) RGB image, best first, without those that score `dataset.conf` or less.

        Boxes may leave their images: clipping, counting and the mapping of classes are done afterwards by
        `DetectorBoxes`.
        """


DETECTORS: dict[str, Callable[..., Detector]] = {
    "yolov8": YoloDetector,
    "ultralytics": YoloDetector,
}
"""Name in `arch.yolo` -> class of the detector, whose constructor takes what that of `YoloDetector` takes.

Of the config, `dataset.conf`, one number there, and the section `detector` concern a detector. Both names take any
checkpoint that Ultralytics trains; `yolov8` is kept for compatibility.
"""


def find_detector(name: str) -> Callable[..., Detector]:
    """Return the class of a detector, by its name in `arch.yolo`.

    Raises:
        UserError: the table has no such name.
    """
    if name not in DETECTORS:
        close = nearest(name, DETECTORS)
        advice = f"; did you mean {close}?" if close else ""
        raise UserError(f'arch.yolo: must be {" or ".join(DETECTORS)}, not "{name}"{advice}')
    return DETECTORS[name]


class BoxSource(Protocol):
    """Give the boxes of images; their class ids index the class names of the run."""

    def __call__(self, samples: Sequence[Sample]) -> list[Detections]:
        """Return the boxes of each image of a batch, in order."""

    def summary_lines(self, session: Session) -> list[str]:
        """Return lines to print at the end of a run: how many boxes were clipped or left out, and why."""


class DetectorBoxes:
    """Provide the boxes of a detector, with its classes mapped to those of the run by name or alias.

    Args:
        detector: finds boxes, with class ids of its own.
        class_names: of the run. Boxes of other classes are counted and left out.
        conf: (C,) scores that boxes of each class of the run must exceed; the detector may have used a lower one.

    Raises:
        UserError: the detector has no class of the run.
    """

    def __init__(self, detector: Detector, class_names: Sequence[str], conf: npt.NDArray[np.float32]) -> None:
        class_of = match_classes(detector.names, class_names)
        if not class_of:
            raise UserError(
                f"the detector and the dataset share no class: the detector has {first_of(detector.names)}; "
                f"the dataset has {first_of(class_names)}. python -m yolo.finetune trains one that has them; "
                "-p and --boxes target take boxes from elsewhere"
            )
        self._detector, self._conf = detector, conf
        self._class_ids = np.array([class_of.get(i, -1) for i in range(len(detector.names))], np.int64)
        self._sanitize = BoxSanitizer("detector")
        self._unmapped: Counter[str] = Counter()

    def __call__(self, samples: Sequence[Sample]) -> list[Detections]:
        """Return the boxes of each image that have a class of the run."""
        detections = []
        found = self._detector([sample.image for sample in samples])
        for (boxes, scores, own_ids), sample in zip(found, samples, strict=True):
            class_ids = self._class_ids[own_ids]
            mapped = class_ids >= 0
            self._unmapped.update(self._detector.names[i] for i in own_ids[~mapped])
            kept = mapped & (scores > self._conf[class_ids])  # id -1 reads the last class's, and `mapped` drops it
            detections.append(self._sanitize((boxes[kept], scores[kept], class_ids[kept]), sample.size))
        return detections

    def summary_lines(self, session: Session) -> list[str]:
        """Return lines that say which boxes were left out, and why."""
        counts = ", ".join(f"{name} {count}" for name, count in session.sum_counts(self._unmapped).most_common())
        unmapped = [f"detector: boxes dropped, since the dataset lacks their classes: {counts}"] if counts else []
        return [*unmapped, *self._sanitize.summary_lines(session)]


class PromptFileBoxes:
    """Provide the boxes of a prompt file, in its order, all that score higher than those of their class in `conf`.

    Args:
        prompts: the boxes of the run's images.
        conf: (C,) scores that boxes of each class must exceed.
    """

    def __init__(self, prompts: Prompts, conf: npt.NDArray[np.float32]) -> None:
        self._prompts, self._conf = prompts, conf
        self._low = 0
        self._sanitize = BoxSanitizer("prompts")

    def __call__(self, samples: Sequence[Sample]) -> list[Detections]:
        """Return the boxes of each image."""
        detections = []
        for sample in samples:
            boxes, scores, class_ids = self._prompts.for_image(sample.image_id, sample.size)
            kept = scores > self._conf[class_ids]
            self._low += len(kept) - int(kept.sum())
            detections.append(self._sanitize((boxes[kept], scores[kept], class_ids[kept]), sample.size))
        return detections

    def summary_lines(self, session: Session) -> list[str]:
        """Return lines that say which rows were left out, and why."""
        count = sum(session.gather([self._low]))
        least, most = self._conf.min(), self._conf.max()
        above = f"{least:g}" if least == most else f"what their class needs, {least:g} to {most:g}"
        low = [f"prompts: rows that score not above {above}, left out: {count}"] if count else []
        return [*self._prompts.left_out, *low, *self._sanitize.summary_lines(session)]


class GivenBoxes:
    """Provide the boxes that a caller from Python has for the images of its next call.

    Args:
        num_classes: how many classes the run has.
    """

    def __init__(self, num_classes: int) -> None:
        self._num_classes = num_classes
        self._of_image: dict[str, Detections] = {}

    def take(
        self,
        samples: Sequence[Sample],
        boxes: Sequence[npt.ArrayLike] | None,
        class_ids: Sequence[npt.ArrayLike] | None,
    ) -> None:
        """Take the (N, 4) boxes and the (N,) class ids of each sample, in place of those before; their score is 1.

        Raises:
            UserError: they do not fit the images or each other; it names the first that does not.
        """
        counts = [len(samples), *(None if each is None else len(each) for each in (boxes, class_ids))]
        if boxes is None or class_ids is None or len({*counts}) > 1:
            found = f"images: {counts[0]}, boxes: {counts[1]}, class_ids: {counts[2]}"
            raise UserError(f"expected as many lists of boxes and of class_ids as images, found {found}")
        self._of_image = {}
        for i, (sample, *given) in enumerate(zip(samples, boxes, class_ids)):
            try:
                corners, ids = map(_numbers, given)
            except (TypeError, ValueError) as error:
                raise UserError(f"boxes[{i}] and class_ids[{i}]: {error}") from error
            if (corners.size or ids.size) and (corners.shape[1:] != (4,) or ids.shape != corners.shape[:1]):
                shapes = f"{corners.shape} and {ids.shape}"
                raise UserError(f"boxes[{i}] and class_ids[{i}]: expected shapes (N, 4) and (N,), found {shapes}")
            if not np.isin(ids, np.arange(self._num_classes)).all():
                raise UserError(f"class_ids[{i}]: expected 0 to {self._num_classes - 1}, found {ids.tolist()}")
            clipped, is_box, _ = sanitize(corners.reshape(-1, 4).astype(np.float32), sample.size)
            if not is_box.all():
                j, (height, width) = int(np.argmin(is_box)), sample.size
                where = f"an image of {width} x {height} pixels"
                raise UserError(f"boxes[{i}][{j}]: {corners[j].tolist()} is no x1 y1 x2 y2 in {where}")
            scores = np.ones(len(clipped), np.float32)
            self._of_image[sample.image_id] = Detections(clipped, scores, ids.ravel().astype(np.int64))

    def __call__(self, samples: Sequence[Sample]) -> list[Detections]:
        """Return the boxes of each image."""
        return [self._of_image[sample.image_id] for sample in samples]

    def summary_lines(self, session: Session) -> list[str]:
        """Return nothing: no box was left out."""
        return []


def _numbers(given: Any) -> npt.NDArray[np.float64]:
    """Return an array, list or tensor as float64; tensors may be on a GPU, need gradients, or have 16 bits."""
    return np.asarray(given.detach().cpu().double() if hasattr(given, "detach") else given, np.float64)


class GroundTruthBoxes:
    """Provide the tight boxes of the true instances, with score 1: errors of their masks are due to SAM2 alone."""

    def __call__(self, samples: Sequence[Sample]) -> list[Detections]:
        """Return the boxes of each image, whose true instances must be loaded."""
        boxes = [sample.gt_instances.detections for sample in samples if sample.gt_instances is not None]
        assert len(boxes) == len(samples), "the true instances are not loaded"
        return boxes

    def summary_lines(self, session: Session) -> list[str]:
        """Return nothing: every box is sound."""
        return []


class BoxSanitizer:
    """Clip boxes to their images, drop what is no box, and count both.

    Args:
        source: what the summary calls the boxes' origin.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.counts: Counter[str] = Counter()

    def __call__(self, found: ScoredBoxes, size: Size) -> Detections:
        """Return the valid detections among the boxes of an image of a (height, width)."""
        boxes, scores, class_ids = found
        boxes, keep, clipped = sanitize(boxes, size)
        self.counts["clipped to their images"] += clipped
        self.counts["dropped (NaN, inverted, without area, or outside their images)"] += int((~keep).sum())
        return Detections(boxes[keep], scores[keep], class_ids[keep])

    def summary_lines(self, session: Session) -> list[str]:
        """Return a line for each kind that occurred."""
        counts = session.sum_counts(self.counts)
        return [f"{self.source}: boxes {outcome}: {count}" for outcome, count in counts.items() if count]
