from __future__ import annotations

import re

import matplotlib
import numpy as np
import pytest

from tests.helpers.evaluate import NAMES, evaluation_of, random_pairs
from utils.evaluation.report.charts import DEEPEST, HEAT, MOST_NUMBERED, PAGE_COLORS, class_bars, heat_map, row_shares
from utils.evaluation.report.curves import Curve
from utils.evaluation.report.tables import confusion_table, curve_table, interval, label_table, percent
from utils.metrics.scores import Evaluation


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return evaluation_of(random_pairs(12), NAMES)


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
    for chart in (class_bars(evaluation), heat_map(evaluation)):
        assert "currentColor" in chart.svg
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
    written = texts(heat_map(evaluation).svg)
    assert sum(bool(re.fullmatch(r"[\d.]+", text)) for text in written) == np.count_nonzero(shares >= 0.0005)
    names = [f"class {i}" for i in range(MOST_NUMBERED)]
    assert not re.search(r">[\d.]+</text>", heat_map(evaluation_of(random_pairs(4), names)).svg)


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
