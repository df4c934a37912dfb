"""Frames of video files as image files, since annotation tools open no videos."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from utils.formats.base import FRAME_SUFFIX, Exported, Exporter
from utils.io.encoding import encode_image
from utils.io.image_files import is_video_name
from utils.io.terminal import counted
from utils.structures import Instances, Sample

JPEG_QUALITY = 95


class FrameExporter(Exporter):
    """Write `<image_id>.jpg` for each frame of a video file; an image that has a file gets none."""

    def export(self, sample: Sample, instances: Instances) -> Exported:
        """Encode the frame, without anything on it."""
        if not is_video_name(sample.path.name):
            return Exported({})
        return Exported({f"{sample.image_id}{FRAME_SUFFIX}": encode_frame(sample.image)}, shapes=1)

    def summary_lines(self, shapes: int, images: int, folder: Path) -> list[str]:
        """Say how many frames all processes wrote."""
        return [f"{counted(shapes, 'image')} of frames of videos in {folder}"]


def encode_frame(image: npt.NDArray[np.uint8]) -> bytes:
    """Encode a frame, (H, W, 3) uint8 RGB, as a JPEG."""
    return encode_image(image, FRAME_SUFFIX, cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY)
