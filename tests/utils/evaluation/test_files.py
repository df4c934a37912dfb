"""The files of an evaluation."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.evaluate import NAMES, evaluation_of, random_pairs
from utils.errors import SampleError
from utils.evaluation.files import evaluation_files
from utils.metrics.scores import Evaluation


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    failure = SampleError("gone", Path("gone.jpg"), "missing")
    return replace(evaluation_of(random_pairs(20), NAMES), failures=(failure,))


@pytest.fixture(scope="module")
def files(evaluation: Evaluation) -> dict[str, bytes]:
    return evaluation_files(evaluation)


def rows(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode())))


def numbers(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [number for entry in value.values() for number in numbers(entry)]
    if isinstance(value, list):
        return [number for entry in value for number in numbers(entry)]
    return [value] if isinstance(value, float) else []


def test_metrics_json_names_every_number(evaluation: Evaluation, files: dict[str, bytes]) -> None:
    written = json.loads(files["metrics.json"])
    assert list(written)[:6] == ["Pixel_Accuracy", "Mean_IOU", "Class_IOU", "images", "failed", "failures"]
    assert written["mean_iou"]["non_empty_union"] == written["Mean_IOU"]
    assert written["split"]["pixel_accuracy"] == written["Pixel_Accuracy"]
    for label, row in enumerate(written["labels"]):
        assert (row["label"], row["name"]) == (label, evaluation.names[label])
        assert row["iou"] == written["Class_IOU"][str(label)]
        assert row["true_pixels"] == evaluation.matrix[label].sum()
        assert row["predicted_pixels"] == evaluation.matrix[:, label].sum()
        assert row["images"] == sum(label in image.labels.tolist() for image in evaluation.images)
    low, high = written["labels"][1]["iou_interval_95"]
    assert low < written["labels"][1]["iou"] < high
    assert written["labels"][3]["iou"] is None and written["labels"][3]["iou_interval_95"] == [None, None]
    assert written["mask_average_precision"]["AP"] == evaluation.average_precision.mean
    assert all(0 <= number <= 1 for number in numbers(written))


def test_without_instance_ids_there_is_no_average_precision(evaluation: Evaluation) -> None:
    written = json.loads(evaluation_files(replace(evaluation, average_precision=None))["metrics.json"])
    assert written["mask_average_precision"] is None


def test_per_image_csv_has_the_worst_image_first(evaluation: Evaluation, files: dict[str, bytes]) -> None:
    table = rows(files["per_image.csv"])
    assert len(table) == len(evaluation.images)
    by_id = {image.image_id: image for image in evaluation.images}
    means = [float(row["mean_iou"]) for row in table if row["mean_iou"]]
    assert means == sorted(means)
    assert table[-1]["image_id"] == "image 0003" and not table[-1]["mean_iou"]  # void throughout
    for row in table[:-1]:
        image = by_id[row["image_id"]]
        assert float(row["mean_iou"]) == pytest.approx(image.mean_iou, abs=5e-5)
        assert int(row["pixels"]) - int(row["wrong_pixels"]) == image.counts.tp.sum()
        assert int(row["found_objects"]) == len(image.objects.class_ids)
        assert len(row["label_ious"].split("; ")) == len(image.labels)
    assert "background" in table[0]["label_ious"]


def test_confusion_matrix_csv_gives_back_the_matrix(evaluation: Evaluation, files: dict[str, bytes]) -> None:
    head, *body = csv.reader(io.StringIO(files["confusion_matrix.csv"].decode()))
    assert head[1:] == [row[0] for row in body] == list(evaluation.names)
    np.testing.assert_array_equal(np.array([row[1:] for row in body], int), evaluation.matrix)


def test_a_class_may_be_called_background(evaluation: Evaluation) -> None:
    named = replace(evaluation, names=("background", "Background", "background", *evaluation.names[3:]))
    _, *body = csv.reader(io.StringIO(evaluation_files(named)["confusion_matrix.csv"].decode()))
    np.testing.assert_array_equal(np.array([row[1:] for row in body], int), evaluation.matrix)
