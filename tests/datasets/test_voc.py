from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.loading import open_images
from datasets.voc import VocDataset
from utils.cli.parsers import parse
from utils.config.official import REPOSITORY
from utils.distributed import Session
from utils.errors import SampleError, UserError

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
needs_photos = pytest.mark.skipif(not SHARED.is_dir(), reason="the test photographs are not here")


class Tree:
    """A small VOC tree under construction."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def split(self, text: str, name: str = "val") -> Tree:
        path = self.root / "ImageSets" / "Segmentation" / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
        return self

    def image(self, *names: str) -> Tree:
        for name in names:
            path = self.root / "JPEGImages" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (4, 3)).save(path)
        return self

    def mask(self, image_id: str, values: list, folder: str = "SegmentationClass") -> Tree:
        path = self.root / folder / f"{image_id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.array(values, np.uint8)).save(path)
        return self

    def ids(self) -> list[str]:
        return VocDataset(self.root, "val").ids

    def problem(self) -> str:
        """The only one that the lists have."""
        (problem,) = VocDataset(self.root, "val").problems
        return problem


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_split_lines_as_people_write_them(tree: Tree) -> None:
    tree.image("b.jpg", "a.PNG", "clip/000001.Jpeg", "x.tif.bmp", "ä ö.webp", "y.webp")
    tree.split("\ufeffb\r\n\r\n  a.png \nclip/000001\nclip\\000001.jpg\nb.jpg\nx.tif\nä ö\n./y")
    assert tree.ids() == ["b", "a", "clip/000001", "x.tif", "ä ö", "y"]
    assert VocDataset(tree.root, "val").paths[1] == tree.root / "JPEGImages" / "a.PNG"


def test_lines_that_repeat_others_are_told(tree: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    tree.image("a.jpg", "b.jpg", "clip/1.jpg")
    tree.split("a\nb\na.jpg\nb\nclip/1\n").split("clip\n", "val_videos")
    options = parse("visual", None, ["-c", str(REPOSITORY / "config.json"), "--data", str(tree.root)])
    assert open_images(options, Session()).ids == ["a", "b", "clip/1"]
    assert capsys.readouterr().err.endswith("split val: 2 lines repeat others; each image counts once\n")
    tree.split("a\nb\n")
    open_images(options, Session())
    assert capsys.readouterr().err == ""


def test_frames_count_once_and_in_natural_order(tree: Tree) -> None:
    tree.image("single.jpg", *(f"clip/{frame}.jpg" for frame in (1, 2, 9, 10)))
    tree.split("clip/9\nsingle\n").split("clip\n\n", "val_videos")
    assert tree.ids() == ["clip/9", "single", "clip/1", "clip/2", "clip/10"]


@needs_photos
@pytest.mark.parametrize(("name", "count"), [("voc", 60), ("coco", 64), ("davis", 75), ("camvid_video", 5)])
def test_real_trees(name: str, count: int) -> None:
    dataset = VocDataset(SHARED / name, "val", with_gt_masks=True)
    assert len(dataset) == len(set(dataset.ids)) == count
    sample = dataset.load(0)
    assert sample.gt_mask is not None
    expected = np.array(Image.open(SHARED / name / "SegmentationClass" / f"{dataset.ids[0]}.png"))
    np.testing.assert_array_equal(sample.gt_mask, expected)
    assert sample.image.shape[:2] == expected.shape


@pytest.mark.parametrize("line", ["../../x", "/etc/passwd", "clip/../../x", "..", "C:\\x", "..\\x"])
def test_lines_that_leave_the_image_folder_are_problems(tree: Tree, line: str) -> None:
    tree.image("a.jpg").split(f"a\n{line}\n")
    assert re.search(r"val\.txt: line 2: .* leads out of JPEGImages$", tree.problem())
    assert tree.ids() == ["a"]


def test_missing_split_list_is_refused_with_those_there(tree: Tree) -> None:
    tree.image("a.jpg").split("a", "train").split("a", "test").split("clip", "test_videos")
    with pytest.raises(UserError, match=r"val\.txt: no such split list; splits there: test, train$"):
        tree.ids()


def test_a_folder_that_is_no_tree_is_told_from_one_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"it is no Pascal-VOC tree; -s names a folder of photos; of masks in .* makes a tree$"
    ):
        VocDataset(tmp_path, "val")
    with pytest.raises(UserError, match=r"gone: no such folder; dataset.data_dir names"):
        VocDataset(tmp_path / "gone", "val")
    (tmp_path / "data.yaml").write_text("names: [car]")
    for named in (tmp_path, tmp_path / "data.yaml"):
        with pytest.raises(
            UserError, match=f"a YOLO dataset goes by -s {tmp_path} -p {tmp_path}; .* -s {tmp_path} -a {tmp_path} "
        ):
            VocDataset(named, "val")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n \r\n", "the split list is empty"),
        ("gone\nlost\n", r"none of the 2 images.*the first one would be .*gone\.\*"),
    ],
)
def test_split_without_images_is_refused(tree: Tree, text: str, message: str) -> None:
    tree.image("a.jpg").split(text)
    with pytest.raises(UserError, match=message):
        tree.ids()


def test_split_list_that_is_no_text_is_refused(tree: Tree) -> None:
    tree.image("a.jpg").split("a")
    (tree.root / "ImageSets" / "Segmentation" / "val.txt").write_bytes(b"a\n\xff\xfe")
    with pytest.raises(UserError, match=r"val\.txt: is not UTF-8 text \(byte 2\)"):
        tree.ids()


def test_video_without_frames_is_a_problem_by_line(tree: Tree) -> None:
    tree.image("a.jpg").split("a").split("\nclip\n", "val_videos")
    assert re.search(r"val_videos\.txt: line 2: .*clip holds no frames$", tree.problem())


@pytest.mark.parametrize("line", ["a", "a.jpg"])
def test_two_files_of_one_id_are_a_problem(tree: Tree, line: str) -> None:
    tree.image("a.jpg", "a.png", "b.jpg", "unused.jpg", "unused.png").split(f"{line}\nb")
    assert re.search(r"^a: one id, several files: .*a\.jpg, .*a\.png$", tree.problem())


def test_missing_image_is_one_sample_error(tree: Tree) -> None:
    dataset = VocDataset(tree.image("a.jpg").split("a\nb").root, "val")
    assert dataset.load(0).image_id == "a"
    with pytest.raises(SampleError, match=r"b\.\*: No such file") as caught:
        dataset.load(1)
    assert caught.value.image_id == "b"


def test_masks_are_not_needed_without_targets(tree: Tree) -> None:
    assert VocDataset(tree.image("a.jpg").split("a").root, "val").load(0).gt_mask is None


def test_label_map_changes_the_values_it_names(tree: Tree) -> None:
    values = [[0, 1, 2, 128], [7, 3, 254, 255], [0, 0, 0, 0]]
    tree.image("a.jpg").split("a").mask("a", values)
    target = VocDataset(tree.root, "val", {128: 255, 255: 1, 7: 0}, with_gt_masks=True).load(0).gt_mask
    assert target is not None
    assert target.tolist() == [[0, 1, 2, 255], [0, 3, 254, 1], [0, 0, 0, 0]]
    assert target.dtype == np.uint8


def test_mask_of_another_size_is_a_sample_error(tree: Tree) -> None:
    tree.image("a.jpg").split("a").mask("a", [[0, 1]])
    with pytest.raises(SampleError, match=r"SegmentationClass.a\.png: the mask has 2x1 pixels, its upright image 4x3"):
        VocDataset(tree.root, "val", with_gt_masks=True).load(0)


def test_instances_come_from_object_masks_if_there_are_any(tree: Tree) -> None:
    tree.image("a.jpg", "b.jpg").split("a\nb")
    for image_id in "ab":
        tree.mask(image_id, [[1, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 9]])
    tree.mask("a", [[1, 1, 2, 0], [1, 1, 2, 0], [0, 0, 0, 0]], "SegmentationObject")
    dataset = VocDataset(tree.root, "val", {9: 2}, with_gt_instances=True)
    touching, parts = (dataset.load(index).gt_instances for index in range(2))
    assert touching.detections.boxes.tolist() == [[0, 0, 2, 2], [2, 0, 3, 2]]
    assert touching.detections.class_ids.tolist() == [0, 0]
    assert parts.detections.boxes.tolist() == [[0, 0, 3, 2], [3, 2, 4, 3]]
    assert parts.detections.class_ids.tolist() == [0, 1]


def test_samples_have_ground_truth_instances_on_request(tree: Tree) -> None:
    tree.image("a.jpg").split("a").mask("a", [[1, 1, 2, 0], [1, 1, 2, 0], [0, 0, 0, 255]])
    assert VocDataset(tree.root, "val", with_gt_masks=True).load(0).gt_instances is None
    sample = VocDataset(tree.root, "val", with_gt_masks=True, with_gt_instances=True).load(0)
    assert sample.gt_instances is not None
    assert sample.gt_mask is not None
    np.testing.assert_array_equal(sample.gt_instances.detections.boxes, [[0, 0, 2, 2], [2, 0, 3, 2]])
    np.testing.assert_array_equal(sample.gt_instances.to_semantic(), np.where(sample.gt_mask == 255, 0, sample.gt_mask))


def test_object_mask_of_another_size_is_named(tree: Tree) -> None:
    tree.image("a.jpg").split("a").mask("a", [[1] * 4] * 3).mask("a", [[1]], "SegmentationObject")
    with pytest.raises(SampleError, match=r"SegmentationObject.a\.png: "):
        VocDataset(tree.root, "val", with_gt_instances=True).load(0)


@needs_photos
@pytest.mark.parametrize(("name", "has_instance_ids"), [("coco", True), ("voc", False)])
def test_real_samples_have_ground_truth_instances(name: str, has_instance_ids: bool) -> None:
    dataset = VocDataset(SHARED / name, "val", with_gt_masks=True, with_gt_instances=True)
    sample = dataset.load(0)
    assert sample.has_instance_ids == has_instance_ids
    assert len(sample.gt_instances) > 0
    if has_instance_ids:
        with Image.open(dataset.objects_path(0)) as numbers:
            assert len(sample.gt_instances) == len(set(np.unique(numbers)) - {0, 255})
    np.testing.assert_array_equal(sample.gt_instances.to_semantic(), np.where(sample.gt_mask == 255, 0, sample.gt_mask))
    assert VocDataset(SHARED / name, "val", with_gt_masks=True).load(0).gt_instances is None
