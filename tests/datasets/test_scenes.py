from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from datasets.scenes import Scene, SplitSpec, class_names, main, paint_clip, paint_scene, write_split
from datasets.scenes.objects import DISTRACTORS, OBJECTS
from datasets.scenes.rendering import Builder, Light, render
from datasets.scenes.rng import SceneRng
from datasets.scenes.scene import MIN_AREA
from datasets.voc import VocDataset
from utils.errors import UserError

DEMO = Path(__file__).parents[2] / "datasets/demo"


def equal(first: Scene, second: Scene) -> bool:
    pairs = ((getattr(first, name), getattr(second, name)) for name in ("image", "classes", "instances", "boxes"))
    return first.class_ids == second.class_ids and all(np.array_equal(*pair) for pair in pairs)


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


def test_committed_demo_is_what_its_seed_paints() -> None:
    clip = paint_clip(104, 0, 12)
    painted = {f"val_{index:05d}": paint_scene(104, index) for index in (0, 17, 39)}
    painted |= {f"val_clip_000/{frame:06d}": clip[frame] for frame in (0, 11)}
    for image_id, scene in painted.items():
        # Other versions of OpenCV may round an edge otherwise.
        for folder, labels in (("SegmentationClass", scene.classes), ("SegmentationObject", scene.instances)):
            assert (read(DEMO / folder / f"{image_id}.png") != labels).mean() < 1e-3
        # JPEG takes noise away, but hardly changes the means of 8 x 8 pixels.
        saved, fresh = (
            cv2.resize(image, (80, 45), interpolation=cv2.INTER_AREA).astype(int)
            for image in (read(DEMO / "JPEGImages" / f"{image_id}.jpg"), scene.image)
        )
        assert np.abs(saved - fresh).mean() < 2
    assert (DEMO / "class_names.txt").read_text().split() == list(class_names())


@pytest.mark.parametrize("plain", [False, True])
def test_same_seed_same_pixels(plain: bool) -> None:
    assert equal(paint_scene(3, 1, plain), paint_scene(3, 1, plain))


def test_other_seed_or_index_other_pixels() -> None:
    scene = paint_scene(3, 1)
    for other in (paint_scene(4, 1), paint_scene(3, 2), paint_scene(3, 1, plain=True)):
        assert not np.array_equal(scene.image, other.image)


@pytest.mark.parametrize("plain", [False, True])
def test_masks_agree_with_boxes_and_classes(plain: bool) -> None:
    for index in range(4):
        scene = paint_scene(5, index, plain)
        assert scene.image.shape == (360, 640, 3)
        assert {array.dtype for array in (scene.image, scene.classes, scene.instances)} == {np.dtype(np.uint8)}
        assert set(np.unique(scene.instances)) == set(range(len(scene.class_ids) + 1))
        assert np.array_equal(scene.classes == 0, scene.instances == 0)
        for number, (class_id, box) in enumerate(zip(scene.class_ids, scene.boxes), 1):
            mask = scene.instances == number
            assert set(np.unique(scene.classes[mask])) == {class_id + 1}
            x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
            assert np.array_equal(box, [x, y, x + width, y + height])


def test_objects_are_well_visible() -> None:
    for index in range(8):
        scene = paint_scene(6, index)
        assert 1 <= len(scene.class_ids) <= 6
        assert np.bincount(scene.instances.ravel())[1:].min() >= MIN_AREA


def test_poses_come_from_every_second_bin() -> None:
    rng = SceneRng(np.random.default_rng(0))
    assert {int(12 * rng.pose(0.0, 1.0)) for _ in range(500)} == {1, 3, 5, 7, 9, 11}


@pytest.mark.parametrize("build", [*OBJECTS.values(), *DISTRACTORS])
def test_every_object_can_be_drawn_in_any_pose(build: Builder) -> None:
    light = Light((0.0, -1.0), 1.0)
    for seed in range(8):
        rng = SceneRng(np.random.default_rng(seed))
        sprite = render(build(rng), np.diag([30.0, 30.0, 1.0]), light, rng.generator)
        assert sprite.color.shape == (*sprite.alpha.shape, 3)
        assert np.count_nonzero(sprite.alpha > 127) > 40
        assert (sprite.color.max(axis=2) <= sprite.alpha.astype(int) + 2).all()  # premultiplied


def test_plain_objects_do_not_touch() -> None:
    for index in range(4):
        scene = paint_scene(9, index, plain=True)
        assert len(scene.class_ids) <= 3
        boxes = scene.boxes[np.argsort(scene.boxes[:, 0])]
        assert (boxes[1:, 0] > boxes[:-1, 2] - 40).all()


def test_clip_keeps_ids_and_moves_smoothly() -> None:
    clip = paint_clip(10, 0, 5)
    assert len(clip) == 5
    assert len({scene.class_ids for scene in clip}) == 1
    assert clip[0].boxes.any(axis=1).all()
    moved = False
    for before, after in pairwise(clip):
        both = before.boxes.any(axis=1) & after.boxes.any(axis=1)
        step = np.abs(before.boxes - after.boxes)[both].max()
        moved = moved or 0 < step < 130
    assert moved
    assert equal(clip[2], paint_clip(10, 0, 5)[2])


def test_impossible_requests_are_refused() -> None:
    for call in (lambda: paint_scene(-1, 0), lambda: paint_clip(1, 0, 0)):
        with pytest.raises(ValueError, match=r"negative|frame"):
            call()
    for options in ({"count": 0}, {"count": -1}, {"split": "a/b"}, {"quality": 0}):
        with pytest.raises(UserError):
            SplitSpec(**{"seed": 1, "count": 1, **options})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("scenes") / "tree"
    arguments = ["--seed", "2", "--count", "3", "--clips", "1", "--frames", "2", "--out", str(root)]
    assert main(arguments) == 0
    return root


def test_tree_reads_back_as_painted(tree: Path) -> None:
    dataset = VocDataset(tree, "val", with_gt_masks=True)
    assert dataset.ids == [*(f"val_0000{index}" for index in range(3)), "val_clip_000/000000", "val_clip_000/000001"]
    assert (tree / "class_names.txt").read_text().split() == list(class_names())
    scenes = [*(paint_scene(2, index) for index in range(3)), *paint_clip(2, 0, 2)]
    rows = json.loads((tree / "prediction.json").read_text())
    for index, scene in enumerate(scenes):
        sample, mine = dataset.load(index), [row for row in rows if row["image_id"] == dataset.ids[index]]
        assert sample.gt_mask is not None
        assert np.array_equal(sample.gt_mask, scene.classes)
        assert np.abs(sample.image.astype(int) - scene.image).mean() < 4
        seen = [number for number, box in enumerate(scene.boxes) if box.any()]
        assert [row["category_id"] for row in mine] == [scene.class_ids[number] for number in seen]
        assert [row["bbox"] for row in mine] == scene.boxes[seen].tolist()
        with Image.open(tree / "SegmentationObject" / f"{dataset.ids[index]}.png") as mask:
            assert mask.mode == "P"
            assert mask.getpalette()[3:6] == [128, 0, 0]  # type: ignore[index]
            assert np.array_equal(mask, scene.instances)


def test_existing_split_is_refused_and_left_alone(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(tree)
    assert main(["--seed", "5", "--count", "1", "--out", str(tree)]) == 2
    assert "already has a split val" in capsys.readouterr().err
    assert files(tree) == before


def test_tree_of_other_classes_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "class_names.txt").write_text("cat\n")
    assert main(["--seed", "5", "--count", "1", "--out", str(tmp_path)]) == 2
    assert "other classes" in capsys.readouterr().err
    assert list(files(tmp_path)) == ["class_names.txt"]


def test_second_split_joins_the_tree(tmp_path: Path) -> None:
    write_split(tmp_path, SplitSpec(2, 1))
    before = json.loads((tmp_path / "prediction.json").read_text())
    added = write_split(tmp_path, SplitSpec(1, 2, "train"))
    rows = json.loads((tmp_path / "prediction.json").read_text())
    assert rows[: len(before)] == before
    assert len(rows) == len(before) + added
    assert VocDataset(tmp_path, "train").ids == ["train_00000", "train_00001"]


def test_image_does_not_depend_on_count(tmp_path: Path) -> None:
    write_split(tmp_path / "one", SplitSpec(2, 2))
    write_split(tmp_path / "two", SplitSpec(2, 3))
    few, many = files(tmp_path / "one"), files(tmp_path / "two")
    shared = [name for name in few if "val_0000" in name]
    assert len(shared) == 6
    assert all(few[name] == many[name] for name in shared)
