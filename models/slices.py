"""Boxes from slices of large images: the optional package `sahi` says where slices lie and merges their boxes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib.util import find_spec
from itertools import chain

import numpy as np
import numpy.typing as npt

from models.detector import Detector
from utils.boxes import ScoredBoxes, Size, covered_pixels, sanitize
from utils.config import Config
from utils.errors import RunError, UserError

LOW_CONF = 0.1
"""Where boxes of lower scores are kept, sahi merges none, since weak ones would enlarge the others; the best stays."""


class SlicedDetector:
    """Find boxes in slices of an image and in the whole of it, as sahi's `get_sliced_prediction` does by default.

    The method is from Akyon et al., "Slicing Aided Hyper Inference and Fine-tuning for Small Object Detection", 2022. A
    box at least half of which lies in a better one of its class is merged with it into the box around both. An image no
    larger than a slice is given to the detector as it is, and its boxes are not merged.

    Args:
        detector: finds the boxes of a slice.
        config: of the run; `detector.slice` is set.

    Attributes:
        names: class names of the detector, by class id.
    """

    def __init__(self, detector: Detector, config: Config) -> None:
        from models.device_limits import OomRetry

        logger_class = logging.getLoggerClass()
        from sahi.postprocess.backends import set_postprocess_backend
        from sahi.postprocess.combine import GreedyNMMPostprocess, NMSPostprocess

        logging.setLoggerClass(logger_class)  # sahi makes all loggers its own
        set_postprocess_backend("numpy")  # the same boxes on all machines, and none of a GPU's time
        low = config.dataset.least_conf < LOW_CONF
        merging, measure = (NMSPostprocess, "IOU") if low else (GreedyNMMPostprocess, "IOS")
        self._merge = merging(0.5, measure, class_agnostic=config.detector.agnostic_nms)
        self.names, self._detector = detector.names, detector
        self._side, self._overlap = config.detector.slice or 0, config.detector.overlap
        self._at_once, self._retry = config.dataloader.batch_size, OomRetry(_refuse_single)

    def __call__(self, images: Sequence[npt.NDArray[np.uint8]]) -> list[ScoredBoxes]:
        """Return the boxes of each image, best first; those of slices are merged and lie within their image."""
        places = [self._places((image.shape[0], image.shape[1])) for image in images]
        crops = [image[covered_pixels(place, image.shape[:2])] for image, each in zip(images, places) for place in each]
        found: list[ScoredBoxes] = []
        for start in range(0, len(crops), self._at_once):
            found += self._find(crops[start : start + self._at_once])
        parts = iter(found)
        return [self._merged([(place, next(parts)) for place in each]) for each in places]

    def _find(self, crops: Sequence[npt.NDArray[np.uint8]]) -> list[ScoredBoxes]:
        """Return the boxes of a batch, found in parts as large as memory allows."""
        return [*chain.from_iterable(self._retry(len(crops), lambda part: self._detector(crops[part])))]

    def _places(self, size: Size) -> npt.NDArray[np.int64]:
        """Return the (N, 4) boxes of what the detector looks at: the slices of an image, then the whole of it."""
        from sahi.slicing import get_slice_bboxes

        side, overlap = self._side, self._overlap
        slices = get_slice_bboxes(*size, side, side, False, overlap, overlap) if max(size) > side else []
        return np.array([*slices, [0, 0, *size[::-1]]])

    def _merged(self, parts: Sequence[tuple[npt.NDArray[np.int64], ScoredBoxes]]) -> ScoredBoxes:
        """Merge what was found at places of one image."""
        from sahi.prediction import ObjectPrediction

        if len(parts) == 1:
            return parts[0][1]
        predictions = []
        for place, (boxes, scores, class_ids) in parts:
            left, top, right, bottom = place.tolist()
            inside, keep, _ = sanitize(boxes, (bottom - top, right - left))
            moved = inside[keep].astype(np.float64) + np.tile([left, top], 2)
            rows = zip(moved.tolist(), class_ids[keep].tolist(), scores[keep].tolist())
            predictions += [ObjectPrediction(box, class_id, score=score) for box, class_id, score in rows]
        merged = sorted(self._merge(predictions), key=lambda each: each.score.value, reverse=True)
        return (
            np.array([each.bbox.to_xyxy() for each in merged], np.float32).reshape(-1, 4),
            np.array([each.score.value for each in merged], np.float32),
            np.array([each.category.id for each in merged], np.int64),
        )


def check_slicing(config: Config) -> None:
    """Raise UserError if images are to be sliced and sahi is not installed."""
    if config.detector.slice is not None and find_spec("sahi") is None:
        raise UserError("detector.slice: sahi is not installed, which slices and merges; pip install sahi")


def _refuse_single(images: int, reason: str) -> None:
    """Raise RunError if a single slice needs more memory than the GPU has."""
    if images == 1:
        raise RunError(f"the GPU has too little memory for one slice ({reason}); choose a smaller --imgsz")
