"""labelme files: against labelme's own drawing of real shapes, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import labelme.utils
import numpy as np
import pytest

from utils.errors import UserError
from utils.formats.labelme_reader import Shape, read_labelme_json, shapes_of

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data"
SHAPE = {"label": "dog", "points": [[1, 2], [3, 5]], "shape_type": "rectangle", "group_id": None, "flags": {}}


def read_shapes(path: Path) -> list[Shape]:
    return shapes_of(read_labelme_json(path), path)


def write(folder: Path, content: Any) -> Path:
    path = folder / "a.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.skipif(not SHARED.is_dir(), reason="no shared photos")
@pytest.mark.parametrize("path", ["instance/labelme_json/2011_000003.json", "video/labelme_json/clip/00000100.json"])
def test_boxes_are_those_of_labelmes_own_masks(path: str) -> None:
    file = SHARED / f"labelme_{path}"
    content, shapes = json.loads(file.read_text()), read_shapes(file)
    size = (content["imageHeight"], content["imageWidth"])
    assert len(shapes) == len(content["shapes"]) > 0
    for shape, entry in zip(shapes, content["shapes"]):
        assert (shape.label, shape.kind, shape.group_id) == (entry["label"], entry["shape_type"], entry["group_id"])
        rows, columns = np.nonzero(labelme.utils.shape_to_mask(size, entry["points"], entry["shape_type"]))
        drawn = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_allclose(shape.box(), drawn, atol=1)


def test_kinds_of_shapes(tmp_path: Path) -> None:
    mask = SHAPE | {"shape_type": "mask", "mask": "AAAA", "group_id": 3, "score": 0.5, "mask_score": 1}
    circle, first = SHAPE | {"shape_type": "circle"}, {"label": "old", "points": [[0, 0], [1.5, 0], [0, 1]]}
    line, other = SHAPE | {"shape_type": "line"}, SHAPE | {"score": "high", "mask_score": None}
    shapes = read_shapes(write(tmp_path, {"shapes": [SHAPE, mask, circle, first, line, other]}))
    boxes = [None if (box := shape.box()) is None else box.tolist() for shape in shapes]
    radius = 13**0.5
    assert boxes[:2] == [[1, 2, 3, 5], [1, 2, 4, 6]]
    np.testing.assert_allclose(boxes[2], [1 - radius, 2 - radius, 1 + radius, 2 + radius])
    assert boxes[3:] == [[0, 0, 1.5, 1], None, [1, 2, 3, 5]]
    assert (shapes[1].mask, shapes[1].group_id, shapes[1].scores) == ("AAAA", 3, {"score": 0.5, "mask_score": 1})
    assert (shapes[3].kind, shapes[3].group_id, shapes[5].scores) == ("polygon", None, {})


@pytest.mark.parametrize(
    "change, place",
    [
        ({"label": None}, r"label: expected a string, found nothing"),
        ({"shape_type": 1}, r"shape_type: expected a string"),
        ({"group_id": "a"}, r"group_id: expected an integer"),
        ({"mask": 1}, r"mask: expected a string"),
        ({"points": []}, r"points: expected a list of points \[x, y\]"),
        ({"points": [[1, 2], [3]]}, r"points: "),
        ({"points": [["1", "2"]]}, r"points: "),
        ({"points": [[1, float("nan")]]}, r"points: "),
        ({"points": [[1, 10**400]]}, r"points: "),
    ],
)
def test_unsound_shapes_are_refused_with_their_place(change: dict[str, Any], place: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"a\.json: shapes\[1\]\.{place}"):
        read_shapes(write(tmp_path, {"shapes": [SHAPE, SHAPE | change]}))


@pytest.mark.parametrize("content", [[], {}, {"shapes": {}}])
def test_other_files_are_refused(content: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.json: not a labelme file"):
        read_shapes(write(tmp_path, content))
    with pytest.raises(UserError, match=r"a\.json: shapes\[0\]: expected an object, found an integer"):
        read_shapes(write(tmp_path, {"shapes": [1]}))
