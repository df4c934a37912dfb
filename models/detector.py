"""The table of detectors: what `arch.yolo` may name, and what each must offer."""

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
    """Finds boxes and names them.

    Attributes:
        names: its own class names, by its own class id.
    """

    @property
    def names(self) -> tuple[str, ...]: ...

    def __call__(self, images: Sequence[npt.NDArray[np.uint8]]) -> list[ScoredBoxes]:
        """Return the boxes of each (H, W, 3) RGB image, best first; those that score `dataset.conf` or less left out.

        Boxes may leave their images: what sanitizes, counts and maps classes comes behind (`models/box_sources.py`).
        """


class DetectorLoader(Protocol):
    """Loads a detector; a class whose constructor has these parameters is one."""

    def __call__(self, weights: Path, device: torch.device, config: Config, *, trust: bool) -> Detector:
        """Load the weights onto a device.

        Args:
            config: of the run; `dataset.conf` and the section `detector` concern a detector.
            trust: whether the file may run code while it is loaded.

        Raises:
            UserError: the weights cannot be used.
        """


DETECTORS: dict[str, DetectorLoader] = {
    "yolov8": YoloDetector,
    "ultralytics": YoloDetector,
}
"""Name in `arch.yolo` -> detector. Both names take any checkpoint that Ultralytics trains; the first is the seed's."""


def find_detector(name: str) -> DetectorLoader:
    """Look a detector up.

    Raises:
        UserError: the table has no such name.
    """
    if name not in DETECTORS:
        close = nearest(name, DETECTORS)
        advice = f"; did you mean {close}?" if close else ""
        raise UserError(f'arch.yolo: must be {" or ".join(DETECTORS)}, not "{name}"{advice}')
    return DETECTORS[name]
