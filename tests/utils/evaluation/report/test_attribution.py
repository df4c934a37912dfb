from __future__ import annotations

from typing import Any

from utils.evaluation.report.tables import attribution_section

PARTS = {"images": 0, "specks": 0}
BOXES = {"found": 104, "true": 97, "matched": 96, "false": 8, "missed": 1, "wrong_class": 0}


def result(**changes: Any) -> dict[str, Any]:
    parts = {"false": 0.01, "badly_placed": -0.002, "missed": 0.03, "wrong_class": 0.0, "sam2": 0.07}
    intervals = {name: [0.01, 0.02] for name in (*parts, "detector", "missing")}
    given = {"Mean_IOU": 0.892, "missing": 0.108, "detector": 0.038, "parts": parts, "boxes": BOXES}
    return {**given, "method": "shapley", "intervals_95": intervals, "connected_parts": PARTS, **changes}


def test_every_part_stands_in_percent_with_its_interval_and_what_it_counts() -> None:
    table = attribution_section(result()).table
    assert [row.cells[0] for row in table.rows] == ["3.8", "1.0", "-0.2", "3.0", "0.0", "7.0"]
    assert {row.cells[1] for row in table.rows} == {"1.0 – 2.0"}
    assert [row.note for row in table.rows][1:5] == [
        "8 of 104 boxes",
        "96 boxes that have an object",
        "1 of 97 objects",
        "0 of 104 boxes",
    ]
    assert table.foot is not None
    assert table.foot.cells == ("10.8", "1.0 – 2.0")


def test_it_is_said_how_errors_are_shared_out() -> None:
    assert "Shapley" in attribution_section(result()).text
    chain = attribution_section(result(method="chain")).text
    assert "one after the other" in chain and "Shapley" not in chain


def test_it_is_said_where_connected_parts_stand_for_objects() -> None:
    section = attribution_section(result(connected_parts={"images": 1, "specks": 309}))
    assert "1 image has no SegmentationObject: connected parts stand for objects; 309 specks" in section.text
    assert "SegmentationObject" not in attribution_section(result()).text


def test_where_no_pixel_was_counted_there_are_dashes() -> None:
    given = result()
    nothing = dict.fromkeys(given["parts"])
    unknown = {key: [None, None] for key in given["intervals_95"]}
    table = attribution_section(result(missing=None, detector=None, parts=nothing, intervals_95=unknown)).table
    assert {row.cells for row in (*table.rows, table.foot)} == {("–", "–")}
