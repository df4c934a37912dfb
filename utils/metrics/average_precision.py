"""COCO's average precision of masks; pycocotools matches and accumulates, and need not see the masks again."""

from __future__ import annotations

import contextlib
import io
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from utils.metrics.scores import AveragePrecision, ImageScore, ObjectScores

MAX_DETECTIONS = 100
"""Objects of a class and image that count, those of the highest scores, as COCO has it."""


def average_precision(images: Sequence[ImageScore], num_classes: int) -> AveragePrecision | None:
    """The average precision over the images whose true objects are told apart; None where there are none.

    Void pixels belong to no mask. A found object most of which is void is left out, as COCO leaves out what lies in a
    crowd; an empty mask counts as a wrong one.
    """
    objects = [image.objects for image in images if image.objects.has_instance_ids]
    if not objects:
        return None
    counts = [np.flatnonzero(each.on_void <= each.areas) for each in objects]
    by_class = _by_class(objects, counts)
    precision = np.stack([_precision(by_class[class_id]) for class_id in range(num_classes)])
    found = sum(map(len, counts))
    return AveragePrecision(
        mean=_mean(precision),
        at_50=_mean(precision[:, 0]),
        at_75=_mean(precision[:, 5]),
        classes=np.array([_mean(each) for each in precision]),
        images=len(objects),
        found=found,
        true=sum(len(each.true_areas) for each in objects),
        on_void=sum(len(each.areas) for each in objects) - found,
    )


Candidates = list[tuple[ObjectScores, np.ndarray, np.ndarray]]
"""The objects of an image, and the positions of a class's found ones, best first, and of its true ones."""


def _by_class(objects: Sequence[ObjectScores], counts: Sequence[np.ndarray]) -> dict[int, Candidates]:
    """Class id -> what images hold of it, images without it left out.

    Args:
        counts: positions of the found objects that count, for each image.
    """
    found: defaultdict[int, Candidates] = defaultdict(list)
    for each, positions in zip(objects, counts):
        ranked = positions[np.argsort(-each.scores[positions], kind="stable")]
        for class_id in np.union1d(each.class_ids[ranked], each.true_class_ids).tolist():
            ours = ranked[each.class_ids[ranked] == class_id][:MAX_DETECTIONS]
            found[class_id].append((each, ours, np.flatnonzero(each.true_class_ids == class_id)))
    return found


def _precision(candidates: Candidates) -> np.ndarray:
    """(10, 101) precision of a class at IoU thresholds from 0.5 to 0.95 and recalls from 0 to 1; -1 if none is true."""
    from pycocotools.cocoeval import COCOeval

    coco, class_id = COCOeval(iouType="segm"), 0
    params = coco.params
    params.imgIds, params.catIds = list(range(len(candidates))), [class_id]
    params.areaRng, params.maxDets = params.areaRng[:1], [MAX_DETECTIONS]
    for image_id, (each, ours, theirs) in enumerate(candidates):
        coco._dts[image_id, class_id] = [_entry(k, each.areas[i], each.scores[i]) for k, i in enumerate(ours, 1)]
        coco._gts[image_id, class_id] = [_entry(k, each.true_areas[j]) for k, j in enumerate(theirs, 1)]
        coco.ious[image_id, class_id] = each.ious[np.ix_(ours, theirs)]
    # What COCOeval.evaluate does once it has the overlaps.
    coco._paramsEval = params
    coco.evalImgs = [coco.evaluateImg(each, class_id, params.areaRng[0], MAX_DETECTIONS) for each in params.imgIds]
    with contextlib.redirect_stdout(io.StringIO()):
        coco.accumulate()
    return coco.eval["precision"][:, :, 0, 0, 0]


def _entry(number: int, area: int, score: float = 1) -> dict[str, float]:
    """What pycocotools wants to know of an object; it takes the number 0 for none."""
    return {"id": number, "area": int(area), "score": float(score), "ignore": 0, "iscrowd": 0}


def _mean(precision: np.ndarray) -> float:
    """The mean of what is defined, as pycocotools has it."""
    defined = precision[precision > -1]
    return float(defined.mean()) if len(defined) else float("nan")
