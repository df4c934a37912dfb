"""Prompt files that are written: whole or not at all, and read as the same float32 numbers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from utils.distributed import Session
from utils.engine import RunSummary
from utils.io.writers import WriterError
from utils.masks import Mask
from utils.prompts.readers import read_prompt_table
from utils.prompts.table import PromptSource
from utils.prompts.writer import PromptSink, shortest
from utils.structures import Detections, Instances, Sample

SAMPLE = Sample('clip/"\u00e9\udc80 1', Path("a.jpg"), np.zeros((9, 9, 3), np.uint8))


def instances(count: int) -> Instances:
    """Boxes with numbers of all magnitudes, and no masks."""
    rng = np.random.default_rng(count)
    boxes = (10 ** rng.uniform(-30, 30, (count, 4))).astype(np.float32)
    detections = Detections(boxes, rng.random(count, np.float32), np.arange(count))
    nothing = Mask(0, 0, np.zeros((0, 0), bool))
    return Instances((9, 9), detections, [nothing] * count, np.full(count, np.nan, np.float32))


def test_numbers_are_short_and_exact() -> None:
    bits = np.random.default_rng(0).integers(0, 0x7F800000, 20_000, np.uint32)
    numbers = np.concatenate([bits.view(np.float32), np.float32([0, 1, 0.1, 762.501, 1e-45, 3.4e38])])
    texts = [shortest(number) for number in numbers]
    np.testing.assert_array_equal(np.array([json.loads(text) for text in texts]).astype(np.float32), numbers)
    # Nine digits tell all float32 apart; how numpy writes very large and very small ones depends on its version.
    assert max(len(text) for text, number in zip(texts, numbers) if 1e-3 <= number < 1e5) <= len("0.00123456789")
    assert texts[-4:-2] == ["0.1", "762.501"]


def test_what_is_written_is_read_as_the_same(tmp_path: Path) -> None:
    path = tmp_path / "new/prediction.json"
    first, second = instances(40), instances(3)
    with PromptSink(path) as sink:
        for each in (first, instances(0), second):
            sink.write(SAMPLE, each)
        assert not path.exists()
        (line,) = sink.finish(RunSummary(), Session()).lines
    assert line == f"prompts: 43 boxes of 3 images in {path}"
    rows = read_prompt_table(PromptSource(path))
    assert rows.image_keys == [SAMPLE.image_id]
    both = [each.detections for each in (first, second)]
    np.testing.assert_array_equal(rows.boxes.astype(np.float32), np.concatenate([each.boxes for each in both]))
    np.testing.assert_array_equal(rows.scores, np.concatenate([each.scores for each in both]))
    np.testing.assert_array_equal(rows.category_ids, np.concatenate([each.class_ids for each in both]))
    assert list(path.parent.iterdir()) == [path]


def test_no_boxes_are_an_empty_list(tmp_path: Path) -> None:
    with PromptSink(tmp_path / "a.json") as sink:
        sink.finish(RunSummary(), Session())
    assert json.loads((tmp_path / "a.json").read_text()) == []


def test_an_interrupted_run_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(AttributeError), PromptSink(path) as sink:
        [sink.write(SAMPLE, each) for each in (instances(2), None)]
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(WriterError, match=r"a/b\.json: cannot be written"):
        PromptSink(tmp_path / "a/b.json")
