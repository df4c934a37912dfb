"""The Python examples of README.md and docs/prompts.md work as they stand there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

REPOSITORY = Path(__file__).parents[1]
EXAMPLE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_example_prints_the_objects_of_its_image(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = EXAMPLE.findall((REPOSITORY / "README.md").read_text("utf-8"))
    monkeypatch.chdir(REPOSITORY)
    exec(compile(example, "README.md", "exec"), {})

    printed = [re.fullmatch(r"(\w+) \[([\d., ]+)\] (\d+)", line) for line in capsys.readouterr().out.splitlines()]
    assert all(printed)
    target = np.array(Image.open(REPOSITORY / "datasets/demo/SegmentationClass/val_00000.png"))
    names = (REPOSITORY / "datasets/demo/class_names.txt").read_text().split()
    true = {names[label - 1]: target == label for label in np.setdiff1d(target, [0, 255])}
    assert sorted(line[1] for line in printed) == sorted(true)
    for name, box, pixels in (line.groups() for line in printed):
        rows, columns = np.nonzero(true[name])
        tight = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert np.array(box.split(","), float) == pytest.approx(tight, abs=40)
        assert int(pixels) == pytest.approx(len(rows), rel=0.05)


def test_example_prints_the_masks_of_its_boxes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = EXAMPLE.findall((REPOSITORY / "docs/prompts.md").read_text("utf-8"))
    monkeypatch.chdir(REPOSITORY)
    exec(compile(example, "prompts.md", "exec"), {})
    names, areas = map(ast.literal_eval, re.fullmatch(r"(\[.*\]) (\[.*\])\n", capsys.readouterr().out).groups())  # type: ignore[union-attr]
    true = np.array(Image.open(REPOSITORY / "datasets/demo/SegmentationObject/val_00000.png"))
    assert names == ["airplane", "turtle"]
    assert areas == pytest.approx([(true == 1).sum(), (true == 2).sum()], rel=0.05)
