"""Boxes that no model finds: those of a prompt file, or of the true instances."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from utils.boxes import sanitize
from utils.distributed import Session
from utils.prompts.prompts import Prompts
from utils.structures import Detections, Sample


class Detector(Protocol):
    """What finds boxes; their class ids index the class names of the run."""

    def __call__(self, samples: Sequence[Sample]) -> list[Detections]:
        """The boxes of each image of a batch, in order."""

    def summary_lines(self, session: Session) -> list[str]:
        """Lines to print at the end of a run: what became of boxes that are not among the detections."""


class PromptFileDetector:
    """The boxes of a prompt file, in its order, all that score higher than `conf`.

    Args:
        prompts: the boxes of the run's images.
        conf: boxes must score higher, as YOLO's.
    """

    def __init__(self, prompts: Prompts, conf: float) -> None:
        self._prompts, self._conf = prompts, conf
        self._low = 0
        self._check = BoxSanitizer("prompts")

    def __call__(self, samples: Sequence[Sample]) -> list[Detections]:
        """The boxes of each image."""
        return [self._detections(sample) for sample in samples]

    def summary_lines(self, session: Session) -> list[str]:
        """What was left out, and why."""
        count = sum(session.gather([self._low]))
        low = [f"prompts: rows that score not above {self._conf}, left out: {count}"] if count else []
        return [*self._prompts.left_out, *low, *self._check.summary_lines(session)]

    def _detections(self, sample: Sample) -> Detections:
        boxes, scores, class_ids = self._prompts.for_image(sample.image_id, sample.size)
        kept = scores > self._conf
        self._low += len(kept) - int(kept.sum())
        return self._check(boxes[kept], scores[kept], class_ids[kept], sample.size)


class GroundTruthDetector:
    """The tight boxes of the true instances, which score 1; what SAM2 makes of them is its own doing alone."""

    def __call__(self, samples: Sequence[Sample]) -> list[Detections]:
        """The boxes of each image, whose true instances must be loaded."""
        boxes = [sample.gt_instances.detections for sample in samples if sample.gt_instances is not None]
        assert len(boxes) == len(samples), "the true instances are not loaded"
        return boxes

    def summary_lines(self, session: Session) -> list[str]:
        """Nothing: every box is a sound one."""
        return []


class JoinedDetector:
    """The boxes of two detectors, those of an image in one list, the second's last: SAM2 encodes each image once."""

    def __init__(self, first: Detector, second: Detector) -> None:
        self._first, self._second = first, second

    def __call__(self, samples: Sequence[Sample]) -> list[Detections]:
        """The boxes of each image."""
        return [_joined(*pair) for pair in zip(self._first(samples), self._second(samples), strict=True)]

    def summary_lines(self, session: Session) -> list[str]:
        """What both have to say."""
        return [*self._first.summary_lines(session), *self._second.summary_lines(session)]


def _joined(first: Detections, second: Detections) -> Detections:
    return Detections(
        np.concatenate([first.boxes, second.boxes]),
        np.concatenate([first.scores, second.scores]),
        np.concatenate([first.class_ids, second.class_ids]),
    )


class BoxSanitizer:
    """Clips boxes to their images, drops what is no box, and counts both.

    Args:
        source: what the report calls the boxes' origin.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.counts: Counter[str] = Counter()

    def __call__(
        self, boxes: np.ndarray, scores: np.ndarray, class_ids: np.ndarray, size: tuple[int, int]
    ) -> Detections:
        """Sound detections of an image of a (height, width), from (N, 4) xyxy boxes, (N,) scores and (N,) class ids."""
        boxes, keep, clipped = sanitize(boxes, size)
        self.counts["clipped to their images"] += clipped
        self.counts["dropped (NaN, inverted, without area, or outside their images)"] += int((~keep).sum())
        return Detections(boxes[keep], scores[keep], class_ids[keep])

    def summary_lines(self, session: Session) -> list[str]:
        """A line for each kind that occurred."""
        counts = session.sum_counts(self.counts)
        return [f"{self.source}: boxes {fate}: {count}" for fate, count in counts.items() if count]
