"""COCO instances as prompts, against pycocotools."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO

from utils.errors import UserError
from utils.prompts.prompts import load_prompts
from utils.prompts.table import PromptOverrides

Write = Callable[[Any], Path]

NAMES = ("tv", "couch")
FILES = {11: "JPEGImages/clip/1.jpg", 7: "JPEGImages/2.png", 3: "JPEGImages/other/1.jpg"}


def instances() -> dict[str, Any]:
    """Three images, three categories with gaps, thirty boxes, two of them crowds."""
    rng = np.random.default_rng(0)
    annotations = []
    for i in range(30):
        box = [round(value, 2) for value in (*rng.uniform(200, 300, 2), *rng.uniform(5, 150, 2))]
        ids = {"id": i + 1, "image_id": (11, 7, 3)[i % 3], "category_id": (72, 5, 63)[i % 7 % 3]}
        annotations.append(ids | {"bbox": box, "area": 1, "iscrowd": int(i in (4, 20))})
    images = [{"id": image_id, "file_name": name, "height": 480, "width": 640} for image_id, name in FILES.items()]
    categories = [{"id": 63, "name": "sofa"}, {"id": 5, "name": "zebra"}, {"id": 72, "name": "tvmonitor"}]
    return {"images": images, "annotations": annotations, "categories": categories}


def test_boxes_and_classes_are_those_of_pycocotools(write: Write, images_of: Any) -> None:
    coco = COCO(path := write(instances()))
    ids = {"clip/1": 11, "2": 7}
    prompts = load_prompts(path, NAMES, images_of(list(ids)), PromptOverrides())
    count = 0
    for image_id, number in ids.items():
        wanted = coco.loadAnns(coco.getAnnIds([number], [63, 72], iscrowd=False))
        boxes, scores, class_ids = prompts.for_image(image_id, (480, 640))
        x, y, w, h = np.array([each["bbox"] for each in wanted]).T
        np.testing.assert_allclose(boxes, np.stack([x, y, x + w, y + h], axis=1), rtol=1e-6)
        assert class_ids.tolist() == [NAMES.index({63: "couch", 72: "tv"}[each["category_id"]]) for each in wanted]
        assert (scores == 1).all()
        count += len(wanted)
    assert count > 10
    crowds, outside, lacking = prompts.left_out
    assert crowds == "prompts: rows that are crowds, not objects, left out: 2"
    assert outside == "prompts: rows for images outside the run, left out: 9"
    assert "zebra" in lacking
    assert prompts.finding[0].endswith("COCO instances: bbox is xywh, classes are named")


def test_images_of_another_size_are_refused_and_no_other_headers_are_read(write: Write, images_of: Any) -> None:
    content = instances()
    small, large, other = content["images"]
    content["annotations"] = [each for each in content["annotations"] if each["image_id"] != large["id"]]
    small |= {"height": 240, "width": 320}
    large |= {"height": 240}
    other |= {"width": None}
    images, asked = images_of(["clip/1", "2", "other/1"]), []
    sizes = images.sizes
    images.sizes = lambda positions: asked.append([*positions]) or sizes(positions)
    with pytest.raises(
        UserError,
        match=r'of "JPEGImages/clip/1" is for 320 x 240 pixels, the image has 640 x 480 \(1 of 1 image like this\)',
    ):
        load_prompts(write(content), NAMES, images, PromptOverrides())
    assert asked == [[0]]
    small |= {"height": 480.0, "width": 640}
    assert len(load_prompts(write(content), NAMES, images, PromptOverrides()).boxes)


@pytest.mark.parametrize("form", ["polygons", "counts", "compressed"])
def test_boxes_of_annotations_that_have_only_a_segmentation(form: str, write: Write, images_of: Any) -> None:
    content = instances()
    for each in content["annotations"]:
        x, y, w, h = (int(side) for side in each["bbox"])
        picture = np.zeros((480, 640), np.uint8, "F")
        picture[y : y + h, x : x + w] = 1
        encoded = mask_utils.encode(picture)
        each["bbox"] = [x, y, w, h]
        each["segmentation"] = {
            "polygons": [[x, y, x + w, y, x + w, y + h], [x, y + h, x + w, y + h, x, y]],
            "counts": {"size": [480, 640], "counts": run_lengths(picture)},
            "compressed": {"size": [480, 640], "counts": encoded["counts"].decode()},
        }[form]
    images = images_of(["clip/1", "2"])
    wanted = load_prompts(write(content), NAMES, images, PromptOverrides())
    for i, each in enumerate(content["annotations"]):
        del each["bbox"]
        if i % 2:
            each["bbox"] = None
    found = load_prompts(write(content), NAMES, images, PromptOverrides())
    np.testing.assert_array_equal(found.boxes, wanted.boxes)
    assert len(found.boxes) > 10
    del content["annotations"][3]["segmentation"]
    with pytest.raises(UserError, match=r"annotations\[3\]\.bbox: expected four numbers, found nothing"):
        load_prompts(write(content), NAMES, images, PromptOverrides())


def run_lengths(picture: np.ndarray) -> list[int]:
    pixels = picture.ravel("F")
    ends = np.flatnonzero(np.diff(pixels)) + 1
    return np.diff([0, *([0] if pixels[0] else []), *ends, len(pixels)]).tolist()


def test_ids_as_text_or_with_a_point(write: Write, images_of: Any) -> None:
    content, images = instances(), images_of(["clip/1", "2"])
    wanted = load_prompts(write(content), NAMES, images, PromptOverrides())
    for i, each in enumerate(content["annotations"]):
        each["image_id"] = (str, float, int)[i % 2 if i < 20 else 2](each["image_id"])
        each["category_id"] = (str, float)[i % 2](each["category_id"])
    content["images"][0]["id"] = str(content["images"][0]["id"])
    content["images"][1] |= {"height": 480.0, "width": 640.0}
    found = load_prompts(write(content), NAMES, images, PromptOverrides())
    np.testing.assert_array_equal(found.boxes, wanted.boxes)
    np.testing.assert_array_equal(found.class_ids, wanted.class_ids)
    assert found.rows_of == wanted.rows_of and found.finding == wanted.finding


def test_corners_in_coco_instances_are_noticed(write: Write, images_of: Any) -> None:
    content = instances()
    for each in content["annotations"]:
        x, y, w, h = each["bbox"]
        each["bbox"] = [x + 100, y, x + 100 + w, y + h]
    prompts = load_prompts(write(content), NAMES, images_of(["clip/1", "2"]), PromptOverrides())
    assert (prompts.boxes[:, 2] > prompts.boxes[:, 0]).all()
    assert "only one interpretation fits" in prompts.finding[1]
    with pytest.raises(UserError, match=r"--prompt-names: .* which name their classes themselves"):
        load_prompts(write(content), NAMES, images_of(["clip/1"]), PromptOverrides(class_names=("a",)))


def test_photos_that_differ_in_their_suffix_keep_their_own_boxes(write: Write, images_of: Any) -> None:
    content = instances()
    for image, name in zip(content["images"], ("a.jpg", "a.png", "b.png")):
        image["file_name"] = name
    coco = COCO(path := write(content))
    prompts = load_prompts(path, NAMES, images_of(["a.jpg", "a.png", "b"]), PromptOverrides())
    for image_id, number in zip(("a.jpg", "a.png", "b"), FILES):
        wanted = coco.getAnnIds([number], [63, 72], iscrowd=False)
        assert len(prompts.for_image(image_id, (480, 640))[0]) == len(wanted)
    fewer = load_prompts(path, NAMES, images_of(["a", "b"]), PromptOverrides())  # the file of the first is a.jpg
    assert len(fewer.for_image("a", (480, 640))[0]) == len(prompts.for_image("a.jpg", (480, 640))[0])
    content["images"][1]["file_name"] = "a.jpg"
    with pytest.raises(UserError, match=r'images: several have the file_name "a\.jpg"'):
        load_prompts(write(content), NAMES, images_of(["a", "b"]), PromptOverrides())
