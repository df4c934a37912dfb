"""One image's part of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from utils.classes import VOID
from utils.evaluation.boundary import boundary_counts
from utils.evaluation.frame_score import score_frame
from utils.evaluation.result import ImageScore, ObjectScores
from utils.masks import Mask
from utils.metrics import LabelCounts, confusion_matrix
from utils.objects import instances_of
from utils.structures import Instances, Sample


def score_image(sample: Sample, instances: Instances, num_labels: int) -> tuple[ImageScore, np.ndarray]:
    """What an image adds to the evaluation, and its (num_labels, num_labels) int64 confusion matrix.

    Args:
        sample: with its target.
        instances: what was found in it.
    """
    assert sample.target is not None, sample.image_id
    prediction = instances.semantic()
    matrix = confusion_matrix(prediction, sample.target, num_labels)
    counts = LabelCounts.of(matrix)
    labels = np.flatnonzero(counts.union)
    boundary = boundary_counts(prediction, sample.target, num_labels)
    score = ImageScore(
        sample.image_id,
        sample.path,
        sample.size,
        labels,
        LabelCounts(*counts.stacked[:, labels]),
        LabelCounts(*boundary.stacked[:, labels]),
        score_objects(sample, instances),
        None if sample.frame is None else score_frame(sample, _truth(sample), instances),
    )
    return score, matrix


def score_objects(sample: Sample, instances: Instances) -> ObjectScores:
    """How well the objects found in an image, which must have a target, fit the true ones."""
    assert sample.target is not None, sample.image_id
    truth = _truth(sample)
    counted = sample.target != VOID
    found, ours, theirs = instances.detections, instances.detections.class_ids, truth.detections.class_ids
    # The crops may not be tight any more, which areas and overlaps do not need.
    masks = [Mask(mask.left, mask.top, mask.crop & counted[mask.window]) for mask in instances.masks]
    ious = np.zeros((len(masks), len(truth)))
    for i, j in np.argwhere(ours[:, None] == theirs):
        ious[i, j] = masks[i].iou(truth.masks[j])
    areas = _areas(masks)
    return ObjectScores(
        told_apart=sample.truth is not None and sample.told_apart,
        class_ids=ours,
        areas=areas,
        on_void=_areas(instances.masks) - areas,
        scores=found.scores,
        mask_scores=instances.mask_scores,
        true_class_ids=theirs,
        true_areas=_areas(truth.masks),
        ious=ious,
    )


def _truth(sample: Sample) -> Instances:
    """The true objects of an image that has a target."""
    assert sample.target is not None, sample.image_id
    return instances_of(sample.target, None) if sample.truth is None else sample.truth


def _areas(masks: Sequence[Mask]) -> np.ndarray:
    """(N,) int64 foreground pixels."""
    return np.array([mask.area for mask in masks], np.int64)
