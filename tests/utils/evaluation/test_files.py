"""The files of an evaluation."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pylatexenc.latex2text import LatexNodes2Text

from tests.helpers.evaluate import NAMES, evaluation_of, random_pairs, with_values
from utils.errors import SampleError
from utils.evaluation.files import date_of_evaluation, evaluation_files
from utils.metrics.summary import Evaluation

RUN = {"command": "python yolo_sam.py"}


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    failure = SampleError("gone", Path("gone.jpg"), "missing")
    return replace(evaluation_of(random_pairs(20), NAMES), failures=(failure,))


@pytest.fixture(scope="module")
def files(evaluation: Evaluation) -> dict[str, bytes]:
    return evaluation_files(evaluation, RUN, None)


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
    written = json.loads(evaluation_files(with_values(evaluation, average_precision=None), RUN, None)["metrics.json"])
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
    _, *body = csv.reader(io.StringIO(evaluation_files(named, RUN, None)["confusion_matrix.csv"].decode()))
    np.testing.assert_array_equal(np.array([row[1:] for row in body], int), evaluation.matrix)


def test_per_class_csv_is_what_metrics_json_says_of_labels(evaluation: Evaluation, files: dict[str, bytes]) -> None:
    table, written = rows(files["per_class.csv"]), json.loads(files["metrics.json"])
    assert [row["class"] for row in table] == list(evaluation.names)
    aps = {"background": None, **written["mask_average_precision"]["classes"]}
    for row, label in zip(table, written["labels"], strict=True):
        shares = {"mask_AP": aps[row["class"]], **{name: label[name] for name in ("iou", "accuracy", "boundary_iou")}}
        shares |= dict(zip(("iou_95_low", "iou_95_high"), label["iou_interval_95"]))
        for column, share in shares.items():
            assert row[column] == "" if share is None else float(row[column]) == pytest.approx(share, abs=5e-5)
        assert int(row["label"]) == label["label"]
        assert int(row["true_pixels"]) == label["true_pixels"]
        assert int(row["true_images"]) <= label["images"]
    assert sum(int(row["true_objects"]) for row in table) == sum(
        len(i.objects.true_class_ids) for i in evaluation.images
    )


def test_per_class_tex_is_a_booktabs_table_that_latex_reads(evaluation: Evaluation) -> None:
    names = ("background", r"50% cat_dog & co #1", "nowhere?", "nowhere", r"a\b", "{x}~^$", "snail")
    named = replace(evaluation, names=names)
    tex = evaluation_files(named, RUN, None)["per_class.tex"].decode()
    assert re.findall(r"\\(?:top|mid|bottom)rule", tex) == [r"\toprule", r"\midrule", r"\midrule", r"\bottomrule"]
    body = tex.split("\n", 2)[2].partition(r"\bottomrule")[0]
    lines = [line for line in body.splitlines() if not line.endswith("rule")]
    plain = LatexNodes2Text().latex_to_text
    read = [[plain(cell).strip().replace("\u02c6", "^") for cell in re.split(r"(?<!\\)&", line[:-2])] for line in lines]
    present = np.flatnonzero(evaluation.counts.union).tolist()
    assert [row[0] for row in read] == ["Class", *(names[label] for label in present), "mean"]
    assert {len(row) for row in read} == {len(re.findall("r", tex.partition("{lr")[2].partition("}")[0])) + 2}
    printed = {row[0]: row[1:] for row in read}
    table = {row["class"]: row for row in rows(evaluation_files(named, RUN, None)["per_class.csv"])}
    for label in present:
        assert float(printed[names[label]][0]) == pytest.approx(100 * float(table[names[label]]["iou"]), abs=0.011)
    assert float(printed["mean"][0]) == pytest.approx(100 * evaluation.label_means["iou"], abs=0.005)


def test_the_run_is_written_behind_all_else(evaluation: Evaluation, files: dict[str, bytes]) -> None:
    written = json.loads(files["metrics.json"])
    assert [*written][-1] == "run"
    assert written["run"] == RUN


@pytest.mark.parametrize("content", ['{"Mean_IOU": 1}', "torn", '{"run": 3}'])
def test_the_date_of_an_evaluation_of_an_earlier_version_is_that_of_its_file(content: str, tmp_path: Path) -> None:
    assert date_of_evaluation(tmp_path) == ""
    (tmp_path / "metrics.json").write_text(content)
    os.utime(tmp_path / "metrics.json", (0, time.mktime((2026, 3, 4, 15, 6, 7, 0, 0, -1))))
    assert date_of_evaluation(tmp_path) == "2026-03-04 15:06"
    assert date_of_evaluation(tmp_path / "metrics.json") == "", "it is no folder"


def test_the_date_of_an_evaluation_is_the_one_that_it_tells(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text('{"run": {"date": "2026-11-28T14:20:31+00:00"}}')
    assert date_of_evaluation(tmp_path) == "2026-11-28 14:20"
