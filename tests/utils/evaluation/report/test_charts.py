from __future__ import annotations

import re
from pathlib import Path

import matplotlib
import numpy as np
import pytest

from tests.helpers.evaluate import NAMES, evaluation_of, random_pairs
from utils.evaluation.report.charts import PAGE_COLORS, class_bars, f1_chart, precision_chart
from utils.evaluation.report.curves import BoxCurves, Curve
from utils.evaluation.report.tables import (
    DEEPEST,
    HEAT,
    MOST_NUMBERED,
    box_table,
    confusion_table,
    curve_table,
    heat_map,
    interval,
    label_table,
    percent,
    row_shares,
)
from utils.label_maps import instances_of
from utils.metrics.summary import Evaluation
from utils.structures import Sample


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return evaluation_of(random_pairs(12), NAMES)


CURVES = BoxCurves(np.array([0, 2]), np.linspace(1, 0, 202).reshape(2, 101), np.linspace(1, 0, 402).reshape(2, 201))


def texts(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_bars_stand_for_the_labels_that_occur_the_best_on_top(evaluation: Evaluation) -> None:
    svg = class_bars(evaluation).svg
    written = texts(svg)
    assert "nowhere" not in written
    values = [float(text) for text in written if re.fullmatch(r"\d+\.\d", text)]
    assert values == sorted(values)  # the lowest is drawn first
    assert len(values) == np.count_nonzero(evaluation.counts.union)


def test_colours_and_fonts_are_the_pages(evaluation: Evaluation) -> None:
    for chart in (class_bars(evaluation), precision_chart(CURVES), f1_chart(CURVES)):
        assert "var(--accent)" in chart.svg
        assert not [color for color in PAGE_COLORS if color in chart.svg]
        assert "font-family" not in chart.svg
        assert "<style" not in chart.svg
        assert all(name.startswith(f"{chart.name}-") for name in re.findall(r'\bid="([^"]*)"', chart.svg))


def test_what_others_set_in_matplotlib_changes_nothing(evaluation: Evaluation) -> None:
    plain = class_bars(evaluation)
    with matplotlib.rc_context(
        {"axes.spines.left": False, "font.size": 30, "lines.linewidth": 9, "svg.fonttype": "path"}
    ):
        assert class_bars(evaluation) == plain
        assert matplotlib.rcParams["font.size"] == 30


def test_cells_hold_percents_of_their_rows_unless_there_are_many(evaluation: Evaluation) -> None:
    shares = row_shares(evaluation.matrix)
    assert np.nansum(shares, axis=1)[evaluation.matrix.any(axis=1)] == pytest.approx(1)
    heat, occurring = heat_map(evaluation), np.flatnonzero(evaluation.counts.union)
    assert heat.names == tuple(evaluation.names[label] for label in occurring)
    cells = [cell for row in heat.rows for cell in row]
    assert sum(bool(cell.text) for cell in cells) == np.count_nonzero(shares >= 0.0005)
    assert sum(bool(cell.tip) for cell in cells) == np.count_nonzero(evaluation.matrix)
    first = evaluation.matrix[0, occurring[1]]
    expected = f"background taken for {heat.names[1]}: {percent(shares[0, occurring[1]])} %, {first:,} pixels"
    assert heat.rows[0][1].tip == expected
    assert heat.rows[0][0].tip.startswith("background found: ")


def test_cells_of_many_labels_hold_no_numbers_but_say_them() -> None:
    names = [f"class {i}" for i in range(MOST_NUMBERED)]
    labels = np.arange(MOST_NUMBERED + 1, dtype=np.uint8)[None]
    sample = Sample("a", Path("a.jpg"), np.zeros((*labels.shape, 3), np.uint8), labels)
    heat = heat_map(evaluation_of([(sample, instances_of(labels, None))], names))
    assert not heat.numbered
    cells = [cell for row in heat.rows for cell in row]
    assert {cell.text for cell in cells} == {""}
    assert len([cell for cell in cells if cell.tip]) >= MOST_NUMBERED


def test_the_numbers_of_boxes_name_the_best_score(evaluation: Evaluation) -> None:
    table = box_table(CURVES, evaluation.names)
    assert [row.name for row in table.rows] == [evaluation.names[1], evaluation.names[3]]
    assert table.rows[0].cells == ("75.1", "100.0", "0.00")
    assert table.foot.cells[0] == "50.0"


@pytest.mark.parametrize(
    ("ground", "ink"), [((255, 255, 255), (0x1B, 0x1F, 0x24)), ((0x14, 0x17, 0x1B), (0xE7, 0xEA, 0xEE))]
)
def test_numbers_can_be_read_on_the_deepest_cell(ground: tuple[int, ...], ink: tuple[int, ...]) -> None:
    def luminance(srgb: np.ndarray) -> float:
        linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
        return float(linear @ (0.2126, 0.7152, 0.0722))

    cell = luminance(DEEPEST * np.array(HEAT) + (1 - DEEPEST) * np.array(ground) / 255)
    text = luminance(np.array(ink) / 255)
    assert (max(cell, text) + 0.05) / (min(cell, text) + 0.05) > 4.5


def test_tables_say_what_the_evaluation_found(evaluation: Evaluation) -> None:
    labels = label_table(evaluation)
    occurring = np.flatnonzero(evaluation.counts.union)
    assert [row.name for row in labels.rows] == [evaluation.names[label] for label in occurring]
    assert {len(row.cells) + 1 for row in (*labels.rows, labels.foot)} == {len(labels.heads)}
    objects = [int(row.cells[-1] or 0) for row in labels.rows]
    assert labels.heads[-2:] == ("Images", "Instances")
    assert sum(objects) == int(labels.foot.cells[-1]) == sum(len(each.objects.true_areas) for each in evaluation.images)
    wrong = evaluation.matrix - np.diag(evaluation.matrix.diagonal())
    true, found = np.unravel_index(wrong.argmax(), wrong.shape)
    first = confusion_table(evaluation).rows[0]
    assert (first.name, first.note) == (evaluation.names[true], f"taken for {evaluation.names[found]}")
    assert first.cells[1] == percent(wrong.max() / wrong.sum())


def test_numbers_of_a_chart_and_dashes_for_what_is_not_known() -> None:
    curve = Curve(("a",), np.array([1.0]), np.array([3]), np.array([0.5]), np.array([[0.25], [0.75]]))
    table = curve_table("t", "Size", {"one": curve, "two": curve})
    assert [(row.name, row.note, row.cells) for row in table.rows] == [
        ("a", "one", ("3", "50.0", "25.0 – 75.0")),
        ("a", "two", ("3", "50.0", "25.0 – 75.0")),
    ]
    assert (percent(np.nan), interval(np.array([np.nan, 1]))) == ("–", "–")
