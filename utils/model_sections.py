"""The config's sections that say how objects are found: each key's meaning, its default and its limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from utils.values import ClassNames, within


@dataclass(frozen=True)
class CleanupConfig:
    """Cleaning of masks; by default nothing is done.

    Attributes:
        clip_to_box: remove what lies outside the box.
        largest_hole: fill holes of up to so many pixels.
        smallest_part: remove the parts of a mask that have fewer pixels.
        largest_part_only: remove all parts of a mask but the largest.
    """

    clip_to_box: bool = False
    largest_hole: int = 0
    smallest_part: int = 0
    largest_part_only: bool = False

    def __post_init__(self) -> None:
        within(self, "largest_hole", 0)
        within(self, "smallest_part", 0)


@dataclass(frozen=True)
class DetectorConfig:
    """How YOLO finds boxes.

    Attributes:
        imgsz: the longer side, in pixels, to which YOLO scales an image.
        iou: of boxes of one class that overlap more than this only the best is kept.
        max_det: boxes kept an image, best first.
        classes: names of the classes whose boxes are kept, the detector's or a prompt file's; left out, all.
    """

    imgsz: int = 640
    iou: float = 0.7
    max_det: int = 300
    classes: ClassNames | None = None

    def __post_init__(self) -> None:
        within(self, "imgsz", 32)
        within(self, "iou", 0, 1)
        within(self, "max_det", 1)


Precision = Literal["auto", "fp32", "bf16", "fp16"]
Compiling = Literal["auto", "on", "off"]


@dataclass(frozen=True)
class SegmenterConfig:
    """How SAM2 finds masks.

    Attributes:
        precision: `fp32`, `bf16`, `fp16`, or `auto`: the fastest that the device computes natively.
        chunk_mb: memory in MiB that decoding one chunk of boxes may take.
        compile: `on` and `off` say whether SAM2 is compiled first, which takes minutes; `auto` does it on a GPU for
            runs that are long enough.
    """

    precision: Precision = "auto"
    chunk_mb: int = 1024
    compile: Compiling = "auto"

    def __post_init__(self) -> None:
        within(self, "chunk_mb", 1)


@dataclass(frozen=True)
class VideoConfig:
    """How objects are followed through clips, with `--video`.

    Attributes:
        keyframe_interval: frames from one keyframe to the next, on which boxes start, confirm and correct tracks; 0:
            the first frame is the only one.
        match_iou: a detection belongs to the track that its mask overlaps at least so much; masks of different objects
            hardly overlap.
        correct_iou: a track whose mask overlaps that of its detection less than this starts anew from the box, under
            the same id.
        patience: keyframes in a row without a detection that end a track.
        non_overlap_masks: a pixel that several tracks claim belongs to the one whose logit is highest there, as in
            SAM2's own evaluation on DAVIS.
    """

    keyframe_interval: int = 5
    match_iou: float = 0.2
    correct_iou: float = 0.7
    patience: int = 10
    non_overlap_masks: bool = True

    def __post_init__(self) -> None:
        within(self, "keyframe_interval", 0)
        within(self, "match_iou", 0, 1)
        within(self, "correct_iou", 0, 1)
        within(self, "patience", 1)
