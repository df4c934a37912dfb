"""What every export format shares: the files of one image and of all images, and the frames of videos as images."""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import cv2
import numpy as np
import numpy.typing as npt

from utils.classes import load_class_names
from utils.io.encoding import encode_image
from utils.io.image_files import is_video_name
from utils.io.terminal import counted
from utils.io.writers import safe_path
from utils.structures import Instances, Sample

Segmentation = Literal["rle", "polygon"]

FRAME_SUFFIX, JPEG_QUALITY = ".jpg", 95
"""Of the frames of video files, which become image files, since annotation tools open no videos."""

RECORDS = ".records"
"""The folder, in that of a format, of what was written for each image; by it a folder is known as an output."""

REVIEW = "review"
"""The folder of links to doubtful photos, in the annotation folder."""

MSG_EMPTY_MASKS = "empty masks left out"

MSG_POLYGON_IOU = "IoU of polygons with their masks"


@dataclass(frozen=True)
class ExportSettings:
    """Hold what an exporter must know besides the instances.

    Attributes:
        folder: the format's folder; files in it name others relative to where they will lie.
        names: class names, indexed by class id.
        split: what the images of the run are called together, in formats with split lists.
        splits: the split of each image, by its id, where there are several; empty: all are of `split`.
        tolerance: how far in pixels a polygon may leave the outline of its mask.
        segmentation: how COCO files hold masks.
        review_below: instances with a confidence term below this are flagged in labelme files; None: none is.
        frames: where the frames of video files lie as images; None: in the format's folder.
    """

    folder: Path
    names: Sequence[str]
    split: str = "val"
    tolerance: float = 1.0
    segmentation: Segmentation = "rle"
    review_below: float | None = None
    frames: Path | None = None
    splits: Mapping[str, str] = field(default_factory=dict)

    def photo(self, sample: Sample) -> Path:
        """Return the image file that other files name: the sample's own, or that of a video's frame."""
        return photo_path(sample.image_id, sample.path, self.frames or self.folder)


@dataclass(frozen=True)
class Exported:
    """Hold what one image becomes in a format; all paths in it are below the format's folder, POSIX.

    Attributes:
        files: contents by path.
        links: the photo by the path at which the format wants it: a link to it does, or a copy.
        record: what `assemble` needs of this image, in JSON's types; empty in formats without shared files.
        shapes: how many objects, or parts of objects where each part is a shape of its own.
        losses: what the format could not hold, counted by a phrase: `{"empty masks left out": 2}`.
        measures: the fidelity of each object, by a phrase: `{"IoU of polygons with their masks": [0.98, 0.99]}`.
    """

    files: Mapping[str, bytes]
    links: Mapping[str, Path] = field(default_factory=dict)
    record: Mapping[str, Any] = field(default_factory=dict)
    shapes: int = 0
    losses: Mapping[str, int] = field(default_factory=dict)
    measures: Mapping[str, Sequence[float]] = field(default_factory=dict)


class Exporter(ABC):
    """Turn instances into the contents of files; write nothing. Called in any thread, in any order.

    Args:
        settings: what it must know besides the instances.

    Attributes:
        class_list: the shared file, or a pattern of such files, by whose list the files of an image count their
            classes; None: they name them.
    """

    class_list: ClassVar[str | None] = None

    def __init__(self, settings: ExportSettings) -> None:
        self.settings = settings

    def read_class_list(self, path: Path) -> Sequence[str]:
        """Read the class names of a file that `class_list` names, by class id; UserError if it holds none."""
        return load_class_names(path)

    @abstractmethod
    def export(self, sample: Sample, instances: Instances) -> Exported:
        """Make the files of one image: the same bytes whenever image and instances are the same.

        Raises:
            SampleError: the photo's file is needed and can no longer be read, or the format cannot hold the image.
        """

    def is_record(self, image_id: str, record: Mapping[str, Any]) -> bool:
        """Return whether `export` could have made this record of an image; one that was read may be damaged."""
        return not record

    def assemble(self, records: Iterable[tuple[str, Mapping[str, Any]]]) -> Mapping[str, bytes]:
        """Make the files that all images share; most formats have none.

        Args:
            records: image id and `Exported.record` of each image, in the order of the run; in the record, `files` names
                the files and links that were made for the image.

        Returns:
            contents by path.
        """
        return {}

    def summary_lines(self, shapes: int, images: int, folder: Path) -> list[str]:
        """Say what all processes wrote to the folder, after `assemble`, which only the first process calls."""
        if not images:
            return [f"nothing new in {folder}"]
        return [f"{counted(shapes, 'shape')} in {counted(images, 'image')} in {folder}"]


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


def photo_path(image_id: str, path: Path, frames: Path) -> Path:
    """Return the image file of a sample: its own or, where that is a video, that of its frame below `frames`."""
    return safe_path(frames, image_id, FRAME_SUFFIX) if is_video_name(path.name) else path


def relative_path(image: Path, folder: Path) -> str:
    """Make the image's path relative to the folder, with forward slashes; absolute if on another drive of Windows.

    Links among the folders are followed, since `..` leaves the real folder; the image keeps its own name.
    """
    image = Path(os.path.realpath(image.parent), image.name)
    try:
        return Path(os.path.relpath(image, os.path.realpath(folder))).as_posix()
    except ValueError:
        return image.as_posix()


def nonempty(instances: Instances) -> tuple[list[int], dict[str, int]]:
    """Return the indices of the instances that have a pixel, and the loss of the others, which no format can hold."""
    indices = [i for i, mask in enumerate(instances.masks) if mask.shape[0]]
    return indices, {MSG_EMPTY_MASKS: len(instances) - len(indices)}


def json_scores(instances: Instances, i: int) -> dict[str, float | None]:
    """Return both scores of instance `i`, and its expected IoU if there is a calibration, by their keys in JSON."""
    scores = {"score": instances.detections.scores[i], "mask_score": instances.mask_scores[i]}
    if instances.expected_ious is not None:
        scores["expected_iou"] = instances.expected_ious[i]
    return {name: json_score(score) for name, score in scores.items()}


def json_score(score: np.floating) -> float | None:
    """Convert a score in full precision; None where a person drew the shape (JSON has no NaN)."""
    return None if math.isnan(score) else float(score)
