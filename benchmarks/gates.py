"""Parity gates: a speed counts only if the results are right. Pure functions of what the rows found."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import plain

LEAST_IOU = 0.99
MOST_FLIPPED = 1e-4
"""Share of its image's pixels in which a mask may differ from the official predictor's in fp32."""
SWAPPED_IOU = 0.5
"""Below this IoU another of the decoder's masks was chosen: its stability switch is hard, rounding can throw it."""
SWAPPED_SHARE = 0.01
ALLOWANCE = 0.1
"""By what share our low-precision error may exceed the plain loop's, besides two standard errors of the difference."""
COVERAGE = (0.05, 0.6)
"""Where the median share of the image that a mask covers must lie, for the measurement to mean something."""


@dataclass(frozen=True)
class Found:
    """What was found in one image, small enough to be sent to another process.

    Attributes:
        shape: (N, H, W).
        bits: the masks, eight pixels a byte.
        scores: (N,) float32 mask scores.
        class_ids: (N,) integers from 0.
    """

    shape: tuple[int, ...]
    bits: np.ndarray
    scores: np.ndarray
    class_ids: np.ndarray

    @classmethod
    def of(cls, masks: np.ndarray, scores: np.ndarray, class_ids: np.ndarray) -> Found:
        """From (N, H, W) masks, nonzero is foreground."""
        return cls(masks.shape, np.packbits(masks > 0), np.asarray(scores, np.float32), class_ids)

    def masks(self) -> np.ndarray:
        """(N, H, W) bool."""
        return np.unpackbits(self.bits, count=math.prod(self.shape)).astype(bool).reshape(self.shape)


@dataclass(frozen=True)
class Evidence:
    """What a row found in some images.

    Attributes:
        found: image by image.
        matrix: the confusion matrix that it counted, if it did.
        annotations: the labelme files that it wrote, image by image, if it did.
    """

    found: Sequence[Found]
    matrix: np.ndarray | None = None
    annotations: Sequence[Path] = ()


@dataclass(frozen=True)
class Gate:
    """One check.

    Attributes:
        name: what must hold.
        passed: whether it does.
        numbers: what was compared.
    """

    name: str
    passed: bool
    numbers: Mapping[str, float]


@dataclass(frozen=True)
class Difference:
    """How far M masks are from those of a reference.

    Attributes:
        flipped: (M,) share of its image's pixels in which each differs.
        ious: (M,) its IoU with the reference; 1 where both are empty.
    """

    flipped: np.ndarray
    ious: np.ndarray

    @property
    def swapped(self) -> np.ndarray:
        """(M,) bool: those that show something else altogether."""
        return self.ious < SWAPPED_IOU


def difference(masks: Sequence[Found], reference: Sequence[Found]) -> Difference | None:
    """How masks differ from a reference's; None if they are not of the same boxes at all."""
    if [each.shape for each in masks] != [each.shape for each in reference]:
        return None
    flipped, ious = [], []
    for a, b in _pairs(masks, reference):
        union, different = np.count_nonzero(a | b), np.count_nonzero(a ^ b)
        ious.append(1 - different / union if union else 1.0)
        flipped.append(different / a.size)
    return Difference(np.array(flipped), np.array(ious))


def _pairs(masks: Sequence[Found], reference: Sequence[Found]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for a, b in zip(masks, reference):
        yield from zip(a.masks(), b.masks())


def exact_gate(ours: Sequence[Found], official: Sequence[Found]) -> Gate:
    """In fp32 our masks are the official predictor's."""
    name = "fp32: masks equal the official predictor's (row 3)"
    found = difference(ours, official)
    if found is None:
        return Gate(name, False, {"boxes": _count(ours), "official boxes": _count(official)})
    kept = ~found.swapped
    numbers = {
        "masks": len(kept),
        "least IoU": float(found.ious[kept].min(initial=1)),
        "most flipped": float(found.flipped[kept].max(initial=0)),
        "swapped": int(found.swapped.sum()),
    }
    within = numbers["least IoU"] >= LEAST_IOU and numbers["most flipped"] <= MOST_FLIPPED
    return Gate(name, within and numbers["swapped"] <= SWAPPED_SHARE * len(kept), numbers)


def fair_gate(precision: str, ours: Sequence[Found], loop: Sequence[Found], official: Sequence[Found]) -> Gate:
    """In low precision our error against fp32 is no larger than the plain loop's."""
    name = f"{precision}: our error against fp32 is no larger than the plain loop's"
    mine, theirs = difference(ours, official), difference(loop, official)
    if mine is None or theirs is None:
        boxes = {"boxes": _count(ours), "plain boxes": _count(loop), "official boxes": _count(official)}
        return Gate(name, False, boxes)
    kept = ~(mine.swapped | theirs.swapped)
    excess = mine.flipped[kept] - theirs.flipped[kept]
    numbers = {
        "masks": len(kept),
        "flipped": _mean(mine.flipped[kept]),
        "plain flipped": _mean(theirs.flipped[kept]),
        "chance": 2 * float(excess.std(ddof=1)) / math.sqrt(len(excess)) if len(excess) > 1 else 0.0,
        "swapped": int(mine.swapped.sum()),
        "plain swapped": int(theirs.swapped.sum()),
    }
    no_larger = _mean(excess) <= ALLOWANCE * numbers["plain flipped"] + numbers["chance"]
    more_swaps = numbers["swapped"] - numbers["plain swapped"]
    return Gate(name, no_larger and more_swaps <= math.ceil(SWAPPED_SHARE * len(kept)), numbers)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else 0.0


def matrix_gate(ours: Evidence, targets: Sequence[np.ndarray], num_labels: int) -> Gate:
    """Our confusion matrix is what the plain loop counts from the same masks."""
    matrix = np.zeros((num_labels, num_labels), np.int64)
    for found, target in zip(ours.found, targets):
        matrix += plain.histogram(plain.label_map(found.masks(), found.scores, found.class_ids), target, num_labels)
    assert ours.matrix is not None
    numbers = {"pixels": float(matrix.sum()), "pixels counted otherwise": float(abs(matrix - ours.matrix).sum() / 2)}
    return Gate("confusion matrices are equal for equal masks", bool((matrix == ours.matrix).all()), numbers)


def files_gate(ours: Evidence) -> Gate:
    """The masks in our annotation files are our masks; empty ones have none."""
    expected = [mask for found in ours.found for mask in found.masks() if mask.any()]
    decoded = [mask for path in ours.annotations for mask in plain.decode_labelme(path)]
    unequal = sum(not np.array_equal(a, b) for a, b in zip(expected, decoded))
    passed = unequal == 0 and len(expected) == len(decoded)
    numbers = {"masks": len(expected), "decoded": len(decoded), "unequal": unequal}
    return Gate("decoded PNGs of annotations are equal to the masks", passed, numbers)


def coverage_gate(official: Sequence[Found]) -> Gate:
    """The random weights give masks of a realistic size."""
    shares = [float(mask.mean()) for found in official for mask in found.masks()]
    median = float(np.median(shares)) if shares else math.nan
    numbers = {"median": median, "least": min(shares, default=math.nan), "most": max(shares, default=math.nan)}
    return Gate("masks cover 5 to 60 % of their images (median)", COVERAGE[0] <= median <= COVERAGE[1], numbers)


def _count(found: Sequence[Found]) -> int:
    return sum(each.shape[0] for each in found)
