"""The page that compares evaluations: differences with their intervals, and the images that changed most."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from utils.classes import BACKGROUND
from utils.evaluation.report.page import data_url, fill, shape_of
from utils.evaluation.report.pictures import MAX_BYTES, MAX_SIDE, draw_panels
from utils.evaluation.report.tables import Row, Table, interval, label_color, percent
from utils.evaluation.saved import SavedRun, decode_maps
from utils.metrics.paired import Difference
from utils.metrics.segmentation import LabelCounts, class_iou, nanmean

NO_PHOTO = 128
"""Grey of a photograph that is not there any more, or that is a frame of a video."""


def render(
    runs: Sequence[SavedRun],
    names: Sequence[str],
    tables: Sequence[Sequence[Difference]],
    sentences: Sequence[str],
    most: int,
) -> bytes:
    """Write the page in UTF-8.

    Args:
        runs: over the same images.
        names: of the runs.
        tables: the differences of each run but the first.
        sentences: what they say.
        most: images to show.
    """
    ious = np.stack([class_iou(LabelCounts(run.counts[:, 0])) for run in runs])  # (runs, N, L)
    means = nanmean(ious)
    change = np.nan_to_num(np.ptp(means, axis=0))
    order = [i for i in np.argsort(-change, kind="stable").tolist() if change[i] > 0][:most]
    shown = [i for i in order if all(runs[0].image_ids[i] in run.pictures for run in runs)]
    cards = [_card(runs, names, i, ious[:, i], means[:, i], MAX_BYTES // max(1, len(shown))) for i in shown]
    labels = runs[0].names
    choices = [
        (label, name, int(np.sum(~np.isnan(ious[:, shown, label]).all(axis=0)))) for label, name in enumerate(labels)
    ]
    return fill(
        "compare.html.j2",
        names=names,
        images=len(runs[0].image_ids),
        sentences=sentences,
        tables=[_table(table, (names[0], name), labels) for table, name in zip(tables, names[1:])],
        cards=cards,
        changed=int(np.count_nonzero(change)),
        choices=[each for each in choices if each[2] and each[0] != BACKGROUND],
        folders=[str(run.folder) for run in runs],
    )


def _table(table: Sequence[Difference], names: Sequence[str], labels: Sequence[str]) -> Table:
    """Return the measures of the split and those of each label, in percent."""
    rows = []
    for each in table:
        numbers = percent(each.before), percent(each.after), percent(each.gain, sign="+")
        cells = *numbers, interval(each.limits, sign="+"), "yes" if each.is_clear else ""
        name = each.title if each.label is None else labels[each.label]
        color = None if each.label is None else label_color(each.label)
        rows.append(Row(name, cells, "" if each.label is None else each.title, color))
    heads = ("Measure", *names, "Gain", "95 % interval", "Clear")
    return Table(f"{names[1]} against {names[0]}, in percent", heads, tuple(rows))


def _card(
    runs: Sequence[SavedRun],
    names: Sequence[str],
    i: int,
    ious: npt.NDArray[np.float64],
    means: npt.NDArray[np.float64],
    limit: int,
) -> dict[str, Any]:
    """Return what the page shows of image i: the photo and the predictions, below them the target and the errors."""
    image_id = runs[0].image_ids[i]
    maps = [decode_maps(run.pictures[image_id]) for run in runs]
    photo = _photo(runs[0].photos[i], maps[0][0].shape)
    panels = [draw_panels(image_id, photo, *pair, MAX_SIDE, limit) for pair in maps]
    found = [(name, data_url(each.prediction, "png")) for name, each in zip(names, panels)]
    errors = [(f"Errors of {name}", data_url(each.errors, "png")) for name, each in zip(names, panels)]
    gain = 100 * (means[-1] - means[0])
    facts = " → ".join(f"{percent(mean)} %" for mean in means)
    present = np.flatnonzero(~np.isnan(ious).all(axis=0))
    changes = {label: float(ious[-1, label] - ious[0, label]) for label in present.tolist() if label != BACKGROUND}
    worst_first = sorted(changes, key=lambda label: (np.nan_to_num(changes[label]), label))
    return {
        "name": image_id,
        "facts": Markup("mean IoU {}, <b>{}</b> points").format(facts, f"{gain:+.1f}"),
        "photo": data_url(panels[0].photo, "jpeg"),
        "layers": [("Image", ""), *found, ("Target", data_url(panels[0].target, "png")), *errors],
        "boxes": None,
        "columns": len(runs) + 1,
        "shape": shape_of(panels[0].size),
        "labels": [
            (runs[0].names[label], label_color(label), " → ".join(percent(iou) for iou in ious[:, label]))
            for label in worst_first
        ],
        "ious": json.dumps({str(label): round(np.nan_to_num(changes[label]), 4) for label in worst_first}),
    }


def _photo(path: str, size: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Read a photograph, (H, W, 3) RGB; a grey one of a (height, width) where it cannot be read."""
    image = cv2.imread(path, cv2.IMREAD_COLOR)
    if image is None:
        return np.full((*size, 3), NO_PHOTO, np.uint8)
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
