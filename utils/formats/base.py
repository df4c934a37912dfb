"""What every annotation format has: the files of one image, and the files that all images share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from utils.io.image_files import is_video_name
from utils.io.writers import safe_path
from utils.structures import Instances, Sample

Format = Literal["labelme", "labelme-polygon", "coco", "yolo", "voc"]

Segmentation = Literal["rle", "polygon"]

FRAME_SUFFIX = ".jpg"
"""Of the frames of video files."""

EMPTY = "empty masks left out"

POLYGON_IOU = "IoU of polygons with their masks"


@dataclass(frozen=True)
class ExportSettings:
    """What an exporter must know besides the instances.

    Attributes:
        folder: the format's folder; files in it name others relative to where they will lie.
        names: class names, indexed by class id.
        split: what the images of the run are called together, in formats with split lists.
        tolerance: how far in pixels a polygon may leave the outline of its mask.
        segmentation: how COCO files hold masks.
        review_below: instances with a sign of doubt below this are flagged in labelme files; None: none is.
        frames: where the frames of video files lie as images; None: in the format's folder.
    """

    folder: Path
    names: Sequence[str]
    split: str = "val"
    tolerance: float = 1.0
    segmentation: Segmentation = "rle"
    review_below: float | None = None
    frames: Path | None = None

    def photo(self, sample: Sample) -> Path:
        """The image file that other files name: the sample's own, or that of a video's frame."""
        return photo_path(sample.image_id, sample.path, self.frames or self.folder)


@dataclass(frozen=True)
class Exported:
    """What one image becomes in a format; all paths in it are below the format's folder, POSIX.

    Attributes:
        files: contents by path.
        links: the photo by the path at which the format wants it: a link to it does, or a copy.
        record: what `assemble` needs of this image, in JSON's types; empty in formats without shared files.
        shapes: how many objects, or parts of objects where each part is a shape of its own.
        losses: what the format could not hold, counted by a phrase: `{"empty masks left out": 2}`; never 0.
        measures: how near the format came, a number an object, by a phrase: `{"IoU of polygons with their masks":
            [0.98, 0.99]}`.
    """

    files: Mapping[str, bytes]
    links: Mapping[str, Path] = field(default_factory=dict)
    record: Mapping[str, Any] = field(default_factory=dict)
    shapes: int = 0
    losses: Mapping[str, int] = field(default_factory=dict)
    measures: Mapping[str, Sequence[float]] = field(default_factory=dict)


class Exporter(Protocol):
    """An annotation format. It writes nothing: it turns instances into contents, in any thread, in any order."""

    def export(self, sample: Sample, instances: Instances) -> Exported:
        """The files of one image, the same bytes whenever image and instances are the same.

        Raises:
            SampleError: the photo's file is needed and can no longer be read.
        """

    def assemble(self, records: Iterable[tuple[str, Mapping[str, Any]]]) -> Mapping[str, bytes]:
        """The files that all images share, from (image id, record) pairs in the order of the run; often none."""


def format_folder(save_dir: Path, name: Format) -> Path:
    """Where a format's files go: labelme's into the annotation folder itself, those of others to one of their own."""
    return save_dir if name == "labelme" else save_dir / name


def photo_path(image_id: str, path: Path, frames: Path) -> Path:
    """The image file of a sample: its own or, where that is a video, the one that its frame has below `frames`."""
    return safe_path(frames, image_id, FRAME_SUFFIX) if is_video_name(path.name) else path


def not_empty(instances: Instances) -> list[int]:
    """The positions of the instances that have a pixel; no format has a form for the others."""
    return [i for i, mask in enumerate(instances.masks) if mask.crop.size]


def counted(losses: Mapping[str, int]) -> dict[str, int]:
    """The losses that there are."""
    return {phrase: count for phrase, count in losses.items() if count}


def number(score: np.floating) -> float | None:
    """A score in full precision; None where a person drew the shape (NaN is no JSON)."""
    return None if math.isnan(score) else float(score)
