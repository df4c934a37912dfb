"""Expected IoUs of found objects: in shapes, in the review, and as the mean of a run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from models.calibrated import CalibratedCascade, load_calibration
from tests.helpers.calibration import mean_of_scores
from utils.annotations.review import ReviewExporter, ReviewSettings
from utils.distributed import Session
from utils.errors import SampleError, UserError
from utils.formats.base import ExportSettings
from utils.formats.coco import CocoExporter
from utils.formats.labelme_writer import LabelmeExporter
from utils.masks import Mask
from utils.structures import Instances, Sample

SIZE = (8, 8)


class Found:
    """Finds objects of these scores and mask scores in every image; the second image cannot be used."""

    def __init__(self, scores: Sequence[float], mask_scores: Sequence[float]) -> None:
        masks = [Mask(0, 0, np.ones((4, 4), bool))] * len(scores)
        self.instances = Instances.from_masks(SIZE, [i % 2 for i in range(len(scores))], masks, scores, mask_scores)

    def __call__(self, samples: Sequence[Sample]) -> Iterator[tuple[Sample, Instances] | SampleError]:
        for i, sample in enumerate(samples):
            yield SampleError("1", Path("1"), "broken") if i == 1 else (sample, self.instances)

    def summary_lines(self, session: Session) -> list[str]:
        return ["found"]


def run(scores: Sequence[float], mask_scores: Sequence[float], count: int = 3) -> tuple[Instances, list[str]]:
    """The instances of the last image, and what is printed."""
    cascade = CalibratedCascade(Found(scores, mask_scores), mean_of_scores(), ("cat", "dog"))
    samples = [Sample(str(i), Path(f"{i}.jpg"), np.zeros((*SIZE, 3), np.uint8)) for i in range(count)]
    *_, (_, instances) = cascade(samples)
    return instances, cascade.summary_lines(Session())


def test_objects_get_their_expected_iou_and_a_run_its_mean() -> None:
    instances, lines = run([0.4, 0.8, 0.9], [0.6, 0.8, np.nan])
    np.testing.assert_allclose(instances.expected_ious, [0.5, 0.7, np.nan], atol=1e-6)
    half = 1.96 * np.sqrt(0.04 * (2 / 16 + 100 / 400**2))
    interval = f"0.6000 (95 %: {0.6 - half:.4f} to {0.6 + half:.4f}) of 4 objects in 2 images"
    assert lines == ["found", f"calibration: expected mean IoU {interval}"]
    assert instances[np.array([1])].expected_ious.tolist() == [instances.expected_ious[1]]


def test_nothing_found_has_no_mean() -> None:
    assert run([], [])[1] == ["found"]


def test_other_scores_than_those_of_the_fit_are_warned_of() -> None:
    lines = run([0.97] * 40, [*np.linspace(0, 1, 40)])[1]
    assert [line for line in lines if "warning" in line] == [lines[-1]]
    assert "calibration: warning: score is distributed otherwise" in lines[-1] and "0.97" in lines[-1]


def test_shapes_carry_the_expected_iou_and_its_limit_decides_the_review(tmp_path: Path) -> None:
    instances, _ = run([0.4, 0.8], [0.6, 0.8])
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
