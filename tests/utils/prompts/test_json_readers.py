"""JSON prompt files: what is read, and what is refused with its place."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from utils.errors import UserError
from utils.prompts.readers import COCO_INSTANCES, COCO_RESULTS, NATIVE, ULTRALYTICS, read_prompt_table
from utils.prompts.table import PromptSource, PromptTable

Write = Callable[[Any], Path]


def read(path: Path) -> PromptTable:
    return read_prompt_table(PromptSource(path))


ROW = {"image_id": "23960", "category_id": 3, "bbox": [762.501, 302.91, 985.594, 512.487], "score": 0.9004}
NEWEST = ROW | {"file_name": "clip.v2/000001.jpg"}


def test_a_native_prompt_file(write: Write) -> None:
    rows = read(write([ROW, ROW | {"image_id": "clip/1"}, ROW | {"image_id": 7, "score": 1}, ROW]))
    assert rows.format is NATIVE
    np.testing.assert_array_equal(rows.boxes, [ROW["bbox"]] * 4)
    np.testing.assert_array_equal(rows.scores, np.array([0.9004, 0.9004, 1, 0.9004], np.float32))
    assert rows.category_ids.tolist() == [3, 3, 3, 3]
    assert list(rows.image_keys) == ["23960", "clip/1", 7]
    assert rows.key_of_row.tolist() == [0, 1, 2, 0]
    assert rows.location(2).endswith("prediction.json: [2]")


def test_rows_with_file_names_are_ultralytics_newest(write: Write) -> None:
    rows = read(write([NEWEST | {"image_id": 1}, NEWEST | {"file_name": "b.png"}]))
    assert rows.format is ULTRALYTICS
    assert list(rows.image_keys) == ["clip.v2/000001", "b"]


def test_an_empty_list_means_no_boxes(write: Write) -> None:
    rows = read(write("[]"))
    assert (len(rows), rows.boxes.shape, list(rows.image_keys)) == (0, (0, 4), [])


@pytest.mark.parametrize(
    "change, place",
    [
        ({"image_id": None}, r"\[1\]\.image_id: expected a string or an integer"),
        ({"image_id": 1.5}, r"\[1\]\.image_id: "),
        ({"image_id": ROW}, r"\[1\]\.image_id: "),
        ({"category_id": "3"}, r"\[1\]\.category_id: "),
        ({"category_id": 3.0}, r"\[1\]\.category_id: "),
        ({"category_id": True}, r"\[1\]\.category_id: "),
        ({"category_id": 10**30}, r"\[1\]\.category_id: "),
        ({"bbox": [1, 2, 3]}, r"\[1\]\.bbox: expected four numbers"),
        ({"bbox": [1, 2, 3, 4, 5]}, r"\[1\]\.bbox: "),
        ({"bbox": [1, 2, 3, "4"]}, r"\[1\]\.bbox: "),
        ({"bbox": [1, 2, 3, None]}, r"\[1\]\.bbox: "),
        ({"bbox": [1, 2, 3, True]}, r"\[1\]\.bbox: "),
        ({"bbox": [1, 2, 3, 10**400]}, r"\[1\]\.bbox: "),
        ({"bbox": {"x": 1}}, r"\[1\]\.bbox: "),
        ({"score": "high"}, r"\[1\]\.score: "),
        ({"score": None}, r"\[1\]\.score: "),
        ({"score": 1.5}, r"\[1\]\.score: expected a number from 0 to 1"),
        ({"score": float("nan")}, r"\[1\]\.score: "),
        ({"file_name": ""}, r"\[1\]\.file_name: expected a string"),
        ({"file_name": "a.jpg"}, r"file_name stands in 1 of 2 rows"),
    ],
)
def test_wrong_values_are_refused_with_file_and_row(change: dict[str, Any], place: str, write: Write) -> None:
    with pytest.raises(UserError, match=rf"prediction\.json: {place}"):
        read(write([ROW, ROW | change]))


@pytest.mark.parametrize("key", ROW)
def test_missing_keys_are_refused(key: str, write: Write) -> None:
    row = {name: value for name, value in ROW.items() if name != key}
    with pytest.raises(UserError, match=rf"prediction\.json: \[1\]\.{key}: is missing"):
        read(write([ROW, row]))


@pytest.mark.parametrize(
    "text, place",
    [
        ('[{"image_id": "a",]', r"prediction\.json:1:\d+: not JSON"),
        ("", r"prediction\.json:1:1: not JSON"),
        ('{"a": 1}', r"prediction\.json: expected a list of rows or COCO instances, found an object"),
        ('{"shapes": []}', r"prediction\.json: a labelme file; -p takes the folder"),
        ("[[1, 2]]", r"prediction\.json: \[0\]: expected an object, found a list"),
        (json.dumps([[ROW]]), r"prediction\.json: \[0\]: expected an object"),
        (json.dumps([ROW | {"more": ROW}]), r"prediction\.json: it has rows inside others"),
        ("[" * 100_000, r"prediction\.json: its lists are nested too deeply"),
    ],
)
def test_what_is_no_list_of_rows_is_refused(text: str, place: str, write: Write) -> None:
    with pytest.raises(UserError, match=place):
        read(write(text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing\.json: cannot be read"):
        read(tmp_path / "nothing.json")


def test_a_single_label_file_is_refused_with_a_hint_to_its_folder(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("0 .5 .5 .1 .1")
    with pytest.raises(UserError, match=r"a\.txt: a text file; -p takes the folder of YOLO labels"):
        read(tmp_path / "a.txt")


def test_files_of_other_kinds_are_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text("<annotation/>")
    with pytest.raises(UserError, match=rf"a\.xml: XML; of VOC's boxes, .* -p takes the folder: -p {tmp_path}$"):
        read(tmp_path / "a.xml")
    (tmp_path / "boxes.csv").write_text("file,class,x1,y1,x2,y2,score")
    with pytest.raises(UserError, match=r"boxes\.csv: CSV is not read; docs/prompts\.md lists the formats"):
        read(tmp_path / "boxes.csv")


@pytest.mark.parametrize("file", ["data.yaml", "labels/train/a.txt"])
def test_a_file_of_a_yolo_dataset_is_refused_with_the_folder_of_its_labels(file: str, tmp_path: Path) -> None:
    (tmp_path / "labels" / "train").mkdir(parents=True)
    (tmp_path / file).write_text("names: [car]")
    with pytest.raises(UserError, match=f"-p takes the folder of YOLO labels: -p {tmp_path / 'labels'}$"):
        read(tmp_path / file)
    spaced = tmp_path.rename(tmp_path.with_name(f"{tmp_path.name} of mine"))
    with pytest.raises(UserError, match=f": -p '{spaced / 'labels'}'$"):
        read(spaced / file)


def instances() -> dict[str, Any]:
    """COCO instances of two images, one of them with boxes, and of two categories with a gap between their ids."""
    crowd_mask = {"size": [9, 9], "counts": [81]}
    return {
        "info": {"year": 2017},
        "images": [{"id": 5, "file_name": "a/1.jpg"}, {"id": 9, "file_name": "2.png", "height": 4}],
        "annotations": [
            {"id": 1, "image_id": 9, "category_id": 40, "bbox": [1, 2, 3, 4.5], "area": 9, "segmentation": [[1, 2]]},
            {"id": 2, "image_id": 9, "category_id": 7, "bbox": [0, 0, 9, 9], "iscrowd": 1, "segmentation": crowd_mask},
            {"id": 3, "image_id": 9, "category_id": 7, "bbox": [5, 6, 7, 8], "iscrowd": 0, "score": 0.5},
        ],
        "categories": [{"id": 7, "name": "dog"}, {"id": 40, "name": "cat", "supercategory": "animal"}],
    }


def test_coco_instances(write: Write) -> None:
    rows = read(write(instances()))
    assert rows.format is COCO_INSTANCES
    np.testing.assert_array_equal(rows.boxes, [[1, 2, 3, 4.5], [5, 6, 7, 8]])
    assert rows.scores.tolist() == [1, 0.5]
    assert [rows.class_names[i] for i in rows.category_ids] == ["cat", "dog"]
    assert [rows.image_keys[i] for i in rows.key_of_row] == ["2", "2"]
    assert set(rows.image_keys) == {"2", "a/1"}
    assert rows.left_out == {"that are crowds, not objects": 1}
    assert rows.location(1).endswith("prediction.json: annotations[2]")


@pytest.mark.parametrize(
    "key, entry, place",
    [
        ("annotations", {"id": 1, "image_id": 9, "category_id": 7}, r"annotations\[3\]\.bbox: is missing"),
        ("annotations", ROW, r"annotations\[3\]\.image_id: 23960 is none of the images"),
        ("annotations", ROW | {"image_id": 5}, r"annotations\[3\]\.category_id: 3 is none of the categories"),
        ("images", {"id": 5, "file_name": "b.jpg"}, r"images\[2\]\.id: 5 is given twice"),
        ("images", {"id": 6}, r"images\[2\]\.file_name: is missing"),
        ("images", 3, r"images\[2\]: expected an object"),
        ("categories", {"id": None, "name": "x"}, r"categories\[2\]\.id: expected an integer"),
    ],
)
def test_unsound_coco_instances_are_refused(key: str, entry: Any, place: str, write: Write) -> None:
    content = instances()
    content[key].append(entry)
    with pytest.raises(UserError, match=rf"prediction\.json: {place}"):
        read(write(content))


def test_memory_grows_with_the_rows_only(write: Write) -> None:
    count = 20_000
    path = write([NEWEST | {"file_name": f"{i % 100}.jpg"} for i in range(count)])
    tracemalloc.start()
    rows = read(path)
    kept, highest = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(rows) == count
    assert kept < 80 * count
    assert highest < 4 * path.stat().st_size


INSTANCES = {
    "images": [{"id": 7, "file_name": "a/1.jpg", "height": 30, "width": 40}, {"id": 9, "file_name": "b/1.jpg"}],
    "categories": [{"id": 3, "name": "dog"}, {"id": 18, "name": "cat"}],
    "annotations": [{"id": 1, "image_id": 7, "category_id": 3, "bbox": [1, 1, 2, 2], "area": 4, "iscrowd": 0}],
}
FOUND = [
    {"image_id": 9, "category_id": 18, "bbox": [1.5, 2, 10, 12], "score": 0.25},
    {"image_id": 7, "category_id": 3, "bbox": [0, 0, 5, 6], "score": 0.75},
    {"image_id": 9, "category_id": 3, "bbox": [20, 2, 4, 4.5], "score": 1},
]


def results(folder: Path, found: Any, instances: Any = INSTANCES) -> Path:
    (folder / "instances_val.json").write_text(json.dumps(instances))
    (folder / "model.bbox.json").write_text(json.dumps(found))
    return folder


def test_results_have_the_images_and_classes_of_the_instances_beside_them(tmp_path: Path) -> None:
    from pycocotools.coco import COCO

    rows = read(results(tmp_path, FOUND))
    coco = COCO(tmp_path / "instances_val.json")
    expected = coco.loadRes(str(tmp_path / "model.bbox.json")).loadAnns(range(1, 4))
    assert rows.format is COCO_RESULTS and rows.class_names == ("dog", "cat")
    np.testing.assert_array_equal(rows.boxes, [each["bbox"] for each in expected])
    np.testing.assert_array_equal(rows.scores, [each["score"] for each in expected])
    names = [coco.loadCats(each["category_id"])[0]["name"] for each in expected]
    assert [rows.class_names[i] for i in rows.category_ids] == names
    assert [f"{rows.key(i)}.jpg" for i in range(3)] == [coco.imgs[each["image_id"]]["file_name"] for each in expected]
    assert rows.sizes == {[*rows.image_keys].index("a/1"): (30, 40)}
    assert rows.location(1) == f"{tmp_path}/model.bbox.json: [1]"


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"image_id": 8}, r"model\.bbox\.json: \[1\]\.image_id: 8 is none of the images"),
        ({"category_id": 4}, r"model\.bbox\.json: \[1\]\.category_id: 4 is none of the categories"),
        ({"score": None}, r"model\.bbox\.json: \[1\]\.score: "),
        ({"bbox": [1, 2, 3]}, r"model\.bbox\.json: \[1\]\.bbox: expected four numbers"),
    ],
)
def test_a_result_that_cannot_be_used_is_named_with_its_file(tmp_path: Path, change: Any, place: str) -> None:
    row = {key: value for key, value in {**FOUND[1], **change}.items() if value is not None}
    with pytest.raises(UserError, match=place):
        read(results(tmp_path, [FOUND[0], row]))


def test_results_without_a_box_have_no_rows(tmp_path: Path) -> None:
    assert len(read(results(tmp_path, []))) == 0


@pytest.mark.parametrize("other", ["labels/1.txt", "a/1.xml"])
def test_results_among_boxes_of_another_kind_are_refused(tmp_path: Path, other: str) -> None:
    path = results(tmp_path, FOUND) / other
    path.parent.mkdir()
    path.write_text("0 0.5 0.5 0.1 0.1\n")
    with pytest.raises(UserError, match=rf"holds model\.bbox\.json and {path.name}: name a folder of one kind"):
        read(tmp_path)
