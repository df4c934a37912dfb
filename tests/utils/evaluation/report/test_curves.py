from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from utils.distributed import Session
from utils.engine import RunSummary
from utils.evaluation.evaluator import Evaluator
from utils.evaluation.report.curves import iou_by_score, iou_by_size
from utils.io.writers import Writers
from utils.masks import Mask
from utils.metrics.scores import Evaluation
from utils.structures import Instances, Sample


def square(left: int, side: int) -> Mask:
    return Mask(left, 0, np.ones((side, side), bool))


def evaluation(*objects: tuple[int, Mask | None, float]) -> Evaluation:
    """One image an object: the side of the true square at the left edge, the mask that was found, its scores."""
    with Writers(1) as writers:
        evaluator = Evaluator(["car"], Path(), writers)
        for i, (side, mask, score) in enumerate(objects):
            target = np.zeros((64, 64), np.uint8)
            target[:side, :side] = 1
            masks = [] if mask is None else [mask]
            found = Instances.from_masks(target.shape, [0] * len(masks), masks, [score] * len(masks))
            evaluator.write(Sample(str(i), Path("a.jpg"), np.zeros((64, 64, 3), np.uint8), target), found)
        result = evaluator.result(RunSummary(len(objects)), Session())
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


def test_shapes_that_a_person_drew_have_no_score_to_plot() -> None:
    assert iou_by_score(evaluation((8, square(0, 8), 0.9)), "mask_scores").names == ()
