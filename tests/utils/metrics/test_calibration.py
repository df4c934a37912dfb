"""From scores to expected IoU: the fit as scipy solves it, the error as torchmetrics has it, intervals that hold."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp
from torchmetrics.functional.classification.calibration_error import _ce_compute

from utils.errors import UserError
from utils.metrics.calibration import (
    BINS,
    FOLDS,
    SHIFT,
    Calibration,
    IouMap,
    Steps,
    calibration_error,
    class_offsets,
)
from utils.metrics.scores import ImageScore, ObjectScores
from utils.metrics.segmentation import LabelCounts

NAMES = ("cat", "dog", "eel")
NOTHING = np.zeros(0, np.int64)


def image(rng: np.random.Generator, number: int, shift: float = 0.0) -> ImageScore:
    """An image whose objects have scores that say much, not all, of their IoU, which is worse in hard images."""
    n, hard = int(rng.integers(0, 5)), rng.normal(0, 0.05)
    scores, mask_scores = rng.uniform(0.25, 1, n) ** (1 + shift), rng.uniform(0.3, 1, n)
    class_ids = rng.integers(0, 3, n)
    ious = np.clip(0.4 * scores + 0.5 * mask_scores**3 - 0.08 * (class_ids == 1) + hard + rng.normal(0, 0.1, n), 0, 1)
    objects = ObjectScores(
        True, class_ids, NOTHING, NOTHING, scores.astype(np.float32), mask_scores.astype(np.float32),
        class_ids, NOTHING, False, np.diag(ious), np.diag(ious),
    )  # fmt: skip
    counts = LabelCounts(np.zeros((3, 0), np.int64))
    return ImageScore(f"{number:04d}", Path("x"), NOTHING, counts, counts, objects)


def split(seed: int, count: int, shift: float = 0.0) -> list[ImageScore]:
    rng = np.random.default_rng(seed)
    return [image(rng, number, shift) for number in range(count)]


def columns(images: list[ImageScore]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Scores, IoUs and class names of all objects."""
    each = [image.objects for image in images]
    scores = np.stack([np.concatenate([o.scores for o in each]), np.concatenate([o.mask_scores for o in each])], 1)
    names = [NAMES[i] for o in each for i in o.class_ids]
    return scores.astype(float), np.concatenate([o.best_ious for o in each]), names


@pytest.fixture(scope="module")
def fitted() -> Calibration:
    calibration = Calibration.fit(split(0, 300), NAMES, {"SAM2": "abc"})
    assert calibration is not None
    return calibration


def test_the_map_finds_the_rising_functions_that_made_the_ious() -> None:
    rng = np.random.default_rng(3)
    scores = rng.uniform(0, 1, (4000, 2))
    truth = 0.5 * scores[:, 0] ** 2 + 0.4 * np.sqrt(scores[:, 1])
    found = IouMap.fit(scores, truth + rng.normal(0, 0.15, 4000), [""] * 4000)
    assert np.abs(found(scores, [""] * 4000) - truth).mean() < 0.015


def test_a_rising_function_goes_through_the_blocks_of_isotonic_regression() -> None:
    steps = Steps.fit(np.array([0.1, 0.2, 0.2, 0.3, 0.4]), np.array([0.0, 0.9, 0.5, 0.4, 1.0]))
    np.testing.assert_allclose(steps.y, [0, 0.6, 1])  # 0.7 twice and 0.4 once are pooled
    np.testing.assert_allclose(steps.x, [0.1, 0.7 / 3, 0.4])
    assert steps(np.array([0.0, 0.4, 2.0])).tolist() == [0, 1, 1]


def test_no_higher_score_is_expected_to_have_a_lower_iou(fitted: Calibration) -> None:
    grid = np.linspace(0, 1, 41)
    pairs = np.stack(np.meshgrid(grid, grid), -1).reshape(-1, 2)
    expected = fitted.iou_map(pairs, ["cat"] * len(pairs)).reshape(41, 41)
    assert (np.diff(expected, axis=0) >= 0).all() and (np.diff(expected, axis=1) >= 0).all()
    assert expected.min() >= 0 and expected.max() <= 1


def test_the_calibration_error_is_that_of_torchmetrics() -> None:
    rng = np.random.default_rng(0)
    expected = rng.uniform(0, 1, 500)
    ious = np.clip(expected**2 + rng.normal(0, 0.1, 500), 0, 1)
    edges = torch.linspace(0, 1, BINS + 1, dtype=torch.float64)
    theirs = _ce_compute(torch.from_numpy(expected), torch.from_numpy(ious), edges, norm="l1")
    assert calibration_error(expected, ious) == pytest.approx(float(theirs))
    assert np.isnan(calibration_error(np.empty(0), np.empty(0)))


def test_classes_with_few_objects_are_drawn_to_the_others() -> None:
    rng = np.random.default_rng(0)
    classes = ["many"] * 400 + ["other"] * 400 + ["few"] * 3
    means = {"many": 0.2, "other": -0.2, "few": 0.2}
    residuals = np.array([means[name] for name in classes]) + rng.normal(0, 0.2, len(classes))
    offsets, (few,) = class_offsets(residuals, classes), [residuals[-3:].mean()]
    assert offsets["many"] == pytest.approx(residuals[:400].mean(), rel=0.02)
    assert 0.3 * abs(few) < abs(offsets["few"]) < 0.9 * abs(few)
    alike = class_offsets(rng.normal(0, 0.2, 800), ["a", "b"] * 400)
    assert max(map(abs, alike.values())) < 0.02


def test_other_splits_have_the_iou_that_is_expected(fitted: Calibration) -> None:
    scores, ious, names = columns(split(1, 400))
    assert calibration_error(fitted.iou_map(scores, names), ious) < 0.03 < calibration_error(scores[:, 1], ious)
    assert fitted.error < 0.03 < fitted.raw_error


@pytest.mark.slow
def test_the_interval_of_the_mean_holds_the_truth() -> None:
    """Each split is judged by a fit of its own; 95 % is what is promised."""
    held = 0
    for seed in range(60):
        calibration = Calibration.fit(split(1000 + seed, 100), NAMES)
        assert calibration is not None
        images = split(5000 + seed, 40)
        scores, ious, names = columns(images)
        mean, filled = calibration.iou_map(scores, names).mean(), sum(len(each.objects.scores) > 0 for each in images)
        low, high = calibration.mean_interval(float(mean), len(ious), filled)
        held += low <= ious.mean() <= high
        assert high - low < 0.12
    assert held >= 53


def test_scores_that_shifted_are_named_and_others_are_not(fitted: Calibration) -> None:
    for seed in range(40):
        assert fitted.shifts(columns(split(seed + 10, 12))[0]) == {}
    shifted, before = columns(split(3, 60, shift=1.5))[0], columns(split(0, 300))[0]
    found = fitted.shifts(shifted)
    theirs = ks_2samp(shifted[:, 0], before[:, 0]).statistic
    assert [*found] == ["score"] and found["score"] == pytest.approx(theirs, abs=0.03) and theirs > SHIFT


def test_too_few_objects_make_no_map() -> None:
    assert Calibration.fit(split(0, 10), NAMES) is None
    assert Calibration.fit(split(0, 400)[: FOLDS - 1], NAMES) is None
    assert Calibration.fit([], NAMES) is None


def test_a_written_calibration_is_read_as_it_was(fitted: Calibration, tmp_path: Path) -> None:
    file = tmp_path / "calibration.json"
    file.write_text(json.dumps(fitted.content()))
    scores, _, names = columns(split(4, 50))
    again = Calibration.load(file)
    np.testing.assert_array_equal(again.iou_map(scores, names), fitted.iou_map(scores, names))
    assert again.content() == fitted.content() and again.weights == {"SAM2": "abc"}


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ({"terms": {}}, "terms: score: is missing"),
        ({"total": {"x": [0, 1], "y": [1, 0]}}, "total: y: expected rising numbers"),
        ({"total": {"x": [0, 1], "y": [1]}}, "total: x and y have different lengths"),
        ({"objects": 0}, "make no sense"),
        ({"quantiles": {"score": [0, 1], "mask_score": [0, 0.5, 1]}}, "make no sense"),
        ({"class_offsets": {"cat": "much"}}, "class_offsets: cat: expected a number"),
    ],
)
def test_other_files_are_refused(fitted: Calibration, tmp_path: Path, damage: dict[str, object], reason: str) -> None:
    file = tmp_path / "calibration.json"
    file.write_text(json.dumps(fitted.content() | damage))
    with pytest.raises(UserError, match="an evaluation writes calibration") as refusal:
        Calibration.load(file)
    assert reason in str(refusal.value)


def test_a_calibration_that_no_evaluation_has_written_is_named_with_what_it_takes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"calibration\.json: is not there; .* 50 scored objects or more"):
        Calibration.load(tmp_path / "calibration.json")


def test_a_map_of_one_score_is_isotonic_regression() -> None:
    from scipy.optimize import isotonic_regression

    rng = np.random.default_rng(0)
    scores = np.sort(rng.uniform(0, 1, 60))
    ious = np.clip(scores + rng.normal(0, 0.2, 60), 0, 1)
    fit = isotonic_regression(ious)
    centers = [scores[a:b].mean() for a, b in zip(fit.blocks, fit.blocks[1:])]
    one = IouMap.fit(scores[:, None], ious, [""] * 60)
    np.testing.assert_allclose(one.terms[0].y, [fit.x[a] for a in fit.blocks[:-1]], atol=1e-9)
    np.testing.assert_allclose(one.terms[0].x, centers)
