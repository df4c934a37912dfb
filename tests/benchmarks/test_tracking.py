"""What following objects is worth, in miniature."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.harness import Workload, markdown
from benchmarks.tracking import clip_line, main, thinned


@pytest.mark.slow
def test_every_way_to_find_the_objects_of_a_clip_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = tmp_path / "out.json"
    work = Workload(tmp_path / "work", "demo", (64, 48), 4, 2, 2, "cpu", 64, clip=True)
    work.write()
    given = ["--config", str(work.config), "--data", str(work.tree), "--seeds", "1", "--device", "cpu"]
    assert main([*given, "--prompts", str(work.prompts), "--json", str(document)]) == 0
    written = json.loads(document.read_text())
    assert [*written["clips"]] == [
        "first frame's boxes, filled",
        "first frame's boxes, followed",
        "every frame's boxes, single images",
        "every frame's boxes, followed",
    ]
    filled = written["clips"]["first frame's boxes, filled"]["per_clip"]["clip"]
    assert filled["frames"] == 4
    assert 0 < filled["J"] < 1
    assert [*written["half_gone"]] == ["single images", "followed"]
    assert all(0 < each[0] < 1 for each in written["half_gone"].values())
    printed = capsys.readouterr().out
    assert f"{filled['J']:.4g}" in printed
    assert "half of the boxes gone" in printed


def test_half_of_the_boxes_are_gone() -> None:
    rows = [{"image_id": str(i)} for i in range(21)]
    drawn = [thinned(rows, seed) for seed in range(3)]
    assert all(len(each) in (10, 11) for each in drawn)
    assert drawn[0] != drawn[1]
    assert drawn[0] == thinned(rows, 0)
    assert all(each == [row for row in rows if row in each] for each in drawn)


def test_a_clip_without_objects_has_no_numbers() -> None:
    clips = {"a": {"J": 0.5, "untracked_objects": 0}, "b": {"J": None, "untracked_objects": 0}}
    metrics = {"clips": {"J": 0.5, "F": 0.25, "id_switches": 0, "per_clip": clips}, "Mean_IOU": 0.75}
    line = clip_line("followed", metrics)
    assert line == {
        "boxes": "followed",
        "J a": 0.5,
        "J b": None,
        "J": 0.5,
        "F": 0.25,
        "id switches": 0,
        "mean IoU": 0.75,
    }
    assert markdown([line]).splitlines()[-1] == "| followed | 0.5 |  | 0.5 | 0.25 | 0 | 0.75 |"
    clips["a"]["untracked_objects"] = 1  # nothing says which object of one frame is which of another
    assert clip_line("single images", metrics)["J a"] is None
