from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from models.ultralytics_quiet import quiet_ultralytics
from tests.helpers.evaluate import provenance
from utils.distributed import Session
from utils.engine import RunSummary
from utils.evaluation.evaluator import Evaluator
from utils.evaluation.report.curves import THRESHOLDS, _hits, box_curves, iou_by_score, iou_by_size
from utils.io.writers import Writers
from utils.masks import Mask
from utils.metrics.summary import Evaluation
from utils.structures import Instances, Sample


def square(left: int, side: int) -> Mask:
    return Mask(left, 0, np.ones((side, side), bool))


def evaluation(*objects: tuple[int, Mask | None, float]) -> Evaluation:
    """One image an object: the side of the true square at the left edge, the mask that was found, its scores."""
    with Writers(1) as writers:
        evaluator = Evaluator(["car"], Path(), writers, provenance())
        for i, (side, mask, score) in enumerate(objects):
            target = np.zeros((64, 64), np.uint8)
            target[:side, :side] = 1
            masks = [] if mask is None else [mask]
            found = Instances.from_masks(target.shape, [0] * len(masks), masks, [score] * len(masks))
            evaluator.write(Sample(str(i), Path("a.jpg"), np.zeros((64, 64, 3), np.uint8), target), found)
        result = evaluator.result(RunSummary(), Session())
    assert result is not None
    return result


def test_missed_objects_count_as_zero_in_the_bin_of_their_size() -> None:
    found = evaluation((8, square(0, 8), 0.5), (10, None, 0), (40, square(20, 40), 0.5))
    curve = iou_by_size(found)
    assert curve.names == ("8 to 11", "32 to 45")
    assert curve.centers.tolist() == [9, 40]
    assert curve.counts.tolist() == [2, 1]
    assert curve.means == pytest.approx([0.5, 1 / 3])
    assert curve.quarters.T.tolist() == [[0.25, 0.75], [pytest.approx(1 / 3)] * 2]


def test_found_objects_by_score_those_on_nothing_as_zero() -> None:
    found = evaluation((8, square(0, 8), 0.95), (8, square(40, 8), 0.96), (8, square(0, 8), 1.0), (8, None, 0))
    curve = iou_by_score(found, "scores")
    assert curve.names == ("0.9 to 1.0",)
    assert (curve.counts.tolist(), curve.means.tolist()) == ([3], [pytest.approx(2 / 3)])


def random_boxes(seed: int, images: int = 8) -> tuple[Evaluation, list, list]:
    """Boxes of two classes, many of them near true ones; and the same for pycocotools."""
    rng, truth, found = np.random.default_rng(seed), [], []
    with Writers(1) as writers:
        evaluator = Evaluator(["car", "dog"], Path(), writers, provenance())
        for image in range(images):
            corners = np.array([(x, y) for x in (0, 22, 44) for y in (0, 22, 44)])[rng.permutation(9)[:5]]
            target = np.zeros((64, 64), np.uint8)
            boxes, class_ids, scores = [], [], []
            for x, y in corners.tolist():
                class_id, (w, h) = int(rng.integers(2)), rng.integers(8, 18, 2).tolist()
                target[y : y + h, x : x + w] = class_id + 1
                truth.append((image, class_id, [x, y, w, h]))
                for _ in range(rng.integers(0, 3)):
                    dx, dy = rng.integers(0, 4, 2).tolist()
                    boxes.append([x + dx, y + dy, w, h])
                    class_ids.append(class_id if rng.random() < 0.8 else 1 - class_id)
                    scores.append(round(float(rng.uniform(0.26, 0.99)), 3))
            masks = [Mask(x, y, np.ones((h, w), bool)) for x, y, w, h in boxes]
            found += [(image, *each) for each in zip(class_ids, boxes, scores)]
            instances = Instances.from_masks(target.shape, class_ids, masks, scores)
            evaluator.write(Sample(str(image), Path("a.jpg"), np.zeros((64, 64, 3), np.uint8), target), instances)
        result = evaluator.result(RunSummary(), Session())
    assert result is not None
    return result, truth, found


@pytest.mark.parametrize("seed", range(3))
def test_precision_at_each_recall_is_that_of_pycocotools(seed: int) -> None:
    result, truth, found = random_boxes(seed)
    coco = COCO()
    coco.dataset = {
        "info": {},  # which pycocotools before 2.0.11 wants
        "images": [{"id": i} for i in range(8)],
        "categories": [{"id": 0}, {"id": 1}],
        "annotations": [
            {"id": k, "image_id": i, "category_id": c, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
            for k, (i, c, box) in enumerate(truth, 1)
        ],
    }
    coco.createIndex()
    rows = [{"image_id": i, "category_id": c, "bbox": box, "score": score} for i, c, box, score in found]
    judge = COCOeval(coco, coco.loadRes(rows), "bbox")
    judge.evaluate()
    judge.accumulate()
    curves = box_curves(result)
    assert curves is not None and curves.class_ids.tolist() == [0, 1]
    np.testing.assert_allclose(curves.precision.T, judge.eval["precision"][0, :, :, 0, 2], atol=1e-6)


def test_f1_is_that_of_ultralytics() -> None:
    quiet_ultralytics()
    from ultralytics.utils.metrics import ap_per_class

    result, _, _ = random_boxes(5)
    curves = box_curves(result)
    assert curves is not None
    objects = [image.objects for image in result.images]
    hits = np.concatenate([_hits(each.box_ious, each.scores) for each in objects])
    scores, ids = (np.concatenate([getattr(each, name) for each in objects]) for name in ("scores", "class_ids"))
    true = np.concatenate([each.true_class_ids for each in objects])
    *_, f1, x, _ = ap_per_class(hits[:, None], scores, ids, true)
    # It draws straight lines from score to score, where ours has steps.
    ours = np.array([np.interp(x, THRESHOLDS, row) for row in curves.f1])
    assert np.abs(ours - f1).mean() < 0.03
    assert curves.best[0] == pytest.approx(f1.mean(axis=0).max(), abs=0.01)


def test_there_are_no_curves_of_boxes_without_scores_or_objects() -> None:
    assert box_curves(evaluation((8, square(0, 8), 1.0), (8, square(0, 8), 1.0))) is None
    assert box_curves(evaluation((0, square(0, 8), 0.5), (0, square(0, 8), 0.6))) is None


def test_shapes_that_a_person_drew_have_no_score_to_plot() -> None:
    assert iou_by_score(evaluation((8, square(0, 8), 0.9)), "mask_scores").names == ()
