"""Real prompt files of real photos, whose headers say how large they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets.loading import Images
from datasets.voc import VocDataset
from utils.errors import UserError
from utils.prompts.prompts import Prompts, load_prompts
from utils.prompts.table import PromptOverrides

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data"
pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="no shared photos")


def load(folder: str, file: str | Path, given: PromptOverrides | None = None) -> Prompts:
    """A prompt file for the whole split of a folder."""
    tree = SHARED / folder
    names = tuple((tree / "class_names.txt").read_text().splitlines())
    return load_prompts(tree / file, names, Images(VocDataset(tree, "val"), 4, 2), given or PromptOverrides())


def older(folder: str, first: int, path: Path) -> Path:
    """The newest file as older versions of ultralytics wrote it: without file names, category ids from `first`."""
    rows: list[dict[str, Any]] = json.loads((SHARED / folder / "predictions_ultralytics.json").read_text())
    keys = ("image_id", "bbox", "score")
    old = [{key: row[key] for key in keys} | {"category_id": row["category_id"] - 1 + first} for row in rows]
    path.write_text(json.dumps(old))
    return path


def assert_same(theirs: Prompts, ours: Prompts) -> None:
    """Both round coordinates, but not the same ones, to three decimals."""
    np.testing.assert_allclose(theirs.boxes, ours.boxes, atol=0.0011, rtol=0)
    np.testing.assert_array_equal(theirs.scores, ours.scores)
    np.testing.assert_array_equal(theirs.class_ids, ours.class_ids)
    assert theirs.rows_of == ours.rows_of


@pytest.mark.parametrize("folder, count", [("voc", 300), ("coco", 194)])
def test_native_files_and_those_of_ultralytics_give_the_same(folder: str, count: int) -> None:
    ours = load(folder, "prediction.json")
    assert_same(load(folder, "predictions_ultralytics.json"), ours)
    assert len(ours.boxes) == count
    assert len(ours.finding) == 2


@pytest.mark.parametrize(
    "folder, first, decided", [("voc", 1, True), ("voc", 0, False), ("coco", 1, False), ("coco", 0, True)]
)
def test_older_files_give_the_same_or_are_refused(folder: str, first: int, decided: bool, tmp_path: Path) -> None:
    path, ours = older(folder, first, tmp_path / "old.json"), load(folder, "prediction.json")
    if decided:  # a first or a last class occurs, which rules the other interpretation out
        assert_same(load(folder, path), ours)
    else:
        with pytest.raises(UserError, match=r"more than one interpretation fits.*; give --category-offset$"):
            load(folder, path)
    assert_same(load(folder, path, PromptOverrides(category_offset="1" if first else "0")), ours)


def test_clips_whose_frames_have_the_same_names_are_refused() -> None:
    assert len(load("davis", "prediction.json").boxes) == 75
    with pytest.raises(UserError, match=r"may be for car-shadow/00000 or .*/00000"):
        load("davis", "predictions_ultralytics.json")
