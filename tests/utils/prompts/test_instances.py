"""COCO instances as prompts, against pycocotools."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
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
        match=r'of "JPEGImages/clip/1" is for 320 x 240 pixels, the image has 640 x 480 \(1 of 1 images like this\)',
    ):
        load_prompts(write(content), NAMES, images, PromptOverrides())
    assert asked == [[0]]
    small |= {"height": 480.0, "width": 640}
    assert len(load_prompts(write(content), NAMES, images, PromptOverrides()).boxes)


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
