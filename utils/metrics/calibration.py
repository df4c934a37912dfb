"""A score that means IoU: from the scores of models to the IoU that objects with such scores really had.

An evaluated split has the scores of each found object, and its IoU with the best true object of its class, 0 where
there is none. The map from one to the other is monotone in each score: a sum of isotonic functions (isotonic
calibration: Zadrozny and Elkan 2002; sums of such functions: Bacchetti 1989), which backfitting finds by scipy's
isotonic regression, and one more over the sum. A class has an offset to it, drawn towards 0 where it has few objects
(empirical Bayes: Efron and Morris 1975).

How far the map can be trusted is measured on images that it was not fitted on: folds of whole images or clips are left
out in turn. The expected calibration error (Guo et al. 2017) is the mean difference of expected and real IoU over bins
of the expected one, by objects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from utils.errors import UserError
from utils.io.json_files import Location, get, read_json
from utils.metrics.bootstrap import unit_of
from utils.metrics.scores import ImageScore, object_values
from utils.structures import Instances

Floats = npt.NDArray[np.float64]

TERMS = ("score", "mask_score")
"""The scores that are mapped: the detector's, and SAM2's own estimate of the mask's IoU."""

FOLDS = 5

SEED = 0
"""Of the folds."""

ROUNDS = 10
"""Of backfitting; it changes little after a few."""

BINS = 10
"""Of the expected calibration error."""

LEAST_OBJECTS = 50
"""Fewer objects tell too little to fit a map."""

QUANTILES = np.linspace(0, 1, 51)
"""At which the distribution of each score is kept."""

SHIFT = 0.25
"""Scores have shifted if their cumulative distribution differs by more than this somewhere from that of the fit, and by
more than chance."""

KOLMOGOROV = 1.95
"""Limit of the Kolmogorov-Smirnov test at one in a thousand, over the root of 1 / n + 1 / m."""

NORMAL_95 = 1.96
"""Standard deviations to both sides that hold 95 % of a normal distribution."""


@dataclass(frozen=True)
class Steps:
    """A rising function: linear between K points, flat outside them.

    Attributes:
        x: (K,) rising.
        y: (K,) rising.
    """

    x: Floats
    y: Floats

    def __call__(self, x: Floats) -> Floats:
        """Evaluate at (N,) places."""
        return np.interp(x, self.x, self.y)

    @classmethod
    def fit(cls, x: Floats, y: Floats) -> Steps:
        """Fit the rising function with the least squared error to (N,) values; equal places count as one."""
        from scipy.optimize import isotonic_regression

        places, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
        means = np.bincount(inverse, y) / counts
        blocks = isotonic_regression(means, weights=counts).blocks
        weights = np.add.reduceat(counts, blocks[:-1])
        centers, values = (np.add.reduceat(counts * each, blocks[:-1]) / weights for each in (places, means))
        return cls(centers, values)


@dataclass(frozen=True)
class IouMap:
    """The map from T scores of an object, and its class, to its expected IoU.

    Attributes:
        terms: a function of each score.
        total: a function of their sum.
        offsets: by class name; other classes have none.
    """

    terms: tuple[Steps, ...]
    total: Steps
    offsets: Mapping[str, float]

    def __call__(self, scores: Floats, classes: Sequence[str]) -> Floats:
        """Return the (N,) expected IoUs of objects, given their (N, T) scores and N class names."""
        plain = self.total(self._sum(scores))
        return np.clip(plain + np.array([self.offsets.get(name, 0.0) for name in classes], np.float64), 0, 1)

    def _sum(self, scores: Floats) -> Floats:
        return np.sum([term(column) for term, column in zip(self.terms, scores.T)], axis=0)

    @classmethod
    def fit(cls, scores: Floats, ious: Floats, classes: Sequence[str]) -> IouMap:
        """Fit the map to the (N,) IoUs of objects, given their (N, T) scores and N class names."""
        fitted = np.zeros_like(scores)
        terms = [Steps(np.zeros(1), np.zeros(1))] * scores.shape[1]
        for _ in range(ROUNDS):
            for k, column in enumerate(scores.T):
                rest = ious - fitted.sum(axis=1) + fitted[:, k]
                terms[k] = Steps.fit(column, rest)
                fitted[:, k] = terms[k](column)
        total = Steps.fit(fitted.sum(axis=1), ious)
        residuals = ious - total(fitted.sum(axis=1))
        return cls(tuple(terms), total, class_offsets(residuals, classes))


def class_offsets(residuals: Floats, classes: Sequence[str]) -> dict[str, float]:
    """Estimate the mean residual of each class, drawn towards 0 the more, the less its objects tell.

    The variance among classes is that of the class means beyond what their objects' own variance explains (method of
    moments).
    """
    names, index, counts = np.unique(np.array(classes, object).astype(str), return_inverse=True, return_counts=True)
    means = np.bincount(index, residuals) / counts
    within = float(np.mean((residuals - means[index]) ** 2))
    among = max(0.0, float(np.average(means**2 - within / counts, weights=counts)))
    shrunk = means * among / (among + within / counts) if among else np.zeros_like(means)
    return dict(zip(names.tolist(), shrunk.tolist()))


def calibration_error(expected: Floats, ious: Floats) -> float:
    """Compute the expected calibration error of (N,) expected IoUs; NaN without objects."""
    if not len(expected):
        return float("nan")
    bins = np.clip((expected * BINS).astype(int), 0, BINS - 1)
    return float(np.abs(np.bincount(bins, expected - ious, BINS)).sum() / len(expected))


@dataclass(frozen=True)
class Calibration:
    """A map from scores to IoU, and what is known of it.

    Attributes:
        iou_map: takes the scores of `TERMS`.
        images, objects: on which it was fitted; images without objects do not count.
        variance: of the sum over an image's objects of what their IoU is more than expected, on images left out.
        error: expected calibration error on images left out.
        raw_error: that of the mask score itself.
        quantiles: (T, Q) of each score, at `QUANTILES`.
        weights: SHA-256 of the weights that gave the scores, by model.
    """

    iou_map: IouMap
    images: int
    objects: int
    variance: float
    error: float
    raw_error: float
    quantiles: Floats
    weights: Mapping[str, str]

    @classmethod
    def fit(
        cls, images: Sequence[ImageScore], names: Sequence[str], weights: Mapping[str, str] | None = None
    ) -> Calibration | None:
        """Fit the map to the objects found in images; None where there are too few with scores.

        Args:
            images: of an evaluation.
            names: class names, by class id.
            weights: SHA-256 of the weights, by model.
        """
        scores = np.stack([object_values(images, name) for name in ("scores", "mask_scores")], axis=1)
        known = ~np.isnan(scores).any(axis=1)
        owners = np.repeat(np.arange(len(images)), [len(image.objects.class_ids) for image in images])[known]
        scores, ious = scores[known], object_values(images, "best_ious")[known]
        ids = object_values(images, "class_ids", np.int64)[known]
        units = np.unique([unit_of(image.image_id) for image in images], return_inverse=True)[1]
        folds = np.random.default_rng(SEED).permutation(units.max(initial=0) + 1)[units][owners] % FOLDS
        if len(ious) < LEAST_OBJECTS or len(np.unique(folds)) < FOLDS:
            return None
        classes = np.array(names, object)[ids]
        expected = np.zeros(len(ious))
        for fold in range(FOLDS):
            out = folds == fold
            part = IouMap.fit(scores[~out], ious[~out], classes[~out].tolist())
            expected[out] = part(scores[out], classes[out].tolist())
        surplus = np.bincount(np.unique(owners, return_inverse=True)[1], ious - expected)
        return cls(
            IouMap.fit(scores, ious, classes.tolist()),
            len(surplus),
            len(ious),
            float(np.mean(surplus**2)),
            calibration_error(expected, ious),
            calibration_error(np.clip(scores[:, 1], 0, 1), ious),
            np.quantile(scores, QUANTILES, axis=0).T,
            weights or {},
        )

    def expected_ious(self, instances: Instances, names: Sequence[str]) -> Floats:
        """Return the (N,) expected IoUs of instances; NaN where a person drew the shape."""
        scores = scores_of(instances)
        classes = [names[i] for i in instances.detections.class_ids.tolist()]
        return np.where(np.isnan(scores).any(axis=1), np.nan, self.iou_map(np.nan_to_num(scores), classes))

    def mean_interval(self, expected: float, objects: int, images: int) -> tuple[float, float]:
        """Return the 95 % interval of the mean IoU of new objects, given its expected value.

        It allows for the new images and for those of the fit, both as draws of images of one kind.

        Args:
            expected: mean expected IoU.
            objects, images: how many there are; images without objects do not count.
        """
        new, old = images / objects**2, self.images / self.objects**2
        half = NORMAL_95 * float(np.sqrt(self.variance * (new + old)))
        return max(0.0, expected - half), min(1.0, expected + half)

    def shifts(self, scores: Floats) -> dict[str, float]:
        """Return the scores whose distribution differs from that of the fit, each with the largest difference.

        It is the two-sample statistic of Kolmogorov and Smirnov.

        Args:
            scores: (N, T) of new objects, N >= 1.
        """
        limit = max(SHIFT, KOLMOGOROV * np.sqrt(1 / len(scores) + 1 / self.objects))
        found: dict[str, float] = {}
        for name, fitted, column in zip(TERMS, self.quantiles, np.sort(scores, axis=0).T):
            before = np.interp(column, fitted, QUANTILES)
            ranks = np.arange(len(column) + 1) / len(column)
            distance = max(np.abs(before - ranks[1:]).max(), np.abs(before - ranks[:-1]).max())
            found |= {name: float(distance)} if distance > limit else {}
        return found

    def content(self) -> dict[str, Any]:
        """Return the content of `calibration.json`, which `load` reads."""

        def points(steps: Steps) -> dict[str, list[float]]:
            return {"x": steps.x.tolist(), "y": steps.y.tolist()}

        return {
            "images": self.images,
            "objects": self.objects,
            "expected_calibration_error": self.error,
            "expected_calibration_error_of_mask_score": self.raw_error,
            "variance_of_image_sums": self.variance,
            "terms": {name: points(term) for name, term in zip(TERMS, self.iou_map.terms)},
            "total": points(self.iou_map.total),
            "class_offsets": dict(self.iou_map.offsets),
            "quantiles": {name: row.tolist() for name, row in zip(TERMS, self.quantiles)},
            "weights": dict(self.weights),
        }

    @classmethod
    def load(cls, path: Path) -> Calibration:
        """Read a `calibration.json`.

        Raises:
            UserError: it cannot be read, or is something else.
        """
        if not path.exists():
            fact = f"an evaluation writes {path.name} where it has {LEAST_OBJECTS} scored objects or more"
            raise UserError(f"{path}: is not there; {fact}")
        content, at = read_json(path), Location(str(path), path.parent)

        def numbers(holder: Any, key: str, place: Location) -> Floats:
            values = get(holder, key, list, place)
            if not values or not all(type(each) in (int, float) for each in values) or values != sorted(values):
                raise place.child(key).error("expected rising numbers")
            return np.array(values, np.float64)

        def steps(holder: Any, key: str, place: Location) -> Steps:
            found = get(holder, key, dict, place)
            x, y = (numbers(found, axis, place.child(key)) for axis in "xy")
            if len(x) != len(y):
                raise place.child(key).error("x and y have different lengths")
            return Steps(x, y)

        def named(key: str, kind: type) -> dict[str, Any]:
            holder = get(content, key, dict, at)
            return {name: get(holder, name, kind, at.child(key)) for name in holder}

        try:
            terms, quantiles = get(content, "terms", dict, at), get(content, "quantiles", dict, at)
            images, objects = (get(content, key, int, at) for key in ("images", "objects"))
            variance, error, raw = (
                get(content, key, float, at)
                for key in (
                    "variance_of_image_sums",
                    "expected_calibration_error",
                    "expected_calibration_error_of_mask_score",
                )
            )
            kept = [numbers(quantiles, name, at.child("quantiles")) for name in TERMS]
            if min(images, objects) < 1 or any(len(row) != len(QUANTILES) for row in kept):
                raise at.error("images, objects or quantiles make no sense")
            iou_map = IouMap(
                tuple(steps(terms, name, at.child("terms")) for name in TERMS),
                steps(content, "total", at),
                named("class_offsets", float),
            )
            return cls(iou_map, images, objects, variance, error, raw, np.stack(kept), named("weights", str))
        except UserError as error_:
            raise UserError(f"{error_}; an evaluation writes calibration.json, which is meant here") from error_


def scores_of(instances: Instances) -> Floats:
    """Return the (N, T) scores of instances, in the order of `TERMS`."""
    return np.stack([instances.detections.scores, instances.mask_scores], axis=1).astype(np.float64)


def calibration_lines(calibration: Calibration, file: Path) -> list[str]:
    """Say how well the map does, and where it is written."""
    error, raw = calibration.error, calibration.raw_error
    return [f"calibration: {file}; expected calibration error {error:.4f}, of the mask score alone {raw:.4f}"]
