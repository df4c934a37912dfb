"""Memory, in miniature."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.memory import flat_gate, main

SMALL = ["--model", "demo", "--image_size", "64", "--device", "cpu", "--flat_images", "8", "12"]


@pytest.mark.slow
def test_memory_is_measured_over_images_and_boxes(tmp_path: Path) -> None:
    document = tmp_path / "out.json"
    main([*SMALL, "--boxes", "1", "20", "--sizes", "160x90", "80x60", "--json", str(document)])
    written = json.loads(document.read_text())
    assert [(point["image"], point["boxes"]) for point in written["points"]] == [
        ("160x90", 1),
        ("160x90", 20),
        ("80x60", 10),
    ]
    assert all(point["peak MiB"] > 1 for point in written["points"])
    assert written["gates"][0]["numbers"]["growth"] > 0


def test_growing_memory_fails_its_gate() -> None:
    flat = [1000 + i % 7 for i in range(2000)]
    assert flat_gate(flat, 200, 2000).passed
    assert not flat_gate([1000 + i / 20 for i in range(2000)], 200, 2000).passed
