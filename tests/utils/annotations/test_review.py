from __future__ import annotations

import csv
import io
import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import binom
from torchvision.ops import box_iou

from utils.annotations.review import NOTHING, ReviewExporter, ReviewSettings, sample_objects
from utils.formats.review_flags import CONFIDENCE_TERMS, DIGITS, confidence_terms, confidences
from utils.masks import Mask
from utils.structures import Detections, Instances, Sample

NAMES = ("car", "tree")
SIZE = (40, 60)


def rectangle(x1: int, y1: int, x2: int, y2: int) -> np.ndarray:
    full = np.zeros(SIZE, bool)
    full[y1:y2, x1:x2] = True
    return full


def found(*objects: tuple[np.ndarray, tuple[float, ...], float, float]) -> Instances:
    """Instances of (mask, box, score, mask score) each, with class ids 0, 1, 0, 1, ..."""
    masks, boxes, scores, mask_scores = zip(*objects) if objects else ([], [], [], [])
    detections = Detections.from_arrays(boxes, scores, [i % 2 for i in range(len(objects))])
    return Instances(SIZE, detections, [Mask.from_array(mask) for mask in masks], np.array(mask_scores, np.float32))


def rows(*images: Instances, below: float | None = None, edited: tuple[str, ...] = ()) -> list[dict[str, str]]:
    """The table of these images, called 0, 1, ..., after its records went through a file."""
    exporter = ReviewExporter(ReviewSettings(Path("out"), NAMES, below, lambda: edited))
    sample = Sample("x", Path("x.png"), np.zeros((*SIZE, 3), np.uint8))
    records = [(str(i), json.loads(json.dumps(exporter.export(sample, each).record))) for i, each in enumerate(images)]
    content = exporter.assemble(records)["review.csv"]
    return list(csv.DictReader(io.StringIO(content.decode())))


def test_confidence_terms_equal_their_definitions_on_random_instances() -> None:
    rng = np.random.default_rng(1)
    corners = rng.uniform(0, 30, (8, 2)).astype(np.float32)
    boxes = np.hstack([corners, corners + rng.uniform(5, 20, (8, 2)).astype(np.float32)]).clip(0, 40)
    masks = [rectangle(*box.round().astype(int)) & (rng.random(SIZE) < 0.7) for box in boxes]
    scores = rng.random((8, 2))
    instances = found(*((mask, tuple(box), *pair) for mask, box, pair in zip(masks, boxes, scores)))
    claims = np.sum(masks, axis=0)
    tight = [[x.min(), y.min(), x.max() + 1, y.max() + 1] for y, x in map(np.nonzero, masks)]
    expected = np.stack(
        [
            *scores.T,
            box_iou(torch.tensor(boxes), torch.tensor(np.array(tight, np.float32))).diagonal().numpy(),
            [(claims[mask] == 1).mean() for mask in masks],
        ],
        axis=1,
    )
    assert np.allclose(confidence_terms(instances), expected, atol=1e-6)
    assert 0 < expected[:, 3].min() < 1


def test_an_empty_mask_is_as_doubtful_as_can_be_and_a_drawn_one_has_no_mask_score() -> None:
    empty = (np.zeros(SIZE, bool), (0, 0, 9, 9), 0.9, 0.9)
    drawn = (rectangle(20, 20, 30, 30), (20, 20, 30, 30), 0.9, np.nan)
    assert np.allclose(confidence_terms(found(empty, drawn)), [[0.9, 0.9, 0, 1], [0.9, 1, 1, 1]])
    assert confidence_terms(found()).shape == (0, 4)


def test_a_mask_score_above_one_is_one() -> None:
    assert confidence_terms(found((rectangle(0, 0, 9, 9), (0, 0, 9, 9), 1.0, 1.02))).max() == 1


def test_nothing_found_stands_on_top_then_the_most_doubtful_and_finished_work_at_the_end() -> None:
    sure = (rectangle(0, 0, 10, 10), (0, 0, 10, 10), 0.9, 0.95)
    weak = (rectangle(20, 20, 30, 30), (20, 20, 30, 30), 0.3, 0.8)
    loose = (rectangle(40, 20, 45, 30), (40, 20, 50, 30), 0.9, 0.8)
    images = found(), found(sure), found(sure, loose), found(loose, weak), found(), found(weak)
    table = rows(*images, edited=("4", "5"))
    assert [row["image_id"] for row in table] == ["0", "3", "2", "1", "4", "5"]
    assert [row["edited"] for row in table] == ["0", "0", "0", "0", "1", "1"]
    assert [float(row["doubt"]) for row in table] == pytest.approx([1, 0.7, 0.5, 0.1, 1, 0.7], abs=10**-DIGITS)
    assert [row["objects"] for row in table] == ["0", "2", "2", "1", "0", "1"]
    assert [row["doubtful"] for row in table] == [NOTHING, "tree", "tree", "car", NOTHING, "car"]
    assert [float(table[1][term]) for term in CONFIDENCE_TERMS] == [0.3, 0.8, 0.5, 1]
    assert {row["needs_review"] for row in table} == {""}


def test_shapes_below_the_limit_are_counted() -> None:
    masks = [rectangle(20 * i, 0, 20 * i + 10, 10) for i in range(3)]
    instances = found(*((mask, (20 * i, 0, 20 * i + 10, 10), 0.2 + 0.3 * i, 0.9) for i, mask in enumerate(masks)))
    assert [confidence < 0.6 for confidence in confidences(instances)] == [True, True, False]
    assert [row["needs_review"] for row in rows(instances, below=0.6)] == ["2"]


def test_ids_are_kept_whatever_they_hold() -> None:
    exporter = ReviewExporter(ReviewSettings(Path("out"), NAMES))
    row = {"doubt": 0.5, "objects": 0, "doubtful": "", **dict.fromkeys(CONFIDENCE_TERMS, 1.0)}
    content = exporter.assemble([('a,"b\udcff\n', row)])["review.csv"]
    parsed = list(csv.DictReader(io.StringIO(content.decode("utf-8", "surrogateescape"), newline="")))
    assert parsed[0]["image_id"] == 'a,"b\udcff\n'


COUNTS = {f"image {i}": i % 4 for i in range(200)}


def test_the_sample_is_one_of_objects_and_depends_on_no_order() -> None:
    drawn = sample_objects(COUNTS, 50)
    assert sum(map(len, drawn.values())) == 50
    assert all(0 <= i < COUNTS[image_id] for image_id, each in drawn.items() for i in each)
    shuffled = random.Random(0).sample([*COUNTS.items()], len(COUNTS))
    assert sample_objects(dict(shuffled), 50) == drawn
    larger = sample_objects(COUNTS, 80)
    assert all({*each} <= {*larger[image_id]} for image_id, each in drawn.items())
    assert sample_objects(COUNTS, 0) == {} and sum(map(len, sample_objects(COUNTS, 1000).values())) == 300


def test_every_object_has_the_same_chance() -> None:
    """Of 200 sets of 100 objects, 10 are drawn each: at every position about as often."""
    times = np.zeros(100)
    for each in range(200):
        for i in sample_objects({f"{each}": 100}, 10)[f"{each}"]:
            times[i] += 1
    low, high = binom.ppf([0.0001, 0.9999], 200, 0.1)
    assert low <= times.min() and times.max() <= high


def test_an_image_is_linked_as_doubtful_where_an_object_needs_review() -> None:
    """Scores are float32, whose 0.7 lies below the limit 0.7; the doubt in the table is rounded."""
    exporter = ReviewExporter(ReviewSettings(Path("out"), NAMES, below=0.7))
    sample = Sample("x", Path("x.png"), np.zeros((*SIZE, 3), np.uint8))
    instances = found((rectangle(0, 0, 10, 10), (0, 0, 10, 10), 0.7, 0.9))
    table = exporter.assemble([("x", exporter.export(sample, instances).record)])["review.csv"].decode()
    assert [row["needs_review"] for row in csv.DictReader(io.StringIO(table))] == ["1"]
    assert exporter.doubtful == ["x"]


def test_an_audit_without_any_object_draws_nothing() -> None:
    exporter = ReviewExporter(ReviewSettings(Path("out"), NAMES, audit=5))
    row = {"doubt": 1.0, "objects": 0, "doubtful": NOTHING, **dict.fromkeys(CONFIDENCE_TERMS, 1.0)}
    exporter.assemble([("x", row)])
    assert exporter.doubtful == []
    assert "1 image, 0 drawn for a check" in exporter.summary_lines(0, 1, Path("out"))[0]
