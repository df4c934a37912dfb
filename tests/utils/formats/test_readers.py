"""What people have, and what is refused, by its place."""

from __future__ import annotations

import base64
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import labelme as official
import numpy as np
import pytest
from PIL import Image

from tests.helpers.read_back import read_back
from utils.errors import UserError
from utils.structures import Instances

DATA = Path(__file__).parents[3] / ".." / "shared" / "data" / "labelme_instance"
NAMES = ("car", "potted plant")


def polygon(**changes: Any) -> dict[str, Any]:
    points = [[1, 1], [6, 1], [6, 5]]
    return {"label": "car", "shape_type": "polygon", "points": points, "group_id": None, **changes}


def labelme(folder: Path, *shapes: Any, **changes: Any) -> Path:
    content = {"shapes": shapes, "imagePath": "a.png", "imageData": None, "imageHeight": 8, "imageWidth": 9, **changes}
    (folder / "a.json").write_text(json.dumps(content))
    return folder


def only(annotations: Any) -> Instances:
    ((_, instances),) = annotations
    return instances


@pytest.mark.skipif(not DATA.is_dir(), reason="the real annotations are not here")
def test_labelmes_own_examples_become_its_own_instances(tmp_path: Path) -> None:
    names = [*(DATA / "class_names.txt").read_text("utf-8").split("\n"), "__ignore__"]
    values = {name: i for i, name in enumerate(names)}
    for folder in ("labelme_json", "JPEGImages"):
        shutil.copytree(DATA / folder, tmp_path, dirs_exist_ok=True)
    read = dict(read_back(tmp_path, names))
    assert len(read) == 3
    for image_id, found in read.items():
        loaded = official.LabelFile(str(tmp_path / f"{image_id}.json"))
        labels, objects = official.utils.shapes_to_label(found.size, loaded.shapes, values)
        assert len(found) == objects.max()
        np.testing.assert_array_equal(
            found.rasterize(found.detections.class_ids, -1), np.where(objects > 0, labels, -1)
        )


def test_shapes_by_hand(tmp_path: Path) -> None:
    box = polygon(shape_type="rectangle", points=[[6, 5], [1.5, 1]], label="PottedPlant")
    parts = [polygon(group_id=3), polygon(points=[[0, 7], [1, 7], [2, 7]], group_id=3), polygon(group_id=4)]
    found = only(read_back(labelme(tmp_path, box, *parts), NAMES))
    assert found.detections.class_ids.tolist() == [1, 0, 0]
    assert found.masks[1].area == found.masks[2].area + 3
    assert found.detections.boxes[0].tolist()[1::2] == [1, 6]
    assert np.isnan(found.mask_scores).all()


def test_the_size_of_an_old_file_is_that_of_its_image(tmp_path: Path) -> None:
    Image.new("RGB", (9, 8)).save(tmp_path / "a.png")
    folder = labelme(tmp_path, polygon(), imageHeight=None, imageWidth=None)
    assert only(read_back(folder, NAMES)).size == (8, 9)
    (tmp_path / "a.png").unlink()
    with pytest.raises(UserError, match=r"a\.json: imageHeight and imageWidth are missing, and .*a\.png: No such file"):
        only(read_back(folder, NAMES))


def test_the_size_of_a_file_whose_photo_was_moved_is_that_of_the_photo_beside_it(tmp_path: Path) -> None:
    Image.new("RGB", (9, 8)).save(tmp_path / "a.png")
    for moved in ("../photos/a.png", "C:\\photos\\a.png", "/nowhere/a.png"):
        folder = labelme(tmp_path, polygon(), imageHeight=None, imageWidth=None, imagePath=moved)
        assert only(read_back(folder, NAMES)).size == (8, 9)
    assert only(read_back(labelme(tmp_path, polygon(), imageHeight=18.0, imageWidth=19.0), NAMES)).size == (18, 19)
    with pytest.raises(UserError, match=r"a\.json: imageHeight: expected an integer, found a number \(18\.5\)"):
        only(read_back(labelme(tmp_path, polygon(), imageHeight=18.5), NAMES))


def test_shapes_of_x_anylabeling_are_drawn_as_labelme_draws_theirs(tmp_path: Path) -> None:
    upright, turned = [[1, 1], [6, 1], [6, 5], [1, 5]], [[4, 0], [8, 3], [5, 7], [1, 4]]
    theirs = {
        "rectangle": (upright, "rectangle", [upright[0], upright[2]]),
        "rotation": (turned, "polygon", turned),
        "quadrilateral": (turned, "polygon", turned),
    }
    for kind, (points, as_kind, as_points) in theirs.items():
        found = only(read_back(labelme(tmp_path, polygon(shape_type=kind, points=points, direction=1.5)), NAMES))
        drawn = official.utils.shape_to_mask((8, 9), as_points, as_kind)
        np.testing.assert_array_equal(found.masks[0].to_full((8, 9)), drawn)
    found = only(read_back(labelme(tmp_path, polygon(shape_type="rectangle", points=turned)), NAMES))
    drawn = official.utils.shape_to_mask((8, 9), turned, "polygon")
    np.testing.assert_array_equal(found.masks[0].to_full((8, 9)), drawn)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (polygon(label="kar"), r'shapes\[0\]\.label: "kar" is none of the 2 classes; did you mean "car"\?'),
        (polygon(label="_background_"), r'"_background_" is none of the 2 classes; it is no class; leave it out'),
        (polygon(label="zzz"), r'"zzz" is none of the 2 classes; dataset\.classes has to name it'),
        (
            polygon(shape_type="points"),
            r'shapes\[0\]\.shape_type: "points" is not read, only mask, polygon, rectangle, ',
        ),
        (polygon(shape_type="circle"), r"shapes\[0\]: its circle has 3 points"),
        (polygon(points=[[1, 1], [2, 2]]), r"shapes\[0\]: its polygon has 2 points"),
        (polygon(shape_type="mask", points=[[1, 1], [2, 2]]), r"its mask has 2 points and no mask"),
        (polygon(shape_type="mask", points=[[1, 1], [2, 2]], mask="?"), r"shapes\[0\]\.mask: no mask as a base64 PNG"),
    ],
)
def test_labelme_shapes_that_are_refused(tmp_path: Path, shape: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        only(read_back(labelme(tmp_path, shape), NAMES))


def test_a_file_of_lists_in_lists_without_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(f'{{"shapes": {"[" * 100_000}{"]" * 100_000}}}')
    with pytest.raises(UserError, match=r"a\.json: its lists are nested too deeply"):
        only(read_back(tmp_path, NAMES))


def test_a_mask_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    contents = io.BytesIO()
    Image.fromarray(np.ones((2, 3), bool)).save(contents, "PNG")
    encoded = base64.b64encode(contents.getvalue()).decode()
    for corners in ([[1, 1], [3, 3]], [[-1, 0], [1, 1]], [[7, 0], [9, 1]]):
        shape = polygon(shape_type="mask", points=corners, mask=encoded)
        with pytest.raises(UserError, match=r"mask: 3 x 2 pixels do not fit between .* in an image of 9 x 8"):
            only(read_back(labelme(tmp_path, shape), NAMES))
    shape = polygon(shape_type="mask", points=[[6, 0], [8, 1]], mask=encoded)
    assert only(read_back(labelme(tmp_path, shape), NAMES)).detections.boxes.tolist() == [[6, 0, 9, 2]]


def coco(folder: Path, change: Callable[[dict], Any]) -> Path:
    annotation = {"id": 1, "image_id": 7, "category_id": 3, "segmentation": [[0, 0, 4, 0, 4, 4, 0, 4]]}
    content: dict[str, Any] = {
        "images": [{"id": 7, "file_name": "clip/a.b.jpg", "height": 8, "width": 9}],
        "categories": [{"id": 3, "name": "pottedplant"}, {"id": 4, "name": "never used"}],
        "annotations": [annotation],
    }
    change(content)
    (folder / "instances.json").write_text(json.dumps(content))
    return folder


def test_coco_of_others(tmp_path: Path) -> None:
    counts = [0, 2, 70]  # the first two pixels of the first column
    rle = {"id": 2, "image_id": 7, "category_id": 3, "segmentation": {"size": [8, 9], "counts": counts}, "iscrowd": 1}
    box = {"id": 3, "image_id": 7, "category_id": 3, "segmentation": [], "bbox": [1.5, 2, 3, 9]}
    ((image_id, found),) = read_back(coco(tmp_path, lambda content: content["annotations"].extend([rle, box])), NAMES)
    assert (image_id, found.size) == ("clip/a.b", (8, 9))
    assert found.detections.class_ids.tolist() == [1, 1, 1]
    assert found.detections.boxes.tolist() == [[0, 0, 4, 4], [0, 0, 1, 2], [1, 2, 5, 8]]


def test_coco_ids_as_text_and_sizes_with_a_point(tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content["images"][0] |= {"height": 8.0, "width": 9.0}
        content["annotations"][0] |= {"image_id": "7", "category_id": "3", "bbox": []}
        content["annotations"].append(content["annotations"][0] | {"image_id": 7.0, "category_id": 3.0, "bbox": None})

    ((_, found),) = read_back(coco(tmp_path, change), NAMES)
    assert found.detections.class_ids.tolist() == [1, 1]
    assert found.size == (8, 9) and found.detections.boxes.tolist() == [[0, 0, 4, 4]] * 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("images"), r"instances\.json: images: is missing"),
        (lambda c: c["images"].append(c["images"][0]), r"images\[1\]\.id: 7 is given twice"),
        (lambda c: c["images"][0].pop("width"), r"images\[0\]\.width: is missing"),
        (lambda c: c["annotations"][0].update(image_id=8), r"annotations\[0\]\.image_id: nothing has the id 8"),
        (
            lambda c: c["annotations"][0].update(category_id=4),
            r'annotations\[0\]\.category_id: "never used" is none of',
        ),
        (lambda c: c["annotations"][0].update(segmentation=[[1]]), r"annotations\[0\].segmentation: neither polygons"),
        (lambda c: c["annotations"][0].update(segmentation=None), "holds boxes, no masks; -p takes them as prompts"),
        (
            lambda c: c["annotations"][0].update(segmentation={"size": [9, 8], "counts": [72]}),
            r"annotations\[0\]\.segmentation\.size: the image is 8 high and 9 wide",
        ),
    ],
)
def test_coco_that_is_refused(tmp_path: Path, change: Callable[[dict], Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        list(read_back(coco(tmp_path, change), NAMES))


def yolo(folder: Path, rows: str, names: str = "names: [pottedplant, car]") -> Path:
    for name in ("images", "labels"):
        (folder / name).mkdir()
    Image.new("RGB", (20, 10)).save(folder / "images" / "a.png")
    (folder / "labels" / "a.txt").write_text(rows)
    (folder / "data.yaml").write_text(names)
    return folder


@pytest.mark.parametrize("names", ["names: [pottedplant, car]", "names:\n  1: car\n  0: potted-plant"])
def test_yolo_of_others(tmp_path: Path, names: str) -> None:
    rows = "1 0.25 0.3 0.75 0.3 0.75 0.7 0.25 0.7\n\n0 0.125 0.25 0.425 0.25 0.425 0.65\n"
    found = only(read_back(yolo(tmp_path, rows, names), NAMES))
    assert found.detections.class_ids.tolist() == [0, 1]
    assert found.detections.boxes.tolist() == [[5, 3, 16, 8], [2, 2, 9, 7]]
    assert found.detections.scores.tolist() == [1, 1]


def test_yolo_without_names(tmp_path: Path) -> None:
    folder = yolo(tmp_path, "1 0.1 0.1 0.5 0.1 0.5 0.5")
    (folder / "data.yaml").unlink()
    assert only(read_back(folder, NAMES)).detections.class_ids.tolist() == [1]


@pytest.mark.parametrize(
    ("rows", "names", "message"),
    [
        ("2 0.1 0.1 0.5 0.1 0.5 0.5", "names: [pottedplant, car]", r"a\.txt:1: the class 2 is outside the 2 classes"),
        ("0 0.1 0.1 0.5 0.1 0.5 0.5", "names: [boat]", r'data\.yaml: names\[0\]: "boat" is none of the 2 classes'),
        ("0 0.1 0.1 0.5 0.1 0.5 0.5", "names: [", r"data\.yaml: cannot be read"),
    ],
)
def test_yolo_that_is_refused(tmp_path: Path, rows: str, names: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        only(read_back(yolo(tmp_path, rows, names), NAMES))


def voc(folder: Path, values: list[list[int]], names: str = "pottedplant\ncar\n") -> Path:
    (folder / "SegmentationClass").mkdir()
    Image.fromarray(np.array(values, np.uint8)).save(folder / "SegmentationClass" / "a.png")
    (folder / "class_names.txt").write_text(names)
    return folder


def test_voc_of_others(tmp_path: Path) -> None:
    found = only(read_back(voc(tmp_path, [[0, 1, 0, 2, 255], [0, 1, 0, 0, 0]]), NAMES))
    assert found.detections.class_ids.tolist() == [0, 1]
    assert found.detections.boxes.tolist() == [[3, 0, 4, 1], [1, 0, 2, 2]]


def test_voc_that_is_refused(tmp_path: Path) -> None:
    folder = voc(tmp_path, [[0, 3]])
    with pytest.raises(UserError, match=r"a\.png: the value 3 is the label of no class"):
        only(read_back(folder, NAMES))
    (folder / "class_names.txt").write_text("car\nship\npotted plant\n")
    with pytest.raises(UserError, match=r'class_names\.txt, line 2: "ship" is none of the 2 classes'):
        only(read_back(folder, NAMES))
