"""COCO's average precision of masks; pycocotools matches and accumulates, and need not see the masks again."""

from __future__ import annotations

import contextlib
import io
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from utils.metrics.scores import ImageScore, ObjectScores

MAX_DETECTIONS = 100
"""COCO's limit: of the objects of a class in an image, those with the highest scores count."""

Candidates = list[tuple[ObjectScores, npt.NDArray[np.int64], npt.NDArray[np.int64]]]
"""Of one class: the objects of each image, positions of its found ones, best first, and of its true ones."""


@dataclass(frozen=True)
class AveragePrecision:
    """COCO's average precision of masks, ranked by the detector's scores; NaN where there is no true object.

    Attributes:
        mean: over the IoU thresholds 0.5, 0.55, ... 0.95 and the classes that have true objects: AP.
        at_50, at_75: at one IoU threshold: AP50, AP75.
        labels: (L,) float64 AP of each label; NaN for the background, too.
        images: images with instance ids, which are the ones that count.
        found: found objects in them that count.
        true: true objects in them.
        on_void: found objects in them left out because they lie mostly on void.
        is_ranked: whether scores rank the found objects; if all have the same, as those of files without scores, the
            order in which they are listed does.
    """

    mean: float
    at_50: float
    at_75: float
    labels: npt.NDArray[np.float64]
    images: int
    found: int
    true: int
    on_void: int
    is_ranked: bool

    @property
    def remark(self) -> str:
        """Say that nothing ranks the found objects; empty if their scores do."""
        return "" if self.is_ranked else "not ranked, since all found objects have the same score: their order decides"


def average_precision(images: Sequence[ImageScore], num_classes: int) -> AveragePrecision | None:
    """Compute mask AP over the images with instance ids; None where there are none.

    Void pixels belong to no mask. A found object that lies mostly on void is left out, as COCO leaves out what lies in
    a crowd region; an empty mask counts as a false positive.
    """
    objects = [image.objects for image in images if image.objects.has_instance_ids]
    if not objects:
        return None
    counted = [np.flatnonzero(each.on_void <= each.areas) for each in objects]
    by_class = _by_class(objects, counted)
    precision = np.stack([_precision(by_class[class_id]) for class_id in range(num_classes)])
    found = sum(map(len, counted))
    scores = {score for each, positions in zip(objects, counted) for score in each.scores[positions].tolist()}
    return AveragePrecision(
        mean=_mean(precision),
        at_50=_mean(precision[:, 0]),
        at_75=_mean(precision[:, 5]),
        labels=np.array([np.nan, *map(_mean, precision)]),
        images=len(objects),
        found=found,
        true=sum(len(each.true_areas) for each in objects),
        on_void=sum(len(each.areas) for each in objects) - found,
        is_ranked=len(scores) > 1 or found < 2,
    )


def _by_class(objects: Sequence[ObjectScores], counted: Sequence[npt.NDArray[np.intp]]) -> dict[int, Candidates]:
    """Sort the objects of images, of which the found ones at `counted` count, by class id."""
    by_class: defaultdict[int, Candidates] = defaultdict(list)
    for each, positions in zip(objects, counted):
        ranked = positions[np.argsort(-each.scores[positions], kind="stable")]
        for class_id in np.union1d(each.class_ids[ranked], each.true_class_ids).tolist():
            found = ranked[each.class_ids[ranked] == class_id][:MAX_DETECTIONS]
            by_class[class_id].append((each, found, np.flatnonzero(each.true_class_ids == class_id)))
    return by_class


def _precision(candidates: Candidates) -> npt.NDArray[np.float64]:
    """Compute the (10, 101) precision of a class at IoUs from 0.5 to 0.95 and recalls from 0 to 1; -1 if none is true.

    COCOeval would decode and compare all masks. It is handed their IoUs and areas instead, in the attributes that its
    method `evaluate` fills, so that its own matching and accumulation give the result.
    """
    from pycocotools.cocoeval import COCOeval

    coco, class_id = COCOeval(iouType="segm"), 0
    params = coco.params
    params.imgIds, params.catIds = list(range(len(candidates))), [class_id]
    params.areaRng, params.maxDets = params.areaRng[:1], [MAX_DETECTIONS]
    for image_id, (each, found, true) in enumerate(candidates):
        coco._dts[image_id, class_id] = [_entry(k, each.areas[i], each.scores[i]) for k, i in enumerate(found, 1)]
        coco._gts[image_id, class_id] = [_entry(k, each.true_areas[j]) for k, j in enumerate(true, 1)]
        coco.ious[image_id, class_id] = each.ious[np.ix_(found, true)]
    coco._paramsEval = params
    coco.evalImgs = [coco.evaluateImg(each, class_id, params.areaRng[0], MAX_DETECTIONS) for each in params.imgIds]
    with contextlib.redirect_stdout(io.StringIO()):
        coco.accumulate()
    return coco.eval["precision"][:, :, 0, 0, 0]


def _entry(number: int, area: int, score: float = 1) -> dict[str, float]:
    """Describe an object to pycocotools, which takes the number 0 for "no object"."""
    return {"id": number, "area": int(area), "score": float(score), "ignore": 0, "iscrowd": 0}


def _mean(precision: npt.NDArray[np.float64]) -> float:
    """Average the defined values, as pycocotools does; NaN if there are none."""
    defined = precision[precision > -1]
    return float(defined.mean()) if len(defined) else float("nan")
