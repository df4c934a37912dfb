"""YOLO label files: against what ultralytics writes, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from models.ultralytics_quiet import quiet_ultralytics
from utils.errors import UserError
from utils.formats.yolo_labels import Label, LabelReader

TRACKS = Path(__file__).resolve().parents[3].parent / "shared/data/faults/track_labels"


def read_labels(path: Path) -> list[Label]:
    return LabelReader([path]).labels(path)


SIZE = np.array([320, 240, 320, 240])


def labels_in(folder: Path, rows: dict[str, str], **known: Any) -> tuple[list[str], list[Label]]:
    """Write label files; return the columns that are found in them, and all rows."""
    for name, text in rows.items():
        (folder / name).write_text(text)
    paths = [folder / name for name in rows]
    reader = LabelReader(paths, **known)
    return reader.columns, [label for path in paths for label in reader.labels(path)]


@pytest.mark.parametrize("tracked", [False, True])
@pytest.mark.parametrize("confident", [False, True])
@pytest.mark.parametrize("kind", ["boxes", "masks", "obb", "keypoints"])
def test_what_ultralytics_writes(kind: str, confident: bool, tracked: bool, tmp_path: Path) -> None:
    quiet_ultralytics()
    import torch
    from ultralytics.engine.results import Results

    rng, rows = np.random.default_rng(3), {}
    path, boxes, classes = tmp_path / "a.txt", [], []
    for image in range(4):
        corners = np.sort(rng.uniform(2, 238, (5, 2, 2)), axis=1).reshape(-1, 4)
        scores, ids, class_ids = rng.uniform(0.3, 0.9, 5).round(3), rng.permutation(5) + image + 1, np.arange(5) % 3
        columns = [ids, scores, class_ids] if tracked else [scores, class_ids]
        found: dict[str, Any] = {"boxes": torch.tensor(np.column_stack([corners, *columns]))}
        if kind == "masks":
            masks = torch.zeros(5, 240, 320)
            for mask, (x1, y1, x2, y2) in zip(masks, corners.astype(int)):
                mask[y1 : y2 + 1, x1 : x2 + 1] = 1
            corners = corners.astype(int).astype(float)
            found["masks"] = masks
        elif kind == "obb":
            upright = np.column_stack([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]])
            found = {"obb": torch.tensor(np.column_stack([upright, np.zeros(5), *columns]))}
        elif kind == "keypoints":
            points = rng.uniform(corners[:, None, :2], corners[:, None, 2:], (5, 17, 2))
            found["keypoints"] = torch.tensor(np.dstack([points, rng.uniform(0.6, 1, (5, 17))]))
        names = {0: "a", 1: "b", 2: "c"}
        Results(np.zeros((240, 320, 3), np.uint8), "", names, **found).save_txt(path, save_conf=confident)
        rows[f"{image}.txt"] = path.read_text()
        path.unlink()
        boxes += corners.tolist()
        classes += [*zip(class_ids.tolist(), scores.tolist())]
    columns, labels = labels_in(tmp_path, rows)
    shape = {"boxes": "x y w h", "keypoints": "x y w h keypoints"}.get(kind, "polygon")
    assert columns == [" ".join([shape, *["conf"] * confident, *["id"] * tracked])]
    np.testing.assert_allclose([label.box() * SIZE for label in labels], boxes, atol=1e-2)
    wanted = [(class_id, score if confident else 1) for class_id, score in classes]
    assert [(label.class_id, label.confidence) for label in labels] == wanted


@pytest.mark.parametrize("kind", ["boxes", "polygons", "keypoints"])
def test_training_labels_are_what_the_loader_of_ultralytics_reads(kind: str, tmp_path: Path) -> None:
    quiet_ultralytics()
    from ultralytics.data.utils import verify_image_label

    rng, rows = np.random.default_rng(5), {}
    PIL.Image.new("RGB", (32, 24)).save(tmp_path / "a.jpg")
    for image in range(6):
        box = np.column_stack([rng.uniform(0.3, 0.7, (4, 2)), rng.uniform(0.1, 0.5, (4, 2))])
        numbers = [*box]
        if kind == "polygons":
            numbers = [rng.uniform(0, 1, 2 * rng.integers(3, 9)) for _ in range(4)]
        elif kind == "keypoints":
            points = box[:, None, :2] + rng.uniform(-0.5, 0.5, (4, 5, 2)) * box[:, None, 2:]
            numbers = [*np.hstack([box, np.dstack([points, rng.integers(0, 3, (4, 5))]).reshape(4, 15)])]
        lines = [f"{i}{'.0' * (image % 2)} {' '.join(map(str, row))}" for i, row in enumerate(numbers)]
        rows[f"{image}.txt"] = "\ufeff" * (image == 0) + "\n".join(lines) + "\n\n"
    columns, labels = labels_in(tmp_path, rows)
    assert columns == [{"boxes": "x y w h", "polygons": "polygon", "keypoints": "x y w h keypoints"}[kind]]
    read = [
        verify_image_label((tmp_path / "a.jpg", tmp_path / name, "", kind == "keypoints", 4, 5, 3, False))
        for name in rows
    ]
    assert all(each[0] for each in read)
    theirs = np.concatenate([each[1] for each in read])
    order = lambda table: table[np.lexsort(table.T)]  # noqa: E731  ultralytics keeps no order
    ours = np.array([[label.class_id, *label.box()] for label in labels])
    ours[:, 1:] = np.column_stack([(ours[:, 1:3] + ours[:, 3:]) / 2, ours[:, 3:] - ours[:, 1:3]])
    np.testing.assert_allclose(order(ours.round(4)), order(theirs.astype(float).round(4)), atol=2e-4)


def test_a_confidence_before_the_box_is_found(tmp_path: Path) -> None:
    rows = {"a.txt": "1 0.9 0.234375 0.416667 0.15625 0.277778\n", "b.txt": "0 0.5 0.2 0.3 0.1 0.1\n"}
    columns, labels = labels_in(tmp_path, rows)
    assert columns == ["conf x y w h"]
    assert [label.confidence for label in labels] == [0.9, 0.5]
    np.testing.assert_allclose(labels[1].box(), [0.15, 0.25, 0.25, 0.35])


def test_one_row_of_a_track_is_a_box_unless_polygons_are_near(tmp_path: Path) -> None:
    track, tall = "1 0.234375 0.416667 0.15625 0.277778 0.9 1\n", "0 0.1 0.1 0.2 0.1 0.2 0.2 0.15 0.3\n"
    columns, (label,) = labels_in(tmp_path, {"a.txt": track})
    assert columns == ["x y w h conf id"] and label.confidence == 0.9 and len(label.points) == 2
    columns, labels = labels_in(tmp_path, {"a.txt": track, "b.txt": tall})
    assert columns == ["polygon"] and [len(label.points) for label in labels] == [3, 4]


def test_what_stays_open_is_refused_until_somebody_says_it(tmp_path: Path) -> None:
    flags = {"a.txt": "0 0.5 0.5 0.2 0.2 0\n0 0.5 0.5 0.2 0.2 1\n"}
    message = r'a\.txt:1: .* may be "x y w h conf" or "x y w h id" \(2 rows like this\): .* --label-columns'
    with pytest.raises(UserError, match=message):
        labels_in(tmp_path, flags)
    assert [label.confidence for label in labels_in(tmp_path, flags, columns="x y w h id")[1]] == [1, 1]
    assert [label.confidence for label in labels_in(tmp_path, flags, columns="x y w h conf")[1]] == [0, 1]
    both = {"a.txt": "0 0.5 0.5 0.6 0.4 0.8\n"}
    with pytest.raises(UserError, match=r'may be "x y w h conf" or "conf x y w h" \(1 row like this\)'):
        labels_in(tmp_path, both)
    assert labels_in(tmp_path, both, columns="conf x y w h")[1][0].confidence == 0.5
    touching = {"a.txt": "0 0.2 0.2 0.5 0.2 0.9 0.9 0.5 1\n"}
    with pytest.raises(UserError, match=r'may be "polygon" or "polygon conf id"'):
        labels_in(tmp_path, touching)


def test_a_few_wrong_rows_do_not_turn_the_columns(tmp_path: Path) -> None:
    good, wide = "0 0.5 0.5 0.2 0.2 0.8\n", "0 0.95 0.5 0.2 0.2 0.8\n"
    columns, labels = labels_in(tmp_path, {"a.txt": 20 * good + wide})
    assert columns == ["x y w h conf"] and len(labels) == 21
    with pytest.raises(UserError, match=r"a\.txt:21: the confidence, 1.2, is not within 0 to 1"):
        labels_in(tmp_path, {"a.txt": 20 * good + "0 0.5 0.5 0.2 0.2 1.2\n"})


@pytest.mark.skipif(not TRACKS.is_dir(), reason="no shared data")
@pytest.mark.parametrize("folder, score", [("labels", 0.9), ("labels2", 1)])
def test_track_labels_of_the_shared_data(folder: str, score: float) -> None:
    path = TRACKS / folder / "a.txt"
    (label,) = LabelReader([path]).labels(path)
    np.testing.assert_allclose(label.box() * SIZE, [50, 66.66676, 100, 133.33348], atol=1e-3)
    assert (label.class_id, label.confidence) == (1, score)


def test_segment_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("\ufeff7 0.1 0.2 0.5 0.2 0.5 0.9\n\n0 0 0 1 0 1 1.004 0 1 0.25\n", "utf-8")
    first, second = read_labels(path)
    np.testing.assert_array_equal(first.points, [[0.1, 0.2], [0.5, 0.2], [0.5, 0.9]])
    assert (first.line, first.class_id, first.confidence) == (1, 7, 1)
    np.testing.assert_array_equal(second.box(), [0, 0, 1, 1.004])
    assert (second.line, second.confidence) == (3, 0.25)


@pytest.mark.parametrize(
    "line, message",
    [
        ("car 0.5 0.5 0.1 0.1", r"expected an integer, the class, and numbers$"),
        (
            "imagesource:GoogleEarth\n",
            r"and numbers; of DOTA's labels, convert_dota_to_yolo_obb",
        ),
        (
            "1 2.5 9 2.5 9 8 1 8 large-vehicle 0",
            r"and numbers; of DOTA's labels, convert_dota_to",
        ),
        ("1.5 0.5 0.5 0.1 0.1", r"expected an integer, the class, found 1.5"),
        ("1 0.5 0.5 0.1 x", r"and numbers"),
        ("1 0.5 0.5 0.1", r"at least four numbers, found 3"),
        ("1", r"at least four numbers, found 0"),
        ("1 320 240 20 20", r"no shares of the image's width and height"),
        ("1 0.5 0.5 nan 0.1", r"no shares"),
        ("1 0.5 0.5 0.1 0.1 7.5", r"the confidence, 7.5, is not within 0 to 1"),
    ],
)
def test_other_lines_are_refused_with_their_number(line: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(f"0 0.5 0.5 0.1 0.1\n{line}\n")
    with pytest.raises(UserError, match=rf"a\.txt:2: .*{message}"):
        read_labels(path)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xff0")
    with pytest.raises(UserError, match=r"a\.txt: is not UTF-8 text \(byte 0\)"):
        read_labels(tmp_path / "a.txt")
    with pytest.raises(UserError, match=r"b\.txt: cannot be read"):
        read_labels(tmp_path / "b.txt")
