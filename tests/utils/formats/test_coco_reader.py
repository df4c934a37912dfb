from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco

from tests.helpers.read_back import read_back
from utils.errors import UserError
from utils.formats.coco_reader import segmentation_box
from utils.masks import Mask


def write(path: Path, size: tuple[int, int], *segmentations: Any) -> Path:
    rows = [{"id": i, "image_id": 1, "category_id": 1, "segmentation": each} for i, each in enumerate(segmentations)]
    image = {"id": 1, "file_name": "a.png", "height": size[0], "width": size[1]}
    path.write_text(json.dumps({"images": [image], "annotations": rows, "categories": [{"id": 1, "name": "car"}]}))
    return path


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (40, 33), (700, 900)])
def test_run_lengths_as_text_and_as_numbers_are_read_as_pycocotools_does(size: tuple[int, int], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    masks = [np.asfortranarray(rng.random(size) < share).astype(np.uint8) for share in (0, 0.01, 0.5, 0.99, 1)]
    masks.append(np.asfortranarray(np.tri(*size, dtype=np.uint8)))
    texts = [coco.encode(mask) for mask in masks]
    told = [{**text, "counts": text["counts"].decode()} for text in texts]
    runs = [np.flatnonzero(np.diff(mask.ravel("F"), prepend=0, append=2)) for mask in masks]
    numbers = [{"size": size, "counts": np.diff(run, prepend=0).tolist()} for run in runs]
    ((_, instances),) = read_back(write(tmp_path / "a.json", size, *told, *numbers), ["car"])
    for mask, found in zip([*masks, *masks], instances.masks, strict=True):
        np.testing.assert_array_equal(found.to_full(size), mask.astype(bool))
    for text, each, alike in zip(texts, told, numbers, strict=True):
        assert segmentation_box(each) == segmentation_box(alike) == coco.toBbox(text).tolist()


def test_no_more_of_an_image_is_drawn_than_the_columns_of_a_mask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else thousands of small objects in a large image took minutes."""
    drawn: list[int] = []
    monkeypatch.setattr(Mask, "from_array", lambda full: drawn.append(full.size) or Mask(0, 0, full[:0, :0]))
    monkeypatch.setattr(coco, "decode", None)
    size = (3000, 4000)
    runs = {"size": size, "counts": [3000 * 3990 + 5, 4, 2996, 4, 3000 * 8 + 2991]}
    list(read_back(write(tmp_path / "a.json", size, runs, [[20, 30, 29, 30, 29, 40]]), ["car"]))
    assert drawn == [2 * 3000, 8 * 3000]


HOSTILE = [
    *({"size": [3, 4], "counts": counts} for counts in ([9, 1e9], [-1, 13], [13], [], [[12]], "abc", "", "0", "é", 3)),
    {"size": [3, 4], "counts": "k36h000000000000000000000000000000eb0"},
    {"size": [3, 4], "counts": "o" * 30},
    *({"size": size, "counts": [1, 2]} for size in ([0, 0], [0, 5], [-1, -3], [3], 3, ["3", 1], [1e300, 1])),
]


@pytest.mark.parametrize("segmentation", HOSTILE)
def test_run_lengths_that_would_end_the_process_are_refused(segmentation: Any, tmp_path: Path) -> None:
    assert segmentation_box(segmentation) is None
    with pytest.raises(UserError, match=r"annotations\[0\]"):
        list(read_back(write(tmp_path / "a.json", (3, 4), segmentation), ["car"]))


@pytest.mark.parametrize("size", [(0, 4), (-3, 4), (30, 2**31), (2**40, 2**40), (2**16, 2**16)])
def test_sizes_that_no_image_has_are_refused(size: tuple[int, int], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"images\[0\]"):
        list(read_back(write(tmp_path / "a.json", size, [[1, 2, 11, 2, 11, 14]]), ["car"]))


@pytest.mark.parametrize("far", [1e4, -1e300, float("nan"), float("inf")])
def test_polygons_on_which_pycocotools_would_not_end_are_refused(far: float, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"annotations\[0\].segmentation: neither polygons|NaN|Infinity"):
        list(read_back(write(tmp_path / "a.json", (30, 40), [[0, 0, far, 0, 5, 5]]), ["car"]))
