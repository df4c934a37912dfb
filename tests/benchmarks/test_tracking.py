"""What following objects is worth, in miniature."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.tracking import _clip_table, main, thinned
from benchmarks.workload import Order, write_workload


def test_every_way_to_find_the_objects_of_a_clip_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = write_workload(Order("demo", 64, (64, 48), 4, boxes=2, batch=2, device="cpu", clip=True), tmp_path / "work")
    names, document = tmp_path / "names.txt", tmp_path / "out.json"
    names.write_text("".join(f"{name}\n" for name in work.names))
    given = ["--config", str(work.config), "--data", str(work.tree), "--names", str(names), "--seeds", "1"]
    assert main([*given, "--prompts", str(work.prompts), "--json", str(document), "--project=--device=cpu"]) == 0
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
    assert [*written["half_gone"][0]] == ["single images", "followed"]
    printed = capsys.readouterr().out
    assert f"{filled['J']:.3f}" in printed
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
    *_, row = _clip_table({"followed": metrics})
    assert [cell.strip() for cell in row.strip("| ").split("|")] == [
        "followed",
        "0.500",
        "",
        "0.500",
        "0.250",
        "0",
        "0.7500",
    ]
