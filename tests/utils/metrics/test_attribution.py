"""Shapley values against brute force over all orders, and label maps against drawing them pixel by pixel."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from utils.classes import VOID
from utils.distributed import Session
from utils.label_maps import instances_of
from utils.masks import Mask
from utils.metrics.attribution import Attribution, Method, attribution_lines, main_error
from utils.metrics.bootstrap import RESAMPLES, SEED
from utils.metrics.corrected_maps import ERRORS, CorrectedMaps, box_kinds
from utils.metrics.segmentation import LabelCounts, confusion_matrix, mean_iou
from utils.structures import Detections, Instances, Sample

SIZE = (40, 60)

Scene = tuple[Sample, Instances, Instances]


def noisy(rng: np.random.Generator, box: np.ndarray) -> Mask:
    x1, y1, x2, y2 = box.tolist()
    return Mask(x1, y1, rng.random((y2 - y1, x2 - x1)) > 0.2)


def scene(seed: int, folder: str = "") -> Scene:
    """Objects, some with an object map whose numbers mix labels; what SAM2 makes of their boxes and of wrong ones."""
    rng = np.random.default_rng(seed)
    labels, numbers = np.zeros(SIZE, np.uint8), np.zeros(SIZE, np.uint8)
    for number in range(1, 2 + seed % 4):
        x, y = rng.integers(0, (46, 26))
        labels[y : y + 12, x : x + 14], numbers[y : y + 12, x : x + 14] = rng.integers(1, 4), number
    labels[rng.random(SIZE) < 0.01] = 2
    labels[:2] = VOID
    truth = instances_of(labels, numbers)
    true = Instances(
        SIZE,
        truth.detections,
        [noisy(rng, box.astype(int)) for box in truth.detections.boxes],
        rng.random(len(truth)).astype(np.float32),
    )
    boxes, class_ids = [], []
    for box, class_id in zip(truth.detections.boxes, truth.detections.class_ids):
        if rng.random() < 0.75:
            boxes.append(np.clip(box + rng.integers(-3, 4, 4), 0, (60, 40, 60, 40)))
            class_ids.append(class_id if rng.random() < 0.7 else (class_id + 1) % 3)
    for _ in range(rng.integers(3)):
        x, y = rng.integers(0, (50, 30))
        boxes.append(np.array([x, y, x + 9, y + 8]))
        class_ids.append(rng.integers(3))
    masks = [noisy(rng, box.astype(int)) for box in boxes]
    found = Detections.from_arrays(boxes, rng.random(len(boxes)), class_ids)
    scores = rng.random(len(boxes)).astype(np.float32)
    sample = Sample(f"{folder}{seed:03}", Path("a.jpg"), np.zeros((*SIZE, 3), np.uint8), labels, truth, True)
    return sample, Instances(SIZE, found, masks, scores), true


SCENES = [scene(seed) for seed in range(24)]


def result(scenes: Sequence[Scene], method: Method = "shapley") -> dict[str, Any]:
    attribution = Attribution(3, method)
    for each in scenes:
        attribution.add(*each)
    return attribution.result(Session())


def brute_force(means: dict[frozenset[str], float]) -> dict[str, float]:
    """The gain of correcting each error after those before it, averaged over the 120 orders."""
    parts = dict.fromkeys(ERRORS, 0.0)
    orders = list(itertools.permutations(ERRORS))
    for order in orders:
        for i, error in enumerate(order):
            gain = means[frozenset(order[: i + 1])] - means[frozenset(order[:i])]
            parts[error] += gain / len(orders)
    return parts


def test_parts_are_the_mean_gains_over_all_orders_and_add_up() -> None:
    found = result(SCENES)
    means = {frozenset(each["corrected"]): each["Mean_IOU"] for each in found["coalitions"]}
    assert len(means) == 32 and means[frozenset(ERRORS)] == 1
    assert found["parts"] == pytest.approx(brute_force(means), abs=1e-12)
    assert sum(found["parts"].values()) == pytest.approx(found["missing"], abs=1e-14)
    assert found["missing"] == pytest.approx(1 - means[frozenset()], abs=1e-14)
    assert min(abs(part) for part in found["parts"].values()) > 0.001
    json.dumps(found, allow_nan=False)


def test_each_image_label_and_clip_has_parts_of_its_own_that_add_up() -> None:
    clips = [scene(seed, folder=f"clip {seed % 3}/") for seed in range(12)]
    found = result([*clips, *SCENES[12:]])
    for entry in (*found["images"].values(), *found["clips"].values(), *found["labels"].values()):
        assert sum(entry["parts"].values()) == pytest.approx(entry["missing"], abs=1e-14)
    assert list(found["clips"]) == ["clip 0", "clip 1", "clip 2"]
    for clip in found["clips"]:
        alone = result([each for each in clips if each[0].image_id.startswith(clip)])
        assert found["clips"][clip]["parts"] == pytest.approx(alone["parts"], abs=1e-14)
    sample, *decodes = SCENES[13]
    assert found["images"][sample.image_id]["parts"] == pytest.approx(result([(sample, *decodes)])["parts"], abs=1e-14)


def drawn(scene: Scene, corrected: frozenset[str]) -> np.ndarray:
    """The label map, pixel by pixel."""
    sample, found, true = scene
    kinds = box_kinds(found.detections, true.detections)
    target = np.where(sample.gt_mask == VOID, 0, sample.gt_mask)
    full = {name: [mask.to_full(SIZE) for mask in each.masks] for name, each in
            {"found": found, "true": true, "perfect": sample.gt_instances}.items()}  # fmt: skip
    layers = []
    partner = dict(zip(*(np.concatenate(each).tolist() for each in zip(kinds.matched, kinds.wrong_class))))
    for i in range(len(found)):
        class_id, mask, score = found.detections.class_ids[i], full["found"][i], found.mask_scores[i]
        if i in partner:
            j = partner[i]
            if "wrong_class" in corrected:
                class_id = true.detections.class_ids[j]
            if "badly_placed" in corrected:
                mask, score = full["true"][j], true.mask_scores[j]
            if "sam2" in corrected:
                agree = full["true"][j] == mask
                mask = np.where(agree, full["perfect"][j], mask)
        elif "false" in corrected:
            continue
        layers.append((score, class_id + 1, mask))
    for j in set(range(len(true))) - {*partner.values()} if "missed" in corrected else ():
        mask = full["perfect" if "sam2" in corrected else "true"][j]
        layers.append((true.mask_scores[j], true.detections.class_ids[j] + 1, mask))
    label_map = np.zeros(SIZE, np.uint8)
    for _, label, mask in sorted(layers, key=lambda layer: layer[0]):
        label_map[mask] = label
    if "sam2" in corrected:
        perfect = sample.gt_instances.to_semantic()
        label_map = np.where((label_map == perfect) & (perfect != target), target, label_map)
    return label_map


def test_label_maps_are_those_drawn_pixel_by_pixel() -> None:
    seen = set()
    for each in SCENES:
        sample, found, true = each
        kinds = box_kinds(found.detections, true.detections)
        seen |= {name for name in ("false", "missed") if len(getattr(kinds, name))}
        seen |= {name for name in ("matched", "wrong_class") if len(getattr(kinds, name)[0])}
        maps = CorrectedMaps(sample, found, true, kinds)
        for count in range(len(ERRORS) + 1):
            for corrected in map(frozenset, itertools.combinations(ERRORS, count)):
                np.testing.assert_array_equal(maps.draw(corrected), drawn(each, corrected))
        np.testing.assert_array_equal(maps.draw(frozenset()), found.to_semantic())
        np.testing.assert_array_equal(maps.draw(frozenset(ERRORS)), np.where(sample.gt_mask == VOID, 0, sample.gt_mask))
    assert seen == {"false", "missed", "matched", "wrong_class"}


def test_the_chain_is_that_of_five_stages() -> None:
    """The stages as they follow from choosing among the instances."""
    matrices = np.zeros((5, 4, 4), np.int64)
    for sample, found, true in SCENES:
        matched, true_matched = box_kinds(found.detections, true.detections).matched
        stages = (found, found[np.sort(matched)], true[np.sort(true_matched)], true)
        maps = [each.to_semantic() for each in stages] + [np.where(sample.gt_mask == VOID, 0, sample.gt_mask)]
        matrices += [confusion_matrix(each, sample.gt_mask, 4) for each in maps]
    means = mean_iou(LabelCounts.from_matrix(matrices))
    chain = result(SCENES, "chain")
    assert [each["Mean_IOU"] for each in chain["coalitions"]] == pytest.approx(means.tolist(), abs=1e-14)
    assert list(chain["parts"].values()) == pytest.approx(np.diff(means).tolist(), abs=1e-14)
    assert list(chain["parts"]) == ["false", "badly_placed", "missed", "sam2"]


def test_a_wrong_class_is_blamed_on_the_class_alone() -> None:
    sample, *_ = SCENES[0]
    truth = sample.gt_instances
    named = Detections(truth.detections.boxes, truth.detections.scores, (truth.detections.class_ids + 1) % 3)
    clean = replace(sample, gt_mask=truth.to_semantic())
    found = result([(clean, replace(truth, detections=named), truth)])
    assert found["parts"].pop("wrong_class") == pytest.approx(found["missing"]) and found["missing"] > 0.1
    assert set(found["parts"].values()) == {0}
    assert found["boxes"]["wrong_class"] == len(truth) and found["boxes"]["missed"] == found["boxes"]["false"] == 0
    (shares,) = found["images"].values()
    assert main_error(shares) == ("boxes of a wrong class", pytest.approx(found["missing"]))


@pytest.mark.slow
def test_intervals_are_those_of_drawing_clips_one_by_one() -> None:
    clips = [scene(seed, folder=f"clip {seed % 5}/" if seed < 15 else "") for seed in range(20)]
    found = result(clips)
    units: dict[str, list[Scene]] = {}
    for each in sorted(clips, key=lambda each: each[0].image_id):
        units.setdefault(each[0].image_id.rpartition("/")[0] or each[0].image_id, []).append(each)
    drawn_units = np.random.default_rng(SEED).integers(len(units), size=(RESAMPLES, len(units)))
    alone = [result(each) for each in units.values()]
    assert len(alone) == 10
    # The counts of a unit under a coalition, from its own drawing.
    counts = np.zeros((len(units), 32, 4, 4), np.int64)
    for total, each in zip(counts, units.values()):
        for sample, instances, true in each:
            maps = CorrectedMaps(sample, instances, true, box_kinds(instances.detections, true.detections))
            for i, coalition in enumerate(found["coalitions"]):
                total[i] += confusion_matrix(maps.draw(frozenset(coalition["corrected"])), sample.gt_mask, 4)
    parts = []
    for row in drawn_units:
        means = mean_iou(LabelCounts.from_matrix(counts[row].sum(axis=0)))
        parts.append(brute_force({frozenset(c["corrected"]): m for c, m in zip(found["coalitions"], means.tolist())}))
    for error in ERRORS:
        expected = np.percentile([each[error] for each in parts], [2.5, 97.5])
        assert found["intervals_95"][error] == pytest.approx(expected.tolist(), abs=1e-12)


def test_a_single_image_has_no_intervals_and_nothing_counted_no_lines() -> None:
    found = result(SCENES[:1])
    assert found["intervals_95"]["missing"] == [None, None]
    assert attribution_lines(found)[0].split()[5] == "-"
    assert attribution_lines(result([])) == []
