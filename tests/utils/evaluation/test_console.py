"""What an evaluation prints."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.helpers.evaluate import NAMES, evaluation_of, random_pairs
from utils.evaluation.console import columns, summary_lines
from utils.metrics.scores import Evaluation
from utils.metrics.summary import label_measures, mean_ious


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return evaluation_of(random_pairs(20), NAMES)


def test_the_table_has_each_label_in_percent_and_counts_those_left_out(evaluation: Evaluation) -> None:
    lines = summary_lines(evaluation)
    ious, present = label_measures(evaluation)["iou"], np.flatnonzero(evaluation.counts.union)
    table = [line for line in lines if line.startswith("|")]
    assert [row.split("|")[1].strip() for row in table[1:-1]] == [str(label) for label in present]
    assert [row.split("|")[3].strip() for row in table[1:-1]] == [f"{100 * ious[label]:.2f}" for label in present]
    assert table[-1].split("|")[3].strip() == f"{100 * mean_ious(evaluation)['non_empty_union']:.2f}"
    assert "1 more labels are in neither prediction nor target" in lines


def test_every_convention_is_named(evaluation: Evaluation) -> None:
    lines = summary_lines(evaluation)
    start = lines.index("Mean IoU, by what it averages:") + 1
    values = [float(line.split()[0]) for line in lines[start : start + 5]]
    assert values == pytest.approx([100 * value for value in mean_ious(evaluation).values()], abs=0.005)
    for tool in ("mmsegmentation", "Ultralytics", "torchmetrics"):
        assert tool in "\n".join(lines[start : start + 5])


def test_it_fits_a_terminal_of_80_columns(evaluation: Evaluation) -> None:
    long = replace(evaluation, names=tuple(f"自転車 and something long {name}" for name in evaluation.names))
    assert max(columns(line) for line in summary_lines(long)[:-1]) <= 80


def test_without_instance_ids_no_average_precision_is_printed(evaluation: Evaluation) -> None:
    assert any(line.startswith("Mask AP") for line in summary_lines(evaluation))
    assert "AP" not in "\n".join(summary_lines(replace(evaluation, average_precision=None)))
