"""What the tables of a report say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from utils.classes import BACKGROUND, class_id_of
from utils.evaluation.report.charts import row_shares
from utils.evaluation.report.curves import Curve
from utils.metrics.clips import MEASURES, AllClips
from utils.metrics.scores import Evaluation
from utils.metrics.summary import label_measures, mean_ious, split_measures
from utils.visual.colors import class_color

CONVENTIONS = {
    "non_empty_union": ("Labels in prediction or target", "as mmsegmentation; this one is Mean_IOU"),
    "present_in_target": ("Labels in the target", "as Ultralytics"),
    "without_background": ("Without the background", "labels in prediction or target"),
    "mean_over_images": ("Mean over images", "of each image's mean over its labels"),
    "mean_over_images_and_labels": ("Mean over images and labels", "of all pairs of an image and a label in it"),
}

LABEL_COLUMNS = {
    "accuracy": "Accuracy",
    "precision": "Precision",
    "dice": "Dice",
    "boundary_iou": "Boundary IoU",
}

MOST_CONFUSIONS = 12


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        name: what the row is about.
        cells: one text a column.
        note: said quietly after the name.
        colour: of a class, as CSS.
    """

    name: str
    cells: tuple[str, ...]
    note: str = ""
    color: str | None = None


@dataclass(frozen=True)
class Table:
    """A table; its first column holds the names of the rows.

    Attributes:
        heads: of all columns.
        foot: a last row that stands apart, or None.
    """

    title: str
    heads: tuple[str, ...]
    rows: tuple[Row, ...]
    foot: Row | None = None


@dataclass(frozen=True)
class Section:
    """A part of the page that other modules add: tables under a heading.

    Attributes:
        name: for links; no other section has it.
        title, text: for the reader.
    """

    name: str
    title: str
    text: str
    tables: tuple[Table, ...]


def label_table(evaluation: Evaluation) -> Table:
    """The measures of each label that occurs, in percent."""
    measures, intervals = label_measures(evaluation), evaluation.intervals
    split, found = split_measures(evaluation), evaluation.average_precision

    def row(label: int) -> Row:
        cells = [percent(measures["iou"][label]), interval(intervals.class_iou[:, label])]
        cells += [percent(measures[name][label]) for name in LABEL_COLUMNS]
        if found is not None:
            cells.append("" if label == BACKGROUND else percent(found.classes[class_id_of(label)]))
        return Row(evaluation.names[label], (*cells, str(evaluation.label_images[label])), color=label_color(label))

    means = [percent(mean_ious(evaluation)["non_empty_union"]), interval(intervals.mean_iou)]
    means += [percent(split[f"mean_{name}"]) for name in LABEL_COLUMNS]
    means += [] if found is None else [percent(found.mean)]
    heads = ("Class", "IoU", "95 % interval", *LABEL_COLUMNS.values(), *(() if found is None else ("AP",)), "Images")
    rows = tuple(row(label) for label in np.flatnonzero(evaluation.counts.union).tolist())
    return Table("Measures of each class in percent", heads, rows, Row("Mean", (*means, str(len(evaluation.images)))))


def mean_table(evaluation: Evaluation) -> Table:
    """Mean IoU under each convention."""
    means = mean_ious(evaluation)
    rows = (Row(title, (percent(means[name]),), note) for name, (title, note) in CONVENTIONS.items())
    return Table("Mean IoU in percent", ("Averaged over", "Mean IoU"), tuple(rows))


def confusion_table(evaluation: Evaluation) -> Table:
    """The largest confusions of labels, by pixels."""
    wrong = evaluation.matrix * (1 - np.eye(len(evaluation.matrix), dtype=np.int64))
    shares, all_wrong = row_shares(evaluation.matrix), wrong.sum()
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_CONFUSIONS]
    rows = tuple(
        Row(
            evaluation.names[true],
            (percent(shares[true, found]), percent(wrong[true, found] / all_wrong)),
            f"taken for {evaluation.names[found]}",
            label_color(true),
        )
        for true, found in zip(*(each.tolist() for each in np.unravel_index(order, wrong.shape)))
        if wrong[true, found]
    )
    return Table("The largest confusions in percent", ("Target", "Of its pixels", "Of all errors"), rows)


def curve_table(title: str, head: str, curves: Mapping[str, Curve]) -> Table:
    """The numbers of a chart.

    Args:
        curves: by the name of their rows' kind; that of a single one is not shown.
    """

    def rows() -> Iterator[Row]:
        for kind, curve in curves.items():
            for name, count, mean, low, high in zip(curve.names, curve.counts, curve.means, *curve.quarters):
                middle = f"{percent(low)} – {percent(high)}"
                yield Row(name, (str(count), percent(mean), middle), kind if len(curves) > 1 else "")

    return Table(title, (head, "Objects", "Mean IoU", "Middle half"), tuple(rows()))


def percent(value: float) -> str:
    """A share of 1 in percent; a dash for NaN."""
    return "–" if np.isnan(value) else f"{100 * value:.1f}"


def interval(limits: np.ndarray) -> str:
    """The (2,) ends of an interval in percent; a dash for NaN."""
    return "–" if np.isnan(limits).any() else f"{percent(limits[0])} – {percent(limits[1])}"


def label_color(label: int) -> str:
    """The CSS colour that a label has in pictures."""
    return "transparent" if label == BACKGROUND else css(class_color(class_id_of(label)))


def css(color: tuple[int, int, int]) -> str:
    """A colour as CSS writes it."""
    return "#{:02x}{:02x}{:02x}".format(*color)


CLIPS_TEXT = (
    "How well each true object is followed by one track from the first frame to the last. J: intersection over union. "
    "F: how well the contours fit. Both are means over all frames of a clip, then over its objects. An id switches "
    "where an object is found as another track than before. Surplus tracks are no object's, and cost nothing here. "
    "Where the dataset does not tell objects apart, a class stands for one."
)

CLIP_HEADS = ("Clip", "J&F", "J", "F", "Id switches", "Objects", "Tracks", "Surplus", "Frames")


def clip_sections(clips: AllClips | None) -> list[Section]:
    """The section, with a row for each clip, the worst first; none where there are no clips."""
    if clips is None:
        return []
    rows = tuple(
        Row(
            each.name,
            _cells(each.measures, each.id_switches, len(each.objects), each.tracks, each.surplus, each.frames),
        )
        for each in clips.worst_first()
    )
    objects = sum(len(each.objects) for each in clips.clips)
    totals = [clips.total(count) for count in ("tracks", "surplus", "frames")]
    mean = Row("Mean, or sum", _cells(clips.measures, clips.id_switches, objects, *totals))
    return [Section("clips", "Clips", CLIPS_TEXT, (Table("Clips; J and F in percent", CLIP_HEADS, rows, mean),))]


def _cells(measures: Mapping[str, float], switches: int | None, *counts: int) -> tuple[str, ...]:
    values = [percent(measures[name]) for name in MEASURES]
    return (*values, "–" if switches is None else str(switches), *map(str, counts))


ATTRIBUTION_TEXT = (
    "What the mean IoU lacks, in points of a hundred: lost by what is wrong with the detector's boxes, and by SAM2, "
    "given the boxes of the true objects. The parts add up; one is negative where a fault did good."
)


def attribution_section(result: Mapping[str, Any]) -> Section:
    """The section for an attribution, given as `attribution.json` holds it; with dashes where no pixel was counted."""
    boxes, parts = result["boxes"], result["parts"]
    rows = (
        ("Detector, all together", result["detector"], f"{boxes['found']} boxes for {boxes['true']} objects"),
        ("Detector: false boxes", parts["false"], f"{boxes['false']} of {boxes['found']} boxes"),
        ("Detector: badly placed boxes", parts["badly_placed"], f"{boxes['matched']} boxes that have an object"),
        ("Detector: missed objects", parts["missed"], f"{boxes['missed']} of {boxes['true']} objects"),
        ("SAM2, given the true boxes", parts["sam2"], f"{boxes['true']} objects"),
    )
    table = Table(
        "Who lost the mean IoU, in percent",
        ("Part", "Lost"),
        tuple(Row(name, (_lost(loss),), remark) for name, loss, remark in rows),
        Row("Missing", (_lost(result["missing"]),)),
    )
    return Section("attribution", "Who lost it", ATTRIBUTION_TEXT, (table,))


def _lost(loss: float | None) -> str:
    return percent(float("nan") if loss is None else loss)
