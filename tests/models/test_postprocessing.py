"""Classes mapped, masks cleaned and IoUs estimated: judged by scipy.ndimage, and by data that was merged by hand."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

import yolo_sam
import yolo_sam_auto_anno_generator
from datasets.scenes import main as paint
from models.postprocessing import CalibratedCascade, CleanedCascade, clean, load_calibration, postprocessed
from tests.helpers.calibration import mean_of_scores
from tests.helpers.track import write_demo_config
from utils.annotations.review import ReviewExporter, ReviewSettings
from utils.class_map import ClassMap
from utils.classes import VOC_PALETTE
from utils.config import CleanupConfig
from utils.distributed import Session
from utils.engine import Result
from utils.errors import SampleError, UserError
from utils.formats.base import ExportSettings
from utils.formats.coco import CocoExporter
from utils.formats.labelme_writer import LabelmeExporter
from utils.masks import Mask
from utils.structures import Detections, Instances, Sample

# Classes


CLASS_MAP = {"car": "vehicle", "watercraft": "vehicle", "turtle": None}
NAMES = ("vehicle", "airplane", "elephant")
LABELS = (0, 1, 2, 3, 0, 1)
"""New label of each label of the painted masks: car, airplane, elephant, turtle, watercraft."""


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A painted split, and a copy whose masks and boxes have the merged classes."""
    folder = tmp_path_factory.mktemp("trees")
    painted, merged = folder / "painted", folder / "merged"
    assert paint(["--seed", "5", "--count", "4", "--out", str(painted)]) == 0
    shutil.copytree(painted, merged)
    labels = np.arange(256, dtype=np.uint8)
    labels[: len(LABELS)] = LABELS
    for path in (merged / "SegmentationClass").rglob("*.png"):
        picture = Image.fromarray(cv2.LUT(np.asarray(Image.open(path)), labels))
        picture.putpalette(VOC_PALETTE)
        picture.save(path)
    return painted, merged


def arguments_of(tree: Path, *more: str) -> list[str]:
    """Those of a run with the demo's models, and images of a size that takes an eighth of the time."""
    small = write_demo_config(tree.parent / "small.yaml", 256)
    settings = {"dataset.data_dir": tree, "arch.sam_config": small, "evaluator.report": "false"}
    return ["--device=cpu", *(f"--set={key}={value}" for key, value in settings.items()), *more]


def evaluate(tree: Path, out: Path, *more: str) -> dict[str, Any]:
    assert yolo_sam.main(arguments_of(tree, "--boxes", "target", "-o", str(out), *more)) == 0
    return json.loads((out / "evaluation" / "metrics.json").read_text())


def test_a_merged_evaluation_equals_one_of_merged_data(trees: tuple[Path, Path], tmp_path: Path) -> None:
    painted, merged = trees
    ours = evaluate(painted, tmp_path / "ours", "--set", f"dataset.class_map={json.dumps(CLASS_MAP)}")
    theirs = evaluate(merged, tmp_path / "theirs", "--set", f"dataset.classes={json.dumps(NAMES)}")
    for key in ("Pixel_Accuracy", "Mean_IOU", "Class_IOU"):
        assert ours[key] == theirs[key], key


def test_all_outputs_name_the_merged_classes(trees: tuple[Path, Path], tmp_path: Path) -> None:
    key = f"dataset.class_map={json.dumps(CLASS_MAP | {'truck': 'vehicle'})}"
    options = ["--boxes", "target", "-o", str(tmp_path), "--set", key, "--format", "labelme", "coco"]
    assert yolo_sam_auto_anno_generator.main(arguments_of(trees[0], *options)) == 0
    labels = [
        shape["label"]
        for path in (tmp_path / "annotations").glob("val_*.json")
        for shape in json.loads(path.read_text())["shapes"]
    ]
    assert {*labels} <= {*NAMES} and "vehicle" in labels
    file = json.loads((tmp_path / "annotations" / "coco" / "instances.json").read_text())
    assert [each["name"] for each in file["categories"]] == list(NAMES)


@pytest.mark.parametrize("mapped", [False, True])
def test_annotations_may_have_the_names_before_or_after_the_map(
    trees: tuple[Path, Path], tmp_path: Path, mapped: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """All that reads them gives them the classes of the run: `-a`, and `--diff` of both scripts."""
    arguments, key = arguments_of(trees[0]), f"dataset.class_map={json.dumps(CLASS_MAP)}"
    made, maps = tmp_path / "made", ["--set", key]
    annotate = yolo_sam_auto_anno_generator.main
    assert annotate([*arguments, "--boxes", "target", "-o", str(made), *(maps if mapped else [])]) == 0
    folder = str(made / "annotations")
    expected = evaluate(trees[0], tmp_path / "models", *maps, "--diff", folder)
    comparison = json.loads((tmp_path / "models" / "evaluation" / "comparison.json").read_text())
    assert comparison["Mean_IOU"] == {"before": expected["Mean_IOU"], "now": expected["Mean_IOU"], "gain": 0}
    assert yolo_sam.main([*arguments, "-a", folder, "-o", str(tmp_path / "read"), *maps]) == 0
    read = json.loads((tmp_path / "read" / "evaluation" / "metrics.json").read_text())
    assert read["Class_IOU"] == expected["Class_IOU"]
    capsys.readouterr()
    assert annotate([*arguments, "--boxes", "target", "-o", str(tmp_path / "new"), *maps, "--diff", folder]) == 0
    assert "objects 0 extra, 0 missing, 0 low overlap, in 0 images" in capsys.readouterr().out


def test_what_a_map_drops_and_never_meets_is_said(
    trees: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = f"dataset.class_map={json.dumps(CLASS_MAP | {'truck': 'vehicle'})}"
    evaluate(trees[0], tmp_path, "--set", key)
    printed = capsys.readouterr().out
    assert "class_map: objects of dropped classes: turtle " in printed
    assert "class_map: nothing was called truck" in printed


# Masks


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

NO_MAP = ClassMap.from_targets((), {})


def test_masks_of_a_cascade_are_cleaned_if_the_settings_ask_for_it() -> None:
    cascade = Found(instances_of(np.array([[1, 0, 1, 1]], bool)))
    assert postprocessed(cascade, NO_MAP, CleanupConfig()) is cascade
    cleaned = postprocessed(cascade, NO_MAP, SPECKS)
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


# Expected IoUs


SIZE = (8, 8)


class Scored:
    """Finds objects of these scores and mask scores in every image; the second image cannot be used."""

    def __init__(self, scores: Sequence[float], mask_scores: Sequence[float]) -> None:
        masks = [Mask(0, 0, np.ones((4, 4), bool))] * len(scores)
        self.instances = Instances.from_masks(SIZE, [i % 2 for i in range(len(scores))], masks, scores, mask_scores)

    def __call__(self, samples: Sequence[Sample]) -> Iterator[tuple[Sample, Instances] | SampleError]:
        for i, sample in enumerate(samples):
            yield SampleError("1", Path("1"), "broken") if i == 1 else (sample, self.instances)

    def summary_lines(self, session: Session) -> list[str]:
        return ["found"]


def calibrated(scores: Sequence[float], mask_scores: Sequence[float], count: int = 3) -> tuple[Instances, list[str]]:
    """The instances of the last image, and what is printed."""
    cascade = CalibratedCascade(Scored(scores, mask_scores), mean_of_scores(), ("cat", "dog"))
    samples = [Sample(str(i), Path(f"{i}.jpg"), np.zeros((*SIZE, 3), np.uint8)) for i in range(count)]
    *_, (_, instances) = cascade(samples)
    return instances, cascade.summary_lines(Session())


def test_objects_get_their_expected_iou_and_a_run_its_mean() -> None:
    instances, lines = calibrated([0.4, 0.8, 0.9], [0.6, 0.8, np.nan])
    np.testing.assert_allclose(instances.expected_ious, [0.5, 0.7, np.nan], atol=1e-6)
    half = 1.96 * np.sqrt(0.04 * (2 / 16 + 100 / 400**2))
    interval = f"0.6000 (95 %: {0.6 - half:.4f} to {0.6 + half:.4f}) of 4 objects in 2 images"
    assert lines == ["found", f"calibration: expected mean IoU {interval}"]
    assert instances[np.array([1])].expected_ious.tolist() == [instances.expected_ious[1]]


def test_nothing_found_has_no_mean() -> None:
    assert calibrated([], [])[1] == ["found"]


def test_other_scores_than_those_of_the_fit_are_warned_of() -> None:
    lines = calibrated([0.97] * 40, [*np.linspace(0, 1, 40)])[1]
    assert [line for line in lines if "warning" in line] == [lines[-1]]
    assert "calibration: warning: score is distributed otherwise" in lines[-1] and "0.97" in lines[-1]


def test_shapes_carry_the_expected_iou_and_its_limit_decides_the_review(tmp_path: Path) -> None:
    instances, _ = calibrated([0.4, 0.8], [0.6, 0.8])
    sample = Sample("a", tmp_path / "a.jpg", np.zeros((*SIZE, 3), np.uint8))
    settings = ExportSettings(tmp_path, ("cat", "dog"), review_below=0.6)
    shapes = json.loads(LabelmeExporter(settings).export(sample, instances).files["a.json"])["shapes"]
    assert [round(shape["expected_iou"], 6) for shape in shapes] == [0.5, 0.7]
    assert [shape["flags"]["needs_review"] for shape in shapes] == [True, False]
    (record,) = [CocoExporter(settings).export(sample, instances).record]
    assert "expected_iou" in json.dumps(record)
    row = ReviewExporter(ReviewSettings(tmp_path, ("cat", "dog"), below=0.6)).export(sample, instances).record
    assert (row["doubt"], row["doubtful"]) == (0.5, "cat")


def test_a_calibration_of_other_weights_is_refused(tmp_path: Path) -> None:
    weights, file = tmp_path / "sam.pt", tmp_path / "calibration.json"
    weights.write_bytes(b"weights")
    digest = "9a3bcd6efc2b4a4e9a9a6a1ac1c7d7b0f6e0c6f5"
    file.write_text(json.dumps(mean_of_scores(SAM2=digest).content()))
    with pytest.raises(UserError, match="was fitted to the scores of another SAM2 than"):
        load_calibration(file, {"SAM2": weights})
    file.write_text(json.dumps(mean_of_scores(detector=digest).content()))
    assert load_calibration(file, {"SAM2": weights}).objects == 400
