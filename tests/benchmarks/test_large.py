"""What slices and windows are worth on large images, in miniature."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import large
from benchmarks.large import SHRUNK, main, paint_large


@pytest.mark.slow
def test_every_way_to_look_at_large_images_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sahi")
    monkeypatch.setattr(large, "CELL", 355)
    monkeypatch.setattr(large, "SHRUNK", (0.2, 0.3))
    document = tmp_path / "out.json"
    given = ["--side", "710", "--slice", "500", "--device", "cpu", "--json", str(document)]
    assert main(given) == 0
    rows = {(row["boxes"], row["SAM2"]): row["mean IoU"] for row in json.loads(document.read_text())["rows"]}
    assert len(rows) == 6
    assert rows["true", "by window"] > rows["true", "whole"] > 0


def test_maps_of_a_large_image_show_the_same_objects_none_twice() -> None:
    image, classes, instances = paint_large(1, 2100)
    assert image.shape == (2100, 2100, 3)
    np.testing.assert_array_equal(classes > 0, instances > 0)
    for number in range(1, int(instances.max()) + 1):
        rows, columns = np.nonzero(instances == number)
        assert len(np.unique(classes[rows, columns])) == 1
        assert 10 < max(np.ptp(rows), np.ptp(columns)) < 640 * SHRUNK[1]
