"""The files that evaluations write to `evaluator.save_dir`; the report and its pictures are in `report/`."""

from __future__ import annotations

from typing import Any

from utils.classes import label_of
from utils.io.encoding import encode_csv, encode_json, encode_table
from utils.metrics.clips import CLIP_MEASURES, AllClips, ClipObject
from utils.metrics.scores import Evaluation, ImageScore
from utils.metrics.summary import IMAGE_MEASURES, label_measures, mean_ious, nan_to_none, split_measures

METRICS, REPORT = "metrics.json", "report.html"
PER_IMAGE, PER_CLIP, CONFUSION_MATRIX = "per_image.csv", "per_clip.csv", "confusion_matrix.csv"
ATTRIBUTION, COMPARISON = "attribution.json", "comparison.json"

ALL_FILES = {METRICS, REPORT, PER_IMAGE, PER_CLIP, CONFUSION_MATRIX, ATTRIBUTION, COMPARISON, "gain.json"}
"""What a run may write, by its options; earlier versions called the comparison gain.json."""

TARGET_BY_PREDICTION = "target \\ predicted"
"""Heading of the column of target labels in `confusion_matrix.csv`."""

IMAGE_COLUMNS = ("image_id", *IMAGE_MEASURES, "wrong_pixels", "pixels", "found_objects", "true_objects", "label_ious")

CLIP_COLUMNS = ("clip", "object", "class", "track", *CLIP_MEASURES, "id_switches", "frames")


def evaluation_files(evaluation: Evaluation) -> dict[str, bytes]:
    """Encode the files of an evaluation: file name -> content."""
    images = (_image_row(image, evaluation) for image in evaluation.worst_first())
    matrix = zip(evaluation.names, evaluation.matrix.tolist())
    files = {
        METRICS: encode_json(nan_to_none(metrics(evaluation)), indent=2) + b"\n",
        PER_IMAGE: encode_table(IMAGE_COLUMNS, images),
        CONFUSION_MATRIX: encode_csv(
            [[TARGET_BY_PREDICTION, *evaluation.names], *([name, *row] for name, row in matrix)]
        ),
    }
    if evaluation.clips is not None:
        files[PER_CLIP] = per_clip_table(evaluation.clips, evaluation.names)
    return files


def metrics(evaluation: Evaluation) -> dict[str, Any]:
    """Return the content of `metrics.json` in full precision; the first three keys are the contract's."""
    labels, means, split = label_measures(evaluation), mean_ious(evaluation), split_measures(evaluation)
    counts, intervals, failures = evaluation.counts, evaluation.intervals, evaluation.failures
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
        "labels": [
            {
                "label": label,
                "name": name,
                **{measure: float(values[label]) for measure, values in labels.items()},
                "iou_interval_95": intervals.class_iou[:, label].tolist(),
                "true_pixels": int(counts.target[label]),
                "predicted_pixels": int(counts.predicted[label]),
                "images": int(evaluation.label_images[label]),
            }
            for label, name in enumerate(evaluation.names)
        ],
        "mask_average_precision": _average_precision(evaluation),
        **({} if evaluation.clips is None else {"clips": _clips(evaluation.clips, evaluation.names)}),
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


def _clips(clips: AllClips, names: tuple[str, ...]) -> dict[str, Any]:
    per_clip = {
        clip.name: {
            "frames": clip.frames,
            "frames_left_out": clip.left_out,
            **clip.measures,
            "id_switches": clip.id_switches,
            "tracks": clip.tracks,
            "surplus": clip.false_tracks,
            "untracked_objects": clip.without_track_id,
            "objects": [_object(each, names) for each in clip.objects],
        }
        for clip in clips.clips
    }
    return {**clips.measures, "id_switches": clips.id_switches, "per_clip": per_clip}


def _object(each: ClipObject, names: tuple[str, ...]) -> dict[str, Any]:
    """Describe a true object of a clip; `frames` is the number of those that show it."""
    return {
        "object": each.number,
        "class": names[label_of(each.class_id)],
        "track": each.track,
        **each.measures,
        "id_switches": each.id_switches,
        "frames": each.frames,
    }


def per_clip_table(clips: AllClips, names: tuple[str, ...]) -> bytes:
    """Encode `per_clip.csv`, a row for each true object, those of the worst clip first."""
    entries = ({"clip": clip.name, **_object(each, names)} for clip in clips.worst_first() for each in clip.objects)
    return encode_table(CLIP_COLUMNS, ({name: _cell(value) for name, value in entry.items()} for entry in entries))


def _image_row(image: ImageScore, evaluation: Evaluation) -> dict[str, Any]:
    ious = sorted(zip(image.class_iou.tolist(), image.labels.tolist()))
    return {
        "image_id": image.image_id,
        **{name: _cell(measure(image)) for name, measure in IMAGE_MEASURES.items()},
        "wrong_pixels": image.wrong_pixels,
        "pixels": image.pixels,
        "found_objects": len(image.objects.class_ids),
        "true_objects": len(image.objects.true_class_ids),
        "label_ious": "; ".join(f"{evaluation.names[label]} {iou:.2f}" for iou, label in ious),
    }


def _cell(value: Any) -> Any:
    """Round a measure to the 4 digits of tables; `metrics.json` has full precision. Empty for NaN and None."""
    known = nan_to_none(value)
    return "" if known is None else round(known, 4) if isinstance(known, float) else known
