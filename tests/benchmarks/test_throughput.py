"""The comparison in miniature, what follows from its passes, and the parity gates."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import rows, throughput
from benchmarks.demo import write_labelme
from benchmarks.harness import Boxes, Masks
from benchmarks.processes import Pass
from benchmarks.throughput import Cell, coverage_gate, exact_gate, fair_gate, files_gate, matrix_gate, summary
from utils.masks import Mask
from utils.metrics.segmentation import confusion_matrix
from utils.structures import Detections, Instances

COMPARED = [
    *("--model", "demo", "--image_size", "64", "--device", "cpu", "--size", "160x90", "--boxes", "3"),
    *("--images", "2", "--repeats", "1", "--seconds", "0.01"),
]
SIZE = (60, 100)
SCORES = np.array([0.5, 0.9, 0.5, 0.7], np.float32)
CLASS_IDS = np.array([0, 1, 2, 1])


@pytest.mark.slow
def test_a_comparison_prints_a_table_and_writes_a_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = tmp_path / "out.json"
    asked = ["--rows", "2", "3", "4", "5", "6", "7", "--scopes", "metrics+annotations", "--precisions", "fp32"]
    assert throughput.main([*COMPARED, *asked, "--json", str(document)]) == 0
    printed = capsys.readouterr().out
    assert "FAILED" not in printed
    assert "not measured: row 4" in printed
    written = json.loads(document.read_text())
    both = "metrics+annotations"
    measured = [(line["row"][0], line["precision"], line["scope"]) for line in written["results"]]
    rows = [("6", "fp32", "model"), ("2", "fp32", both), ("3", "fp32", both), ("5", "fp32", both)]
    assert measured == [*rows, ("7", "fp32", both)] if find_spec("openvino") else measured == rows
    assert ("not measured: row 7" in printed) == (find_spec("openvino") is None)
    ours = written["results"][len(rows) - 1]
    assert all(ours[name] > 0 for name in ("img/s", "x plain", "x plain fp32", "x official", "of row 6", "peak MiB"))
    assert ours["x Ultralytics"] is None
    assert all(f"| {row} " in printed for row in (2, 3, 5, 6))
    assert len(written["gates"]) == (7 if find_spec("openvino") else 4)


@pytest.mark.slow
def test_a_comparison_with_tampered_masks_ends_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def tampered(masks: np.ndarray, scores: np.ndarray, class_ids: np.ndarray) -> Masks:
        return Masks(np.roll(masks, 9, axis=2) ^ (np.arange(masks.shape[1]) < 9)[:, None], scores, class_ids)

    monkeypatch.setattr(rows, "Masks", tampered)
    assert throughput.main([*COMPARED, "--rows", "6", "--precisions", "fp32"]) == 1
    failed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("FAILED")]
    assert len(failed) == 3


def test_ratios_compare_equal_work() -> None:
    rates = {
        Cell(1, "fp32", "overlays"): 1,
        Cell(1, "bf16", "overlays"): 2,
        Cell(2, "bf16", "metrics"): 5,
        Cell(5, "bf16", "overlays"): 8,
        Cell(5, "bf16", "metrics"): 10,
        Cell(6, "bf16", "model"): 16,
    }
    lines = summary({cell: [Pass(rate, 1, 1, 1, 0)] * 3 for cell, rate in rates.items()}, dict.fromkeys(rates, 0))
    ours = {line["scope"]: line for line in lines if line["row"].startswith("5")}
    names = ("x plain", "x plain fp32", "x official", "x Ultralytics", "of row 6")
    assert [ours["overlays"][name] for name in names] == [4, 8, None, None, 0.5]
    assert [ours["metrics"][name] for name in names] == [2, None, None, None, 0.625]


def test_a_line_is_the_median_of_its_passes() -> None:
    mib = 2**20
    passes = [Pass(10, s, 2 * s, m * mib, 0) for s, m in [(1, 7), (2, 9), (5, 8)]]
    cell = Cell(5, "fp32", "all")
    (line,) = summary({cell: passes}, {cell: 3.0})
    assert (line["img/s"], line["CPU ms/img"], line["peak MiB"]) == (5, 400, 9)
    assert line["spread"] == pytest.approx((10 - 2) / 5)


@pytest.fixture
def masks() -> np.ndarray:
    """(4, H, W) bool: overlapping rectangles, the last one empty."""
    masks = np.zeros((4, *SIZE), bool)
    for mask, (top, left) in zip(masks[:3], [(5, 10), (20, 30), (8, 15)]):
        mask[top : top + 30, left : left + 50] = True
    return masks


def found(masks: np.ndarray) -> list[Masks]:
    return [Masks(masks, SCORES, CLASS_IDS)]


def flipped(masks: np.ndarray, pixels: int) -> np.ndarray:
    """A copy of which each mask but the empty one differs in so many pixels."""
    changed = masks.copy()
    changed.reshape(len(masks), -1)[:3, :pixels] ^= True
    return changed


def test_equal_masks_pass_and_tampered_ones_fail(masks: np.ndarray) -> None:
    assert exact_gate(found(masks), found(masks.astype(np.float32))).passed
    assert not exact_gate(found(flipped(masks, 1)), found(masks)).passed  # 1 of 6,000 pixels
    assert not exact_gate(found(masks[::-1]), found(masks)).passed
    assert not exact_gate(found(masks[:3]), found(masks)).passed
    swapped = exact_gate(found(np.roll(masks, 1, axis=0)), found(masks))
    assert not swapped.passed
    assert swapped.numbers["swapped"] > 0


def test_our_low_precision_error_may_not_exceed_the_plain_loops(masks: np.ndarray) -> None:
    official, loop = found(masks), found(flipped(masks, 100))
    assert fair_gate("bf16", found(flipped(masks, 100)), loop, official).passed
    assert fair_gate("bf16", official, loop, official).passed
    assert not fair_gate("bf16", found(flipped(masks, 200)), loop, official).passed
    assert not fair_gate("bf16", found(masks[:3]), loop, official).passed


def test_our_confusion_matrix_is_the_plain_loops(masks: np.ndarray, tmp_path: Path) -> None:
    target = np.random.default_rng(0).choice(np.array([0, 1, 2, 3, 255], np.uint8), SIZE)
    Image.fromarray(target).save(tmp_path / "a.png")
    boxes = Detections.from_arrays(np.zeros((4, 4)), np.ones(4), CLASS_IDS)
    semantic = Instances(SIZE, boxes, [Mask.from_array(mask) for mask in masks], SCORES).to_semantic()
    matrix = confusion_matrix(semantic, target, 4)

    def passed() -> bool:
        lines = ["target,a,b,c,d", *(",".join(map(str, ["name", *row])) for row in matrix.tolist())]
        (tmp_path / "matrix.csv").write_text("\n".join(lines))
        return matrix_gate(found(masks), [tmp_path / "a.png"], tmp_path / "matrix.csv").passed

    assert passed()
    matrix[0, 0] -= 1
    matrix[0, 1] += 1
    assert not passed()


def test_the_masks_in_our_files_are_our_masks(masks: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_labelme(path, Path("a.jpg"), masks, Boxes(np.zeros((4, 4)), SCORES, CLASS_IDS), ("a", "b", "c"))
    assert files_gate(found(masks), [path]).passed
    assert not files_gate(found(flipped(masks, 1)), [path]).passed
    assert not files_gate(found(masks), []).passed


def test_masks_that_cover_nothing_mean_nothing(masks: np.ndarray) -> None:
    assert coverage_gate(found(masks)).passed
    assert not coverage_gate(found(masks & False)).passed
