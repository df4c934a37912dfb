"""The types that flow: batches -> cascade -> (Sample, Instances) -> sinks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeAlias, TypeVar, overload

import numpy as np
import numpy.typing as npt

from utils.classes import BACKGROUND, label_of
from utils.masks import Mask

Index: TypeAlias = "npt.NDArray[np.int64] | npt.NDArray[np.bool_] | slice"
"""Chooses some of N: positions, a boolean mask, or a slice."""

Value = TypeVar("Value", bound=np.generic)


class FilePaths(Sequence[Path]):
    """Keep paths of files as strings and make path objects when asked for, since these take five times the memory.

    Attributes:
        files: the strings.
    """

    def __init__(self, files: list[str]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> FilePaths: ...
    def __getitem__(self, index: int | slice) -> Path | FilePaths:
        """Return a file, or some of them."""
        return FilePaths(self.files[index]) if isinstance(index, slice) else Path(self.files[index])

    def __iter__(self) -> Iterator[Path]:
        return map(Path, self.files)


@dataclass(frozen=True)
class Frame:
    """Hold the place of a sample in its clip.

    Attributes:
        clip: the clip's name: the path of its folder, or of its video file without suffix; what the ids of frames begin
            with.
        index: position in the clip, from 0; frames that cannot be used keep theirs.
        count: how many frames the clip has.
    """

    clip: str
    index: int
    count: int


@dataclass(frozen=True)
class Sample:
    """One image with its id and, when it is to be evaluated, its ground truth.

    Attributes:
        image_id: path below JPEGImages (or the source folder) without suffix, with forward slashes.
        path: the image file, or the video file of which it is a frame.
        image: (H, W, 3) uint8 RGB, upright.
        gt_mask: (H, W) uint8 label map (0 background, class id + 1, 255 void), or None.
        gt_instances: the ground-truth instances, or None where nobody asked for them.
        has_instance_ids: whether the dataset has a map of objects (SegmentationObject); if not, each connected part of
            a class stands for one, specks excepted.
        frame: its place in a clip, or None where it is an image by itself.
        gt_box_instances: SAM2's masks for the boxes of `gt_instances`, for error attribution; None where nobody asked
            for them.
    """

    image_id: str
    path: Path
    image: npt.NDArray[np.uint8]
    gt_mask: npt.NDArray[np.uint8] | None = None
    gt_instances: Instances | None = None
    has_instance_ids: bool = False
    frame: Frame | None = None
    gt_box_instances: Instances | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Return (height, width) in pixels."""
        return self.image.shape[0], self.image.shape[1]


@dataclass(frozen=True)
class Detections:
    """Hold the boxes of one image, N >= 0, in the order of the detector.

    Attributes:
        boxes: (N, 4) float32, x1 y1 x2 y2 in pixels of the upright image, x1 < x2 and y1 < y2, inside the image.
        scores: (N,) float32 in [0, 1].
        class_ids: (N,) int64, 0-based index into the class names.

    Raises:
        AssertionError: shapes or dtypes differ from the above; outside data goes through `sanitize` first.
    """

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    class_ids: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        n = len(self.boxes)
        assert self.boxes.shape == (n, 4) and self.boxes.dtype == np.float32, (self.boxes.shape, self.boxes.dtype)
        assert self.scores.shape == (n,) and self.scores.dtype == np.float32, (self.scores.shape, self.scores.dtype)
        assert self.class_ids.shape == (n,) and self.class_ids.dtype == np.int64, (
            self.class_ids.shape,
            self.class_ids.dtype,
        )

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: Index) -> Detections:
        """Choose some of the detections; boxes, scores and ids stay together."""
        return Detections(self.boxes[index], self.scores[index], self.class_ids[index])

    @classmethod
    def from_arrays(cls, boxes: object, scores: object, class_ids: object) -> Detections:
        """Make detections from anything numpy can read, empty lists included."""
        return cls(
            np.asarray(boxes, np.float32).reshape(-1, 4),
            np.asarray(scores, np.float32).reshape(-1),
            np.asarray(class_ids, np.int64).reshape(-1),
        )

    @classmethod
    def empty(cls) -> Detections:
        """Return no boxes."""
        return cls.from_arrays([], [], [])


@dataclass(frozen=True)
class Instances:
    """Hold the objects of one image: detections with a mask each; N >= 0, in detection order.

    Attributes:
        size: (height, width) of the image in pixels.
        detections: boxes, detector scores and class ids.
        masks: N masks; one may be empty.
        mask_scores: (N,) float32, SAM2's own estimate of each mask's IoU; NaN for a shape that a person drew.
        track_ids: (N,) int64 through a clip, or None.
        expected_ious: (N,) float64 IoU that each object is expected to have by a calibration, or None without one.
    """

    size: tuple[int, int]
    detections: Detections
    masks: Sequence[Mask]
    mask_scores: npt.NDArray[np.float32]
    track_ids: npt.NDArray[np.int64] | None = None
    expected_ious: npt.NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        n = len(self.detections)
        assert len(self.masks) == n and self.mask_scores.shape == (n,), (n, len(self.masks), self.mask_scores.shape)

    def __len__(self) -> int:
        return len(self.detections)

    def __getitem__(self, index: Index) -> Instances:
        """Choose some of the instances; all that belongs to one stays together."""
        chosen = np.arange(len(self))[index]
        tracks = None if self.track_ids is None else self.track_ids[chosen]
        masks = [self.masks[i] for i in chosen.tolist()]
        expected = None if self.expected_ious is None else self.expected_ious[chosen]
        return Instances(self.size, self.detections[chosen], masks, self.mask_scores[chosen], tracks, expected)

    @classmethod
    def from_masks(
        cls,
        size: tuple[int, int],
        class_ids: Sequence[int],
        masks: Sequence[Mask],
        scores: Sequence[float] | None = None,
        mask_scores: Sequence[float] | None = None,
        track_ids: Sequence[int] | None = None,
    ) -> Instances:
        """Make instances from their masks: boxes are tight, scores 1 and mask scores NaN unless they are given."""
        n = len(masks)
        boxes = [mask.box for mask in masks]
        detections = Detections.from_arrays(boxes, np.ones(n) if scores is None else scores, class_ids)
        ious = np.full(n, np.nan) if mask_scores is None else mask_scores
        tracks = None if track_ids is None else np.asarray(track_ids, np.int64).reshape(n)
        return cls(size, detections, masks, np.asarray(ious, np.float32).reshape(n), tracks)

    @cached_property
    def uncontested(self) -> npt.NDArray[np.float64]:
        """Return (N,) the share of each mask's pixels that no other mask has; 1 for an empty mask."""
        claims = np.zeros(self.size, np.uint16)
        for mask in self.masks:
            claims[mask.slices] += mask.crop
        areas = np.array([mask.area for mask in self.masks], np.float64)
        alone = [np.count_nonzero((claims[mask.slices] == 1) & mask.crop) for mask in self.masks]
        return np.divide(alone, areas, out=np.ones(len(areas)), where=areas > 0)

    def z_order(self) -> npt.NDArray[np.int64]:
        """Return the (N,) instance indices, the one that wins an overlapped pixel last.

        The highest mask score wins, ties go to the lower index; shapes without a score, drawn by a person, win over
        scored ones, later over earlier.
        """
        drawn = np.isnan(self.mask_scores)
        index = np.arange(len(self))
        return np.lexsort((np.where(drawn, index, -index), np.where(drawn, np.inf, self.mask_scores)))

    def rasterize(self, values: npt.NDArray[Value], fill: int = 0) -> npt.NDArray[Value]:
        """Draw all instances into (H, W): each pixel gets the value of the instance that wins it.

        No other code decides which instance gets a pixel; `z_order` has the rule.

        Args:
            values: (N,), one for each instance.
            fill: the value of pixels without an instance.
        """
        picture = np.full(self.size, fill, values.dtype)
        for i in self.z_order():
            mask = self.masks[i]
            picture[mask.slices][mask.crop] = values[i]
        return picture

    def to_semantic(self) -> npt.NDArray[np.uint8]:
        """Draw the (H, W) label map: 0 is background, class id + 1 where an instance lies."""
        return self.rasterize(label_of(self.detections.class_ids).astype(np.uint8), BACKGROUND)
