"""Error attribution: errors that add up, each blamed on its cause, and pairs of boxes as brute force finds them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.cascade import ImageCascade
from models.postprocessing import postprocessed
from models.transfer import BoxMasks, Upload
from tests.helpers.evaluate import provenance
from utils.boxes import box_iou
from utils.class_map import ClassMap
from utils.config import CleanupConfig
from utils.distributed import Session
from utils.engine import RunSummary
from utils.evaluation.evaluator import Evaluator
from utils.io.writers import Writers
from utils.label_maps import instances_of
from utils.masks import Mask
from utils.metrics.attribution import Attribution, Method, attribution_lines
from utils.metrics.corrected_maps import ERRORS, MATCH, box_kinds
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


@pytest.mark.parametrize("method", ["shapley", "chain"])
def test_parts_add_up_to_what_is_missing(method: Method) -> None:
    attribution, pairs, perfect = Attribution(2, method), [], []
    for seed in range(20):
        labels = np.random.default_rng(seed).choice(np.array([0, 0, 0, 1, 2, 255], np.uint8), (4, 6))
        target = labels.repeat(5, 0).repeat(5, 1)
        truth, found = instances_of(target, None), chance(seed, seed % 6)
        masks = [Mask(mask.left, mask.top, mask.crop & (np.arange(mask.crop.shape[1]) > 0)) for mask in truth.masks]
        true = replace(truth, masks=masks)
        attribution.add(replace(sample_of(target), gt_instances=truth), found, true)
        pairs.append((found.to_semantic(), target))
        perfect.append((true.to_semantic(), target))
    result = attribution.result(Session())
    assert result["Mean_IOU"] == pytest.approx(iou_of_maps(pairs), abs=1e-12)
    assert result["missing"] == pytest.approx(1 - iou_of_maps(pairs), abs=1e-12)
    assert sum(result["parts"].values()) == pytest.approx(result["missing"], abs=1e-12)
    boxes_right = [*ERRORS[: 4 if method == "shapley" else 3]]
    (sam2,) = (each for each in result["coalitions"] if each["corrected"] == boxes_right)
    assert sam2["Mean_IOU"] == pytest.approx(iou_of_maps(perfect), abs=1e-12)
    assert result["detector"] + result["parts"]["sam2"] == pytest.approx(result["missing"], abs=1e-12)
    boxes = result["boxes"]
    assert boxes["found"] == boxes["matched"] + boxes["false"] + boxes.get("wrong_class", 0)
    assert boxes["true"] == boxes["matched"] + boxes["missed"] + boxes.get("wrong_class", 0)
    json.dumps(result, allow_nan=False)


TARGET = np.zeros(SIZE, np.uint8)
TARGET[2:10, 2:12], TARGET[12:18, 15:25] = 1, 2
TRUE = instances_of(TARGET, None)


def sample_of(target: np.ndarray) -> Sample:
    return Sample("a", Path("a.jpg"), np.zeros((*SIZE, 3), np.uint8), target, TRUE)


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
    attribution.add(sample_of(TARGET), FAULTS[fault], TRUE)
    result = attribution.result(Session())
    assert result["parts"].pop(fault) == result["detector"] == result["missing"] > 0
    assert set(result["parts"].values()) == {0}


def test_what_the_masks_of_true_boxes_lack_is_sam2s() -> None:
    attribution = Attribution(2)
    thin = Instances(SIZE, TRUE.detections, [TRUE.masks[0], Mask(15, 12, np.ones((3, 10), bool))], TRUE.mask_scores)
    attribution.add(sample_of(TARGET), thin, thin)
    result = attribution.result(Session())
    assert result["parts"] == {**dict.fromkeys(ERRORS, 0), "sam2": result["missing"]}
    assert result["missing"] > 0
    assert attribution_lines(result)[6].split()[-4:] == [f"{result['missing']:.4f}", "-", "2", "objects"]


def test_in_a_chain_a_wrong_class_is_a_false_and_a_missed_box() -> None:
    shapley, chain = Attribution(2), Attribution(2, "chain")
    for attribution in (shapley, chain):
        attribution.add(sample_of(TARGET), boxes(FIRST, SECOND, class_ids=[1, 1]), TRUE)
    both = {"found": 2, "true": 2, "matched": 1}
    assert chain.result(Session())["boxes"] == {**both, "false": 1, "missed": 1}
    assert shapley.result(Session())["boxes"] == {**both, "false": 0, "missed": 0, "wrong_class": 1}


def test_where_there_is_no_map_of_objects_specks_are_counted_and_it_is_said() -> None:
    clean = TARGET.repeat(10, axis=0).repeat(10, axis=1)
    target = clean.copy()
    target[0, 299], target[199, :2] = 1, 2
    true, numbered = instances_of(target, None, specks=False), instances_of(clean, clean)
    samples = [Sample("a", Path("a.jpg"), np.zeros((*target.shape, 3), np.uint8), target, true)] * 2
    samples += [replace(samples[0], gt_mask=clean, gt_instances=numbered, has_instance_ids=True)]
    attribution, only_maps = Attribution(2), Attribution(2)
    for sample in samples:
        attribution.add(sample, true, sample.gt_instances)
    result = attribution.result(Session())
    assert result["boxes"]["true"] == 6 and result["boxes"]["missed"] == 0
    assert result["connected_parts"] == {"images": 2, "specks": 4}
    lines = attribution_lines(result)
    assert lines[7].startswith("attribution: 2 images have no SegmentationObject: connected parts stand for")
    assert lines[8].endswith("4 specks below 32 pixels left out") and max(map(len, lines[7:])) <= 80
    only_maps.add(samples[2], true, numbered)
    assert len(attribution_lines(only_maps.result(Session()))) == 7


def test_nothing_counted_has_no_lines() -> None:
    result = Attribution(2).result(Session())
    assert result["Mean_IOU"] is None and attribution_lines(result) == []


@pytest.mark.parametrize("seed", range(12))
def test_pairs_are_those_of_the_largest_total_overlap(seed: int) -> None:
    found, true = chance(seed, 4).detections, chance(seed + 50, 4).detections
    allowed = box_iou(found.boxes, true.boxes)
    allowed[(allowed < MATCH) | (found.class_ids[:, None] != true.class_ids)] = 0
    best = max(sum(allowed[range(4), order]) for order in itertools.permutations(range(4)))
    rows, columns = box_kinds(found, true).matched
    assert len(set(rows)) == len(rows) == len(set(columns))
    assert allowed[rows, columns].sum() == pytest.approx(best)
    assert (allowed[rows, columns] >= MATCH).all()


class TwoBoxes:
    """A source of the same two boxes for each image."""

    def __call__(self, samples: Sequence[Sample]) -> list[Detections]:
        return [FAULTS["false"].detections[:2] for _ in samples]

    def summary_lines(self, session: Session) -> list[str]:
        return ["boxes: 2"]


class Filled:
    """A segmenter whose masks fill their boxes; notes how many images each of its calls has."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self.calls: list[int] = []

    def upload(self, images: Sequence[np.ndarray]) -> Upload:
        return Upload(images, self.device)

    def launch(
        self, images: Sequence[np.ndarray], boxes: Sequence[np.ndarray], image_index: Sequence[int]
    ) -> list[BoxMasks]:
        self.calls.append(len(images))
        return [BoxMasks([*masks_of(each)], np.ones(len(each), np.float32)) for each in boxes]

    def collect(self, pending: list[BoxMasks]) -> list[BoxMasks]:
        return pending

    def use_more_memory(self) -> None:
        """Has nothing to change."""

    def use_less_memory(self, images: int, reason: str) -> None:
        raise AssertionError("there is enough")

    def summary_lines(self) -> list[str]:
        return []


def masks_of(corners: np.ndarray) -> Sequence[Mask]:
    return boxes(*corners.astype(int).tolist(), class_ids=[0] * len(corners)).masks


@pytest.mark.parametrize("settings", [CleanupConfig(), CleanupConfig(smallest_part=2)])
def test_found_and_true_boxes_are_segmented_together_and_sinks_see_the_found_ones(
    tmp_path: Path, settings: CleanupConfig
) -> None:
    filled = Filled()
    images = ImageCascade(TwoBoxes(), filled, gt_boxes=True)
    cascade = postprocessed(images, ClassMap.from_targets(("car", "dog"), {}), settings)
    with Writers(2) as writers:
        evaluator = Evaluator(("car", "dog"), tmp_path, writers, provenance(), attribution=Attribution(2))
        for each, instances in cascade([sample_of(TARGET)] * 2):
            np.testing.assert_array_equal(instances.detections.boxes, [FIRST, SECOND])
            evaluator.write(each, instances)
        lines = evaluator.finish(RunSummary(), Session()).lines
    assert filled.calls == [2]
    assert cascade.summary_lines(Session()) == ["boxes: 2"]
    written = json.loads((tmp_path / "attribution.json").read_text())
    assert written["boxes"] == {"found": 4, "true": 4, "matched": 4, "false": 0, "missed": 0, "wrong_class": 0}
    assert written["Mean_IOU"] == 1 and [each["Mean_IOU"] for each in written["coalitions"]] == [1] * 32
    assert len([line for line in lines if line.startswith("attribution: ")]) == len(attribution_lines(written)) == 9
