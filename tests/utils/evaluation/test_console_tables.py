"""Tables keep their shape in a terminal."""

from __future__ import annotations

import pytest

from utils.evaluation.console import MAX_CELL_WIDTH, columns, framed


def test_it_looks_as_mmsegmentation_s() -> None:
    rows = [["0", "background", "97.67"], ["1", "car", "3.26"], ["", "mean", "50.47"]]
    assert framed(["", "Class", "IoU"], rows, left=[1], separate_last=True) == [
        "+---+------------+-------+",
        "|   | Class      |   IoU |",
        "+---+------------+-------+",
        "| 0 | background | 97.67 |",
        "| 1 | car        |  3.26 |",
        "+---+------------+-------+",
        "|   | mean       | 50.47 |",
        "+---+------------+-------+",
    ]


@pytest.mark.parametrize(
    "name", ["x" * 300, "自転車" * 20, "é" * 30, "e\u0301" * 30, "สุนัข", "two\nlines\tand tabs", "👩‍🚀", "\u200f"]
)
def test_names_of_any_script_and_length_keep_the_frame(name: str) -> None:
    lines = framed(["", "Class"], [["0", name], ["1", "car"]], left=[1])
    assert {columns(line) for line in lines} == {columns(lines[0])}
    assert columns(lines[0]) <= MAX_CELL_WIDTH + len("| 0 |  |")
    assert all("\n" not in line for line in lines)


@pytest.mark.parametrize(("text", "width"), [("car", 3), ("自転車", 6), ("e\u0301", 1), ("", 0), ("ｃ", 2)])
def test_columns_of_a_terminal(text: str, width: int) -> None:
    assert columns(text) == width
