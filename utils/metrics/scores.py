"""The scores of an image: pixels of its labels, and its found and true objects; `summary.py` joins those of a split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from utils.boxes import box_iou
from utils.classes import VOID
from utils.label_maps import MAX_LOST, class_pixels, instances_of
from utils.masks import Mask
from utils.metrics.davis import FrameScore, score_frame
from utils.metrics.segmentation import (
    LabelCounts,
    boundary_counts,
    class_iou,
    confusion_matrix,
    mean_iou,
    pixel_accuracy,
)
from utils.structures import Instances, Sample


@dataclass(frozen=True)
class ObjectScores:
    """The N found and M true objects of one image, and how well they overlap; void pixels belong to none.

    Attributes:
        has_instance_ids: whether the dataset has a map of objects (SegmentationObject); if not, each connected part of
            a class is one true object, specks excepted.
        class_ids: (N,) int64 of the found objects, in the order of the instances.
        areas: (N,) int64 pixels of their masks that are not void in the target.
        on_void: (N,) int64 pixels of their masks that are void in the target.
        scores: (N,) float32 of the detector.
        mask_scores: (N,) float32 of SAM2; NaN where a person drew the shape.
        true_class_ids: (M,) int64 of the true objects.
        true_areas: (M,) int64 pixels of their masks.
        maps_differ: whether a map of objects leaves more than a slip of the pixels of classes to no object of theirs.
        ious: (N, M) float64 IoU of masks; 0 between different classes.
        box_ious: (N, M) float64 IoU of boxes; 0 between different classes.
    """

    has_instance_ids: bool
    class_ids: npt.NDArray[np.int64]
    areas: npt.NDArray[np.int64]
    on_void: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]
    mask_scores: npt.NDArray[np.float32]
    true_class_ids: npt.NDArray[np.int64]
    true_areas: npt.NDArray[np.int64]
    maps_differ: bool
    ious: npt.NDArray[np.float64]
    box_ious: npt.NDArray[np.float64]

    @property
    def best_ious(self) -> npt.NDArray[np.float64]:
        """(N,): the IoU of each found object with its best true object of the same class; 0 without one."""
        return self.ious.max(axis=1, initial=0)

    @property
    def true_best_ious(self) -> npt.NDArray[np.float64]:
        """(M,): the IoU of each true object with its best found object of the same class; 0 if missed."""
        return self.ious.max(axis=0, initial=0)


@dataclass(frozen=True)
class ImageScore:
    """The contribution of one image to an evaluation.

    Attributes:
        image_id: of the sample.
        path: the image file.
        labels: (K,) int64, ascending: those in prediction or target; void pixels are not counted.
        counts: (K,) int64 pixels of these labels.
        boundary: (K,) int64 pixels of these labels near their edges, for the boundary IoU.
        objects: found and true objects.
        frame: its contribution to the scores of its clip, or None where it is in none.
    """

    image_id: str
    path: Path
    labels: npt.NDArray[np.int64]
    counts: LabelCounts
    boundary: LabelCounts
    objects: ObjectScores
    frame: FrameScore | None = None

    @property
    def class_iou(self) -> npt.NDArray[np.float64]:
        """(K,) IoU of each of `labels`; none is NaN."""
        return class_iou(self.counts)

    @property
    def mean_iou(self) -> float:
        """Mean IoU of `labels`; NaN if every pixel is void."""
        return float(mean_iou(self.counts))

    @property
    def pixel_accuracy(self) -> float:
        """Share of the pixels whose label is right; NaN if every pixel is void."""
        return float(pixel_accuracy(self.counts))

    @property
    def pixels(self) -> int:
        """Pixels that are not void."""
        return int(self.counts.target.sum())

    @property
    def wrong_pixels(self) -> int:
        """Pixels that are not void and whose label is wrong."""
        return self.pixels - int(self.counts.tp.sum())


def object_values(images: Sequence[ImageScore], name: str, dtype: type = np.float64) -> npt.NDArray[Any]:
    """Join a value of the objects of all images, given by its attribute in `ObjectScores`: (N,) of a dtype."""
    return np.concatenate([np.empty(0, dtype), *(getattr(image.objects, name) for image in images)])


def score_image(sample: Sample, instances: Instances, num_labels: int) -> tuple[ImageScore, npt.NDArray[np.int64]]:
    """Score the instances of an image, which must have a target.

    Returns:
        its scores, and its (num_labels, num_labels) confusion matrix.
    """
    assert sample.gt_mask is not None, sample.image_id
    prediction = instances.to_semantic()
    matrix = confusion_matrix(prediction, sample.gt_mask, num_labels)
    counts = LabelCounts.from_matrix(matrix)
    boundary = boundary_counts(prediction, sample.gt_mask, num_labels)
    labels = np.flatnonzero(counts.union)
    score = ImageScore(
        sample.image_id,
        sample.path,
        labels,
        LabelCounts(counts.pixels[:, labels]),
        LabelCounts(boundary.pixels[:, labels]),
        score_objects(sample, instances),
        None if sample.frame is None else score_frame(sample, _true_objects(sample, specks=True), instances),
    )
    return score, matrix


def score_objects(sample: Sample, instances: Instances) -> ObjectScores:
    """Compare the objects found in an image, which must have a target, with the true ones of the same class."""
    assert sample.gt_mask is not None, sample.image_id
    truth, counted = _true_objects(sample, specks=False), sample.gt_mask != VOID
    class_ids, true_class_ids = instances.detections.class_ids, truth.detections.class_ids
    # Without void a crop may not be tight any more, but neither areas nor overlaps need that.
    masks = [Mask(mask.left, mask.top, mask.crop & counted[mask.slices]) for mask in instances.masks]
    ious, same_class = np.zeros((len(masks), len(truth))), class_ids[:, None] == true_class_ids
    for i, j in np.argwhere(same_class):
        ious[i, j] = masks[i].iou(truth.masks[j])
    areas = _areas(masks)
    has_instance_ids = sample.gt_instances is not None and sample.has_instance_ids
    total, lost = class_pixels(sample.gt_mask, truth) if has_instance_ids else (0, 0)
    return ObjectScores(
        has_instance_ids=has_instance_ids,
        class_ids=class_ids,
        areas=areas,
        on_void=_areas(instances.masks) - areas,
        scores=instances.detections.scores,
        mask_scores=instances.mask_scores,
        true_class_ids=true_class_ids,
        true_areas=_areas(truth.masks),
        maps_differ=lost > MAX_LOST * total,
        ious=ious,
        box_ious=box_iou(instances.detections.boxes, truth.detections.boxes) * same_class,
    )


def _true_objects(sample: Sample, specks: bool) -> Instances:
    """Return the objects of the dataset, or connected parts; specks are part of a class but no objects."""
    assert sample.gt_mask is not None, sample.image_id
    if sample.gt_instances is None or (specks and sample.gt_instances.track_ids is None):
        return instances_of(sample.gt_mask, None, specks)
    return sample.gt_instances


def _areas(masks: Sequence[Mask]) -> npt.NDArray[np.int64]:
    return np.array([mask.area for mask in masks], np.int64)
