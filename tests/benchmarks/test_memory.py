"""Memory, in miniature."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.memory import flat_gate, main

SMALL = ["--model", "demo", "--image_size", "64", "--one_process", "--device", "cpu"]


def test_memory_is_measured_over_images_and_boxes(tmp_path: Path) -> None:
    document = tmp_path / "out.json"
    sizes = ["--flat_images", "8", "12", "--flat_size", "64x48", "--boxes", "1", "20", "--sizes", "160x90", "80x60"]
    main([*SMALL, *sizes, "--json", str(document)])
    written = json.loads(document.read_text())
    assert [(point["width"], point["boxes"]) for point in written["points"]] == [(160, 1), (160, 20), (80, 10)]
    assert all(point["peak_rss"] > 2**20 for point in written["points"])
    assert written["gates"][0]["numbers"]["growth"] > 0


def test_growing_memory_fails_its_gate() -> None:
    flat = [1000 + i % 7 for i in range(2000)]
    assert flat_gate(flat, 200, 2000).passed
    assert not flat_gate([1000 + i / 20 for i in range(2000)], 200, 2000).passed
