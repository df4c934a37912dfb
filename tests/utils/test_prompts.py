"""Prompt files: what is read, and what is refused with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from utils.errors import UserError
from utils.prompts import read_prompts

PHOTOS = Path(__file__).parents[2] / "../shared/data/voc"
ROW = {"image_id": "23960", "category_id": 3, "bbox": [762.501, 302.91, 985.594, 512.487], "score": 0.9004}


def write(folder: Path, text: str) -> Path:
    path = folder / "prediction.json"
    path.write_text(text, "utf-8")
    return path


def test_the_seeds_form(tmp_path: Path) -> None:
    prompts = read_prompts(write(tmp_path, json.dumps([ROW, ROW | {"image_id": "clip/1"}, ROW | {"score": 1}])))
    np.testing.assert_array_equal(prompts.boxes, np.array([ROW["bbox"]] * 3, np.float32))
    np.testing.assert_array_equal(prompts.scores, np.array([0.9004, 0.9004, 1], np.float32))
    assert prompts.category_ids.tolist() == [3, 3, 3]
    assert prompts.rows_of("23960").tolist() == [0, 2]
    assert prompts.rows_of("clip/1").tolist() == [1]
    assert prompts.rows_of("023960").tolist() == []


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="no shared photos")
def test_a_real_file_keeps_every_row() -> None:
    rows = json.loads((PHOTOS / "prediction.json").read_text("utf-8"))
    prompts = read_prompts(PHOTOS / "prediction.json")
    image_ids = {row["image_id"] for row in rows}
    assert len(prompts) == len(rows) == sum(len(prompts.rows_of(image_id)) for image_id in image_ids)
    for i, row in enumerate(rows):
        assert i in prompts.rows_of(row["image_id"])
        np.testing.assert_array_equal(prompts.boxes[i], np.float32(row["bbox"]))


def test_an_empty_list_means_no_boxes(tmp_path: Path) -> None:
    prompts = read_prompts(write(tmp_path, "[]"))
    assert prompts.boxes.shape == (0, 4) and len(prompts.rows_of("a")) == 0
    assert prompts.count_outside(["a"]) == 0
    prompts.check_classes(3)


@pytest.mark.parametrize(
    "change, place",
    [
        ({"image_id": 23960}, r"\[1\]\.image_id: expected a string"),
        ({"image_id": None}, r"\[1\]\.image_id: "),
        ({"category_id": "3"}, r"\[1\]\.category_id: "),
        ({"category_id": 3.0}, r"\[1\]\.category_id: "),
        ({"category_id": True}, r"\[1\]\.category_id: "),
        ({"category_id": 10**30}, r"\[1\]\.category_id: "),
        ({"bbox": [1, 2, 3]}, r"\[1\]\.bbox: expected four numbers"),
        ({"bbox": [1, 2, 3, 4, 5]}, r"\[1\]\.bbox: "),
        ({"bbox": [1, 2, 3, "4"]}, r"\[1\]\.bbox: "),
        ({"bbox": [1, 2, 3, None]}, r"\[1\]\.bbox: "),
        ({"bbox": [1, 2, 3, 10**400]}, r"\[1\]\.bbox: "),
        ({"bbox": {"x": 1}}, r"\[1\]\.bbox: "),
        ({"score": "high"}, r"\[1\]\.score: "),
        ({"score": 1.5}, r"\[1\]\.score: expected a number from 0 to 1"),
        ({"score": float("nan")}, r"\[1\]\.score: "),
        ({"file_name": "a.jpg"}, r"\[1\]\.file_name: only Ultralytics' own form"),
    ],
)
def test_wrong_values_are_refused_with_file_and_row(change: dict[str, Any], place: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"prediction\.json: {place}"):
        read_prompts(write(tmp_path, json.dumps([ROW, ROW | change])))


@pytest.mark.parametrize("key", ROW)
def test_missing_keys_are_refused(key: str, tmp_path: Path) -> None:
    row = {name: value for name, value in ROW.items() if name != key}
    with pytest.raises(UserError, match=rf"prediction\.json: \[0\]\.{key}: is missing"):
        read_prompts(write(tmp_path, json.dumps([row])))


@pytest.mark.parametrize(
    "text, place",
    [
        ('[{"image_id": "a",]', r"prediction\.json:1:\d+: not JSON"),
        ("", r"prediction\.json:1:1: not JSON"),
        ('{"a": 1}', r"prediction\.json: expected a list of rows, found an object"),
        ("[[1, 2]]", r"prediction\.json: \[0\]: expected an object, found a list"),
        ("[" * 100_000, r"prediction\.json: not JSON"),
    ],
)
def test_what_is_no_list_of_rows_is_refused(text: str, place: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=place):
        read_prompts(write(tmp_path, text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing\.json: cannot be read"):
        read_prompts(tmp_path / "nothing.json")


def test_category_ids_must_be_classes(tmp_path: Path) -> None:
    prompts = read_prompts(write(tmp_path, json.dumps([ROW, ROW | {"category_id": -1}, ROW | {"category_id": 4}])))
    with pytest.raises(UserError, match=r"json: \[1\]\.category_id: -1 is outside the 4 classes.*2 of 3 rows"):
        prompts.check_classes(4)


def test_rows_for_other_images_are_counted_unless_all_are(tmp_path: Path) -> None:
    prompts = read_prompts(write(tmp_path, json.dumps([ROW, ROW | {"image_id": "../../etc/passwd"}, ROW])))
    assert prompts.count_outside(["23960", "a"]) == 1
    with pytest.raises(UserError, match=r'none of its 3 rows.*"23960".*"a"'):
        prompts.count_outside(["a", "b"])
