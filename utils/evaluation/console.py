"""What an evaluation prints."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from utils.metrics.clips import MEASURES, AllClips
from utils.metrics.scores import Evaluation
from utils.metrics.summary import label_measures, mean_ious, split_measures

WIDEST = 15
"""Columns of the terminal that a cell may take; longer ones are cut."""


def framed(
    heads: Sequence[str], rows: Sequence[Sequence[str]], left: Collection[int] = (), separate_last: bool = False
) -> list[str]:
    """The lines of a table with a frame, as mmsegmentation's.

    Args:
        left: positions of the columns that are flush left; numbers are flush right.
        separate_last: whether a line sets the last row off.
    """
    cells = [[_cut(cell) for cell in row] for row in (heads, *rows)]
    widths = [max(map(columns, column)) for column in zip(*cells)]
    rule = "+".join(["", *("-" * (width + 2) for width in widths), ""])
    lines = [_line(row, widths, left) for row in cells]
    head, body, last = lines[:1], lines[1:-1], lines[-1:]
    return [rule, *head, rule, *body, *([rule] if separate_last else []), *last, rule]


def percent(value: float) -> str:
    """A share of 1 in percent, as mmsegmentation prints it; `-` for NaN."""
    return "-" if math.isnan(value) else f"{100 * value:.2f}"


def columns(text: str) -> int:
    """How many columns of a terminal a text takes: two for a wide character, none for an accent of its own."""
    return sum(_columns(char) for char in text)


def _columns(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _line(row: Sequence[str], widths: Sequence[int], left: Collection[int]) -> str:
    padded = []
    for i, (cell, width) in enumerate(zip(row, widths)):
        blank = " " * (width - columns(cell))
        padded.append(f"{cell}{blank}" if i in left else f"{blank}{cell}")
    return f"| {' | '.join(padded)} |"


def _cut(text: str) -> str:
    """The text on one line, shortened with an ellipsis where it is too wide."""
    text = " ".join(text.split())
    if columns(text) <= WIDEST:
        return text
    while columns(text) >= WIDEST:
        text = text[:-1]
    return f"{text}…"


SHOWN = 10
"""Clips in the table, the worst ones."""


def clip_lines(clips: AllClips | None) -> list[str]:
    """The table of the worst clips, and what has to be said of it; nothing where there are no clips."""
    if clips is None:
        return []
    shown = clips.worst_first()[:SHOWN]
    rows = [_row(each.name, each.frames, each.measures, each.id_switches, each.surplus) for each in shown]
    mean = _row("mean", clips.total("frames"), clips.measures, clips.id_switches, clips.total("surplus"))
    heads = ["Clip", "Frames", "J&F", "J", "F", "IDSW", "Surplus"]
    return [
        *framed(heads, [*rows, mean], left=[0], separate_last=True),
        "In percent; of objects over all frames, then of clips; IDSW are id switches,",
        "surplus the tracks that are no object's",
        *_remarks(clips),
    ]


def _row(name: str, frames: int, measures: Mapping[str, float], switches: int | None, surplus: int) -> list[str]:
    values = [percent(measures[measure]) for measure in MEASURES]
    return [name, str(frames), *values, "-" if switches is None else str(switches), str(surplus)]


def _remarks(clips: AllClips) -> list[str]:
    by_class = sum(not each.has_instance_ids for each in clips.clips)
    counts = {
        "more clips, which are better, are in per_clip.csv": len(clips.clips) - SHOWN,
        "clips have no SegmentationObject: there a class stands for one object": by_class,
        "frames without SegmentationObject are left out of clips that have it": clips.total("left_out"),
        "found objects have no track id: each counts as a track of its own": clips.total("untracked"),
    }
    return [f"{count} {remark}" for remark, count in counts.items() if count > 0]


HEADS = {"accuracy": "Acc", "precision": "Prec", "dice": "Dice", "boundary_iou": "bIoU"}
"""Measures of a label -> their columns, beside IoU and its interval."""

CONVENTIONS = {
    "non_empty_union": "labels in prediction or target (mmsegmentation; Mean_IOU below)",
    "present_in_target": "labels in the target (Ultralytics)",
    "without_background": "labels in prediction or target, without the background",
    "mean_over_images": "mean over images of each image's mean (torchmetrics' mean_iou)",
    "mean_over_images_and_labels": "mean over all pairs of an image and a label (torchmetrics' MeanIoU)",
}


def summary_lines(evaluation: Evaluation) -> list[str]:
    """All lines, the contract's last."""
    return [
        *label_table(evaluation),
        *split_lines(evaluation),
        *clip_lines(evaluation.clips),
        *metric_lines(evaluation),
    ]


def metric_lines(evaluation: Evaluation) -> list[str]:
    """The three lines that every evaluation ends with, as shares of 1."""
    images, failed = len(evaluation.images), len(evaluation.failures)
    over = f" over {images} of {images + failed} images" if failed else ""
    ious = enumerate(label_measures(evaluation)["iou"])
    return [
        f"Pixel_Accuracy: {split_measures(evaluation)['pixel_accuracy']:.4f}{over}",
        f"Mean_IOU: {mean_ious(evaluation)['non_empty_union']:.4f}{over}",
        "Class_IOU: " + " ".join(f"{label}:{iou:.4f}" for label, iou in ious),
    ]


def label_table(evaluation: Evaluation) -> list[str]:
    """The measures of each label in percent, and their means; labels in neither prediction nor target are counted."""
    present = np.flatnonzero(evaluation.counts.union)
    measures, split = label_measures(evaluation), split_measures(evaluation)
    columns = [
        [*map(str, present), ""],
        [*(evaluation.names[label] for label in present), "mean"],
        [*map(percent, measures["iou"][present]), percent(mean_ious(evaluation)["non_empty_union"])],
        [*map(interval, evaluation.intervals.class_iou[:, present].T), interval(evaluation.intervals.mean_iou)],
        *([*map(percent, measures[name][present]), percent(split[f"mean_{name}"])] for name in HEADS),
    ]
    heads = ["", "Class", "IoU", "95 % interval", *HEADS.values()]
    absent = len(evaluation.names) - len(present)
    return [
        *framed(heads, list(zip(*columns)), left=[1], separate_last=True),
        "In percent; Acc is recall, Prec precision, bIoU the IoU of the pixels near edges",
        *([f"{absent} more labels are in neither prediction nor target"] if absent else []),
    ]


def split_lines(evaluation: Evaluation) -> list[str]:
    """The measures of the whole split in percent."""
    split, means = split_measures(evaluation), mean_ious(evaluation)
    accuracy = f"{percent(split['pixel_accuracy'])} ({interval(evaluation.intervals.pixel_accuracy)})"
    return [
        f"Pixel accuracy {accuracy}, frequency-weighted IoU {percent(split['frequency_weighted_iou'])}",
        *_precision_lines(evaluation),
        "Mean IoU, by what it averages:",
        *(f"{percent(value):>8}  {CONVENTIONS[name]}" for name, value in means.items()),
    ]


def _precision_lines(evaluation: Evaluation) -> list[str]:
    found = evaluation.average_precision
    if found is None:
        return []
    scores = f"Mask AP {percent(found.mean)}, AP50 {percent(found.at_50)}, AP75 {percent(found.at_75)}, as COCO: "
    some = "" if found.images == len(evaluation.images) else f" in {found.images} of {len(evaluation.images)} images"
    left = [f"    {found.on_void} more found lie mostly on void and do not count"] if found.on_void else []
    return [f"{scores}{found.found} found, {found.true} true{some}", *left]


def interval(limits: np.ndarray) -> str:
    """Two shares of 1 in percent; `-` for NaN."""
    return "-" if np.isnan(limits).any() else " - ".join(f"{100 * limit:.1f}" for limit in limits)
