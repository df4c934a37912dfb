"""The lines that an evaluation prints; shares are in percent, the last three lines excepted."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Collection, Sequence

import numpy as np

from utils.classes import BACKGROUND
from utils.io.terminal import counted
from utils.metrics import summary
from utils.metrics.average_precision import AveragePrecision
from utils.metrics.clips import CLIP_MEASURES, AllClips, ClipScore
from utils.metrics.summary import Evaluation, interval, percent

MAX_CELL_WIDTH = 15
"""Columns of the terminal that a cell may take; longer ones are cut."""

MAX_CLIPS = 10
"""Clips in the table, the worst ones."""


def summary_lines(evaluation: Evaluation) -> list[str]:
    """Return all lines, the three metric lines last."""
    return [
        *numbers_table(evaluation),
        *label_table(evaluation),
        *split_lines(evaluation),
        *clip_lines(evaluation.clips),
        *metric_lines(evaluation),
    ]


def numbers_table(evaluation: Evaluation) -> list[str]:
    """Return the table of images, true and found instances of each class that occurs."""
    numbers, found = evaluation.label_numbers, evaluation.average_precision
    present = [label for label in np.flatnonzero(evaluation.counts.union).tolist() if label != BACKGROUND]
    heads = ["", "Class", "Images", "Instances", "Found"]
    columns = [
        [*map(str, present), ""],
        [*(evaluation.names[label] for label in present), "all"],
        *([f"{values[label]:,}" for label in present] for values in numbers.values()),
    ]
    totals = len(evaluation.images), numbers["true_objects"].sum(), numbers["found_objects"].sum()
    for column, total in zip(columns[2:], totals):
        column.append(f"{total:,}")
    if found is not None:
        heads.append("AP")
        columns.append([*(percent(found.labels[label]) for label in present), percent(found.mean)])
    parts = sum(not image.objects.has_instance_ids for image in evaluation.images)
    remark = f"{counted(parts, 'image')} without SegmentationObject: there connected parts stand for instances"
    differing = [image.image_id for image in evaluation.images if image.objects.maps_differ]
    example = f", such as {differing[0]}" if differing else ""
    fact = f"SegmentationObject leaves out pixels of SegmentationClass in {counted(len(differing), 'image')}{example}"
    return [
        *framed(heads, [*zip(*columns)], left=[1], separate_last=True),
        "Images and Instances are those of the target" + ("" if found is None else "; AP is that of masks, in percent"),
        *([remark] if parts else []),
        *(wrapped(f"{fact}: they are in no instance, and AP does not look for them") if differing else []),
    ]


def label_table(evaluation: Evaluation) -> list[str]:
    """Return the table of the labels that occur with their means, and how many more do not occur."""
    present = np.flatnonzero(evaluation.counts.union)
    values, means = evaluation.label_measures, evaluation.label_means
    heads = ["", "Class", *(measure.heading for measure in summary.LABEL_MEASURES.values())]
    columns = [
        [*map(str, present), ""],
        [*(evaluation.names[label] for label in present), "mean"],
        *([*map(percent, values[name][present]), percent(means[name])] for name in summary.LABEL_MEASURES),
    ]
    # The interval is that of the first measure, the IoU.
    heads.insert(3, "95 % interval")
    intervals = evaluation.intervals
    columns.insert(3, [*map(interval, intervals.class_iou[:, present].T), interval(intervals.mean_iou)])
    legends = ", ".join(measure.legend for measure in summary.LABEL_MEASURES.values() if measure.legend)
    absent, drawn, images = len(evaluation.names) - len(present), intervals.drawn, len(evaluation.images)
    return [
        *framed(heads, [*zip(*columns)], left=[1], separate_last=True),
        *wrapped(f"In percent; {legends}"),
        *(wrapped(drawn_text(drawn, images)) if drawn < images else []),
        *([f"{counted(absent, 'more label')} in neither prediction nor target"] if absent else []),
    ]


def drawn_text(drawn: int, images: int) -> str:
    """Say what the intervals resample: images, or clips as wholes where images are frames of them."""
    if drawn == 1:
        one = "there is one image" if images == 1 else "all images are frames of one clip"
        return f"no intervals: {one}, which tells nothing of others"
    if drawn == images:
        return f"intervals resample {images} images"
    return f"intervals resample {drawn} clips and single images, since frames of a clip resemble each other"


def split_lines(evaluation: Evaluation) -> list[str]:
    """Return the measures of the whole split."""
    values, means, singles = evaluation.split_measures, evaluation.mean_ious, []
    for name, measure in summary.SPLIT_MEASURES.items():
        limits = interval(getattr(evaluation.intervals, measure.interval)) if measure.interval else "-"
        singles.append(f"{measure.text} {percent(values[name])}" + ("" if limits == "-" else f" ({limits})"))
    return [
        *wrapped(", ".join(singles)),
        *_average_precision_lines(evaluation.average_precision, len(evaluation.images)),
        "Mean IoU, by what it averages:",
        *(f"{percent(means[name]):>8}  {measure.text}" for name, measure in summary.MEAN_IOUS.items()),
    ]


def _average_precision_lines(found: AveragePrecision | None, num_images: int) -> list[str]:
    if found is None:
        return []
    scores = f"Mask AP {percent(found.mean)}, AP50 {percent(found.at_50)}, AP75 {percent(found.at_75)}, as COCO: "
    some = "" if found.images == num_images else f" in {found.images} of {num_images} images"
    left_out = [f"    not counted, since they lie mostly on void: {found.on_void}"] if found.on_void else []
    order = [f"    {found.remark}"] if found.remark else []
    return [f"{scores}{found.found} found, {found.true} true{some}", *left_out, *order]


def clip_lines(clips: AllClips | None) -> list[str]:
    """Return the table of the worst clips with remarks on it; nothing where there are no clips."""
    if clips is None:
        return []

    def row(name: str, scores: ClipScore | AllClips, frames: int, false_tracks: int) -> list[str]:
        values, switches = [percent(scores.measures[measure]) for measure in CLIP_MEASURES], scores.id_switches
        return [name, str(frames), *values, "-" if switches is None else str(switches), str(false_tracks)]

    rows = [row(each.name, each, each.frames, each.false_tracks) for each in clips.worst_first()[:MAX_CLIPS]]
    rows.append(row("mean", clips, clips.total("frames"), clips.total("false_tracks")))
    remarks = {
        ("better clip", "in per_clip.csv"): len(clips.clips) - MAX_CLIPS,
        ("clip", "without SegmentationObject: there a class stands for one object"): sum(
            not each.has_instance_ids for each in clips.clips
        ),
        ("frame", "without SegmentationObject left out of clips that have it"): clips.total("left_out"),
        ("found object", "without track id: each counts as a track of its own"): clips.total("without_track_id"),
    }
    return [
        *framed(["Clip", "Frames", *CLIP_MEASURES.values(), "IDSW", "Surplus"], rows, left=[0], separate_last=True),
        "In percent, means over frames, then objects, then clips; IDSW are id switches,",
        "Surplus false tracks, which are matched to no object",
        *(f"{counted(count, noun)} {remark}" for (noun, remark), count in remarks.items() if count > 0),
    ]


def metric_lines(evaluation: Evaluation) -> list[str]:
    """Return the three lines that every evaluation ends with, as shares of 1."""
    images, failed = len(evaluation.images), len(evaluation.failures)
    over = f" over {images} of {images + failed} images" if failed else ""
    ious = enumerate(evaluation.label_measures["iou"])
    return [
        f"Pixel_Accuracy: {evaluation.split_measures['pixel_accuracy']:.4f}{over}",
        f"Mean_IOU: {evaluation.mean_ious[summary.HEADLINE]:.4f}{over}",
        "Class_IOU: " + " ".join(f"{label}:{iou:.4f}" for label, iou in ious),
    ]


def wrapped(text: str) -> list[str]:
    """Break a text into lines of at most 80 columns between its words."""
    return textwrap.wrap(text, 80, break_long_words=False, break_on_hyphens=False)


def framed(
    heads: Sequence[str], rows: Sequence[Sequence[str]], left: Collection[int] = (), separate_last: bool = False
) -> list[str]:
    """Lay out a table in a frame, as mmsegmentation does.

    Args:
        left: positions of the columns that are flush left; the others are flush right.
        separate_last: whether a line sets the last row off.
    """
    cells = [[_cut(cell) for cell in row] for row in (heads, *rows)]
    widths = [max(map(display_width, column)) for column in zip(*cells)]
    rule, lines = "+".join(["", *("-" * (width + 2) for width in widths), ""]), []
    for row in cells:
        blanks = [" " * (width - display_width(cell)) for cell, width in zip(row, widths)]
        padded = [cell + blank if i in left else blank + cell for i, (cell, blank) in enumerate(zip(row, blanks))]
        lines.append(f"| {' | '.join(padded)} |")
    return [rule, lines[0], rule, *lines[1:-1], *([rule] if separate_last else []), lines[-1], rule]


def display_width(text: str) -> int:
    """Count the columns of a terminal that a text takes: two for a wide character, none for a combining accent."""
    shown = [char for char in text if unicodedata.category(char) not in ("Mn", "Me", "Cf")]
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in shown)


def _cut(text: str) -> str:
    """Put the text on one line, shortened with an ellipsis where it is too wide."""
    text = " ".join(text.split())
    if display_width(text) <= MAX_CELL_WIDTH:
        return text
    while display_width(text) >= MAX_CELL_WIDTH:
        text = text[:-1]
    return f"{text}…"
