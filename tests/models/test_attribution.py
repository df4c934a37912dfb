"""Who lost it: parts that add up, faults that are blamed on whom they belong to, pairs as brute force finds them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from models.attribution import AttributingCascade
from models.box_sources import GroundTruthDetector, JoinedDetector
from utils.boxes import box_iou
from utils.distributed import Session
from utils.label_maps import instances_of
from utils.masks import Mask
from utils.metrics.attribution import MATCH, PARTS, Attribution, match, table
from utils.structures import Detections, Instances, Sample

SIZE = (20, 30)


def chance(seed: int, count: int) -> Instances:
    """Rectangles of two classes, each with a box and a mask that fills it but for some pixels."""
    random = np.random.default_rng(seed)
    corners = random.integers(0, (22, 12), (count, 2))
    boxes = np.hstack([corners, corners + random.integers(3, 9, (count, 2))])
    masks = [Mask(x1, y1, random.random((y2 - y1, x2 - x1)) > 0.2) for x1, y1, x2, y2 in boxes.tolist()]
    detections = Detections.from_arrays(boxes, random.random(count), random.integers(0, 2, count))
    return Instances(SIZE, detections, masks, random.random(count).astype(np.float32))


def iou_of_maps(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """Mean IoU in plain numpy, of (prediction, target) maps together."""
    ious = []
    for label in range(3):
        both = sum(int(((p == label) & (t == label)).sum()) for p, t in pairs)
        either = sum(int((((p == label) | (t == label)) & (t != 255)).sum()) for p, t in pairs)
        ious += [both / either] if either else []
    return sum(ious) / len(ious)


def test_parts_add_up_to_what_is_missing() -> None:
    attribution, pairs, perfect = Attribution(2), [], []
    for seed in range(20):
        target = (
            np.random.default_rng(seed)
            .choice(np.array([0, 0, 0, 1, 2, 255], np.uint8), (4, 6))
            .repeat(5, 0)
            .repeat(5, 1)
        )
        found, true = chance(seed, seed % 6), chance(seed + 100, (seed + 3) % 5)
        attribution.add(target, found, true)
        pairs.append((found.to_semantic(), target))
        perfect.append((true.to_semantic(), target))
    result = attribution.result(Session())
    assert result["Mean_IOU"] == pytest.approx(iou_of_maps(pairs), abs=1e-12)
    assert result["missing"] == pytest.approx(1 - iou_of_maps(pairs), abs=1e-12)
    assert sum(result["parts"].values()) == pytest.approx(result["missing"], abs=1e-12)
    assert result["parts"]["sam2"] == pytest.approx(1 - iou_of_maps(perfect), abs=1e-12)
    assert result["detector"] + result["parts"]["sam2"] == pytest.approx(result["missing"], abs=1e-12)
    assert result["boxes"]["found"] == result["boxes"]["matched"] + result["boxes"]["false"]
    assert result["boxes"]["true"] == result["boxes"]["matched"] + result["boxes"]["missed"]
    json.dumps(result, allow_nan=False)


TARGET = np.zeros(SIZE, np.uint8)
TARGET[2:10, 2:12], TARGET[12:18, 15:25] = 1, 2
TRUE = instances_of(TARGET, None)


def boxes(*corners: tuple[int, int, int, int], class_ids: Sequence[int]) -> Instances:
    """Instances that fill their boxes."""
    masks = [Mask(x1, y1, np.ones((y2 - y1, x2 - x1), bool)) for x1, y1, x2, y2 in corners]
    return Instances.from_masks(SIZE, class_ids, masks)


FIRST, SECOND = (2, 2, 12, 10), (15, 12, 25, 18)
FAULTS = {
    "false": boxes(FIRST, SECOND, (26, 0, 30, 4), class_ids=[0, 1, 0]),
    "badly_placed": boxes((4, 3, 12, 10), SECOND, class_ids=[0, 1]),
    "missed": boxes(FIRST, class_ids=[0]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_single_fault_is_all_that_is_blamed(fault: str) -> None:
    attribution = Attribution(2)
    attribution.add(TARGET, FAULTS[fault], TRUE)
    result = attribution.result(Session())
    assert result["parts"].pop(fault) == result["detector"] == result["missing"] > 0
    assert set(result["parts"].values()) == {0}


def test_what_the_masks_of_true_boxes_lack_is_sam2s() -> None:
    attribution = Attribution(2)
    thin = Instances(SIZE, TRUE.detections, [TRUE.masks[0], Mask(15, 12, np.ones((3, 10), bool))], TRUE.mask_scores)
    attribution.add(TARGET, thin, thin)
    result = attribution.result(Session())
    assert result["parts"] == dict(zip(PARTS, (0, 0, 0, result["missing"])))
    assert result["missing"] > 0
    assert table(result)[-1].split()[-3:] == [f"{result['missing']:.4f}", "2", "objects"]


def test_a_wrong_class_is_a_false_and_a_missed_box() -> None:
    attribution = Attribution(2)
    attribution.add(TARGET, boxes(FIRST, SECOND, class_ids=[1, 1]), TRUE)
    assert attribution.boxes == {"found": 2, "true": 2, "matched": 1, "false": 1, "missed": 1}


def test_nothing_counted_has_no_lines() -> None:
    result = Attribution(2).result(Session())
    assert result["Mean_IOU"] is None and table(result) == []


@pytest.mark.parametrize("seed", range(12))
def test_pairs_are_those_of_the_largest_total_overlap(seed: int) -> None:
    found, true = chance(seed, 4).detections, chance(seed + 50, 4).detections
    allowed = box_iou(found.boxes, true.boxes)
    allowed[(allowed < MATCH) | (found.class_ids[:, None] != true.class_ids)] = 0
    best = max(sum(allowed[range(4), order]) for order in itertools.permutations(range(4)))
    rows, columns = match(found, true)
    assert len(set(rows)) == len(rows) == len(set(columns))
    assert allowed[rows, columns].sum() == pytest.approx(best)
    assert (allowed[rows, columns] >= MATCH).all()


class PromptOverrides:
    """A detector of the same two boxes for each image."""

    def __call__(self, samples: Sequence[Sample]) -> list[Detections]:
        return [FAULTS["false"].detections[:2] for _ in samples]

    def summary_lines(self, session: Session) -> list[str]:
        return ["given: 2"]


class Filled:
    """A cascade whose masks fill their boxes; counts its calls."""

    def __init__(self) -> None:
        self.detector, self.calls = JoinedDetector(PromptOverrides(), GroundTruthDetector()), 0

    def __call__(self, samples: Sequence[Sample]) -> Iterator[tuple[Sample, Instances]]:
        self.calls += 1
        for sample, found in zip(samples, self.detector(samples)):
            yield sample, boxes(*found.boxes.astype(int).tolist(), class_ids=found.class_ids.tolist())

    def summary_lines(self, session: Session) -> list[str]:
        return self.detector.summary_lines(session)


def test_both_lists_of_boxes_go_through_once_and_sinks_see_the_first(tmp_path: Path) -> None:
    filled = Filled()
    cascade = AttributingCascade(filled, Attribution(2), tmp_path)
    sample = Sample("a", Path("a.jpg"), np.zeros((*SIZE, 3), np.uint8), TARGET, TRUE)
    for _, instances in cascade([sample, sample]):
        np.testing.assert_array_equal(instances.detections.boxes, [FIRST, SECOND])
    lines = cascade.summary_lines(Session())
    assert filled.calls == 1
    assert lines[0] == "given: 2" and len(lines) == 7
    written = json.loads((tmp_path / "attribution.json").read_text())
    assert written["boxes"] == {"found": 4, "true": 4, "matched": 4, "false": 0, "missed": 0}
    assert written["Mean_IOU"] == 1 and [link["Mean_IOU"] for link in written["chain"]] == [1] * 5
