"""The texts and tables of a report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from utils.classes import BACKGROUND, class_id_of, label_of
from utils.evaluation.report.charts import shortened
from utils.evaluation.report.curves import BoxCurves, Curve, best_threshold
from utils.metrics import summary
from utils.metrics.attribution import connected_parts, losses
from utils.metrics.clips import CLIP_MEASURES, AllClips, ClipScore
from utils.metrics.summary import Evaluation
from utils.visual.colors import class_color

MAX_CONFUSIONS = 12

MOST_NUMBERED = 40
"""The cells of the confusion matrix hold numbers up to so many labels; more labels have small cells."""

HEAT = (41, 112, 212)
"""Red, green and blue of a full cell, which lies half transparent on the light or dark background."""

DEEPEST = 0.75
"""Opacity of a full cell."""

percent = partial(summary.percent, digits=1, dash="–")
interval = partial(summary.interval, dash="–")


@dataclass(frozen=True)
class Row:
    """A row of a table, or one of the figures at the top of the page.

    Attributes:
        name: what the row is about.
        cells: one text a column.
        note: a remark in small type.
        color: of a class, as CSS.
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
class Cell:
    """A cell of the confusion matrix.

    Attributes:
        text: a percentage, or nothing.
        tip: what stands in the cell in words; empty where there are no pixels.
        fill: as CSS.
    """

    text: str = ""
    tip: str = ""
    fill: str = ""


@dataclass(frozen=True)
class HeatMap:
    """The confusion matrix of the labels that occur: names, a row of cells for each, and whether cells hold numbers."""

    names: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    numbered: bool


@dataclass(frozen=True)
class Section:
    """A part of the page that only some evaluations have: a table under a heading.

    Attributes:
        name: for links; no other section has it.
        title, text: for the reader.
    """

    name: str
    title: str
    text: str
    table: Table


def figures(evaluation: Evaluation) -> Iterator[Row]:
    """Yield the main numbers of the page, in percent."""
    values, means, intervals = evaluation.split_measures, evaluation.label_means, evaluation.intervals
    headline = evaluation.mean_ious[summary.HEADLINE]
    yield Row("Mean IoU", (percent(headline),), f"95 %: {interval(intervals.mean_iou)}")
    for name, single in summary.SPLIT_MEASURES.items():
        if single.title:
            note = f"95 %: {interval(getattr(intervals, single.interval))}" if single.interval else single.note
            yield Row(single.title, (percent(values[name]),), note)
    for name, measure in summary.LABEL_MEASURES.items():
        if measure.figure:
            yield Row(measure.figure, (percent(means[name]),), measure.definition)
    if (found := evaluation.average_precision) is not None:
        note = "" if found.is_ranked else "; not ranked by scores"
        yield Row(
            "Mask AP", (percent(found.mean),), f"AP50: {percent(found.at_50)}, AP75: {percent(found.at_75)}{note}"
        )


def label_table(evaluation: Evaluation) -> Table:
    """Return the measures of each label that occurs, in percent."""
    values, means, intervals = evaluation.label_measures, evaluation.label_means, evaluation.intervals
    found, numbers = evaluation.average_precision, evaluation.label_numbers

    def row(name: str, measures: list[float], limits: npt.NDArray[np.float64], ap: str, *counts: Any) -> Row:
        cells = [*map(percent, measures)]
        cells.insert(1, interval(limits))  # of the first measure, the IoU
        return Row(name, (*cells, *(() if found is None else (ap,)), *map(str, counts)))

    rows = []
    for label in np.flatnonzero(evaluation.counts.union).tolist():
        measures, limits = [values[name][label] for name in summary.LABEL_MEASURES], intervals.class_iou[:, label]
        ap = "" if found is None or label == BACKGROUND else percent(found.labels[label])
        objects = "" if label == BACKGROUND else numbers["true_objects"][label]
        plain = row(evaluation.names[label], measures, limits, ap, numbers["true_images"][label], objects)
        rows.append(Row(plain.name, plain.cells, color=label_color(label)))
    ap = "" if found is None else percent(found.mean)
    counts = len(evaluation.images), numbers["true_objects"].sum()
    foot = row("Mean, or sum", [*means.values()], intervals.mean_iou, ap, *counts)
    heads = ["Class", *(measure.title for measure in summary.LABEL_MEASURES.values())]
    heads.insert(2, "95 % interval")
    heads += [*([] if found is None else ["AP"]), "Images", "Instances"]
    return Table("Measures of each class in percent", tuple(heads), tuple(rows), foot)


def mean_table(evaluation: Evaluation) -> Table:
    """Return the mean IoU under each convention."""
    means = evaluation.mean_ious
    rows = (Row(measure.title, (percent(means[name]),), measure.note) for name, measure in summary.MEAN_IOUS.items())
    return Table("Mean IoU in percent", ("Averaged over", "Mean IoU"), tuple(rows))


def row_shares(matrix: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Divide each row of an (L, L) count matrix by its sum; NaN where that is 0."""
    whole = matrix.sum(axis=1, keepdims=True)
    return np.divide(matrix, whole, out=np.full(matrix.shape, np.nan), where=whole > 0)


def heat_map(evaluation: Evaluation) -> HeatMap:
    """Return the confusion matrix, each row in percent of its sum."""
    labels, shares = np.flatnonzero(evaluation.counts.union).tolist(), row_shares(evaluation.matrix)
    numbered = len(labels) <= MOST_NUMBERED

    def cell(true: int, found: int) -> Cell:
        share, pixels = shares[true, found], evaluation.matrix[true, found]
        if not pixels:
            return Cell()
        text = f"{100 * share:.0f}" if share >= 0.095 else f"{100 * share:.1f}"
        verdict = "found" if true == found else f"taken for {evaluation.names[found]}"
        tip = f"{evaluation.names[true]} {verdict}: {percent(share)} %, {pixels:,} pixels"
        # The square root makes small shares visible.
        fill = f"rgb({' '.join(map(str, HEAT))} / {DEEPEST * np.sqrt(share):.2f})"
        return Cell(text if numbered and share >= 0.0005 else "", tip, fill)

    rows = tuple(tuple(cell(true, found) for found in labels) for true in labels)
    return HeatMap(tuple(shortened(evaluation.names[label]) for label in labels), rows, numbered)


def box_table(curves: BoxCurves, names: Sequence[str]) -> Table:
    """Return the numbers of the charts of boxes.

    Args:
        names: of the labels, the background first.
    """

    def row(name: str, precision: float, best: tuple[float, float], color: str | None = None) -> Row:
        return Row(name, (percent(precision), percent(best[0]), f"{best[1]:.2f}"), color=color)

    rows = tuple(
        row(names[label_of(class_id)], precision.mean(), best_threshold(f1), label_color(label_of(class_id)))
        for class_id, precision, f1 in zip(curves.class_ids.tolist(), curves.precision, curves.f1)
    )
    mean = row("Mean", curves.precision.mean(), curves.best)
    return Table("Boxes of each class", ("Class", "AP50", "Best F1", "at score"), rows, mean)


def confusion_table(evaluation: Evaluation) -> Table:
    """Return the largest confusions of labels, by pixels."""
    wrong = evaluation.matrix * (1 - np.eye(len(evaluation.matrix), dtype=np.int64))
    shares, all_wrong = row_shares(evaluation.matrix), wrong.sum()
    order = np.argsort(-wrong, axis=None, kind="stable")[:MAX_CONFUSIONS]
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
    """Return the numbers of a chart.

    Args:
        curves: by their name, which is left out where there is one curve only.
    """
    rows = tuple(
        Row(name, (str(count), percent(mean), f"{percent(low)} – {percent(high)}"), kind if len(curves) > 1 else "")
        for kind, curve in curves.items()
        for name, count, mean, low, high in zip(curve.names, curve.counts, curve.means, *curve.quarters)
    )
    return Table(title, (head, "Objects", "Mean IoU", "Middle half"), rows)


def clip_section(clips: AllClips) -> Section:
    """Return the section about clips, with a row for each, the worst first."""

    def row(name: str, scores: ClipScore | AllClips, *counts: int) -> Row:
        values, switches = [percent(scores.measures[measure]) for measure in CLIP_MEASURES], scores.id_switches
        return Row(name, (*values, "–" if switches is None else str(switches), *map(str, counts)))

    rows = [
        row(each.name, each, len(each.objects), each.tracks, each.false_tracks, each.frames)
        for each in clips.worst_first()
    ]
    objects = sum(len(each.objects) for each in clips.clips)
    totals = [clips.total(count) for count in ("tracks", "false_tracks", "frames")]
    heads = ("Clip", *CLIP_MEASURES.values(), "Id switches", "Objects", "Tracks", "Surplus", "Frames")
    foot = row("Mean, or sum", clips, objects, *totals)
    return Section(
        "clips",
        "Clips",
        "How well one track follows each true object from the first frame to the last. J: intersection over union. "
        "F: how well the contours fit. Both are means over all frames of a clip, then over its objects. An id switch "
        "is counted where an object is found as another track than before. Surplus tracks are false ones, matched to "
        "no object; they are not penalized. Where the dataset has no instance ids, a class stands for one object.",
        Table("Clips; J and F in percent", heads, tuple(rows), foot),
    )


def attribution_section(result: Mapping[str, Any]) -> Section:
    """Return the section about an attribution, given as `Attribution.result`; dashes where no pixel was counted."""
    parts_said, chain = connected_parts(result), result["method"] == "chain"
    rows = tuple(
        Row(row.title[0].upper() + row.title[1:], (percent(row.loss), interval(row.limits)), row.remark)
        for row in losses(result)
    )
    table = Table(
        "Loss of mean IoU by error, in percent",
        ("Error", "Lost", "95 % interval"),
        rows,
        Row("Missing", (percent(result["missing"]), interval(result["intervals_95"]["missing"]))),
    )
    how = (
        "Errors are corrected one after the other, in the order of the table."
        if chain
        else "Each part is a Shapley value: the mean gain of correcting an error over all orders of correcting them."
    )
    return Section(
        "attribution",
        "Error attribution",
        "What is missing in the mean IoU, in percent: lost by errors of the detector's boxes, and by SAM2 given the "
        f"boxes of the true objects. {how} The errors add up. One can be negative if it happens to raise the mean IoU."
        + (f" {parts_said}." if parts_said else ""),
        table,
    )


def threshold_section(result: Mapping[str, Any], names: Sequence[str]) -> Section:
    """Return the section about thresholds, given as `Tuning.result`.

    Args:
        names: of the labels, the background first.
    """
    before, after = result["before"], result["classes"]
    low, high = after["gain_interval_95"]

    def row(name: str, label: int) -> Row:
        conf = (each["conf"].get(name, each["conf"]["*"]) for each in (before, after))
        ious = (percent(each["Class_IOU"][name]) for each in (before, after))
        return Row(name, (*(f"{each:.2f}" for each in conf), *ious), color=label_color(label))

    rows = tuple(row(name, label) for label, name in enumerate(names) if label != BACKGROUND)
    advice = {
        "before": "No other thresholds gain on images that they were not chosen on: keep those of before.",
        "one": "One threshold for all classes gains most.",
        "classes": "Those chosen for classes gain most.",
    }[result["chosen"]]
    limits = "" if low is None else f", 95 % interval {100 * low:+.1f} to {100 * high:+.1f}"
    return Section(
        "thresholds",
        "Thresholds",
        f"The score that boxes of each class must exceed (dataset.conf). With those chosen for classes the mean IoU "
        f"changes by {100 * after['gain']:+.1f} points{limits}; with one threshold for all classes, "
        f"{result['one']['conf']['*']:.2f}, by {100 * result['one']['gain']:+.1f}. Each half of the images is judged "
        "with what was chosen on the other half; thresholds.json has those chosen on all images, which this table "
        f"shows. {advice} All other numbers of this page are those of all boxes that score above 0.001.",
        Table(
            "Thresholds and IoU in percent, by class",
            ("Class", "Before", "By class", "IoU before", "IoU"),
            rows,
            Row("Mean IoU", ("", "", percent(before["Mean_IOU"]), percent(after["Mean_IOU"]))),
        ),
    )


def label_color(label: int) -> str:
    """Return the CSS color that a label has in pictures."""
    return "transparent" if label == BACKGROUND else css(class_color(class_id_of(label)))


def css(color: tuple[int, int, int]) -> str:
    """Format an RGB color as CSS writes it."""
    return "#{:02x}{:02x}{:02x}".format(*color)
