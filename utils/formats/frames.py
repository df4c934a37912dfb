"""Frames of video files as image files, since annotation tools open no videos."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import cv2
import numpy as np

from utils.formats.base import FRAME_SUFFIX, Exported
from utils.io.encoding import encode_image
from utils.io.image_files import is_video_name
from utils.structures import Instances, Sample

QUALITY = 95
"""Of JPEG, up to 100."""


class FrameExporter:
    """`<image_id>.jpg` of each frame of a video file; an image that has a file gets none."""

    def export(self, sample: Sample, instances: Instances) -> Exported:
        """The frame, without anything on it."""
        if not is_video_name(sample.path.name):
            return Exported({})
        return Exported({f"{sample.image_id}{FRAME_SUFFIX}": frame_file(sample.image)}, shapes=1)

    def assemble(self, records: Iterable[tuple[str, Mapping[str, Any]]]) -> Mapping[str, bytes]:
        """Nothing: frames share no file."""
        return {}


def frame_file(image: np.ndarray) -> bytes:
    """The JPEG of a frame, (H, W, 3) uint8 RGB."""
    return encode_image(image, FRAME_SUFFIX, cv2.IMWRITE_JPEG_QUALITY, QUALITY)
