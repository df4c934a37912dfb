"""Folders of YOLO labels and of labelme files, as prompts of a run."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from utils.errors import UserError
from utils.prompts.prompts import load_prompts
from utils.prompts.readers import label_class_names, read_prompt_table
from utils.prompts.table import PromptOverrides, PromptSource

NAMES = ("car", "dog", "sofa")


def write(folder: Path, files: dict[str, Any]) -> Path:
    """Writes texts as they are and other values as JSON."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def shape(kind: str, points: Sequence[Sequence[float]], label: str = "dog", **more: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "shape_type": kind, "group_id": None, "flags": {}} | more


LABELS = {
    "clip/1.txt": "2 0.5 0.5 0.2 0.4\n\n0 0.5 0.5 0.2 0.4 0.75\n",
    "2.txt": "1 0.1 0.2 0.3 0.2 0.3 0.6\n1 0.1 0.2 0.3 0.2 0.3 0.6 0.5\n",
    "3.txt": "",
    "classes.txt": "car\ndog\nsofa\n",
}
SHAPES = {
    "clip/1.json": {
        "shapes": [
            shape("rectangle", [[30, 5], [10, 25.5]], score=0.5),
            shape("polygon", [[1, 2], [3, 2], [3, 9]], "Couch", group_id=4),
            shape("point", [[1, 2]]),
            shape("polygon", [[10, 12], [13, 12], [13, 19]], "Couch", group_id=4),
            shape("polygon", [[0, 0], [1, 0], [0, 1]], "tree", group_id=4),
        ]
    },
    "2.json": {"shapes": [shape("mask", [[4, 5], [9, 7]], mask="AAAA"), shape("circle", [[50, 50], [53, 54]], "car")]},
}


def test_yolo_labels(tmp_path: Path, images_of: Any) -> None:
    prompts = load_prompts(write(tmp_path, LABELS), NAMES, images_of(["2", "clip/1", "3"]), PromptOverrides())
    boxes, scores, class_ids = prompts.for_image("clip/1", (100, 200))
    np.testing.assert_allclose(boxes, [[80, 30, 120, 70]] * 2, rtol=1e-6)
    assert (scores.tolist(), class_ids.tolist()) == ([1, 0.75], [2, 0])
    boxes, scores, class_ids = prompts.for_image("2", (100, 200))
    np.testing.assert_allclose(boxes, [[20, 20, 60, 60]] * 2, rtol=1e-6)
    assert (scores.tolist(), class_ids.tolist()) == ([1, 0.5], [1, 1])
    assert len(prompts.for_image("3", (100, 200))[0]) == 0
    assert prompts.finding == [
        f"prompts: {tmp_path}: YOLO labels: boxes are shares of their images' sides, category ids count from 0, rows "
        "are `class x y w h` or `class x y w h conf` or `class polygon` or `class polygon conf`",
        "prompts: of the file, 4 of 4 rows (100.0 %) and 3 of 3 images (100.0 %) are in the run, which has 3 images",
        f"prompts: classes by {tmp_path / 'classes.txt'}: 0 car, 1 dog, 2 sofa",
    ]


def test_labels_of_other_classes(tmp_path: Path, images_of: Any) -> None:
    folder, images = write(tmp_path, {"1.txt": "3 0.5 0.5 0.1 0.1\n", "2.txt": "0 0.5 0.5 0.1 0.1\n"}), images_of("12")
    with pytest.raises(UserError, match=r": 1\.txt:1\.category_id: 3 is outside the 3 classes.*--prompt-names"):
        load_prompts(folder, NAMES, images, PromptOverrides())
    prompts = load_prompts(folder, NAMES, images, PromptOverrides(class_names=("dog", "b", "c", "Car")))
    assert prompts.class_ids.tolist() == [0, 1]
    with pytest.raises(UserError, match=r"--bbox-format: .* holds YOLO labels, whose boxes can mean one thing only"):
        load_prompts(folder, NAMES, images, PromptOverrides(bbox_format="xywh"))


def test_labels_whose_ids_count_from_one_are_said_to(tmp_path: Path, images_of: Any) -> None:
    rows = [f"{class_id} 0.5 0.5 0.1 0.{i + 1}\n" for i, class_id in enumerate((1, 2, 3, 3, 3))]
    prompts = load_prompts(write(tmp_path, {"1.txt": "".join(rows)}), NAMES, images_of("1"), PromptOverrides())
    assert prompts.class_ids.tolist() == [0, 1, 2, 2, 2]
    assert prompts.finding[-1] == "prompts: classes by dataset.classes: 1 car, 2 dog, 3 sofa"


def test_names_among_the_labels_are_what_their_ids_index(tmp_path: Path, images_of: Any) -> None:
    names = {"classes.txt": "Couch\ntree\ncar\n", "b/classes.txt": "Couch\ntree\ncar"}
    write(tmp_path, {"1.txt": "0 0.5 0.5 0.1 0.1\n2 0.5 0.5 0.1 0.1\n1 0.5 0.5 0.1 0.1\n"} | names)
    images = images_of("1")
    prompts = load_prompts(tmp_path, NAMES, images, PromptOverrides())
    assert prompts.class_ids.tolist() == [2, 0]
    mapping = f"prompts: classes by {tmp_path / 'b/classes.txt'}: 0 Couch -> sofa, 1 tree -> no class of the run, 2 car"
    assert prompts.finding[2:] == [mapping]
    assert prompts.left_out == ["prompts: rows of classes that the run lacks (tree 1), left out: 1"]
    write(tmp_path, {"b/classes.txt": "car\ntree\nCouch\n"})
    with pytest.raises(UserError, match=r"b/classes\.txt and .*classes\.txt name different classes; .*--prompt-names"):
        load_prompts(tmp_path, NAMES, images, PromptOverrides())
    given = load_prompts(tmp_path, NAMES, images, PromptOverrides(class_names=NAMES))
    assert given.class_ids.tolist() == [0, 2, 1]
    assert given.finding[2:] == ["prompts: classes by --prompt-names: 0 car, 1 dog, 2 sofa"]
    write(tmp_path, dict.fromkeys(names, "a\nb\nc\n"))
    with pytest.raises(UserError, match=r"it shares no class with the run: it has a, b, c; the run has car"):
        load_prompts(tmp_path, NAMES, images, PromptOverrides())


def test_labels_bring_the_classes_of_a_run_that_has_none(tmp_path: Path) -> None:
    folder = write(tmp_path / "a" / "det", {"labels/train/1.txt": "3 0.5 0.5 0.1 0.1\n"}) / "labels"
    with pytest.raises(UserError, match=r"labels: nothing names the classes .* data\.yaml .*--prompt-names FILE"):
        label_class_names(folder, PromptOverrides())
    assert label_class_names(folder, PromptOverrides(class_names=("a", "b"))) == ("a", "b")
    write(folder.parent, {"data.yaml": "names: [no, 010]"})
    assert label_class_names(folder, PromptOverrides()) == ("no", "010")
    assert label_class_names(write(tmp_path / "b", SHAPES), PromptOverrides()) is None
    assert label_class_names(tmp_path / "nowhere", PromptOverrides()) is None


def test_data_yaml_beside_the_labels_names_them_not_the_run(tmp_path: Path, images_of: Any) -> None:
    folder = write(tmp_path / "det", {"labels/1.txt": "1 0.5 0.5 0.1 0.1\n0 0.5 0.5 0.1 0.1\n"}) / "labels"
    write(folder.parent, {"data.yaml": "names: [Couch, car, tree]"})
    prompts = load_prompts(folder, NAMES, images_of("1"), PromptOverrides())
    assert prompts.class_ids.tolist() == [0, 2] and prompts.warnings == []
    file = folder.parent / "data.yaml"
    assert prompts.finding[2] == f"prompts: classes by {file}: 0 Couch -> sofa, 1 car, 2 tree -> no class of the run"


def test_suffixes_in_upper_case_are_read(tmp_path: Path, images_of: Any) -> None:
    folder = write(tmp_path, {"labels/1.TXT": "1 0.5 0.5 0.1 0.1\n0 0.5 0.5 0.1 0.1\n"}) / "labels"
    assert load_prompts(folder, NAMES, images_of("1"), PromptOverrides()).class_ids.tolist() == [1, 0]
    write(folder, {"1.TXT": "0 0.5 0.5 0.1 0.1\n3 0.5 0.5 0.1 0.1\n"})
    with pytest.raises(UserError, match=r"labels: 1\.TXT:2\.category_id: 3 is outside"):
        load_prompts(folder, NAMES, images_of("1"), PromptOverrides())
    (path,) = read_prompt_table(PromptSource(write(tmp_path / "a", {"1.JSON": SHAPES["2.json"]}))).image_keys
    assert path == "1"


def test_outputs_of_a_run_among_labelme_files_are_not_read(tmp_path: Path) -> None:
    others = {"coco/instances.json": {}, "coco/.records/1.json": {}, "yolo/labels/2.txt": "", "yolo/.records": ""}
    others["labelme-polygon/2.json"] = SHAPES["2.json"]
    table = read_prompt_table(PromptSource(write(tmp_path, SHAPES | others)))
    assert table.image_keys == ["2", "clip/1"]
    assert read_prompt_table(PromptSource(tmp_path / "yolo")).image_keys == ["2"]
    for name in SHAPES:
        (tmp_path / name).unlink()
    with pytest.raises(UserError, match=rf"no YOLO labels .* here; -p {tmp_path}/coco takes an output there$"):
        read_prompt_table(PromptSource(tmp_path))


def test_tasks_of_label_studio_are_called_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"1\.json: a task of Label Studio, .*export COCO"):
        read_prompt_table(PromptSource(write(tmp_path, {"1.json": {"data": {"image": "a"}, "predictions": []}})))
    task = {"id": 1, "data": {"image": "a"}, "annotations": []}
    mini = {"id": 1, "image": "a", "annotator": 1, "annotation_id": 1, "lead_time": 2.5}
    for content, what in ((task, "a task"), ([task, task], "tasks"), ([mini], "tasks")):
        write(tmp_path, {"1.json": content})
        with pytest.raises(UserError, match=rf"1\.json: {what} of Label Studio, .* -a takes its masks, -p its boxes"):
            read_prompt_table(PromptSource(tmp_path / "1.json"))


def test_a_folder_of_panoptic_maps_is_not_called_label_maps(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"no YOLO labels .*a\.png: not an index map: its mode is RGB") as refused:
        read_prompt_table(PromptSource(tmp_path))
    assert "-a" not in str(refused.value)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="-a takes the folder as label maps"):
        read_prompt_table(PromptSource(tmp_path))


def test_a_split_without_any_label_file_is_warned_of(tmp_path: Path, images_of: Any) -> None:
    files = {"labels/train/1.txt": "0 0.5 0.5 0.1 0.1\n", "labels/val/2.txt": "", "data.yaml": "names: [car]"}
    folder, images = write(tmp_path, files) / "labels", images_of(["train/1", "train/3", "val/2", "test/4", "test/5"])
    (line,) = load_prompts(folder, ["car"], images, PromptOverrides()).warnings
    assert line == f"{folder}: no label file for the images in test/ (2 images), which count as images without objects"


def test_losing_all_rows_is_refused_with_the_option_that_does_it(tmp_path: Path, images_of: Any) -> None:
    files = {"labels/1.txt": "0 0.5 0.5 0.1 0.1\n", "data.yaml": "names: [boat, car]"}
    folder = write(tmp_path, files) / "labels"
    with pytest.raises(UserError, match=r"1 of 1 row is of classes that the run lacks; --set dataset\.classes="):
        load_prompts(folder, NAMES, images_of("1"), PromptOverrides())


def test_losing_most_rows_is_warned_of_with_the_option_that_does_it(tmp_path: Path, images_of: Any) -> None:
    rows = "0 0.5 0.5 0.1 0.1\n1 0.5 0.5 0.1 0.1\n2 0.5 0.5 0.1 0.1\n"
    folder, images = (
        write(tmp_path, {"labels/1.txt": rows, "data.yaml": "names: [boat, tree, car]"}) / "labels",
        images_of("1"),
    )
    (line,) = load_prompts(folder, NAMES, images, PromptOverrides()).warnings
    lost = f"{folder}: 2 of 3 rows are of classes that the run lacks and are left out; "
    assert line == f"{lost}--set dataset.classes={tmp_path / 'data.yaml'} makes its classes those of the run"
    given = PromptOverrides(class_names=("boat", "tree", "car"))
    (line,) = load_prompts(folder, NAMES, images, given).warnings
    assert line.startswith(f"{lost}--prompt-names names other classes than the run has")
    names = ("boat", "tree", "car")
    (line,) = load_prompts(folder, names, images, PromptOverrides(), ("car",)).warnings
    assert line.endswith("2 of 3 rows are left out by detector.classes, which lists the only classes that count")
    assert load_prompts(folder, names, images, PromptOverrides()).warnings == []
    shapes = [shape("rectangle", [[1, 2], [3, 4]], label) for label in ("boat", "boat", "car")]
    (line,) = load_prompts(
        write(tmp_path / "shapes", {"1.json": {"shapes": shapes}}), NAMES, images, PromptOverrides()
    ).warnings
    assert line.endswith("""--set 'dataset.classes=["boat", "car"]' makes its classes those of the run""")


@pytest.mark.parametrize(
    "images_folder, labels_folder", [("images/train", "labels/train"), ("train/images", "train/labels")]
)
def test_a_whole_dataset_may_be_named(images_folder: str, labels_folder: str, tmp_path: Path, images_of: Any) -> None:
    files = {
        f"{labels_folder}/1.txt": "0 0.5 0.5 0.1 0.1\n",
        "data.yaml": "names: [car]",
        "README.txt": "of boats",
        "train.txt": "./images/train/1.jpg",
        "notes.json": {},
    }
    ids = [f"{images_folder}/1", f"{images_folder.replace('train', 'val')}/1"]
    prompts = load_prompts(write(tmp_path, files), NAMES, images_of(ids), PromptOverrides())
    assert prompts.rows_of == {ids[0]: slice(0, 1)}


def test_labels_of_an_image_called_classes(tmp_path: Path, images_of: Any) -> None:
    write(tmp_path, {"classes.txt": "1 0.5 0.5 0.1 0.1\n", "a.txt": "0 0.5 0.5 0.1 0.1\n"})
    prompts = load_prompts(tmp_path, NAMES, images_of(["a", "classes"]), PromptOverrides())
    assert prompts.rows_of == {"a": slice(0, 1), "classes": slice(1, 2)}
    assert prompts.finding[2] == "prompts: classes by dataset.classes: 0 car, 1 dog, 2 sofa"


def test_rows_that_are_repeated_count_once_as_for_ultralytics(tmp_path: Path, images_of: Any) -> None:
    rows = "0 0.5 0.5 0.1 0.1\n1 0.5 0.5 0.1 0.1\n0 0.5 0.50 0.1 0.1\n"
    prompts = load_prompts(write(tmp_path, {"1.txt": rows}), NAMES, images_of("1"), PromptOverrides())
    assert prompts.class_ids.tolist() == [0, 1]
    assert prompts.left_out == ["prompts: rows that repeat another row of their file, left out: 1"]


def test_columns_of_labels_by_an_option(tmp_path: Path, images_of: Any) -> None:
    folder, images = write(tmp_path, {"1.txt": "0 0.5 0.4 0.2 0.2 0.3\n"}), images_of("1")
    with pytest.raises(UserError, match=r"give one of the two as --label-columns"):
        load_prompts(folder, NAMES, images, PromptOverrides())
    first = load_prompts(folder, NAMES, images, PromptOverrides(label_columns="x y w h conf"))
    assert first.scores.tolist() == [np.float32(0.3)] and first.finding[0].endswith("rows are `class x y w h conf`")
    other = load_prompts(folder, NAMES, images, PromptOverrides(label_columns="conf x y w h"))
    assert other.scores.tolist() == [0.5] and other.finding[0].endswith("rows are `class conf x y w h`")
    write(tmp_path, {"1.txt": "0 0.5 0.4 0.2 0.2 0.9\n"})
    with pytest.raises(UserError, match=r'--label-columns: .*: "polygon" behind the class fits no row; .* 5 numbers'):
        load_prompts(folder, NAMES, images, PromptOverrides(label_columns="polygon"))
    shapes = write(tmp_path / "shapes", SHAPES)
    with pytest.raises(UserError, match=r"--label-columns: .* holds labelme shapes, which are no YOLO labels"):
        load_prompts(shapes, NAMES, images_of(["2"]), PromptOverrides(label_columns="polygon"))


def test_shapes_of_x_anylabeling(tmp_path: Path, images_of: Any) -> None:
    corners = [[10, 5], [30, 5], [30, 25], [10, 25]]
    turned = [[20, 0], [30, 10], [20, 20], [10, 10]]
    shapes = [shape("rectangle", corners, score=None), shape("rotation", turned, direction=0.7)]
    folder = write(tmp_path, {"a.json": {"shapes": shapes, "imageHeight": 60.0, "imageWidth": 80.0}})
    prompts = load_prompts(folder, NAMES, images_of("a", (60, 80)), PromptOverrides())
    np.testing.assert_array_equal(prompts.boxes, [[10, 5, 30, 25], [10, 0, 30, 20]])


def test_labelme_shapes(tmp_path: Path, images_of: Any) -> None:
    prompts = load_prompts(write(tmp_path, SHAPES), NAMES, images_of(["clip/1", "2"]), PromptOverrides())
    boxes, scores, class_ids = prompts.for_image("clip/1", (100, 100))
    np.testing.assert_array_equal(boxes, [[10, 5, 30, 25.5], [1, 2, 13, 19]])
    assert (scores.tolist(), class_ids.tolist()) == ([0.5, 1], [1, 2])
    boxes, scores, class_ids = prompts.for_image("2", (100, 100))
    np.testing.assert_array_equal(boxes, [[4, 5, 10, 8], [45, 45, 55, 55]])
    assert (scores.tolist(), class_ids.tolist()) == ([1, 1], [1, 0])
    assert prompts.finding[0].endswith("labelme shapes: boxes are around shapes, classes are named")
    point, tree = prompts.left_out
    assert point == "prompts: rows that are a point, which encloses nothing, left out: 1"
    assert tree == "prompts: rows of classes that the run lacks (tree 1), left out: 1"
    with pytest.raises(UserError, match=r"--category-offset: .* which name their classes themselves"):
        load_prompts(tmp_path, NAMES, images_of(["2"]), PromptOverrides(category_offset="1"))


@pytest.mark.parametrize(
    "height, width, message",
    [
        (50, 100, r'says of "a" is for 100 x 50 pixels, the image has 200 x 100 \(1 of 1 image like this\)$'),
        (200, 100, r"is for 100 x 200 pixels, the image has 200 x 100; the sides are swapped: .* turned by EXIF"),
        (100, 200, None),
        (None, 0, None),
        (50, "100", None),
    ],
)
def test_labelme_files_for_images_of_another_size(
    height: Any, width: Any, message: str | None, tmp_path: Path, images_of: Any
) -> None:
    content = {"shapes": [shape("rectangle", [[30, 5], [10, 25.5]])], "imageHeight": height, "imageWidth": width}
    folder, images = write(tmp_path, {"a.json": content}), images_of("a", (100, 200))
    with pytest.raises(UserError, match=message) if message else nullcontext():
        assert len(load_prompts(folder, NAMES, images, PromptOverrides()).boxes) == 1


@pytest.mark.parametrize(
    "files, message",
    [
        ({"a.csv": ""}, r"no YOLO labels \(\.txt\), labelme files \(\.json\) or VOC annotations \(\.xml\) here"),
        ({"classes.txt": "car"}, r"no YOLO labels"),
        ({"a.txt": "", "b.json": []}, r"holds a\.txt and b\.json: name a folder of one kind"),
        ({"a.json": {"images": []}}, r"a\.json: not a labelme file: it has no list of shapes$"),
        (
            {"b/c.json": {"images": [], "annotations": [], "categories": []}},
            r"b/c\.json: not a labelme file: .*; of COCO's files, -p and -a take the file itself, not its folder$",
        ),
        ({"annotations.xml": "<annotations/>"}, r"found <annotations>, CVAT's own XML.*; export COCO 1\.0"),
        (
            {"instances.json": {}},
            r"takes the file, such as \S+/instances\.json; -a takes the folder as COCO instances or results, in",
        ),
        ({"train/_annotations.coco.json": {}}, r"-p takes the file, such as \S+/train/_annotations\.coco\.json; "),
        ({"SegmentationClass/a.png": "", "ImageSets/Segmentation/val.txt": "a"}, "-a takes the folder as a VOC tree"),
    ],
)
def test_folders_that_are_no_prompts(files: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        read_prompt_table(PromptSource(write(tmp_path, files)))


def test_hidden_files_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, {"a.txt": "0 0.5 0.5 0.2 0.4\n", ".records/a.json": {"settings": ""}, ".records.json": {}})
    assert len(read_prompt_table(PromptSource(tmp_path)).boxes) == 1


def voc(*objects: str, size: tuple[int, int] = (200, 100)) -> str:
    width, height = size
    stated = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation><filename>x.jpg</filename>{stated}{''.join(objects)}</annotation>"


def boxed(name: str, *corners: object) -> str:
    box = "".join(f"<{side}>{value}</{side}>" for side, value in zip(("xmin", "ymin", "xmax", "ymax"), corners))
    part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"
    return f"<object><name>{name}</name>{part}<bndbox>{box}</bndbox></object>"


VOC = {
    "Annotations/clip/1.xml": voc(boxed("dog", 11, 21, 50, 60), boxed("Couch", "1.0", 1, 200, 100)),
    "Annotations/2.xml": voc(size=(0, 0)),
    "ImageSets/Main/val.txt": "clip/1\n2\n",
    "class_names.txt": "dog\ncar\n",
    "dataset_meta.json": {},
}


@pytest.mark.parametrize("place", ["", "Annotations"])
@pytest.mark.parametrize("root", ["", "JPEGImages/"])
def test_boxes_of_a_voc_tree_are_counted_from_1(tmp_path: Path, images_of: Any, place: str, root: str) -> None:
    ids = [f"{root}clip/1", f"{root}2"]
    prompts = load_prompts(write(tmp_path, VOC) / place, NAMES, images_of(ids, (100, 200)), PromptOverrides())
    boxes, scores, class_ids = prompts.for_image(ids[0], (100, 200))
    np.testing.assert_array_equal(boxes, [[10, 20, 50, 60], [0, 0, 200, 100]])
    assert (scores.tolist(), class_ids.tolist()) == ([1, 1], [1, 2])
    assert len(prompts.for_image(ids[1], (100, 200))[0]) == 0
    assert "Pascal VOC boxes: boxes have two corners, classes are named, pixels count from 1" in prompts.finding[0]


def test_boxes_of_voc_with_a_corner_at_0_are_counted_from_0(tmp_path: Path) -> None:
    write(tmp_path, {"1.xml": voc(boxed("dog", 3, 4, 10, 20)), "2.xml": voc(boxed("dog", 0, 5, 50, 60))})
    table = read_prompt_table(PromptSource(tmp_path))
    np.testing.assert_array_equal(table.boxes, [[3, 4, 10, 20], [0, 5, 50, 60]])
    fact = "pixels count from 0, since a corner lies below 1"
    assert table.variant == f"{fact} (2.xml: object 1; if that is a mistake, write 1 there)"
    write(tmp_path, {"2.xml": voc(boxed("dog", 1, 5, 50, 60))})
    assert read_prompt_table(PromptSource(tmp_path)).boxes.tolist() == [[2, 3, 10, 20], [0, 4, 50, 60]]


@pytest.mark.parametrize(
    "content, message",
    [
        ("<annotation>", r"1\.xml: cannot be read as XML: no element found"),
        ("<annotations/>", r"1\.xml: expected an annotation of Pascal VOC, found <annotations>"),
        ('<?xml version="1.0" encoding="nope"?><annotation/>', r"1\.xml: cannot be read as XML: unknown encoding"),
        ('<?xml version="1.0" encoding="utf-7"?><annotation/>', r"1\.xml: cannot be read as XML: multi-byte encodings"),
        (voc("<object><name>dog</name></object>"), r"1\.xml: object 1: bndbox/xmin is missing"),
        (voc(boxed("dog", 1, 2, 3, "x")), r'1\.xml: object 1: bndbox/ymax: expected a number, found a string \("x"\)'),
        (voc(boxed(" ", 1, 2, 3, 4)), r"1\.xml: object 1: name is missing"),
    ],
)
def test_a_broken_file_of_voc_is_named(tmp_path: Path, content: str, message: str) -> None:
    write(tmp_path, {"0.xml": "<annotation/>", "1.xml": content})
    with pytest.raises(UserError, match=message):
        read_prompt_table(PromptSource(tmp_path))


def test_the_first_file_of_annotations_is_named_if_it_is_broken(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"1\.xml: cannot be read as XML"):
        read_prompt_table(PromptSource(write(tmp_path, {"Annotations/1.xml": "<annotation>"})))


@pytest.mark.parametrize("content, message", [("<a", "cannot be read as XML"), ("<a/>", "expected an annotation")])
def test_where_nothing_else_is_the_first_xml_is_named(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(UserError, match=rf"1\.xml: {message}"):
        read_prompt_table(PromptSource(write(tmp_path, {"1.xml": content})))


@pytest.mark.skipif(os.name != "posix", reason="makes a pipe")
def test_a_pipe_among_xml_files_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "1.xml")
    with pytest.raises(UserError, match=r"1\.xml: cannot be read as XML: .*a pipe, a device or a socket"):
        read_prompt_table(PromptSource(tmp_path))


def test_voc_boxes_and_yolo_labels_of_one_image_are_two_kinds(tmp_path: Path) -> None:
    write(tmp_path, {"Annotations/1.xml": voc(), "labels/1.txt": ""})
    with pytest.raises(UserError, match=r"holds 1\.xml and 1\.txt: name a folder of one kind"):
        read_prompt_table(PromptSource(tmp_path))


def test_the_class_list_of_an_annotation_folder_is_no_file_of_labels(tmp_path: Path) -> None:
    table = read_prompt_table(PromptSource(write(tmp_path, {**SHAPES, "class_names.txt": "dog\nCouch\ntree\ncar\n"})))
    assert table.format.title == "labelme shapes" and table.class_names == ("dog", "car", "Couch", "tree")


def test_exports_of_cvat_are_read_as_they_are_unzipped(tmp_path: Path, images_of: Any) -> None:
    boxes = write(tmp_path / "voc", {**VOC, "labelmap.txt": "# label:color_rgb:parts:actions\nbackground:0,0,0::\n"})
    assert label_class_names(boxes, PromptOverrides()) is None  # they name the class of each box
    assert read_prompt_table(PromptSource(boxes)).format.title == "Pascal VOC boxes"
    listed = {"obj.names": "dog\ncar", "train.txt": "data/obj_train_data/1.jpg\n", "obj.data": "classes = 2"}
    labels = write(tmp_path / "yolo", {**listed, "obj_train_data/1.txt": "0 0.5 0.5 0.2 0.4\n"})
    assert label_class_names(labels, PromptOverrides()) == ("dog", "car")
    assert len(load_prompts(labels, NAMES, images_of(["1"]), PromptOverrides()).boxes) == 1


def test_images_that_are_found_in_several_splits_are_warned_of(tmp_path: Path, images_of: Any) -> None:
    row = "0 0.5 0.5 0.1 0.1"
    labels = {f"{split}/labels/{name}.txt": row for split, name in (("train", "a"), ("valid", "b"), ("valid", "c"))}
    folder = write(tmp_path, labels)

    def warnings(*ids: str) -> list[str]:
        return load_prompts(folder, NAMES, images_of([*ids]), PromptOverrides()).warnings

    assert warnings("b", "c") == warnings("train/a", "valid/b") == []
    assert warnings("a", "b", "c") == [f"{folder}: holds the images of the run in several folders: valid/ 2, train/ 1"]


@pytest.mark.parametrize("photos, labels", [("{}/images", "{}/labels"), ("images/{}", "labels/{}"), ("{}", "{}")])
def test_labels_of_a_split_are_those_of_the_place_where_its_photos_lie(
    photos: str, labels: str, tmp_path: Path, images_of: Any
) -> None:
    row = "0 0.5 0.5 0.1 0.1"
    names = {"train": ("a", "d/b"), "valid": ("d/b", "c")}
    folder = write(tmp_path, {f"{labels.format(split)}/{name}.txt": row for split in names for name in names[split]})
    images = images_of(["a", "d/b", "c"], folder=folder / photos.format("valid"))
    prompts = load_prompts(folder, NAMES, images, PromptOverrides())
    assert [prompts.count(image_id) for image_id in images.ids] == [0, 1, 1], "a of train is another image"
    assert prompts.warnings == [] and prompts.left_out == ["prompts: rows for images outside the run, left out: 2"]
    elsewhere = images_of(["a", "c"], folder=folder / photos.format("test"))
    assert load_prompts(folder, NAMES, elsewhere, PromptOverrides()).warnings, "no place of its own"


def test_uploads_and_flat_names_are_found_at_the_place_of_the_photos(tmp_path: Path, images_of: Any) -> None:
    row = "0 0.5 0.5 0.1 0.1"
    folder = write(tmp_path, {f"labels/{split}/1a2b3c4d-d_a.txt": row for split in ("train", "valid")})
    images = images_of(["d/a", "c"], folder=folder / "images/valid")
    assert load_prompts(folder, NAMES, images, PromptOverrides()).count("d/a") == 1
