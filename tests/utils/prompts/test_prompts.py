"""The same boxes out of every format and era, or a refusal that names the option to give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from models.ultralytics_quiet import quiet_ultralytics
from utils.classes import COCO_CLASSES, COCO_IDS
from utils.errors import UserError
from utils.prompts.prompts import Prompts, load_prompts
from utils.prompts.table import PromptOverrides

Write = Callable[[Any], Path]
Row = dict[str, Any]

NAMES = ("car", "dog", "sofa", "tv", "person")
NUMBERED = [f"{i:06d}" for i in range(12)]
FOLDERS = [f"clip{i % 3}/{name}" for i, name in enumerate(NUMBERED)]


@pytest.fixture(params=[NUMBERED, FOLDERS, [f"p_{name}" for name in NUMBERED]], ids=["numbers", "folders", "names"])
def ids(request: pytest.FixtureRequest) -> list[str]:
    """Image ids of a run: numbers, numbers in folders, names."""
    return request.param


def truth(ids: Sequence[str], classes: int = len(NAMES)) -> list[Row]:
    """Return native rows: sound boxes of every class in images of 640x480, rounded to three decimals."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(6 * len(ids)):
        x, y = rng.uniform(100, 400), rng.uniform(100, 300)
        box = [x, y, x + rng.uniform(20, 200), y + rng.uniform(20, 150)]
        row = {"image_id": ids[i % len(ids)], "category_id": i % classes, "bbox": [round(v, 3) for v in box]}
        rows.append(row | {"score": round(rng.uniform(0.1, 1), 5)})
    return rows


def ultralytics(rows: Sequence[Row], first: int | str, *, file_name: bool) -> list[Row]:
    """The same rows as an older or a newer ultralytics writes them."""
    written = []
    for row in rows:
        path, (x1, y1, x2, y2) = PurePosixPath(row["image_id"]), row["bbox"]
        category_id = COCO_IDS[row["category_id"]] if first == "coco91" else row["category_id"] + int(first)
        new = {"image_id": int(path.name) if path.name.isnumeric() else path.name}
        new |= {"file_name": f"{path.name}.jpg"} if file_name else {}
        box = [round(value, 3) for value in (x1, y1, x2 - x1, y2 - y1)]
        written.append(new | {"category_id": category_id, "bbox": box, "score": row["score"]})
    return written


def assert_truth(prompts: Prompts, rows: Sequence[Row], ids: Sequence[str]) -> None:
    """Every image has its boxes, in order."""
    for image_id in ids:
        own = [row for row in rows if row["image_id"] == image_id]
        boxes, scores, class_ids = prompts.for_image(image_id, (480, 640))
        np.testing.assert_allclose(boxes, np.reshape([row["bbox"] for row in own], (-1, 4)), atol=0.002)
        np.testing.assert_array_equal(scores, np.array([row["score"] for row in own], np.float32))
        assert class_ids.tolist() == [row["category_id"] for row in own]
    assert len(prompts.boxes) == len(rows)


def test_a_native_prompt_file(ids: list[str], write: Write, images_of: Any) -> None:
    prompts = load_prompts(write(truth(ids)), NAMES, images_of(ids), PromptOverrides())
    assert_truth(prompts, truth(ids), ids)
    exact = np.float32([row["bbox"] for row in truth(ids) if row["image_id"] == ids[3]])
    np.testing.assert_array_equal(prompts.for_image(ids[3], (480, 640))[0], exact, strict=True)
    form, share = prompts.finding
    assert form.endswith("native prompt file: bbox is xyxy, category ids count from 0")
    assert "72 of 72 rows (100.0 %) and 12 of 12 images (100.0 %)" in share


@pytest.mark.parametrize("first, file_name", [("0", False), ("1", False), ("1", True)])
def test_every_era_of_ultralytics(first: str, file_name: bool, ids: list[str], write: Write, images_of: Any) -> None:
    path = write(ultralytics(truth(ids), first, file_name=file_name))
    prompts = load_prompts(path, NAMES, images_of(ids), PromptOverrides())
    assert_truth(prompts, truth(ids), ids)
    assert prompts.finding[-2].endswith(f"bbox is xywh, category ids count from {first}")
    assert ("only one interpretation fits" in prompts.finding[1]) == (not file_name)


@pytest.mark.parametrize("file_name", [False, True])
def test_every_era_of_ultralytics_on_coco(file_name: bool, write: Write, images_of: Any) -> None:
    ids = [f"{i:012d}" for i in range(40)]
    rows = truth(ids, 80)
    path = write(ultralytics(rows, "coco91", file_name=file_name))
    assert_truth(load_prompts(path, COCO_CLASSES, images_of(ids), PromptOverrides()), rows, ids)


def test_what_ultralytics_numbers_in_two_ways_is_refused(write: Write, images_of: Any) -> None:
    rows = [row | {"category_id": 15 + i % 8} for i, row in enumerate(truth(NUMBERED))]
    path = write(ultralytics(rows, "coco91", file_name=True))
    with pytest.raises(
        UserError, match=r"more than one interpretation fits.*from 1.*COCO's own.*; give --category-offset"
    ):
        load_prompts(path, COCO_CLASSES, images_of(NUMBERED), PromptOverrides())
    given = PromptOverrides(category_offset="coco91")
    assert_truth(load_prompts(path, COCO_CLASSES, images_of(NUMBERED), given), rows, NUMBERED)


def test_what_cannot_be_decided_is_refused_until_the_option_is_given(write: Write, images_of: Any) -> None:
    rows = [row | {"category_id": 1 + i % 3} for i, row in enumerate(truth(NUMBERED))]
    path, images = write(ultralytics(rows, "0", file_name=False)), images_of(NUMBERED)
    with pytest.raises(
        UserError, match=r"prediction\.json: .*more than one interpretation fits.*; give --category-offset"
    ):
        load_prompts(path, NAMES, images, PromptOverrides())
    assert_truth(load_prompts(path, NAMES, images, PromptOverrides(category_offset="0")), rows, NUMBERED)


def test_own_files_of_mixed_meaning(write: Write, images_of: Any) -> None:
    rows, images = truth(NUMBERED), images_of(NUMBERED)
    sizes = [row | {"bbox": other["bbox"]} for row, other in zip(rows, ultralytics(rows, "0", file_name=False))]
    from_one = [row | {"category_id": row["category_id"] + 1} for row in rows]
    corners = [row | {"file_name": f"{row['image_id']}.jpg"} for row in from_one]
    for content in (sizes, from_one, corners):
        assert_truth(load_prompts(write(content), NAMES, images, PromptOverrides()), rows, NUMBERED)
    assert_truth(load_prompts(write(sizes), NAMES, images, PromptOverrides(bbox_format="xywh")), rows, NUMBERED)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"bbox": [5000, 5000, 6000, 6000]}, r"\[0\]\.bbox is inverted or far outside.*72 of 72.*give --bbox-format$"),
        (
            {"category_id": 99},
            r"\[0\]\.category_id: 99 is outside the 5 classes.* 4 \(72 of 72.*--category-offset",
        ),
    ],
)
def test_what_fits_no_interpretation_is_refused(change: Row, message: str, write: Write, images_of: Any) -> None:
    with pytest.raises(UserError, match=message):
        load_prompts(write([row | change for row in truth(NUMBERED)]), NAMES, images_of(NUMBERED), PromptOverrides())


def test_a_few_ids_outside_the_classes_are_refused_too(write: Write, images_of: Any) -> None:
    rows = truth(NUMBERED)
    rows[7]["category_id"] = 5
    with pytest.raises(UserError, match=r"json: \[7\]\.category_id: 5 is outside the 5 classes.*1 of 72 rows"):
        load_prompts(write(rows), NAMES, images_of(NUMBERED), PromptOverrides())


def test_a_few_bad_boxes_are_left_to_the_detector(write: Write, images_of: Any) -> None:
    nan, bad = float("nan"), [[50, 50, 40, 60], [10, 10, 10, 40], [-5000, 0, -4000, 50], [-30, -30, 9999, 9999]]
    rows = [row | {"bbox": box} for row, box in zip(truth(NUMBERED), [[nan, 0, 9, 9], *bad])]
    prompts = load_prompts(write(rows), NAMES, images_of(NUMBERED), PromptOverrides())
    np.testing.assert_array_equal(prompts.boxes[1:], bad)
    assert "no other interpretation fits better" in prompts.finding[0]


def test_a_wrong_id_among_a_few_rows_moves_no_classes(write: Write, images_of: Any) -> None:
    rows = [row | {"category_id": 1 + i % 3} for i, row in enumerate(truth(NUMBERED)[:8])]
    with pytest.raises(UserError, match=r"json: \[0\]\.category_id: 5 is outside the 5 classes.*1 of 8 rows"):
        load_prompts(write([rows[0] | {"category_id": 5}, *rows[1:]]), NAMES, images_of(NUMBERED), PromptOverrides())


def test_more_than_a_tenth_turns_the_interpretation_of_a_short_file_too(write: Write, images_of: Any) -> None:
    def boxes(inverted: int, **given: Any) -> list[list[float]]:
        corners = [[50, 60, 40, 99]] * inverted + [[50, 60, 90, 99]] * (20 - inverted)
        rows = [row | {"bbox": box} for row, box in zip(truth(NUMBERED), corners)]
        return load_prompts(write(rows), NAMES, images_of(NUMBERED), PromptOverrides(**given)).boxes.tolist()

    assert boxes(2)[0] == boxes(3, bbox_format="xyxy")[0] == [50, 60, 40, 99]
    assert boxes(3)[0] == [50, 60, 90, 159]


def test_scores_that_lose_most_rows_are_warned_of(write: Write, images_of: Any) -> None:
    rows = [row | {"score": 0.001 if i % 3 else 0.9} for i, row in enumerate(truth(NUMBERED))]
    prompts = load_prompts(write(rows), NAMES, images_of(NUMBERED), PromptOverrides())
    (line,) = prompts.score_warnings(np.full(len(NAMES), 0.25, np.float32))
    assert line.startswith("-conf 0.25 (dataset.conf) leaves out 48 of 72 rows")
    assert prompts.score_warnings(np.full(len(NAMES), 0.0005, np.float32)) == []


@pytest.mark.parametrize("times", [1, 2])
def test_rows_that_repeat_others_are_warned_of(times: int, write: Write, images_of: Any) -> None:
    rows = [row | {"score": 0.5 + i / 1000} for i, row in enumerate(truth(NUMBERED))]
    prompts = load_prompts(write(rows * times), NAMES, images_of(NUMBERED), PromptOverrides())
    said = [line for line in prompts.warnings if f"{len(rows)} of {2 * len(rows)} rows repeat others" in line]
    assert len(said) == times - 1


@pytest.mark.parametrize(("lowest", "conf", "told"), [(0.3, 0.1, True), (0.3, 0.25, False), (1.0, 0.1, False)])
def test_a_threshold_far_below_all_scores_is_warned_of(
    lowest: float, conf: float, told: bool, write: Write, images_of: Any
) -> None:
    """The file was made with a higher one; where all score 1, nobody scored them."""
    rows = truth(NUMBERED)
    scored = [row | {"score": score} for row, score in zip(rows, np.linspace(lowest, 1, len(rows)).tolist())]
    prompts = load_prompts(write(scored), NAMES, images_of(NUMBERED), PromptOverrides())
    line = (
        "no row scores below 0.3, so -conf 0.1 (dataset.conf) leaves out none; a file that was made with a higher one"
    )
    found = prompts.score_warnings(np.full(len(NAMES), conf, np.float32))
    assert found == [f"{line} lacks boxes"] * told


@pytest.mark.parametrize("right, wrong", [("xywh", "xyxy"), ("xyxy", "xywh")])
def test_a_wrong_box_format_is_warned_of(right: str, wrong: str, write: Write, images_of: Any) -> None:
    corners = [[x, y, x + 60, y + 50] for x in range(300, 560, 40) for y in range(250, 400, 30)]
    boxes = [[x1, y1, x2 - x1, y2 - y1] if right == "xywh" else [x1, y1, x2, y2] for x1, y1, x2, y2 in corners]
    rows = [{"image_id": NUMBERED[0], "category_id": 0, "bbox": box, "score": 0.5} for box in boxes]
    path, images = write(rows), images_of(NUMBERED)
    (line,) = load_prompts(path, NAMES, images, PromptOverrides(bbox_format=wrong)).warnings  # type: ignore[arg-type]
    assert line == (
        f"{path}: --bbox-format {wrong} makes {len(rows)} of {len(rows)} boxes inverted or far outside their images; "
        f"with {right}, {len(rows)} fit: leave the option out or give --bbox-format {right}"
    )
    assert load_prompts(path, NAMES, images, PromptOverrides(bbox_format=right)).warnings == []  # type: ignore[arg-type]


def test_ids_that_may_count_from_one_are_warned_of(write: Write, images_of: Any) -> None:
    def warnings(ids: Sequence[int], given: PromptOverrides) -> list[str]:
        rows = [row | {"category_id": ids[i % len(ids)]} for i, row in enumerate(truth(NUMBERED))]
        prompts = load_prompts(write(rows), NAMES, images_of(NUMBERED), given)
        assert prompts.class_ids[0] == ids[0] - (given.category_offset == "1")
        return prompts.warnings

    (line,) = warnings([1, 2, 4], PromptOverrides())
    assert line.endswith(
        "prediction.json: no category id is 0, so they may count from 1: then give --category-offset 1, else 0"
    )
    assert len(warnings([1, 2, 4], PromptOverrides(class_names=NAMES))) == 1
    assert warnings([0, 4], PromptOverrides()) == []
    assert (
        warnings([1, 2, 4], PromptOverrides(category_offset="0"))
        == warnings([1, 2, 4], PromptOverrides(category_offset="1"))
        == []
    )
    assert warnings([1, 4], PromptOverrides()) == [], "where few classes occur, the first one need not"
    assert load_prompts(write([]), NAMES, images_of(NUMBERED), PromptOverrides()).warnings == []


@pytest.mark.parametrize("given", [PromptOverrides(), PromptOverrides(bbox_format="xyxy")])
def test_shares_of_the_sides_are_refused_where_pixels_are_needed(
    given: PromptOverrides, write: Write, images_of: Any
) -> None:
    rows = [row | {"bbox": [0.5, 0.5, 0.3, 1.004]} for row in truth(NUMBERED)]
    strays = [[0, 0, 0, 0], [float("nan"), 0, 1, 1], [100, 100, 200, 200], [1.1, 0, 0.5, 1]]
    rows[:4] = [row | {"bbox": box} for row, box in zip(rows, strays)]
    with pytest.raises(
        UserError,
        match=r"68 of 72 boxes lie within 0 and 1, so they are shares .* native prompt file, which must have pixels$",
    ):
        load_prompts(write(rows), NAMES, images_of(NUMBERED), given)
    specks = [row | {"bbox": [0, 0, 1, 1]} for row in rows]
    assert len(load_prompts(write(specks), NAMES, images_of(NUMBERED, (3, 4)), given).boxes) == 72
    large = [row | {"bbox": [0, 0, 2, 1]} for row in rows[:8]]
    assert len(load_prompts(write([*large, *specks[8:]]), NAMES, images_of(NUMBERED), given).boxes) == 72


def test_an_option_is_the_last_word(write: Write, images_of: Any) -> None:
    rows = [row | {"bbox": [5000, 5000, 6000, 6000]} for row in truth(NUMBERED)]
    prompts = load_prompts(write(rows), NAMES, images_of(NUMBERED), PromptOverrides(bbox_format="xyxy"))
    assert len(prompts.boxes) == len(rows)


def test_rows_outside_the_run_are_counted(write: Write, images_of: Any) -> None:
    prompts = load_prompts(write(truth(NUMBERED)), NAMES, images_of(NUMBERED[:3]), PromptOverrides())
    assert len(prompts.boxes) == 18
    assert prompts.left_out == ["prompts: rows for images outside the run, left out: 54"]
    assert "18 of 72 rows (25.0 %) and 3 of 12 images (25.0 %) are in the run, which has 3" in prompts.finding[-1]


def test_only_wanted_classes_are_kept_and_the_others_counted(write: Write, images_of: Any) -> None:
    rows, images = truth(NUMBERED), images_of(NUMBERED[:3])
    prompts = load_prompts(write(rows), NAMES, images, PromptOverrides(), ("Couch", "zebra", "car"))
    own = [row["category_id"] for row in rows if row["image_id"] in NUMBERED[:3]]
    assert sorted(prompts.class_ids.tolist()) == sorted(class_id for class_id in own if class_id in (0, 2))
    outside, line = prompts.left_out
    assert "54" in outside
    assert line.startswith("prompts: rows of classes that are none of detector.classes (")
    assert line.endswith(f"), left out: {18 - len(prompts.boxes)}") and f"dog {own.count(1)}" in line
    with pytest.raises(UserError, match=r"detector\.classes: the run has no class zebra or dg; it has car, dog"):
        load_prompts(write(rows), NAMES, images, PromptOverrides(), ("zebra", "dg"))


def test_an_empty_list_means_no_boxes(write: Write, images_of: Any) -> None:
    prompts = load_prompts(write([]), NAMES, images_of(NUMBERED), PromptOverrides())
    assert [len(part) for part in prompts.for_image(NUMBERED[0], (480, 640))] == [0, 0, 0]
    assert prompts.left_out == []


def test_images_that_cannot_be_read_say_nothing_of_the_boxes(write: Write, images_of: Any) -> None:
    path = write(ultralytics(truth(NUMBERED), "0", file_name=False))
    prompts = load_prompts(path, NAMES, images_of(NUMBERED, None), PromptOverrides("xywh", "0"))
    assert_truth(prompts, truth(NUMBERED), NUMBERED)


def test_other_names_are_matched_by_name_and_alias(write: Write, images_of: Any) -> None:
    names, rows = ("Couch", "person", "cat", "tvmonitor", "dog", "car"), truth(NUMBERED, 6)
    prompts = load_prompts(write(rows), NAMES, images_of(NUMBERED), PromptOverrides(class_names=names))
    mapped = {0: 2, 1: 4, 3: 3, 4: 1, 5: 0}
    kept = [row | {"category_id": mapped[row["category_id"]]} for row in rows if row["category_id"] in mapped]
    assert_truth(prompts, kept, NUMBERED)
    assert prompts.left_out == ["prompts: rows of classes that the run lacks (cat 12), left out: 12"]
    with pytest.raises(UserError, match=r"shares no class with the run: it has a, b, c, d, e, f; the run has car"):
        load_prompts(write(rows), NAMES, images_of(NUMBERED), PromptOverrides(class_names=tuple("abcdef")))


def test_cocos_ids_mean_cocos_names(write: Write, images_of: Any) -> None:
    rows = truth(NUMBERED, 80)
    path = write(ultralytics(rows, "coco91", file_name=True))
    prompts = load_prompts(path, NAMES, images_of(NUMBERED), PromptOverrides(category_offset="coco91"))
    mapped = {COCO_CLASSES.index(name): i for i, name in enumerate(("car", "dog", "couch", "tv", "person"))}
    kept = [row | {"category_id": mapped[row["category_id"]]} for row in rows if row["category_id"] in mapped]
    assert_truth(prompts, kept, NUMBERED)
    assert_truth(
        load_prompts(path, NAMES, images_of(NUMBERED), PromptOverrides(class_names=COCO_CLASSES)), kept, NUMBERED
    )


@pytest.mark.parametrize("coco", [False, True])
def test_what_the_installed_ultralytics_writes(coco: bool, ids: list[str], write: Write, images_of: Any) -> None:
    quiet_ultralytics()
    import torch
    from ultralytics.data.converter import coco80_to_coco91_class
    from ultralytics.models.yolo.detect import DetectionValidator

    names = COCO_CLASSES if coco else NAMES
    class_map = coco80_to_coco91_class() if coco else list(range(1, len(names) + 1))
    validator = SimpleNamespace(jdict=[], class_map=class_map)
    rows = [row | {"category_id": i % len(names)} for i, row in enumerate(2 * truth(ids))]
    for image_id in ids:
        own = [row for row in rows if row["image_id"] == image_id]
        boxes, scores, classes = (torch.tensor([row[key] for row in own]) for key in ("bbox", "score", "category_id"))
        found = {"bboxes": boxes, "conf": scores, "cls": classes.float()}
        DetectionValidator.pred_to_json(validator, found, {"im_file": f"/x/{image_id}.jpg"})
    assert_truth(load_prompts(write(validator.jdict), names, images_of(ids), PromptOverrides()), rows, ids)


@pytest.mark.parametrize("named", [False, True])
def test_oriented_boxes_of_the_installed_ultralytics_are_enclosed(named: bool, write: Write, images_of: Any) -> None:
    quiet_ultralytics()
    import torch
    from ultralytics.models.yolo.obb import OBBValidator

    validator = SimpleNamespace(jdict=[], class_map=[1, 2, 3])
    turned = torch.tensor([[100.0, 80, 60, 20, torch.pi / 4], [30, 40, 20, 10, 0]])
    found = {"bboxes": turned, "conf": torch.tensor([0.9, 0.8]), "cls": torch.tensor([2.0, 0])}
    OBBValidator.pred_to_json(validator, found, {"im_file": "/x/a.png"})
    rows = [row if named else {key: row[key] for key in row if key != "file_name"} for row in validator.jdict]
    boxes, _, class_ids = load_prompts(write(rows), ("u", "v", "w"), images_of(["a"]), PromptOverrides()).for_image(
        "a", (480, 640)
    )
    half = 40 / 2**0.5
    np.testing.assert_allclose(boxes, [[100 - half, 80 - half, 100 + half, 80 + half], [20, 35, 40, 45]], atol=0.01)
    assert class_ids.tolist() == [2, 0]
    rows[0]["poly"] = rows[0]["poly"][:-1]
    with pytest.raises(UserError, match=r"\[0\]\.bbox: expected four numbers, found nothing"):
        load_prompts(write(rows), NAMES, images_of(["a"]), PromptOverrides())
