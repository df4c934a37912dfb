"""The plain loop, and the demo in whole processes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.demo import draw_figure, same_files
from benchmarks.harness import Boxes


def test_the_plain_loop_saves_a_figure_of_300_dpi(tmp_path: Path) -> None:
    boxes = Boxes(np.array([[2, 3, 20, 15]]), np.ones(1), np.zeros(1, int))
    draw_figure(tmp_path / "a.jpg", np.full((18, 32, 3), 90, np.uint8), np.ones((1, 18, 32)), boxes, ["car"])
    with Image.open(tmp_path / "a.jpg") as figure:
        assert figure.width > 2000


def test_the_demo_counts_only_where_all_files_are_written() -> None:
    whole, short = {"overlays": 52, "annotations": 52}, {"overlays": 52, "annotations": 51}
    assert same_files({"ours": [whole, whole], "plain": [whole]}).passed
    assert not same_files({"ours": [whole, whole], "plain": [short]}).passed
    assert not same_files({"ours": [{"overlays": 0, "annotations": 0}]}).passed
