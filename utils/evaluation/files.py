"""The files that evaluations write to `evaluator.save_dir`, and what describes the run; the report is in `report/`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from utils.annotations.fingerprint import file_hash
from utils.classes import label_of
from utils.cli.arguments import versions
from utils.cli.options import Options
from utils.distributed import Session
from utils.evaluation.saved import COUNTS
from utils.files import read_text
from utils.io.encoding import encode_csv, encode_json, encode_table
from utils.metrics.attribution import main_error
from utils.metrics.bootstrap import RESAMPLES, SEED
from utils.metrics.clips import CLIP_MEASURES, AllClips, ClipObject
from utils.metrics.summary import HEADLINE, IMAGE_MEASURES, LABEL_MEASURES, Evaluation, nan_to_none, percent

METRICS, REPORT = "metrics.json", "report.html"
PER_IMAGE, PER_CLIP, CONFUSION_MATRIX = "per_image.csv", "per_clip.csv", "confusion_matrix.csv"
PER_CLASS, PER_CLASS_TEX = "per_class.csv", "per_class.tex"
ATTRIBUTION, COMPARISON, THRESHOLDS = "attribution.json", "comparison.json", "thresholds.json"
CALIBRATION = "calibration.json"

ALL_FILES = {
    METRICS,
    REPORT,
    PER_CLASS,
    PER_CLASS_TEX,
    PER_IMAGE,
    PER_CLIP,
    CONFUSION_MATRIX,
    ATTRIBUTION,
    COMPARISON,
    THRESHOLDS,
    COUNTS,
    CALIBRATION,
    "gain.json",
}
"""All that evaluations may write, whatever their options; gain.json is the comparison of earlier versions."""

TARGET_BY_PREDICTION = "target \\ predicted"
"""Heading of the column of target labels in `confusion_matrix.csv`."""

CLIP_COLUMNS = ("clip", "object", "class", "track", *CLIP_MEASURES, "id_switches", "frames")


PROMPT = "prompt file"
"""Stands among the names of models for the file of boxes."""


class Provenance:
    """Describe a run, for `metrics.json` and the foot of the report.

    Weight files are hashed in a thread while the run goes on; it takes a second a gigabyte.

    Args:
        options: of the run, which begins now.
        device: tells the device and the precision; asked at the end, when the models are loaded.
        session: the processes of the run, of which the first one describes it.
    """

    def __init__(self, options: Options, device: Callable[[], str], session: Session) -> None:
        self._options, self._device, self._processes = options, device, session.world_size
        self._date, self._start = datetime.now().astimezone(), time.monotonic()
        files = {**options.model_files, PROMPT: options.prompt} if session.is_main else {}
        hasher = ThreadPoolExecutor(1, thread_name_prefix="hash")
        self._files = {name: (path, hasher.submit(file_hash, path)) for name, path in files.items() if path}
        hasher.shutdown(wait=False)

    def describe(self) -> dict[str, Any]:
        """Return all of it as JSON's types; waits for the hashes."""
        options, dataset = self._options, self._options.config.dataset
        files = {name: {"path": str(path), "sha256": hash.result()} for name, (path, hash) in self._files.items()}
        return {
            "command": options.command,
            "folder": str(Path.cwd()),
            "date": self._date.isoformat(timespec="seconds"),
            "seconds": round(time.monotonic() - self._start, 1),
            "data": {"data_dir": str(dataset.data_dir), "split": dataset.split},
            "boxes": options.boxes,
            "prompt_file": files.pop(PROMPT, None),
            "annotations": options.annotations and str(options.annotations),
            "weights": files,
            "device": self._device(),
            "processes": self._processes,
            "versions": versions(),
            "config": json.loads(json.dumps(asdict(options.config), default=str)),  # paths as text
        }


def date_of_evaluation(folder: Path) -> str:
    """Tell when the evaluation in a folder was made, to the minute; empty if there is none."""
    path = folder / METRICS
    try:
        changed = datetime.fromtimestamp(path.stat().st_mtime).isoformat(" ", "minutes")
    except OSError:
        return ""
    try:
        made = json.loads(read_text(path))["run"]["date"]
    except (OSError, ValueError, KeyError, TypeError):  # an earlier version's, or damaged
        return changed
    return str(made).replace("T", " ")[: len(changed)]


def evaluation_files(
    evaluation: Evaluation, run: Mapping[str, Any], attribution: Mapping[str, Any] | None
) -> dict[str, bytes]:
    """Encode the files that every evaluation has, and `per_clip.csv` of clips: file name -> content.

    Args:
        run: what `Provenance` says of the run, for `metrics.json`.
        attribution: the result of `Attribution`, from which `per_image.csv` takes what each error cost; or None.
    """
    content = metrics(evaluation) | {"run": run}
    matrix = zip(evaluation.names, evaluation.matrix.tolist())
    files = {
        METRICS: encode_json(nan_to_none(content), indent=2) + b"\n",
        PER_CLASS: per_class_table(evaluation),
        PER_CLASS_TEX: per_class_tex(evaluation),
        PER_IMAGE: per_image_table(evaluation, attribution),
        CONFUSION_MATRIX: encode_csv(
            [[TARGET_BY_PREDICTION, *evaluation.names], *([name, *row] for name, row in matrix)]
        ),
    }
    if evaluation.clips is not None:
        files[PER_CLIP] = per_clip_table(evaluation.clips, evaluation.names)
    return files


def metrics(evaluation: Evaluation) -> dict[str, Any]:
    """Return the content of `metrics.json` in full precision; the first three keys are kept for compatibility."""
    labels, means, split = evaluation.label_measures, evaluation.mean_ious, evaluation.split_measures
    counts, intervals, failures = evaluation.counts, evaluation.intervals, evaluation.failures
    return {
        "Pixel_Accuracy": split["pixel_accuracy"],
        "Mean_IOU": means[HEADLINE],
        "Class_IOU": {str(label): iou for label, iou in enumerate(labels["iou"])},
        "images": len(evaluation.images),
        "failed": len(failures),
        "failures": {failure.image_id: failure.reason for failure in failures},
        "split": split,
        "mean_iou": means,
        "intervals_95": {
            "pixel_accuracy": intervals.pixel_accuracy,
            "mean_iou_non_empty_union": intervals.mean_iou,
            "drawn": intervals.drawn,
            "resamples": RESAMPLES,
            "seed": SEED,
        },
        "labels": [
            {
                "label": label,
                "name": name,
                **{measure: values[label] for measure, values in labels.items()},
                "iou_interval_95": intervals.class_iou[:, label],
                "true_pixels": counts.target[label],
                "predicted_pixels": counts.predicted[label],
                "images": evaluation.label_images[label],
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
        "classes": dict(zip(evaluation.names[1:], found.labels[1:])),
        "images": found.images,
        "found_objects": found.found,
        "true_objects": found.true,
        "left_out_mostly_void": found.on_void,
        "ranked_by_score": found.is_ranked,
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


def per_class_table(evaluation: Evaluation) -> bytes:
    """Encode `per_class.csv`: a row for each label, with its numbers and its measures as shares of 1."""
    found, (low, high) = evaluation.average_precision, evaluation.intervals.class_iou
    columns = {
        "label": range(len(evaluation.names)),
        "class": evaluation.names,
        **evaluation.label_numbers,
        **evaluation.label_measures,
        "iou_95_low": low,
        "iou_95_high": high,
        **({} if found is None else {"mask_AP": found.labels}),
        "true_pixels": evaluation.counts.target,
        "predicted_pixels": evaluation.counts.predicted,
    }
    return _encode_columns(columns)


def per_class_tex(evaluation: Evaluation) -> bytes:
    """Encode `per_class.tex`: a table for a paper, of the labels in prediction or target, in percent."""
    columns, means = [*evaluation.label_measures.values()], [*evaluation.label_means.values()]
    heads = ["Class", *(measure.heading for measure in LABEL_MEASURES.values())]
    if (found := evaluation.average_precision) is not None:
        heads, columns, means = [*heads, "AP"], [*columns, found.labels], [*means, found.mean]
    remark = f"; AP is {found.remark}" if found is not None and found.remark else ""
    present = [i for i, union in enumerate(evaluation.counts.union) if union]
    rows = [[tex_escape(evaluation.names[i]), *(percent(column[i]) for column in columns)] for i in present]
    return tex_table([*map(tex_escape, heads)], rows, [["mean", *map(percent, means)]], remark=remark)


def tex_table(heads: Sequence[str], *groups: Sequence[Sequence[str]], remark: str = "") -> bytes:
    """Lay out a LaTeX table of numbers in percent, with a rule before each group of rows; encoded.

    Args:
        remark: ends the comment above the table.
    """
    rules = [rf"\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}", r"\toprule"]
    lines = [rf"% in percent; needs \usepackage{{booktabs}}{remark}", *rules, " & ".join(heads) + r" \\"]
    for group in filter(None, groups):
        lines += [r"\midrule", *(" & ".join(cells) + r" \\" for cells in group)]
    return "\n".join([*lines, r"\bottomrule", "\\end{tabular}\n"]).encode("utf-8", "backslashreplace")


def tex_escape(text: str) -> str:
    """Escape the characters that mean something else to LaTeX."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(each, f"\\{each}" if each in "&%$#_{}" else each) for each in " ".join(text.split()))


def per_image_table(evaluation: Evaluation, attribution: Mapping[str, Any] | None) -> bytes:
    """Encode `per_image.csv`: a row for each image, the worst first; with what errors cost it, where that is known."""
    images = evaluation.worst_first()
    pairs = [sorted(zip(image.class_iou.tolist(), image.labels.tolist())) for image in images]
    columns: dict[str, Any] = {
        "image_id": [image.image_id for image in images],
        **{name: map(measure, images) for name, measure in IMAGE_MEASURES.items()},
        "wrong_pixels": [image.wrong_pixels for image in images],
        "pixels": [image.pixels for image in images],
        "found_objects": [len(image.objects.class_ids) for image in images],
        "true_objects": [len(image.objects.true_class_ids) for image in images],
        "label_ious": ["; ".join(f"{evaluation.names[label]} {iou:.2f}" for iou, label in each) for each in pairs],
    }
    if attribution is not None:
        costs = [attribution["images"][image.image_id] for image in images]
        columns["main_error"] = [main_error(each)[0] for each in costs]
        for error in attribution["parts"]:
            columns[f"lost_{error}"] = [each["parts"][error] for each in costs]
    return _encode_columns(columns)


def per_clip_table(clips: AllClips, names: tuple[str, ...]) -> bytes:
    """Encode `per_clip.csv`, a row for each true object, those of the worst clip first."""
    entries = ({"clip": clip.name, **_object(each, names)} for clip in clips.worst_first() for each in clip.objects)
    return encode_table(CLIP_COLUMNS, ({name: _cell(value) for name, value in entry.items()} for entry in entries))


def _encode_columns(columns: Mapping[str, Any]) -> bytes:
    return encode_csv([[*columns], *([_cell(value) for value in row] for row in zip(*columns.values()))])


def _cell(value: Any) -> Any:
    """Round a measure to the 4 digits of tables; `metrics.json` has full precision. Empty for NaN and None."""
    known = nan_to_none(value)
    return "" if known is None else round(known, 4) if isinstance(known, float) else known
