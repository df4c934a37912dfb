"""YOLO label files: against what ultralytics writes, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.ultralytics_quiet import quiet_ultralytics
from utils.errors import UserError
from utils.formats.yolo_labels import Label, LabelReader


def read_labels(path: Path) -> list[Label]:
    return LabelReader([path]).labels(path)


@pytest.mark.parametrize("confident", [False, True])
def test_what_ultralytics_writes(confident: bool, tmp_path: Path) -> None:
    quiet_ultralytics()
    import torch
    from ultralytics.engine.results import Results

    rows = torch.tensor([[10.5, 20, 300, 150.25, 0.875, 2], [0, 0, 320, 240, 0.5, 0]])
    Results(np.zeros((240, 320, 3), np.uint8), "", {0: "a", 2: "c"}, boxes=rows).save_txt(tmp_path / "a.txt", confident)
    labels = read_labels(tmp_path / "a.txt")
    found = np.array([label.box() * [320, 240, 320, 240] for label in labels])
    np.testing.assert_allclose(found, rows[:, :4], atol=1e-3)
    assert [label.class_id for label in labels] == [2, 0]
    assert [label.confidence for label in labels] == ([0.875, 0.5] if confident else [1, 1])


def test_segment_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("\ufeff7 0.1 0.2 0.5 0.2 0.5 0.9\n\n0 0 0 1 0 1 1.004 0 1 0.25\n", "utf-8")
    first, second = read_labels(path)
    np.testing.assert_array_equal(first.points, [[0.1, 0.2], [0.5, 0.2], [0.5, 0.9]])
    assert (first.line, first.class_id, first.confidence) == (1, 7, 1)
    np.testing.assert_array_equal(second.box(), [0, 0, 1, 1.004])
    assert (second.line, second.confidence) == (3, 0.25)


@pytest.mark.parametrize(
    "line, message",
    [
        ("car 0.5 0.5 0.1 0.1", r"expected an integer, the class, and numbers"),
        ("1.5 0.5 0.5 0.1 0.1", r"expected an integer"),
        ("1 0.5 0.5 0.1 x", r"and numbers"),
        ("1 0.5 0.5 0.1", r"at least four numbers, found 3"),
        ("1", r"at least four numbers, found 0"),
        ("1 320 240 20 20", r"no shares of the image's width and height"),
        ("1 0.5 0.5 nan 0.1", r"no shares"),
        ("1 0.5 0.5 0.1 0.1 7.5", r"the confidence, 7.5, is not within 0 to 1"),
    ],
)
def test_other_lines_are_refused_with_their_number(line: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(f"0 0.5 0.5 0.1 0.1\n{line}\n")
    with pytest.raises(UserError, match=rf"a\.txt:2: .*{message}"):
        read_labels(path)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe0")
    with pytest.raises(UserError, match=r"a\.txt: is not UTF-8 text \(byte 0\)"):
        read_labels(tmp_path / "a.txt")
    with pytest.raises(UserError, match=r"b\.txt: cannot be read"):
        read_labels(tmp_path / "b.txt")
