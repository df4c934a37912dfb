"""The names of the files that evaluations write to `evaluator.save_dir`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from utils.classes import label_of
from utils.io.encoding import encode_csv, encode_json, encode_table
from utils.metrics.clips import ClipObject, ClipScore
from utils.metrics.scores import Evaluation, ImageScore
from utils.metrics.summary import label_measures, mean_ious, rounded, split_measures

METRICS = "metrics.json"

PER_IMAGE = "per_image.csv"

CONFUSION_MATRIX = "confusion_matrix.csv"

PER_CLIP = "per_clip.csv"

REPORT = "report.html"

ATTRIBUTION = "attribution.json"

GAIN = "gain.json"

EVERY = frozenset({METRICS, PER_IMAGE, CONFUSION_MATRIX, PER_CLIP, REPORT, ATTRIBUTION, GAIN})
"""All of them; which ones a run writes depends on its options."""

COLUMNS = ("clip", "object", "class", "track", "J_and_F", "J", "F", "id_switches", "frames")


def clip_files(evaluation: Evaluation) -> dict[str, bytes]:
    """`per_clip.csv`, a line for each true object, the worst clip first; nothing where there are no clips."""
    clips, names = evaluation.clips, evaluation.names
    if clips is None:
        return {}
    entries = ({"clip": clip.name, **_object(each, names)} for clip in clips.worst_first() for each in clip.objects)
    rows = ({name: _cell(value) for name, value in entry.items()} for entry in entries)
    return {PER_CLIP: encode_table(COLUMNS, rows)}


def clip_metrics(evaluation: Evaluation) -> dict[str, Any]:
    """The key `clips` with all numbers in full precision; nothing where there are no clips."""
    clips = evaluation.clips
    if clips is None:
        return {}
    per_clip = {clip.name: _clip(clip, evaluation.names) for clip in clips.clips}
    return {"clips": {**clips.measures, "id_switches": clips.id_switches, "per_clip": per_clip}}


def _clip(clip: ClipScore, names: tuple[str, ...]) -> dict[str, Any]:
    return {
        "frames": clip.frames,
        "frames_left_out": clip.left_out,
        **clip.measures,
        "id_switches": clip.id_switches,
        "tracks": clip.tracks,
        "surplus": clip.surplus,
        "untracked_objects": clip.untracked,
        "objects": [_object(each, names) for each in clip.objects],
    }


def _object(each: ClipObject, names: tuple[str, ...]) -> dict[str, Any]:
    """A true object; `frames` are those that show it."""
    return {
        "object": each.number,
        "class": names[label_of(each.class_id)],
        "track": each.track,
        **each.measures,
        "id_switches": each.id_switches,
        "frames": each.frames,
    }


def _cell(value: Any) -> Any:
    return "" if value is None else rounded(value) if isinstance(value, float) else value


TARGET_BY_PREDICTION = "target \\ predicted"
"""Heads the column of target labels in `confusion_matrix.csv`."""

IMAGE_COLUMNS = (
    "image_id",
    *("mean_iou", "pixel_accuracy", "mean_boundary_iou", "wrong_pixels", "pixels"),
    *("found_objects", "true_objects", "label_ious"),
)


def evaluation_files(evaluation: Evaluation) -> dict[str, bytes]:
    """File name -> content."""
    return {
        METRICS: encode_json(_known(metrics(evaluation)), indent=2) + b"\n",
        PER_IMAGE: encode_table(IMAGE_COLUMNS, (_row(image, evaluation) for image in evaluation.worst_first())),
        CONFUSION_MATRIX: confusion_table(evaluation),
        **clip_files(evaluation),
    }


def metrics(evaluation: Evaluation) -> dict[str, Any]:
    """All numbers in full precision; the first three under the contract's names."""
    labels, means, split = label_measures(evaluation), mean_ious(evaluation), split_measures(evaluation)
    intervals, failures = evaluation.intervals, evaluation.failures
    return {
        "Pixel_Accuracy": split["pixel_accuracy"],
        "Mean_IOU": means["non_empty_union"],
        "Class_IOU": {str(label): iou for label, iou in enumerate(labels["iou"].tolist())},
        "images": len(evaluation.images),
        "failed": len(failures),
        "failures": {failure.image_id: failure.reason for failure in failures},
        "split": split,
        "mean_iou": means,
        "intervals_95": {
            "pixel_accuracy": intervals.pixel_accuracy.tolist(),
            "mean_iou_non_empty_union": intervals.mean_iou.tolist(),
            "resamples": intervals.resamples,
            "seed": intervals.seed,
        },
        "labels": [_label(evaluation, labels, label) for label in range(len(evaluation.names))],
        "mask_average_precision": _average_precision(evaluation),
        **clip_metrics(evaluation),
    }


def confusion_table(evaluation: Evaluation) -> bytes:
    """The confusion matrix in pixels as CSV, with the names of the labels; rows are the target."""
    rows = ([name, *row] for name, row in zip(evaluation.names, evaluation.matrix.tolist()))
    return encode_csv([[TARGET_BY_PREDICTION, *evaluation.names], *rows])


def _label(evaluation: Evaluation, measures: Mapping[str, np.ndarray], label: int) -> dict[str, Any]:
    """The measures of one label."""
    return {
        "label": label,
        "name": evaluation.names[label],
        **{name: float(values[label]) for name, values in measures.items()},
        "iou_interval_95": evaluation.intervals.class_iou[:, label].tolist(),
        "true_pixels": int(evaluation.counts.target[label]),
        "predicted_pixels": int(evaluation.counts.predicted[label]),
        "images": int(evaluation.label_images[label]),
    }


def _average_precision(evaluation: Evaluation) -> dict[str, Any] | None:
    found = evaluation.average_precision
    if found is None:
        return None
    return {
        "AP": found.mean,
        "AP50": found.at_50,
        "AP75": found.at_75,
        "classes": dict(zip(evaluation.names[1:], found.classes.tolist())),
        "images": found.images,
        "found_objects": found.found,
        "true_objects": found.true,
        "left_out_mostly_void": found.on_void,
    }


def _row(image: ImageScore, evaluation: Evaluation) -> dict[str, Any]:
    """An image's row of `per_image.csv`."""
    ious = sorted(zip(image.class_iou.tolist(), image.labels.tolist()))
    measures = {
        "mean_iou": image.mean_iou,
        "pixel_accuracy": image.pixel_accuracy,
        "mean_boundary_iou": image.mean_boundary_iou,
    }
    return {
        "image_id": image.image_id,
        **{name: rounded(value) for name, value in measures.items()},
        "wrong_pixels": image.wrong_pixels,
        "pixels": image.pixels,
        "found_objects": len(image.objects.class_ids),
        "true_objects": len(image.objects.true_class_ids),
        "label_ious": "; ".join(f"{evaluation.names[label]} {iou:.2f}" for iou, label in ious),
    }


def _known(value: Any) -> Any:
    """The value with null for NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _known(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_known(entry) for entry in value]
    return None if isinstance(value, float) and math.isnan(value) else value
