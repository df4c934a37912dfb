from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import labelme
import numpy as np
import pytest
from PIL import Image
from scipy.optimize import linear_sum_assignment
from scipy.stats import binom, binomtest

from utils.annotations.diff import COUNTS, MIN_PAIR_IOU, DiffExporter, References, changes, pair, upper_limit
from utils.annotations.labelme_manifest import add_stamp, parse_if_unmodified
from utils.annotations.review import sample_objects
from utils.errors import SampleError
from utils.formats.base import MSG_POLYGON_IOU, ExportSettings
from utils.formats.labelme_writer import VERSION, LabelmePolygonExporter
from utils.masks import Mask
from utils.structures import Detections, Instances, Sample

NAMES = ("car", "couch")
SIZE = (40, 60)


def rectangle(x1: int, y1: int, x2: int, y2: int) -> np.ndarray:
    full = np.zeros(SIZE, bool)
    full[y1:y2, x1:x2] = True
    return full


def polygon(label: str, x1: int, y1: int, x2: int, y2: int, **more: Any) -> dict[str, Any]:
    """The shape that labelme draws as `rectangle` of the same numbers."""
    points = [[x1, y1], [x2 - 1, y1], [x2 - 1, y2 - 1], [x1, y2 - 1]]
    return {"label": label, "points": points, "shape_type": "polygon", "group_id": None, "flags": {}, **more}


def annotation(*shapes: dict[str, Any]) -> dict[str, Any]:
    size = {"imageHeight": SIZE[0], "imageWidth": SIZE[1]}
    return {"version": "6.3.1", "flags": {}, "shapes": shapes, "imagePath": "x.png", "imageData": None, **size}


def differences(folder: Path, *objects: tuple[int, np.ndarray], references: References | None = None) -> dict[str, Any]:
    """The record of an image `a` with these class ids and masks."""
    exporter = DiffExporter(NAMES, references or References(folder), 0.75)
    record = json.loads(json.dumps(exporter.export(*found_in("a", *objects)).record))
    assert exporter.is_record("a", record) and record.pop("objects") == len(objects)
    return record


def found_in(image_id: str, *objects: tuple[int, np.ndarray]) -> tuple[Sample, Instances]:
    class_ids, masks = zip(*objects) if objects else ((), ())
    detections = Detections.from_arrays(np.tile((0, 0, 1, 1), (len(masks), 1)), np.ones(len(masks)), class_ids)
    instances = Instances(SIZE, detections, [Mask.from_array(mask) for mask in masks], np.ones(len(masks), np.float32))
    return Sample(image_id, Path(f"{image_id}.png"), np.zeros((*SIZE, 3), np.uint8)), instances


def write(folder: Path, *shapes: dict[str, Any]) -> Path:
    path = folder / "a.json"
    path.write_text(json.dumps(annotation(*shapes)))
    return path


def test_extra_missing_and_little_overlap(tmp_path: Path) -> None:
    write(
        tmp_path,
        polygon("car", 0, 0, 10, 10),
        polygon("couch", 20, 0, 30, 10),
        polygon("car", 40, 0, 50, 10),
        polygon("zebra", 40, 20, 50, 30),
    )
    found = [(0, rectangle(0, 0, 10, 10)), (0, rectangle(20, 0, 30, 10)), (0, rectangle(40, 0, 50, 6))]
    assert differences(tmp_path, *found) == {
        "extra": 1,
        "missing": 2,
        "low_overlap": 1,
        "pairs": 2,
        "mean_iou": 0.8,
        "differences": "extra car; missing couch; missing zebra; car 0.60",
        "changes": [["accepted", "car"], ["relabelled", "car"], ["redrawn", "car"], ["added", "zebra"]],
    }


def test_the_same_objects_do_not_differ_by_other_words_order_or_parts(tmp_path: Path) -> None:
    parts = [polygon("sofa", 30, 0, 40, 10, group_id=3), polygon("sofa", 45, 0, 50, 10, group_id=3)]
    write(tmp_path, *parts, polygon("car", 0, 0, 10, 10))
    found = [(0, rectangle(0, 0, 10, 10)), (1, rectangle(30, 0, 40, 10) | rectangle(45, 0, 50, 10))]
    record = differences(tmp_path, *found)
    assert (record["differences"], record["pairs"], record["mean_iou"]) == ("", 2, 1)


def test_no_objects_on_either_side(tmp_path: Path) -> None:
    write(tmp_path)
    assert differences(tmp_path)["mean_iou"] == ""
    assert differences(tmp_path, (0, rectangle(0, 0, 9, 9)), (0, np.zeros(SIZE, bool)))["extra"] == 2


def test_an_image_without_annotation_has_no_row(tmp_path: Path) -> None:
    assert differences(tmp_path, (0, rectangle(0, 0, 9, 9))) == {}


def test_in_its_own_folder_only_what_a_person_edited_is_compared(tmp_path: Path) -> None:
    path = write(tmp_path, polygon("car", 0, 0, 10, 10))
    assert differences(tmp_path, references=References(tmp_path, own=True))["missing"] == 1
    written = json.loads(path.read_text()) | {"version": VERSION}
    path.write_bytes(add_stamp(json.dumps(written).encode(), "settings"))
    assert differences(tmp_path, references=References(tmp_path, own=True)) == {}
    assert differences(tmp_path)["missing"] == 1


def test_what_labelme_saved_unchanged_is_checked(tmp_path: Path) -> None:
    """An audit whose checked images are those with an error alone would find nearly all objects wrong."""
    Image.new("RGB", SIZE[::-1]).save(tmp_path / "x.png")
    path = write(tmp_path, polygon("car", 0, 0, 10, 10))
    path.write_bytes(add_stamp(json.dumps(json.loads(path.read_text()) | {"version": VERSION}).encode(), "settings"))
    loaded = labelme.LabelFile(str(path))
    shapes = [{key: value for key, value in each.items() if key != "other_data"} for each in loaded.shapes]
    loaded.save(str(path), shapes, "x.png", *SIZE, None, loaded.other_data)
    assert parse_if_unmodified(path.read_bytes()), "no setting of a run makes it a person's"
    own = References(tmp_path, own=True)
    assert differences(tmp_path, (0, rectangle(0, 0, 10, 10)), references=own)["changes"] == [["accepted", "car"]]


@pytest.mark.parametrize(
    "content, reason",
    [
        ("[]", "not a labelme file"),
        (json.dumps(annotation({**polygon("car", 0, 0, 9, 9), "shape_type": "points"})), r"shapes\[0\]"),
        (json.dumps({**annotation(), "imageWidth": 61}), "for 61 x 40 pixels, the image has 60 x 40"),
        # A size that would not fit into memory is compared before shapes are drawn in it.
        (json.dumps({**annotation(polygon("car", 0, 0, 9, 9)), "imageWidth": 10**20}), f"has {10**20} x 40 pixels"),
    ],
)
def test_an_annotation_that_cannot_be_read_is_blamed_on_its_image(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(SampleError, match=reason) as failure:
        differences(tmp_path)
    assert (failure.value.image_id, failure.value.path) == ("a", tmp_path / "a.json")
    assert str(failure.value).count("a.json") == 1


def test_pairs_hold_each_object_once_and_are_no_worse_than_the_best_by_much() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        both = [
            [("car", Mask.from_array(rectangle(x, y, x + 12, y + 12))) for x, y in rng.integers(0, 28, (6, 2))]
            for _ in range(2)
        ]
        pairs = pair(*both)
        assert len({i for i, _, _ in pairs}) == len({j for _, j, _ in pairs}) == len(pairs)
        overlaps = np.array([[mask.iou(other) for _, other in both[1]] for _, mask in both[0]])
        assert all(iou == overlaps[i, j] >= MIN_PAIR_IOU for i, j, iou in pairs)
        rest = np.delete(np.delete(overlaps, [i for i, _, _ in pairs], 0), [j for _, j, _ in pairs], 1)
        assert (rest < MIN_PAIR_IOU).all()
        best = overlaps[linear_sum_assignment(overlaps, maximize=True)].sum()
        assert sum(iou for _, _, iou in pairs) >= best / 2


def test_labels_are_never_mixed_in_a_pair() -> None:
    mask = Mask.from_array(rectangle(0, 0, 9, 9))
    assert pair([("car", mask)], [("couch", mask)]) == []


def test_the_table_begins_with_the_images_that_differ_most(tmp_path: Path) -> None:
    exporter = DiffExporter(NAMES, References(tmp_path), 0.75)
    row = {"extra": 0, "missing": 0, "low_overlap": 0, "pairs": 1, "mean_iou": 1.0, "differences": "", "objects": 1}
    row["changes"] = [["accepted", "car"]]
    records = [
        ("a", row),
        ("b", {"objects": 3}),
        ("c", {**row, "missing": 2, "differences": "missing car; missing car"}),
        ("d", {**row, "extra": 1, "differences": "extra couch", "changes": [["deleted", "couch"]]}),
    ]
    table = list(csv.DictReader(io.StringIO(exporter.assemble(records)["diff.csv"].decode())))
    assert [entry["image_id"] for entry in table] == ["c", "d", "a"]
    assert table[0]["missing"] == "2"
    assert exporter.summary_lines(0, 0, tmp_path) == [
        f"3 images compared with {tmp_path}: objects 1 extra, 2 missing, 0 low overlap, in 2 images",
        "1 image has no annotation there to compare with",
        f"from this run to {tmp_path}:",
        "car: 2 accepted, 0 redrawn, 0 relabelled, 0 added, 0 deleted",
        "couch: 0 accepted, 0 redrawn, 0 relabelled, 0 added, 1 deleted",
    ]


def test_what_a_person_changed_is_what_was_changed_here() -> None:
    """Corrections of known kinds, each in a place of its own."""
    rng, found, corrected, expected = np.random.default_rng(0), [], [], []
    for i in range(12):
        x, y, label = 10 * (i % 6), 20 * (i // 6), ("car", "couch")[rng.integers(2)]
        mask, smaller = rectangle(x, y, x + 9, y + 12), rectangle(x, y, x + 9, y + 7)
        change = rng.choice(["accepted", "redrawn", "relabelled", "deleted", "added"])
        if change != "added":
            found.append((label, Mask.from_array(mask)))
            expected.append((change, label))
        if change != "deleted":
            drawn = smaller if change == "redrawn" else mask
            other = "zebra" if change == "relabelled" else label
            corrected.append((other, Mask.from_array(drawn)))
            expected += [("added", label)] if change == "added" else []
    assert sorted(changes(found, corrected)) == sorted(expected) and len({change for change, _ in expected}) == 5
    assert [change for change, _ in changes(found, corrected)][-1] == "added"


def test_what_became_of_objects_is_told_in_the_direction_of_the_correction(tmp_path: Path) -> None:
    write(tmp_path, polygon("car", 0, 0, 9, 9), polygon("couch", 20, 10, 40, 22))
    objects = (0, rectangle(0, 0, 9, 9))
    for before, change in ((False, "added"), (True, "deleted")):
        references = References(tmp_path, before=before)
        found = differences(tmp_path, objects, references=references)
        assert found["changes"] == [["accepted", "car"], [change, "couch"]]
        assert found["missing"] == 1 and found["extra"] == 0
        exporter = DiffExporter(NAMES, references, 0.75)
        exporter.assemble([("a", {"objects": 1, **found})])
        sides = (tmp_path, "this run") if before else ("this run", tmp_path)
        assert exporter.summary_lines(0, 0, tmp_path)[1] == "from {} to {}:".format(*sides)
    settings = [References(tmp_path, before=before).settings(0.75, 0) for before in (True, False)]
    assert settings[0] != settings[1], "rows of the other direction are made again"


def test_polygons_that_nobody_touched_are_no_change(tmp_path: Path) -> None:
    """The polygons of a mask with many specks hold little of it."""
    mask = rectangle(20, 10, 40, 30)
    mask[1:9:2, 1:59:2] = True  # 116 specks
    exported = LabelmePolygonExporter(ExportSettings(tmp_path, NAMES)).export(*found_in("a", (0, mask), (1, mask)))
    assert exported.measures[MSG_POLYGON_IOU][0] < 0.8
    (content,) = exported.files.values()
    edited = json.loads(add_stamp(content, "settings"))
    edited["shapes"] = [*edited["shapes"][:1], polygon("couch", 20, 10, 40, 22)]
    (tmp_path / "a.json").write_text(json.dumps(edited))
    ours = differences(tmp_path, (0, mask), (1, mask))
    assert ours["changes"] == [["accepted", "car"], ["redrawn", "couch"]] and ours["differences"] == "couch 0.60"
    write(tmp_path, *edited["shapes"])  # another program's, which drew it otherwise than it is
    assert differences(tmp_path, (0, mask), (1, mask))["changes"][0] == ["redrawn", "car"]


def test_the_audit_counts_the_objects_of_its_sample_in_checked_images(tmp_path: Path) -> None:
    """Of 40 images with 5 objects each, 30 are checked; in them every fifth object was redrawn."""

    def record(i: int) -> dict[str, Any]:
        row = dict.fromkeys((*COUNTS, "pairs"), 0) | {"mean_iou": 1.0, "differences": "", "objects": 5}
        return row | {"changes": [["redrawn" if j == i % 5 else "accepted", "car"] for j in range(5)]}

    records = [(f"{i:02}", record(i) if i < 30 else {"objects": 5}) for i in range(40)]
    exporter = DiffExporter(NAMES, References(tmp_path), 0.75, audit=100)
    exporter.assemble(records)
    drawn = sample_objects({image_id: 5 for image_id, _ in records}, 100)
    checked = [(int(image_id), i) for image_id, each in drawn.items() for i in each if int(image_id) < 30]
    wrong = sum(i == image % 5 for image, i in checked)
    first, second = exporter.summary_lines(0, 0, tmp_path)[-2:]
    assert (
        first == f"audit: of 100 objects drawn at random, {len(checked)} are in checked images, {wrong} of them wrong"
    )
    limit = binomtest(wrong, len(checked)).proportion_ci(0.9, "exact").high  # 5 % above it, as in the one-sided limit
    assert second == f"audit: at most {100 * limit:.1f} % of objects are wrong, at 95 %"
    assert not any("audit" in line for line in DiffExporter(NAMES, References(tmp_path), 0.75)._summary)


def test_labels_are_those_of_the_run_where_the_map_of_classes_leads_to_them(tmp_path: Path) -> None:
    write(
        tmp_path,
        polygon("Truck", 0, 0, 9, 9),
        polygon("sofa", 20, 0, 29, 9),
        polygon("dog", 40, 0, 49, 9),
        polygon("zebra", 0, 20, 9, 29),
    )
    made = (0, rectangle(0, 0, 9, 9)), (1, rectangle(20, 0, 29, 9))
    class_map = {"truck": "car", "dog": None}
    mapped = differences(tmp_path, *made, references=References(tmp_path, class_map=class_map))
    assert (mapped["pairs"], mapped["differences"]) == (2, "missing zebra")
    own = differences(tmp_path, *made, references=References(tmp_path, own=True, class_map=class_map))
    assert own["differences"] == "extra car; missing Truck; missing dog; missing zebra"


@pytest.mark.parametrize(("wrong", "checked"), [(0, 95), (1, 100), (7, 60), (59, 60), (60, 60)])
def test_the_limit_is_that_of_clopper_and_pearson(wrong: int, checked: int) -> None:
    assert upper_limit(wrong, checked) == pytest.approx(binomtest(wrong, checked).proportion_ci(0.9, "exact").high)


def test_no_wrong_object_among_95_means_at_most_3_1_percent() -> None:
    assert f"{100 * upper_limit(0, 95):.1f}" == "3.1" and upper_limit(0, 0) == 1


@pytest.mark.parametrize("share", [0.02, 0.1, 0.4])
def test_the_limit_is_exceeded_with_a_chance_of_5_percent_at_most(share: float) -> None:
    chances = binom.pmf(np.arange(101), 100, share)
    held = sum(chance for wrong, chance in enumerate(chances) if upper_limit(wrong, 100) >= share)
    assert held >= 0.95
