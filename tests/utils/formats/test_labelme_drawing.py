"""Every shape type against labelme's own drawing, pixel by pixel."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import get_args

import labelme._label_file as label_file
import labelme._shape
import labelme.utils
import numpy as np
import pytest
from PIL import Image

from tests.helpers.read_back import read_back
from utils.formats.polygons import POINTS, rasterize_labelme_shape
from utils.masks import Mask

SIZE = (40, 60)


def points_of(kind: str, seed: int) -> np.ndarray:
    """Points in and around the picture, as many as the kind has."""
    random = np.random.default_rng(seed)
    least, most = POINTS[kind]
    count = int(least if least == most else random.integers(least, 8))
    points = random.uniform(-5, (SIZE[1] + 5, SIZE[0] + 5), (count, 2))
    return points if seed % 2 else points.round()


@pytest.mark.parametrize("kind", sorted(POINTS.keys() - {"mask"}))
def test_shapes_are_drawn_as_labelme_draws_them(kind: str) -> None:
    for seed in range(60):
        points = points_of(kind, seed)
        expected = labelme.utils.shape_to_mask(SIZE, points.tolist(), kind)
        np.testing.assert_array_equal(rasterize_labelme_shape(kind, points, SIZE).to_full(SIZE), expected)


def test_all_of_labelmes_types_are_known_but_the_one_that_it_does_not_draw() -> None:
    assert set(get_args(labelme._shape.ShapeType)) == POINTS.keys() | {"points"}
    with pytest.raises(ValueError, match="not supported"):
        labelme.utils.shape_to_mask(SIZE, [[1, 1], [2, 2]], "points")


def test_a_file_of_all_types_is_what_labelme_makes_of_it(tmp_path: Path) -> None:
    contents = io.BytesIO()
    crop = np.random.default_rng(3).random((7, 9)) > 0.3
    Image.fromarray(crop).save(contents, "PNG")
    mask = {"points": [[20, 10], [28, 16]], "mask": base64.b64encode(contents.getvalue()).decode()}
    shapes = [
        {"label": f"c{i % 3}", "shape_type": kind, "flags": {}, "group_id": 7 if i < 2 else None}
        | (mask if kind == "mask" else {"points": points_of(kind, i).tolist()})
        for i, kind in enumerate([*sorted(POINTS), *sorted(POINTS)])
    ]
    content = {"shapes": shapes, "imagePath": "a.png", "imageData": None, "imageHeight": 40, "imageWidth": 60}
    (tmp_path / "a.json").write_text(json.dumps(content))
    Image.new("RGB", (60, 40)).save(tmp_path / "a.png")
    loaded = label_file.LabelFile(str(tmp_path / "a.json"))
    values = {f"c{i}": i + 1 for i in range(3)}
    labels, objects = label_file.utils.shapes_to_label(SIZE, loaded.shapes, values)
    ((_, found),) = read_back(tmp_path, list(values))
    np.testing.assert_array_equal(found.to_semantic(), labels)
    np.testing.assert_array_equal(found.rasterize(np.arange(len(found)) + 1), objects)


def test_no_more_arrays_are_made_of_an_image_than_shapes_fill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else thousands of small shapes in a large image took minutes."""
    contents, arrays = io.BytesIO(), list[tuple[int, int]]()
    Image.fromarray(np.ones((3, 4), bool)).save(contents, "PNG")
    mask = {"points": [[20, 10], [23, 12]], "mask": base64.b64encode(contents.getvalue()).decode()}
    shapes = [
        {"label": "c", "shape_type": "mask", "group_id": None, "flags": {}} | mask,
        *(
            {"label": "c", "shape_type": "polygon", "group_id": 1, "points": [[x, 5], [x + 6, 5], [x, 9]]}
            for x in (1, 9)
        ),
    ]
    content = {"shapes": shapes, "imagePath": "a.png", "imageHeight": 3000, "imageWidth": 4000}
    (tmp_path / "a.json").write_text(json.dumps(content))
    monkeypatch.setattr(Mask, "from_array", lambda full: arrays.append(full.shape) or Mask(0, 0, full))
    drawn = Mask.to_full
    monkeypatch.setattr(Mask, "to_full", lambda mask, size: arrays.append(size) or drawn(mask, size))
    ((_, found),) = read_back(tmp_path, ["c"])
    assert arrays == [(3, 4), (5, 15), (5, 15)]
    assert [mask.box.tolist() for mask in found.masks] == [[20, 10, 24, 13], [1, 5, 16, 10]]


@pytest.mark.parametrize("direction", [(1.0, 0.0), (0.6, 0.8), (0.0, -1.0)])
def test_a_disk_too_large_to_be_drawn_by_labelme_is_like_the_largest_that_it_draws(
    direction: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    radius = 20_000.0
    points = np.array([[30, 20], [30, 20]]) + radius * np.array([direction, (0, 0)])
    drawn = labelme.utils.shape_to_mask(SIZE, points.tolist(), "circle")
    monkeypatch.setattr("utils.formats.polygons.MAX_DRAWN_RADIUS", radius - 1)
    assert 0.3 < drawn.mean() < 0.7
    assert np.count_nonzero(rasterize_labelme_shape("circle", points, SIZE).to_full(SIZE) != drawn) <= 1.5 * max(SIZE)


@pytest.mark.parametrize("radius", [1e6, 1e9, 1e20, 1e160, 1e300, 1.7e308])
def test_disks_of_any_size_are_drawn_at_once(radius: float) -> None:
    assert rasterize_labelme_shape("circle", np.array([[30, 20], [radius, 20]]), SIZE).area == SIZE[0] * SIZE[1]
    assert not rasterize_labelme_shape("circle", np.array([[-radius, 20], [-radius / 2, 20]]), SIZE).area
