"""The judge is scipy.ndimage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from models.cleanup import CleanedCascade, clean, with_cleanup
from utils.config import CleanupConfig
from utils.distributed import Session
from utils.engine import Result
from utils.errors import SampleError
from utils.masks import Mask
from utils.structures import Detections, Instances, Sample

EIGHT = np.ones((3, 3))


def instances_of(*masks: np.ndarray, boxes: object = None) -> Instances:
    n = len(masks)
    detections = Detections.from_arrays(np.tile((0, 0, 9, 9), (n, 1)) if boxes is None else boxes, np.ones(n), range(n))
    scores = np.linspace(0.5, 0.6, n).astype(np.float32)
    return Instances(masks[0].shape, detections, [Mask.from_array(mask) for mask in masks], scores)


def noise(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.random(rng.integers(1, 30, 2)) < rng.random()


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("smallest", [2, 5, 40])
def test_small_parts_are_removed(seed: int, smallest: int) -> None:
    mask = noise(seed)
    cleaned, changes = clean(instances_of(mask), CleanupConfig(smallest_part=smallest))
    parts, count = ndimage.label(mask, EIGHT)
    areas = ndimage.sum_labels(mask, parts, range(1, count + 1))
    expected = np.isin(parts, 1 + np.flatnonzero(areas >= smallest)) & mask
    np.testing.assert_array_equal(cleaned.masks[0].to_full(mask.shape), expected)
    assert changes["parts removed"] == np.count_nonzero(areas < smallest)
    assert changes["masks left without a pixel"] == (mask.any() and not expected.any())


@pytest.mark.parametrize("seed", range(20))
def test_disjoint_masks_share_no_pixel_and_give_the_same_label_map(seed: int) -> None:
    rng = np.random.default_rng(seed)
    before = instances_of(*(rng.random((4, 12, 17)) < rng.random((4, 1, 1))))
    after, changes = clean(before, CleanupConfig(disjoint=True))
    covered = np.stack([mask.to_full(after.size) for mask in after.masks])
    full = np.stack([mask.to_full(before.size) for mask in before.masks])
    assert covered.sum(axis=0).max() <= 1 and not (covered & ~full).any()
    np.testing.assert_array_equal(covered.any(axis=0), full.any(axis=0))
    np.testing.assert_array_equal(after.to_semantic(), before.to_semantic())
    assert changes["pixels taken from objects under others"] == full.sum() - covered.sum()


@pytest.mark.parametrize("seed", range(20))
def test_only_the_largest_part_stays(seed: int) -> None:
    mask = noise(seed)
    cleaned, changes = clean(instances_of(mask), CleanupConfig(largest_part_only=True))
    parts, count = ndimage.label(mask, EIGHT)
    left = cleaned.masks[0].to_full(mask.shape)
    assert changes["parts removed"] == max(count - 1, 0)
    assert left.sum() == max(ndimage.sum_labels(mask, parts, range(1, count + 1)), default=0)
    assert not (left & ~mask).any()
    assert ndimage.label(left, EIGHT)[1] == min(count, 1)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("largest", [1, 3, 1000])
def test_holes_are_filled(seed: int, largest: int) -> None:
    mask = noise(seed)
    cleaned, changes = clean(instances_of(mask), CleanupConfig(largest_hole=largest))
    holes, count = ndimage.label(ndimage.binary_fill_holes(mask) & ~mask)
    areas = ndimage.sum_labels(~mask, holes, range(1, count + 1))
    filled = np.isin(holes, 1 + np.flatnonzero(areas <= largest))
    np.testing.assert_array_equal(cleaned.masks[0].to_full(mask.shape), mask | filled)
    assert changes["holes filled"] == np.count_nonzero(areas <= largest)


def test_pixels_outside_the_box_are_clipped() -> None:
    mask = np.zeros((8, 9), bool)
    mask[1:7, 1:8] = True
    boxes = [[2.5, 0, 6, 4.2], [0, 0, 9, 8], [8.5, 7.5, 9, 8]]
    cleaned, changes = clean(instances_of(mask, mask, mask, boxes=boxes), CleanupConfig(clip_to_box=True))
    expected = np.zeros_like(mask)
    expected[1:5, 2:6] = True
    assert [m.to_full(mask.shape).tolist() for m in cleaned.masks[:2]] == [expected.tolist(), mask.tolist()]
    assert cleaned.masks[2].area == 0
    assert changes == {"masks clipped to their boxes": 2, "masks left without a pixel": 1}


def test_all_but_the_masks_stays_and_crops_are_tight() -> None:
    before = instances_of(np.eye(12, dtype=bool), noise(3)[:12, :12], np.zeros((12, 12), bool))
    copies = [mask.crop.copy() for mask in before.masks]
    after, _ = clean(before, CleanupConfig(smallest_part=4, largest_hole=4, largest_part_only=True, clip_to_box=True))
    assert after.detections is before.detections
    assert after.mask_scores is before.mask_scores
    for mask, copy, cleaned in zip(before.masks, copies, after.masks):
        np.testing.assert_array_equal(mask.crop, copy)
        assert not cleaned.crop.size or all(cleaned.crop.any(axis=axis)[[0, -1]].all() for axis in (0, 1))


class Found:
    """A cascade that finds the same in every image."""

    def __init__(self, instances: Instances) -> None:
        self.instances = instances

    def __call__(self, samples: list[Sample]) -> list[tuple[Sample, Instances]]:
        return [(sample, self.instances) for sample in samples]

    def summary_lines(self, session: Session) -> list[str]:
        return ["found"]


class Outcomes(Found):
    """A cascade with an outcome for each image."""

    def __init__(self, outcomes: list[Result]) -> None:
        self.outcomes = outcomes

    def __call__(self, samples: list[Sample]) -> list[Result]:
        return self.outcomes


SPECKS = CleanupConfig(smallest_part=2)


def test_masks_of_a_cascade_are_cleaned_if_the_settings_ask_for_it() -> None:
    cascade = Found(instances_of(np.array([[1, 0, 1, 1]], bool)))
    assert with_cleanup(cascade, CleanupConfig()) is cascade
    cleaned = with_cleanup(cascade, CleanupConfig(smallest_part=2))
    assert isinstance(cleaned, CleanedCascade)
    samples = [Sample(name, Path(f"{name}.png"), np.zeros((1, 4, 3), np.uint8)) for name in "ab"]
    masks = [instances.masks[0].to_full((1, 4)).tolist() for _, instances in cleaned(samples)]
    assert masks == [[[False, False, True, True]]] * 2
    assert cleaned.summary_lines(Session()) == ["found", "cleanup: parts removed: 2"]


def test_what_sam2_makes_of_true_boxes_is_cleaned_alike_and_failures_pass() -> None:
    specks = instances_of(np.array([[1, 0, 1, 1]], bool), np.array([[0, 1, 0, 1]], bool))
    sample = Sample("a", Path("a.png"), np.zeros((1, 4, 3), np.uint8), gt_box_instances=specks)
    broken = SampleError("b", Path("b.png"), "broken")
    cleaned = CleanedCascade(Outcomes([(sample, instances_of(np.ones((1, 4), bool))), broken]), SPECKS)
    (result, instances), failure = cleaned([])
    assert failure is broken
    assert instances.masks[0].area == 4
    assert [mask.to_full((1, 4)).tolist() for mask in result.gt_box_instances.masks] == [
        [[False, False, True, True]],
        [[False] * 4],
    ]
    assert cleaned.summary_lines(Session())[1:] == [
        "cleanup: masks left without a pixel: 1",
        "cleanup: parts removed: 3",
    ]
