"""What comes in through the doors alone: one function or file, and its line in one table."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np

from tests.doors.conftest import Example
from utils.prompts.prompts import load_prompts
from utils.prompts.table import PromptOverrides


def test_a_prompt_format_is_a_reader_and_a_line(tmp_path: Path, example: Example) -> None:
    example("A kind of prompt file")
    path = tmp_path / "boxes.csv"
    path.write_text("file,class,x1,y1,x2,y2,score\n7.jpg,dog,1,2,3,4,0.5\n9.jpg,cat,1,2,3,4,1\n7.jpg,car,5,6,70,8,1\n")
    images = SimpleNamespace(ids=["clip/7", "9"], paths=[], sizes=lambda positions: [(48, 64) for _ in positions])
    prompts = load_prompts(path, ("car", "dog"), images, PromptOverrides())
    boxes, scores, class_ids = prompts.for_image("clip/7", (48, 64))
    np.testing.assert_array_equal(boxes, [[1, 2, 3, 4], [5, 6, 70, 8]])
    assert (scores.tolist(), class_ids.tolist()) == ([0.5, 1], [1, 0])
    assert prompts.finding[0] == f"prompts: {path}: boxes in CSV: bbox is xyxy, classes are named"
    assert prompts.left_out == ["prompts: rows of classes that the run lacks (cat 1), left out: 1"]
