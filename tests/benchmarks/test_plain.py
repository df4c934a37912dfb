"""The plain loop, where no other test runs it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import plain


def test_the_plain_loop_saves_a_figure_of_300_dpi(tmp_path: Path) -> None:
    boxes = plain.Boxes(np.array([[2, 3, 20, 15]]), np.ones(1), np.zeros(1, int))
    plain.draw(tmp_path / "a.jpg", np.full((18, 32, 3), 90, np.uint8), np.ones((1, 18, 32), np.float32), boxes, ["car"])
    with Image.open(tmp_path / "a.jpg") as figure:
        assert figure.width > 2000
