"""Error attribution: the missing mean IoU, shared out among four errors of the detector's boxes and SAM2.

`corrected_maps.py` draws what would be if any of the errors were corrected, of which the mean IoU is computed. What an
error costs depends on which others are corrected already: a badly placed box costs nothing more if SAM2 fails anyway.
The Shapley value (Shapley 1953) is the mean of these costs over all orders in which the five can be corrected.
It is the only division whose parts add up to 1 - Mean_IOU, treat like errors alike, give an error without consequence
nothing, and are linear in the measure. Shapley values divide what features explain in the same way (Lundberg and Lee
2017). TIDE (Bolya et al. 2020) corrects one error at a time, so that its parts do not add up.

A part can be negative if an error happens to raise the mean IoU. Without a map of objects, connected parts of a class
stand for them, and specks are left out.
"""

from __future__ import annotations

import math
import textwrap
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from utils.distributed import Session
from utils.io.terminal import counted
from utils.label_maps import SPECK, count_specks
from utils.metrics.bootstrap import clip_of, percentile_limits, resampled, sum_by_unit
from utils.metrics.corrected_maps import ERRORS, MATCH, WRONG_CLASS, Coalition, CorrectedMaps, box_kinds
from utils.metrics.segmentation import LabelCounts, class_iou, mean_iou
from utils.metrics.summary import nan_to_none
from utils.structures import Instances, Sample

Method = Literal["shapley", "chain"]

TITLES = {
    "false": "false boxes",
    "badly_placed": "badly placed boxes",
    "missed": "missed objects",
    "wrong_class": "boxes of a wrong class",
    "sam2": "SAM2, given the true boxes",
}

CHAIN = ("false", "badly_placed", "missed", "sam2")
"""The order in which the chain corrects errors; there a box of the wrong class is a false and a missed one."""


@cache
def coalitions(method: Method) -> tuple[Coalition, ...]:
    """Return the sets of errors whose correction is computed: all 32, or those of the chain; the first one is empty."""
    if method == "chain":
        return tuple(frozenset(CHAIN[:count]) for count in range(len(CHAIN) + 1))
    return tuple(frozenset(e for i, e in enumerate(ERRORS) if bits >> i & 1) for bits in range(2 ** len(ERRORS)))


class Gains(NamedTuple):
    """The steps that correct one error: positions of the coalitions before and after, and weights of the gains."""

    before: npt.NDArray[np.int64]
    after: npt.NDArray[np.int64]
    shares: npt.NDArray[np.float64]


@cache
def gains(method: Method) -> dict[str, Gains]:
    """Return the steps whose weighted gains add up to the part of each error.

    Shapley's formula: of all n! orders of the n errors, |S|! (n - |S| - 1)! have exactly the errors S before this one.
    """
    every, n = coalitions(method), len(ERRORS)
    if method == "chain":
        return {each: Gains(np.array([i]), np.array([i + 1]), np.ones(1)) for i, each in enumerate(CHAIN)}
    position = {coalition: i for i, coalition in enumerate(every)}
    table = {}
    for error in ERRORS:
        before = [each for each in every if error not in each]
        orders = [math.factorial(len(each)) * math.factorial(n - len(each) - 1) for each in before]
        after = [position[each | {error}] for each in before]
        shares = np.array(orders) / math.factorial(n)
        table[error] = Gains(np.array([position[each] for each in before]), np.array(after), shares)
    return table


@dataclass(frozen=True)
class ImageErrors:
    """What an image adds: the counts of its K labels under each of C coalitions.

    Attributes:
        image_id: of the sample.
        labels: (K,) int64: those in the target or in a prediction.
        counts: (C, 3, K) int64 pixels, as `LabelCounts.pixels` has them.
        tally: its boxes by kind; without a map of objects also itself, as `images`, and its `specks`.
    """

    image_id: str
    labels: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    tally: Counter[str]


class Attribution:
    """Collect what each error of each image costs.

    Args:
        num_classes: without the background.
        method: `shapley`, or `chain`: errors are corrected in the order of CHAIN.
    """

    def __init__(self, num_classes: int, method: Method = "shapley") -> None:
        self._num_labels, self._method = num_classes + 1, method
        self._images: list[ImageErrors] = []

    def add(self, sample: Sample, found: Instances, from_true_boxes: Instances) -> None:
        """Count an image; threads may do so at the same time.

        Args:
            sample: with its target and its true instances.
            found: what SAM2 makes of the detected boxes.
            from_true_boxes: what it makes of the boxes of the true instances.
        """
        assert sample.gt_mask is not None, sample.image_id
        kinds = box_kinds(found.detections, from_true_boxes.detections, wrong_class=self._method == "shapley")
        maps = CorrectedMaps(sample, found, from_true_boxes, kinds)
        counts = maps.counts(coalitions(self._method), self._num_labels)
        labels = np.flatnonzero(counts.any(axis=(0, 1)))
        tally = Counter(found=len(found), true=len(from_true_boxes), false=len(kinds.false), missed=len(kinds.missed))
        tally.update(matched=len(kinds.matched[0]), wrong_class=len(kinds.wrong_class[0]))
        if not sample.has_instance_ids:
            tally.update(images=1, specks=count_specks(sample.gt_mask))
        self._images.append(ImageErrors(sample.image_id, labels, counts[:, :, labels], tally))

    def result(self, session: Session) -> dict[str, Any]:
        """Join all processes and return the content of `attribution.json`; None for what was not counted."""
        images = sorted(session.gather(self._images), key=lambda image: image.image_id)
        tally = sum((image.tally for image in images), Counter[str]())
        kinds = ("found", "true", "matched", "false", "missed", *(["wrong_class"] if self._method == "shapley" else []))
        by_clip: defaultdict[str, list[ImageErrors]] = defaultdict(list)
        for image in images:
            by_clip[clip_of(image.image_id)].append(image)
        clips = {clip: self._shares(self._sum(each)) for clip, each in by_clip.items() if clip}
        content = {
            **self._shares(total := self._sum(images)),
            "method": self._method,
            "intervals_95": self._intervals(images),
            **self._details(LabelCounts(total)),
            "boxes": {kind: tally[kind] for kind in kinds},
            "connected_parts": {kind: tally[kind] for kind in ("images", "specks")},
            "match_iou": MATCH,
            "wrong_class_iou": WRONG_CLASS,
            "images": {image.image_id: self._shares(image.counts) for image in images},
            **({"clips": clips} if clips else {}),
        }
        return nan_to_none(content)

    def _sum(self, images: Iterable[ImageErrors]) -> npt.NDArray[np.int64]:
        total = np.zeros((len(coalitions(self._method)), 3, self._num_labels), np.int64)
        for image in images:
            total[:, :, image.labels] += image.counts
        return total

    def _shares(self, counts: npt.NDArray[np.int64]) -> dict[str, Any]:
        """Share out what (C, 3, L) counts lack in mean IoU."""
        return _shares(mean_iou(LabelCounts(counts)), self._method)

    def _details(self, counts: LabelCounts) -> dict[str, Any]:
        """Return the mean and class IoU under each coalition, and the shares of each label of the target."""
        means, ious = mean_iou(counts), class_iou(counts)
        rows = zip(coalitions(self._method), means, ious)
        under = [
            {
                "corrected": [error for error in ERRORS if error in corrected],
                "Mean_IOU": mean,
                "Class_IOU": {str(label): iou for label, iou in enumerate(row)},
            }
            for corrected, mean, row in rows
        ]
        labels = {str(i): _shares(ious[:, i], self._method, "IOU") for i in np.flatnonzero(counts.target[0]).tolist()}
        return {"labels": labels, "coalitions": under}

    def _intervals(self, images: Sequence[ImageErrors]) -> dict[str, Any]:
        """Compute 95 % intervals by drawing clips, or images that are in none, anew."""
        ids, samples = [image.image_id for image in images], list[npt.NDArray[np.float64]]()
        for i in range(len(coalitions(self._method))):
            counts = np.zeros((len(images), 3, self._num_labels))
            for row, image in zip(counts, images):
                row[:, image.labels] = image.counts[i]
            sums = [mean_iou(LabelCounts(drawn)) for drawn in resampled(sum_by_unit(ids, counts))]
            samples.append(np.concatenate([np.empty(0), *sums]))
        means = np.stack(samples)
        shares = _shares(means, self._method)
        rows = {"missing": shares["missing"], "detector": shares["detector"], **shares["parts"]}
        return {name: percentile_limits(values) for name, values in rows.items()}


def _shares(measures: npt.NDArray[np.float64], method: Method, name: str = "Mean_IOU") -> dict[str, Any]:
    """Share out what is missing in a measure that is (C, ...) under the coalitions; the parts add up to it."""
    parts = {
        error: shares @ (measures[after] - measures[before]) for error, (before, after, shares) in gains(method).items()
    }
    return {
        name: measures[0],
        "missing": measures[-1] - measures[0],
        "detector": sum(part for error, part in parts.items() if error != "sam2"),
        "parts": parts,
    }


class Loss(NamedTuple):
    """A row of the tables of losses: what it is about, shares of 1 or None, and a remark."""

    title: str
    loss: float | None
    limits: Sequence[float | None]
    remark: str


def losses(result: Mapping[str, Any]) -> list[Loss]:
    """Return what the detector lost all together, and what each error lost, of the content of `attribution.json`."""
    boxes = result["boxes"]
    found, true = counted(boxes["found"], "box", "boxes"), counted(boxes["true"], "object")
    remarks = {
        "false": f"{boxes['false']} of {found}",
        "badly_placed": counted(boxes["matched"], "box that has", "boxes that have") + " an object",
        "missed": f"{boxes['missed']} of {true}",
        "wrong_class": f"{boxes.get('wrong_class', 0)} of {found}",
        "sam2": true,
    }
    limits, together = result["intervals_95"], f"{found} for {true}"
    rows = [Loss(TITLES[each], loss, limits[each], remarks[each]) for each, loss in result["parts"].items()]
    return [Loss("the detector", result["detector"], limits["detector"], together), *rows]


def attribution_lines(result: Mapping[str, Any]) -> list[str]:
    """Format the result as lines for the console; none where no pixel was counted."""
    if result["missing"] is None:
        return []
    detector, *errors, sam2 = losses(result)
    whole = f"{result['Mean_IOU']:.4f} of 1"
    rows = [
        Loss("missing in Mean_IOU", result["missing"], result["intervals_95"]["missing"], whole),
        detector._replace(title=f"  {detector.title}"),
        *(row._replace(title=f"    {row.title}") for row in errors),
        sam2._replace(title=f"  {sam2.title}"),
    ]
    lines = []
    for title, loss, (low, high), remark in rows:
        limits = "-" if low is None or high is None else f"{low:.4f} to {high:.4f}"
        lines.append(f"attribution: {title:<28} {loss:7.4f}  {limits:<18}  {remark}")
    remarks = textwrap.wrap(connected_parts(result), 80 - len("attribution: "))
    return [*lines, *(f"attribution: {line}" for line in remarks)]


def main_error(shares: Mapping[str, Any]) -> tuple[str, float]:
    """Return the title and the part of the error that cost an image most; no title where nothing is missing.

    Args:
        shares: the entry of the image in `attribution.json`.
    """
    error, loss = max(shares["parts"].items(), key=lambda part: part[1] or 0)
    return (TITLES[error], loss) if loss and loss > 0 else ("", 0.0)


def connected_parts(result: Mapping[str, Any]) -> str:
    """Say that connected parts stand for objects, and how many are too small; empty if they do not."""
    images, specks = result["connected_parts"]["images"], result["connected_parts"]["specks"]
    some = counted(images, "image has", "images have")
    left_out = counted(specks, "speck")
    said = f"{some} no SegmentationObject: connected parts stand for objects; {left_out} below {SPECK} pixels left out"
    return said if images else ""
