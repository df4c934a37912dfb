"""Score thresholds of classes that raise mean IoU, found in one pass over all boxes, also those of low scores.

SAM2 gives a box the same mask whatever other boxes there are, and the uppermost mask wins a pixel. So it is enough to
know of each pixel which objects lie over it, one over the other: the label that any thresholds give it follows without
a model. Pixels that agree in this are counted together.

With the thresholds of all other classes fixed, the mean IoU at every threshold of one class takes one pass over these
counts. Class after class gets its best one until none changes (coordinate ascent).

What is gained on the images that thresholds were chosen on is too much. So they are also chosen on one half of the
images and judged on the other, both ways (cross-validation with two folds; Stone 1974); that gain has an interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from utils.classes import BACKGROUND, VOID, class_id_of, label_of
from utils.metrics.bootstrap import percentile_limits, resampled, sum_by_unit, unit_of
from utils.metrics.segmentation import LabelCounts, mean_iou
from utils.structures import Instances

Conf = npt.NDArray[np.float32]
"""(C,) thresholds of classes."""

GRID = (np.arange(100) / 100).astype(np.float32)
"""Thresholds to choose from, two digits each."""

MAX_ROUNDS = 20
"""The search ends sooner, when no class changes."""

ALIKE = 1e-9
"""Mean IoUs that differ by less are equal."""

SEED = 0
"""Of the halves."""


@dataclass(frozen=True)
class Stacks:
    """The pixels of images by what lies over them: A kinds, in each up to D objects, the uppermost first.

    An object below another of its class that scores as high is left out: no threshold shows it.

    Attributes:
        image: (A,) int64 position of the image.
        target: (A,) int64 label; none is void.
        pixels: (A,) int64 how many there are.
        class_ids: (A, D) int64; -1 where there are no more objects.
        scores: (A, D) float32; -1 where there are no more objects.
    """

    image: npt.NDArray[np.int64]
    target: npt.NDArray[np.int64]
    pixels: npt.NDArray[np.int64]
    class_ids: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]

    def __getitem__(self, chosen: npt.NDArray[np.bool_]) -> Stacks:
        """Choose some of the kinds of pixels."""
        image, target, pixels = (column[chosen] for column in (self.image, self.target, self.pixels))
        return Stacks(image, target, pixels, self.class_ids[chosen], self.scores[chosen])

    @classmethod
    def join(cls, images: Sequence[Stacks]) -> Stacks:
        """Join those of N >= 1 images, which get the positions 0 to N - 1."""
        depth = max(each.scores.shape[1] for each in images)

        def padded(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
            return np.pad(values, ((0, 0), (0, depth - values.shape[1])), constant_values=-1)

        return cls(
            np.repeat(np.arange(len(images)), [len(each.pixels) for each in images]),
            np.concatenate([each.target for each in images]),
            np.concatenate([each.pixels for each in images]),
            np.concatenate([padded(each.class_ids) for each in images]),
            np.concatenate([padded(each.scores) for each in images]),
        )

    def labels(self, conf: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
        """Return the (A,) labels that pixels get from the objects that score higher than the (C,) `conf` of classes."""
        shown = (self.scores > conf[self.class_ids]) & (self.class_ids >= 0)
        first = shown.argmax(axis=1)[:, None]
        uppermost = np.take_along_axis(self.class_ids, first, axis=1)[:, 0]
        return np.where(shown.any(axis=1), label_of(uppermost), BACKGROUND)

    def counts(self, labels: npt.NDArray[np.int64], num_labels: int, num_images: int) -> npt.NDArray[np.int64]:
        """Count the pixels of each image, (N, 3, L) as `LabelCounts.pixels` has them, where kinds have (A,) labels."""
        sums, right = np.zeros((num_images, 3, num_labels), np.int64), labels == self.target
        np.add.at(sums[:, 0], (self.image[right], labels[right]), self.pixels[right])
        np.add.at(sums[:, 1], (self.image, labels), self.pixels)
        np.add.at(sums[:, 2], (self.image, self.target), self.pixels)
        return sums

    def total(self, labels: npt.NDArray[np.int64], num_labels: int) -> npt.NDArray[np.int64]:
        """Count the pixels of all images together: (3, L)."""
        merged = Stacks(np.zeros_like(self.image), self.target, self.pixels, self.class_ids, self.scores)
        return merged.counts(labels, num_labels, 1)[0]


def stack_pixels(target: npt.NDArray[np.uint8], instances: Instances) -> Stacks:
    """Sort the pixels of an image by what lies over them.

    Args:
        target: (H, W) label map.
        instances: what was found, boxes of low scores included.
    """
    # A pixel's number stands for its target and the objects met so far, from the top down.
    numbers, found = target.astype(np.int64), instances.detections
    targets, stacks = [*range(VOID + 1)], [tuple[int, ...]()] * (VOID + 1)
    for i in instances.z_order()[::-1].tolist():
        mask = instances.masks[i]
        covered = numbers[mask.slices][mask.crop]
        following = np.arange(len(stacks))
        for number in np.flatnonzero(np.bincount(covered, minlength=len(stacks))).tolist():
            above = [j for j in stacks[number] if found.class_ids[j] == found.class_ids[i]]
            if all(found.scores[i] > found.scores[j] for j in above):
                following[number] = len(stacks)
                stacks.append((*stacks[number], i))
                targets.append(targets[number])
        numbers[mask.slices][mask.crop] = following[covered]
    pixels = np.bincount(numbers.ravel(), minlength=len(stacks))
    kept = [k for k in np.flatnonzero(pixels).tolist() if targets[k] != VOID]
    depth = max((len(stacks[k]) for k in kept), default=0) + 1  # there is always a column
    objects = np.array([[*stacks[k], *[-1] * (depth - len(stacks[k]))] for k in kept], np.int64).reshape(-1, depth)
    class_ids, scores = np.append(found.class_ids, -1)[objects], np.append(found.scores, np.float32(-1))[objects]
    return Stacks(np.zeros(len(kept), np.int64), np.array([*targets])[kept], pixels[kept], class_ids, scores)


def best_common(stacks: Stacks, num_labels: int) -> float:
    """Return the one of `GRID` that gives the highest mean IoU as the threshold of all classes."""
    counts = []
    for threshold in GRID:
        labels = stacks.labels(np.full(num_labels - 1, threshold))
        counts.append(stacks.total(labels, num_labels))
    return float(GRID[_middle_of_best(mean_iou(LabelCounts(np.stack(counts))))])


def best_of_classes(stacks: Stacks, num_labels: int, start: float) -> npt.NDArray[np.float32]:
    """Return the (C,) thresholds, each one of `GRID`, that no change of a single one improves.

    A class without a true pixel keeps `start`: its best threshold would be the one that hides it, so that it no longer
    counts in the mean.
    """
    conf = np.full(num_labels - 1, start, np.float32)
    true = np.unique(stacks.target[stacks.target != BACKGROUND])
    holders = {label: (stacks.class_ids == class_id_of(label)).any(axis=1) for label in true.tolist()}
    labels = stacks.labels(conf)
    for _ in range(MAX_ROUNDS):
        before = conf.copy()
        for label, holds in holders.items():
            fixed = stacks[~holds].total(labels[~holds], num_labels)
            means = _sweep(stacks[holds], conf, label, fixed)
            chosen = _middle_of_best(means)
            if means[chosen] > means[np.searchsorted(GRID, conf[class_id_of(label)])] + ALIKE:
                conf[class_id_of(label)] = GRID[chosen]
                labels[holds] = stacks[holds].labels(conf)
        if (conf == before).all():
            break
    return conf


def _sweep(
    stacks: Stacks, conf: npt.NDArray[np.float32], label: int, fixed: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Compute the mean IoU at each of `GRID` as the threshold of one class, those of the others being fixed.

    Args:
        stacks: the pixels over which the class has an object.
        fixed: (3, L) counts of all other pixels.
    """
    # Above the uppermost object of another class, the class's own best score decides: from it on, that one shows.
    own = stacks.class_ids == class_id_of(label)
    others = (stacks.scores > conf[stacks.class_ids]) & (stacks.class_ids >= 0) & ~own
    above = np.cumsum(others, axis=1) == 0
    best = np.where(own & above, stacks.scores, -1).max(axis=1, initial=-1)
    hidden = conf.copy()
    hidden[class_id_of(label)] = 1
    otherwise = stacks.labels(hidden)
    steps = np.searchsorted(GRID, best)  # so many thresholds are below the score and show the class
    size, num_labels = len(GRID) + 1, fixed.shape[1]

    def cumulated(labels: npt.NDArray[np.int64], at: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        """Sum up the pixels of each label from each step on: (L, steps)."""
        sums = np.zeros((num_labels, size), np.int64)
        np.add.at(sums, (labels[at], steps[at]), stacks.pixels[at])
        return sums.cumsum(axis=1)[:, :-1]

    ours, every = np.full(len(steps), label), np.ones(len(steps), bool)
    counts = np.repeat(fixed[:, :, None], len(GRID), axis=2)
    for row, (of_ours, of_others) in enumerate([(ours == stacks.target, otherwise == stacks.target), (every, every)]):
        counts[row] += cumulated(otherwise, of_others)
        counts[row, label] += stacks.pixels[of_ours].sum() - cumulated(ours, of_ours)[label]
    counts[2] += np.bincount(stacks.target, stacks.pixels, num_labels).astype(np.int64)[:, None]
    return mean_iou(LabelCounts(np.moveaxis(counts, 2, 0)))


def _middle_of_best(means: npt.NDArray[np.float64]) -> int:
    """Return the middle of the first thresholds in a row that all give the highest mean IoU: it is the safest."""
    best = means >= np.nanmax(means) - ALIKE
    start = int(best.argmax())
    length = int(np.append(best[start:], False).argmin())
    return start + (length - 1) // 2


@dataclass(frozen=True)
class Choice:
    """Thresholds, and what they gain on images that they were not chosen on.

    Attributes:
        conf: (C,) float32 of classes, chosen on all images.
        seen: mean IoU of all images with them: too high, since they were chosen on these images.
        mean_iou: of all images, each half with what was chosen on the other half.
        gain: by which that is above the mean IoU with the thresholds of the run.
        limits: (2,) 95 % interval of the gain.
        counts: (3, L) of all images, each half with what was chosen on the other half.
    """

    conf: npt.NDArray[np.float32]
    seen: float
    mean_iou: float
    gain: float
    limits: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]


def halves(image_ids: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Divide N images at random into two halves: (N,), which are in the first. Frames of a clip stay together."""
    units = [unit_of(each) for each in image_ids]
    names = sorted(set(units))
    order = np.random.default_rng(SEED).permutation(len(names))
    first = {names[i] for i in order[: len(names) // 2].tolist()}
    return np.array([unit in first for unit in units])


def choose(
    stacks: Stacks, image_ids: Sequence[str], num_labels: int, before: npt.NDArray[np.float32]
) -> tuple[Choice, Choice]:
    """Choose one threshold for all classes, and one for each class.

    Args:
        stacks: of N images.
        image_ids: theirs; of two images, or clips, at least.
        before: (C,) thresholds of the run, over which the gain is measured.
    """
    in_first, num_images = halves(image_ids)[stacks.image], len(image_ids)
    reference = stacks.counts(stacks.labels(before), num_labels, num_images)
    parts = stacks[in_first], stacks[~in_first], stacks
    starts = [best_common(part, num_labels) for part in parts]

    def judged(first: Conf, second: Conf, conf: Conf) -> Choice:
        """Judge thresholds that were chosen on the first half, on the second half and on all images."""
        labels = np.where(in_first, stacks.labels(second), stacks.labels(first))
        counts = stacks.counts(labels, num_labels, num_images)
        pairs = sum_by_unit(image_ids, np.stack([reference, counts], axis=1))
        drawn = [mean_iou(LabelCounts(sums)) for sums in resampled(pairs)]
        samples = np.concatenate([np.empty((0, 2)), *drawn])
        limits = percentile_limits(samples[:, 1] - samples[:, 0])
        was, now = mean_iou(LabelCounts(pairs.sum(axis=0))).tolist()
        seen = float(mean_iou(LabelCounts(stacks.total(stacks.labels(conf), num_labels))))
        return Choice(conf, seen, now, now - was, limits, counts.sum(axis=0))

    common = [np.full(num_labels - 1, start, np.float32) for start in starts]
    single = [best_of_classes(part, num_labels, start) for part, start in zip(parts, starts)]
    return judged(*common), judged(*single)
