"""The doors: one table each, through which formats, detectors, metrics and prompt forms are added."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.doors.conftest import Example
from tests.helpers.evaluate import provenance
from tests.helpers.report import NAMES, images
from utils.distributed import Session
from utils.engine import RunSummary
from utils.evaluation.evaluator import Evaluator
from utils.evaluation.report.pictures import WorstImages
from utils.io.writers import Writers
from utils.metrics.summary import SPLIT_MEASURES, Evaluation, SplitMeasure


def evaluate(folder: Path) -> tuple[list[str], dict, str]:
    """Evaluate four images; the printed lines, `metrics.json` and the report."""
    with Writers(2) as writers:
        evaluator = Evaluator(NAMES, folder, writers, provenance(), worst_images=WorstImages(2))
        for sample, instances in images(4):
            evaluator.write(sample, instances)
        lines = evaluator.finish(RunSummary(), Session()).lines
    return lines, json.loads((folder / "metrics.json").read_text()), (folder / "report.html").read_text()


def test_a_metric_of_each_class_needs_one_line_in_its_table(tmp_path: Path, example: Example) -> None:
    example("A metric")
    lines, metrics, report = evaluate(tmp_path)
    pixels = sum(label["true_pixels"] for label in metrics["labels"])
    background = metrics["labels"][0]
    wrong = background["predicted_pixels"] - background["accuracy"] * background["true_pixels"]
    expected = 1 - wrong / (pixels - background["true_pixels"])
    assert background["specificity"] == pytest.approx(expected)
    mean = np.mean([label["specificity"] for label in metrics["labels"]])
    assert metrics["split"]["mean_specificity"] == pytest.approx(mean)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]
    table = rows[next(i for i, row in enumerate(rows) if "Spec" in row) :]
    column = table[0].index("Spec")
    assert (table[1][column], table[-1][column]) == (f"{100 * expected:.2f}", f"{100 * mean:.2f}")
    assert "Spec specificity" in " ".join(lines)
    assert "Specificity</th>" in report and "<b>Specificity</b>: share of the other pixels left out." in report
    assert f"<bdi>{100 * mean:.1f}</bdi>" in report


def test_a_metric_of_the_split_needs_one_line_in_its_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def error_rate(evaluation: Evaluation) -> float:
        return 1 - evaluation.matrix.trace() / evaluation.matrix.sum()

    line = SplitMeasure("error rate", error_rate, "Error rate", "of all pixels")
    monkeypatch.setitem(SPLIT_MEASURES, "error_rate", line)
    lines, metrics, report = evaluate(tmp_path)
    rate = metrics["split"]["error_rate"]
    assert rate == pytest.approx(1 - metrics["Pixel_Accuracy"])
    assert f"error rate {100 * rate:.2f}" in " ".join(lines)
    assert "<dt>Error rate</dt>" in report and f"<dd>{100 * rate:.1f}<small>" in report
