"""What an evaluation prints: a table of the labels, the measures of the split, the three metric lines."""

from __future__ import annotations

import numpy as np

from utils.evaluation.clip_summary import clip_lines
from utils.evaluation.measures import label_measures, mean_ious, split_measures
from utils.evaluation.result import Evaluation
from utils.evaluation.text_table import framed, percent

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
