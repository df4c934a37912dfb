"""The table of detectors: the names that `arch.yolo` may have, and the interface of a detector."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from models.yolo_detector import YoloDetector
from utils.boxes import ScoredBoxes
from utils.classes import nearest
from utils.config import Config
from utils.errors import UserError

if TYPE_CHECKING:
    import torch


class Detector(Protocol):
    """Find boxes and their classes.

    Attributes:
        names: class names of the detector, by class id of the detector.
    """

    @property
    def names(self) -> tuple[str, ...]: ...

    def __call__(self, images: Sequence[npt.NDArray[np.uint8]]) -> list[ScoredBoxes]:
        """Return the boxes of each (H, W, 3) RGB image, best first, without those that score `dataset.conf` or less.

        Boxes may leave their images: clipping, counting and the mapping of classes are done afterwards in
        `models/box_sources.py`.
        """


class DetectorLoader(Protocol):
    """Load a detector; a class whose constructor has these parameters is a loader."""

    def __call__(self, weights: Path, device: torch.device, config: Config, *, trust: bool) -> Detector:
        """Load the weights onto a device.

        Args:
            config: of the run; `dataset.conf`, one number here, and the section `detector` concern a detector.
            trust: whether the file may run code while it is loaded.

        Raises:
            UserError: the weights cannot be used.
        """


DETECTORS: dict[str, DetectorLoader] = {
    "yolov8": YoloDetector,
    "ultralytics": YoloDetector,
}
"""Name in `arch.yolo` -> detector.

Both names take any checkpoint that Ultralytics trains; `yolov8` is kept for compatibility.
"""


def find_detector(name: str) -> DetectorLoader:
    """Return the loader of a detector, by its name in `arch.yolo`.

    Raises:
        UserError: the table has no such name.
    """
    if name not in DETECTORS:
        close = nearest(name, DETECTORS)
        advice = f"; did you mean {close}?" if close else ""
        raise UserError(f'arch.yolo: must be {" or ".join(DETECTORS)}, not "{name}"{advice}')
    return DETECTORS[name]
