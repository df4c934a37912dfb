"""Where the boxes of a run come from: a detector of the table, a prompt file, or the ground truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

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
