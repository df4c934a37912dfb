"""What an evaluation prints."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import takewhile

import numpy as np
import pytest

from tests.helpers.evaluate import NAMES, evaluation_of, random_pairs, with_values
from utils.classes import BACKGROUND, VOID
from utils.evaluation.console import MAX_CELL_WIDTH, display_width, framed, summary_lines
from utils.label_maps import instances_of
from utils.metrics.summary import Evaluation, percent


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return evaluation_of(random_pairs(20), NAMES)


def tables(lines: list[str]) -> list[list[str]]:
    """The rows of the tables of all classes: that of numbers, that of measures."""
    starts = [i for i, line in enumerate(lines) if "| Class " in line]
    return [list(takewhile(lambda line: line[0] in "|+", lines[i:])) for i in starts]


def rows_of(table: list[str]) -> list[list[str]]:
    return [[cell.strip() for cell in row.split("|")[1:-1]] for row in table if row.startswith("|")]


def test_a_table_looks_as_mmsegmentation_s() -> None:
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
    assert {display_width(line) for line in lines} == {display_width(lines[0])}
    assert display_width(lines[0]) <= MAX_CELL_WIDTH + len("| 0 |  |")
    assert all("\n" not in line for line in lines)


@pytest.mark.parametrize(("text", "width"), [("car", 3), ("自転車", 6), ("e\u0301", 1), ("", 0), ("ｃ", 2)])
def test_columns_of_a_terminal(text: str, width: int) -> None:
    assert display_width(text) == width


def test_the_first_table_counts_images_and_instances_of_each_class() -> None:
    pairs = random_pairs(20)
    evaluation = evaluation_of(pairs, NAMES)
    heads, *rows, total = rows_of(tables(summary_lines(evaluation))[0])
    assert heads == ["", "Class", "Images", "Instances", "Found", "AP"]
    for label, name, images, instances, found, ap in rows:
        class_id = NAMES.index(name)
        assert int(label) == class_id + 1
        assert int(images) == sum((sample.gt_mask == class_id + 1).any() for sample, _ in pairs)
        truths = (sample.gt_instances.detections.class_ids for sample, _ in pairs)
        assert int(instances) == sum((ids == class_id).sum() for ids in truths)
        assert int(found) == sum((each.detections.class_ids == class_id).sum() for _, each in pairs)
        assert ap == percent(evaluation.average_precision.labels[class_id + 1])
    assert [name for _, name, *_ in rows] == [name for name in NAMES if name != "nowhere"]
    sums = [str(sum(int(row[i]) for row in rows)) for i in (3, 4)]
    assert total == ["", "all", "20", *sums, percent(evaluation.average_precision.mean)]


def test_where_objects_are_not_told_apart_the_numbers_say_so() -> None:
    pairs = [(replace(sample, has_instance_ids=False), each) for sample, each in random_pairs(1)]
    lines = summary_lines(evaluation_of(pairs, NAMES))
    assert "1 image without SegmentationObject: there connected parts stand for instances" in lines


def test_object_maps_that_contradict_the_label_maps_are_named() -> None:
    """In the first image, the objects lie elsewhere; in the second, one object takes the pixels of several classes."""
    pairs = [pair for pair in random_pairs(30) if len({*np.unique(pair[0].gt_mask)} - {BACKGROUND, VOID}) > 1][:4]
    assert "SegmentationObject" not in "".join(summary_lines(evaluation_of(pairs, NAMES)))
    for i, objects_of in enumerate([lambda labels: (labels == BACKGROUND) * 1, np.ones_like]):
        sample, found = pairs[i]
        objects = objects_of(sample.gt_mask).astype(np.uint8)
        pairs[i] = replace(sample, gt_instances=instances_of(sample.gt_mask, objects)), found
    said = " ".join(summary_lines(evaluation_of(pairs, NAMES)))
    assert "SegmentationObject leaves out pixels of SegmentationClass in 2 images, such as " in said
    assert "they are in no instance, and AP does not look for them" in said


def test_the_table_has_each_label_in_percent_and_counts_those_left_out(evaluation: Evaluation) -> None:
    lines = summary_lines(evaluation)
    ious, present = evaluation.label_measures["iou"], np.flatnonzero(evaluation.counts.union)
    table = [line for line in tables(lines)[1] if line.startswith("|")]
    assert [row.split("|")[1].strip() for row in table[1:-1]] == [str(label) for label in present]
    assert [row.split("|")[3].strip() for row in table[1:-1]] == [f"{100 * ious[label]:.2f}" for label in present]
    assert table[-1].split("|")[3].strip() == f"{100 * evaluation.mean_ious['non_empty_union']:.2f}"
    assert "1 more label in neither prediction nor target" in lines


def test_every_convention_is_named(evaluation: Evaluation) -> None:
    lines = summary_lines(evaluation)
    start = lines.index("Mean IoU, by what it averages:") + 1
    values = [float(line.split()[0]) for line in lines[start : start + 5]]
    assert values == pytest.approx([100 * value for value in evaluation.mean_ious.values()], abs=0.005)
    for tool in ("mmsegmentation", "Ultralytics", "torchmetrics"):
        assert tool in "\n".join(lines[start : start + 5])


def test_it_fits_a_terminal_of_80_columns(evaluation: Evaluation) -> None:
    long = replace(evaluation, names=tuple(f"自転車 and something long {name}" for name in evaluation.names))
    lines = summary_lines(long)[:-1]
    assert max(display_width(line) for line in lines) <= 80
    assert not any(line.endswith("-") for line in lines)


def test_without_instance_ids_no_average_precision_is_printed(evaluation: Evaluation) -> None:
    assert any(line.startswith("Mask AP") for line in summary_lines(evaluation))
    assert "AP" not in "\n".join(summary_lines(with_values(evaluation, average_precision=None)))


@pytest.mark.parametrize(
    ("drawn", "said"),
    [(20, ""), (7, "intervals resample 7 clips"), (1, "no intervals: all images are frames of one clip")],
)
def test_what_intervals_draw_is_said_where_it_is_not_images(drawn: int, said: str, evaluation: Evaluation) -> None:
    intervals = replace(evaluation.intervals, drawn=drawn)
    lines = summary_lines(with_values(evaluation, intervals=intervals))
    assert (said in " ".join(lines)) and (bool(said) == ("intervals" in " ".join(lines)))


def test_a_measure_without_interval_stands_alone(evaluation: Evaluation) -> None:
    accuracy = next(line for line in summary_lines(evaluation) if line.startswith("Pixel accuracy"))
    assert re.match(r"Pixel accuracy \d+\.\d\d \(\d+\.\d - \d+\.\d\)", accuracy)
    unknown = replace(evaluation.intervals, pixel_accuracy=np.full(2, np.nan))
    alone = next(line for line in summary_lines(with_values(evaluation, intervals=unknown)) if "Pixel accuracy" in line)
    assert re.match(r"Pixel accuracy \d+\.\d\d(,|$)", alone)
