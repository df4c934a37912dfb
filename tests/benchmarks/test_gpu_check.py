"""The check of a GPU, in miniature on the CPU."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import gpu_check
from models.sam2_video import Propagator


def test_all_checks_run_and_pass_in_miniature(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = tmp_path / "check.json"
    assert gpu_check.main(["--device", "cpu", "--json", str(document)]) == 0
    printed = capsys.readouterr().out
    assert "There is no GPU" in printed
    written = json.loads(document.read_text())
    names = [gate["name"] for gate in written["gates"]]
    for checked in (
        "image predictor: row 5, fp32",
        "YOLO's own predict: row 5, fp32",
        "video predictor: masks",
        "waiting for",
    ):
        assert any(checked in name for name in names)
    assert all(gate["passed"] for gate in written["gates"])
    pasted = json.loads(printed.split("```json\n")[1].split("```")[0])
    assert [line["row"][0] for line in pasted["results"]] == ["2", "5", "6", "2", "5"]


def test_tracks_that_differ_fail_and_a_check_that_breaks_does_not_end_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(options: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access\nand more")

    add_boxes = Propagator.add_boxes

    def elsewhere(self: Propagator, boxes: dict[int, np.ndarray]) -> object:
        return add_boxes(self, {i: boxes[len(boxes) - 1 - i] for i in boxes})

    monkeypatch.setattr(gpu_check, "gates_of", broken)
    monkeypatch.setattr(gpu_check, "speeds", lambda options: [])
    monkeypatch.setattr(Propagator, "add_boxes", elsewhere)
    assert gpu_check.main(["--device", "cpu"]) == 1
    printed = capsys.readouterr().out
    assert "FAILED: SAM2's own image predictor: RuntimeError: CUDA error: an illegal memory access" in printed
    assert "FAILED: SAM2's own video predictor" in printed
    assert "passed: waiting for the GPU" in printed
