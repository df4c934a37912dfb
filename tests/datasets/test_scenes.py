from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.ops import box_iou

from datasets.scenes import Order, Scene, class_names, main, paint_clip, paint_scene, write_split
from datasets.scenes.composition import Style
from datasets.scenes.dice import Dice
from datasets.scenes.grounds import GROUNDS
from datasets.scenes.layers import MIN_AREA
from datasets.scenes.rendering import Builder, Light, render
from datasets.scenes.silhouettes import SILHOUETTES
from datasets.scenes.things import THINGS
from datasets.voc import VocDataset
from utils.errors import UserError

STYLES = [Style(), Style("train"), Style(things=True), Style(plain=True), Style(void=True), Style(visible=0.3)]


def equal(first: Scene, second: Scene) -> bool:
    pairs = ((getattr(first, name), getattr(second, name)) for name in ("image", "classes", "instances", "boxes"))
    return first.class_ids == second.class_ids and all(np.array_equal(*pair) for pair in pairs)


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("style", STYLES)
def test_same_seed_same_pixels(style: Style) -> None:
    assert equal(paint_scene(3, 1, style), paint_scene(3, 1, style))


def test_other_seed_index_or_pool_other_pixels() -> None:
    scene = paint_scene(3, 1)
    for other in (paint_scene(4, 1), paint_scene(3, 2), paint_scene(3, 1, Style("train"))):
        assert not np.array_equal(scene.image, other.image)


@pytest.mark.parametrize("style", STYLES)
def test_masks_agree_with_boxes_and_classes(style: Style) -> None:
    for index in range(4):
        scene = paint_scene(5, index, style)
        assert scene.image.shape == (360, 640, 3)
        assert {array.dtype for array in (scene.image, scene.classes, scene.instances)} == {np.dtype(np.uint8)}
        assert set(np.unique(scene.instances)) - {255} == set(range(len(scene.class_ids) + 1))
        assert np.array_equal(scene.classes == 255, scene.instances == 255)
        for number, (class_id, box) in enumerate(zip(scene.class_ids, scene.boxes), 1):
            mask = scene.instances == number
            assert set(np.unique(scene.classes[mask])) == {class_id + 1}
            x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
            inner = np.array([x, y, x + width, y + height])
            if style.void:  # its border hides thin ends of objects, so boxes may only be larger
                assert (box[:2] <= inner[:2]).all()
                assert (box[2:] >= inner[2:]).all()
            else:
                assert np.array_equal(box, inner)


def test_objects_are_well_visible() -> None:
    for index in range(8):
        scene = paint_scene(6, index)
        assert 1 <= len(scene.class_ids) <= 6
        assert np.bincount(scene.instances.ravel())[1:].min() >= MIN_AREA


def test_void_borders_every_outline_and_nothing_else() -> None:
    bare, scene = paint_scene(7, 0), paint_scene(7, 0, Style(void=True))
    outline = cv2.morphologyEx(bare.instances, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    void = scene.instances == 255
    assert void[outline].all()
    assert (cv2.dilate(outline.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)[void].all()
    assert np.array_equal(scene.instances[~void], bare.instances[~void])
    assert np.array_equal(scene.image, bare.image)


def test_pools_share_neither_grounds_nor_poses() -> None:
    assert not set(GROUNDS["train"]) & set(GROUNDS["heldout"])
    bins = {}
    for pool in GROUNDS:
        dice = Dice(np.random.default_rng(0), pool)
        bins[pool] = {int(12 * dice.pose(0.0, 1.0)) for _ in range(500)}
    assert not bins["train"] & bins["heldout"]
    assert bins["train"] | bins["heldout"] == set(range(12))


@pytest.mark.parametrize("build", [*SILHOUETTES.values(), *dict.fromkeys(THINGS)])
def test_every_object_can_be_drawn_in_any_pose(build: Builder) -> None:
    light = Light((0.0, -1.0), 1.0)
    for seed in range(8):
        dice = Dice(np.random.default_rng(seed), "train")
        sprite = render(build(dice), np.diag([30.0, 30.0, 1.0]), light, dice.rng)
        assert sprite.colour.shape == (*sprite.alpha.shape, 3)
        assert np.count_nonzero(sprite.alpha > 127) > 40
        assert (sprite.colour.max(axis=2) <= sprite.alpha.astype(int) + 2).all()  # premultiplied


def test_things_add_a_class() -> None:
    assert class_names() == ("car", "airplane", "elephant", "turtle", "watercraft")
    assert class_names(things=True) == (*class_names(), "thing")
    painted = {class_id for index in range(8) for class_id in paint_scene(8, index, Style(things=True)).class_ids}
    assert 5 in painted
    assert painted - {5}


def test_plain_objects_do_not_touch() -> None:
    for index in range(4):
        scene = paint_scene(9, index, Style(plain=True))
        assert len(scene.class_ids) <= 3
        boxes = scene.boxes[np.argsort(scene.boxes[:, 0])]
        assert (boxes[1:, 0] > boxes[:-1, 2] - 40).all()


def test_objects_hide_each_other_only_as_far_as_is_asked() -> None:
    def overlapping(style: Style) -> int:
        boxes = [torch.from_numpy(paint_scene(12, index, style).boxes) for index in range(20)]
        return sum(int((box_iou(each, each).triu(1) > 0.15).sum()) for each in boxes)

    assert overlapping(Style(visible=0.3)) > 2 * overlapping(Style(visible=0.75))


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
    for call in (lambda: paint_scene(1, 0, Style("test")), lambda: paint_scene(-1, 0), lambda: paint_clip(1, 0, 0)):
        with pytest.raises(ValueError, match=r"pool|negative|frame"):
            call()
    for order in ({"count": 0}, {"count": -1}, {"split": "a/b"}, {"quality": 0}, {"style": Style(visible=1.5)}):
        with pytest.raises(UserError):
            Order(**{"seed": 1, "count": 1, **order})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("scenes") / "tree"
    arguments = ["--seed", "2", "--count", "3", "--clips", "1", "--frames", "2", "--void", "--out", str(root)]
    assert main(arguments) == 0
    return root


def test_tree_reads_back_as_painted(tree: Path) -> None:
    dataset = VocDataset(tree, "val", with_targets=True)
    assert dataset.ids == [*(f"val_0000{index}" for index in range(3)), "val_clip_000/000000", "val_clip_000/000001"]
    assert (tree / "class_names.txt").read_text().split() == list(class_names())
    void = Style(void=True)
    scenes = [*(paint_scene(2, index, void) for index in range(3)), *paint_clip(2, 0, 2, void)]
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
    assert main(["--seed", "5", "--count", "1", "--things", "--split", "other", "--out", str(tree)]) == 2
    assert "other classes" in capsys.readouterr().err
    assert files(tree) == before


def test_second_split_joins_the_tree(tmp_path: Path) -> None:
    write_split(tmp_path, Order(2, 1))
    before = json.loads((tmp_path / "prediction.json").read_text())
    added = write_split(tmp_path, Order(1, 2, "train", style=Style("train")))
    rows = json.loads((tmp_path / "prediction.json").read_text())
    assert rows[: len(before)] == before
    assert len(rows) == len(before) + added
    assert VocDataset(tmp_path, "train").ids == ["train_00000", "train_00001"]


def test_image_depends_neither_on_count_nor_on_workers(tmp_path: Path) -> None:
    write_split(tmp_path / "one", Order(2, 2))
    write_split(tmp_path / "two", Order(2, 3), workers=2)
    few, many = files(tmp_path / "one"), files(tmp_path / "two")
    shared = [name for name in few if "val_0000" in name]
    assert len(shared) == 6
    assert all(few[name] == many[name] for name in shared)
