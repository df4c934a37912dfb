"""The comparison in miniature."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import throughput
from benchmarks.project import Capture
from utils.structures import Instances, Sample

SMALL = ["--model", "demo", "--image_size", "64", "--one_process", "--device", "cpu"]
COMPARED = [*SMALL, "--size", "160x90", "--boxes", "3", "--images", "2", "--repeats", "1", "--seconds", "0.01"]


def test_a_comparison_prints_a_table_and_writes_a_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = tmp_path / "out.json"
    rows = ["--rows", "2", "3", "4", "5", "6", "--scopes", "metrics+annotations", "--precisions", "fp32"]
    assert throughput.main([*COMPARED, *rows, "--json", str(document)]) == 0
    printed = capsys.readouterr().out
    assert "FAILED" not in printed
    assert "not measured: row 4" in printed
    written = json.loads(document.read_text())
    cells = [tuple(each["cell"].values()) for each in written["results"]]
    both = "metrics+annotations"
    assert sorted(cells) == [(2, "fp32", both), (3, "fp32", both), (5, "fp32", both), (6, "fp32", "model")]
    ours = next(each for each in written["results"] if each["cell"]["row"] == 5)
    assert ours["ratios"].keys() == {"plain", "plain fp32", "official", "limit"}
    assert all(f"| {row} " in printed for row in (2, 3, 5, 6))
    assert len(written["gates"]) == 4


def test_a_comparison_with_tampered_masks_ends_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write = Capture.write

    def tampered(self: Capture, sample: Sample, instances: Instances) -> None:
        write(self, sample, instances)
        self.found[-1].bits[:100] ^= 255

    monkeypatch.setattr(Capture, "write", tampered)
    assert throughput.main([*COMPARED, "--rows", "6", "--precisions", "fp32"]) == 1
    failed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("FAILED")]
    assert len(failed) == 3
