from __future__ import annotations

from typing import Any

from utils.evaluation.report.tables import attribution_section

PARTS = {"images": 0, "specks": 0}
BOXES = {"found": 104, "true": 97, "matched": 96, "false": 8, "missed": 1}


def result(**changes: Any) -> dict[str, Any]:
    parts = {"false": 0.01, "badly_placed": -0.002, "missed": 0.03, "sam2": 0.07}
    given = {"Mean_IOU": 0.892, "missing": 0.108, "detector": 0.038, "parts": parts, "boxes": BOXES}
    return {**given, "connected_parts": PARTS, **changes}


def test_every_part_stands_in_percent_with_what_it_counts() -> None:
    table = attribution_section(result()).table
    assert [row.cells for row in table.rows] == [("3.8",), ("1.0",), ("-0.2",), ("3.0",), ("7.0",)]
    assert [row.note for row in table.rows][1:4] == [
        "8 of 104 boxes",
        "96 boxes that have an object",
        "1 of 97 objects",
    ]
    assert table.foot is not None
    assert table.foot.cells == ("10.8",)


def test_it_is_said_where_connected_parts_stand_for_objects() -> None:
    section = attribution_section(result(connected_parts={"images": 1, "specks": 309}))
    assert "1 image has no SegmentationObject: connected parts stand for objects; 309 specks" in section.text
    assert "SegmentationObject" not in attribution_section(result()).text


def test_where_no_pixel_was_counted_there_are_dashes() -> None:
    nothing = dict.fromkeys(("false", "badly_placed", "missed", "sam2"))
    table = attribution_section(result(missing=None, detector=None, parts=nothing)).table
    assert {row.cells for row in (*table.rows, table.foot)} == {("–",)}
