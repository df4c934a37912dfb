"""Trees whose maps are colored give the same as those whose maps have labels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.loading import open_images
from datasets.voc import VocDataset
from utils.annotations.source import AnnotationFolder
from utils.classes import VOID, ClassIndex, palette
from utils.cli.parsers import parse
from utils.config import load_config
from utils.distributed import Session
from utils.errors import SampleError, UserError
from utils.formats.label_colors import LabelColors, load_label_colors, read_label_map, read_objects

NAMES = ("car", "dog", "bird")
LABELS = np.kron(np.array([[0, 1, 1, 0], [2, 2, 0, 255], [0, 0, 3, 3]], np.uint8), np.ones((9, 8), np.uint8))
OBJECTS = np.where((LABELS > 0) & (LABELS < VOID), LABELS + 4, LABELS)
COLORS = {
    "background": (0, 0, 0),
    "dog": (51, 221, 255),
    "car": (250, 50, 83),
    "bird": (1, 2, 3),
    "void": (224, 224, 192),
}
"""In another order than the classes of the run."""


def write_colors(path: Path, colors: dict[str, tuple[int, int, int]]) -> Path:
    lines = [f"{name}:{red},{green},{blue}::" for name, (red, green, blue) in colors.items()]
    path.write_text("\n".join(["# label:color_rgb:parts:actions", *lines, ""]))
    return path


def colored(labels: np.ndarray) -> np.ndarray:
    table = np.zeros((256, 3), np.uint8)
    table[[0, 1, 2, 3, VOID]] = [COLORS[name] for name in ("background", *NAMES, "void")]
    return table[labels]


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    """Two trees of the same image, with labels and with colors."""
    plain, colors = tmp_path / "plain", tmp_path / "colors"
    pictures = {plain: (LABELS, OBJECTS), colors: (colored(LABELS), palette(256)[OBJECTS])}
    for tree, (labels, objects) in pictures.items():
        for folder in ("ImageSets/Segmentation", "JPEGImages", "SegmentationClass/clip", "SegmentationObject/clip"):
            (tree / folder).mkdir(parents=True)
        (tree / "JPEGImages/clip").mkdir()
        Image.new("RGB", LABELS.shape[::-1]).save(tree / "JPEGImages/clip/a.jpg")
        Image.fromarray(labels).save(tree / "SegmentationClass/clip/a.png")
        Image.fromarray(objects).save(tree / "SegmentationObject/clip/a.png")
        (tree / "ImageSets/Segmentation/val.txt").write_text("clip/a")
    write_colors(colors / "labelmap.txt", COLORS)
    return plain, colors


def test_a_split_in_colors_is_that_of_their_labels(trees: tuple[Path, Path]) -> None:
    for names in (NAMES, (*NAMES, "cat"), ("Bird", "cat", "car", "dog")):
        plain, colors = (
            VocDataset(tree, "val", classes=names, with_gt_masks=True, with_gt_instances=True).load(0) for tree in trees
        )
        assert plain.gt_mask is not None and plain.gt_instances and colors.gt_instances
        labels = [0, *(1 + [each.lower() for each in names].index(name) for name in NAMES)]
        expected = np.where(plain.gt_mask == VOID, VOID, np.array([*labels, *[0] * 252])[plain.gt_mask])
        np.testing.assert_array_equal(colors.gt_mask, expected)
        np.testing.assert_array_equal(colors.gt_instances.track_ids, plain.gt_instances.track_ids)
        for mask, same in zip(colors.gt_instances.masks, plain.gt_instances.masks, strict=True):
            np.testing.assert_array_equal(mask.to_full(LABELS.shape), same.to_full(LABELS.shape))


def test_annotations_in_colors_are_those_of_their_labels(trees: tuple[Path, Path]) -> None:
    plain, colors = (AnnotationFolder(tree, ClassIndex(NAMES)).read("clip/a", LABELS.shape) for tree in trees)
    np.testing.assert_array_equal(colors.to_semantic(), plain.to_semantic())
    np.testing.assert_array_equal(colors.detections.class_ids, plain.detections.class_ids)
    alone = AnnotationFolder(trees[1] / "SegmentationClass", ClassIndex(NAMES)).read("clip/a", LABELS.shape)
    np.testing.assert_array_equal(alone.to_semantic(), plain.to_semantic())
    (trees[1] / "SegmentationObject/clip/a.png").unlink()
    parts = AnnotationFolder(trees[1], ClassIndex(NAMES)).read("clip/a", LABELS.shape)
    np.testing.assert_array_equal(parts.to_semantic(), plain.to_semantic())


def test_index_maps_beside_a_labelmap_have_its_order(trees: tuple[Path, Path]) -> None:
    plain, colors = trees
    (plain / "labelmap.txt").write_text((colors / "labelmap.txt").read_text())
    found = AnnotationFolder(plain, ClassIndex(NAMES)).read("clip/a", LABELS.shape)
    assert found.detections.class_ids.tolist() == [1, 0, 2], "labels 1 and 2 are dog and car there"
    with pytest.raises(UserError, match=r'labelmap\.txt: "dog" is none of the 2 classes'):
        AnnotationFolder(plain, ClassIndex(("car", "bird")))


def indexed(picture: np.ndarray) -> Image.Image:
    """What programs make of RGB that want small files: a palette, in an order of its own."""
    colors, indices = np.unique(picture.reshape(-1, 3), axis=0, return_inverse=True)
    image = Image.fromarray((len(colors) - 1 - indices).reshape(picture.shape[:2]).astype(np.uint8), "P")
    image.putpalette(colors[::-1].astype(np.uint8).tobytes())
    return image


def test_colors_in_a_palette_are_colors(trees: tuple[Path, Path]) -> None:
    _, tree = trees
    files = [tree / folder / "clip/a.png" for folder in ("SegmentationClass", "SegmentationObject")]

    def read(names: tuple[str, ...] = NAMES) -> tuple[np.ndarray, np.ndarray, list[int]]:
        sample = VocDataset(tree, "val", classes=names, with_gt_masks=True, with_gt_instances=True).load(0)
        annotated = AnnotationFolder(tree, ClassIndex(names)).read("clip/a", LABELS.shape)
        assert sample.gt_mask is not None and sample.gt_instances and sample.gt_instances.track_ids is not None
        return sample.gt_mask, annotated.to_semantic(), sample.gt_instances.track_ids.tolist()

    mask, semantic, numbers = read()
    for path in files:
        indexed(np.array(Image.open(path))).save(path)
    for found, expected in zip(read(), (mask, semantic, numbers)):
        np.testing.assert_array_equal(found, expected)
    with pytest.raises(SampleError, match="is that of dog, which is none of the run's classes"):
        VocDataset(tree, "val", classes=("car",), with_gt_masks=True).load(0)
    np.testing.assert_array_equal(VocDataset(tree, "val", {1: 2}, NAMES, with_gt_masks=True).load(0).gt_mask, mask)
    for shown in (palette(256), np.zeros((256, 3)), np.repeat(np.arange(256), 3)):  # none of which says anything here
        for path, values in zip(files, (LABELS, OBJECTS)):
            (image := Image.fromarray(values, "P")).putpalette(shown.astype(np.uint8).tobytes())
            image.save(path)
        np.testing.assert_array_equal(read()[0], LABELS)
        assert read()[2] == numbers


def test_colors_that_mean_nothing_are_refused(trees: tuple[Path, Path]) -> None:
    _, tree = trees
    mask = tree / "SegmentationClass/clip/a.png"

    def problem(names: tuple[str, ...] | None = NAMES) -> str:
        with pytest.raises(SampleError) as raised:
            VocDataset(tree, "val", classes=names, with_gt_masks=True, with_gt_instances=True).load(0)
        return str(raised.value)

    assert "it holds colors: set dataset.classes, to" in problem(None)
    missing = "the color 51,221,255 (x 0, y 9) is that of dog, which is none of the run's classes; dataset.classes="
    assert missing in problem(("car", "bird"))
    picture = colored(LABELS)
    picture[3, 5] = 250, 50, 84  # smoothed
    Image.fromarray(picture).save(mask)
    assert f"the color 250,50,84 (x 5, y 3) is not in {tree / 'labelmap.txt'}" in problem()
    colors = load_label_colors(tree)
    (tree / "labelmap.txt").unlink()
    assert "say what the colors mean in a labelmap.txt" in problem()
    Image.fromarray(picture).convert("RGBA").save(mask)
    with pytest.raises(ValueError, match=r"its mode is RGBA.* or its color as RGB, without alpha"):
        read_label_map(mask, colors, np.arange(256))
    objects = tree / "SegmentationObject/clip/a.png"
    Image.fromarray(np.full((*LABELS.shape, 3), 5, np.uint8)).save(objects)
    with pytest.raises(ValueError, match=r"the color 5,5,5 \(x 0, y 0\) is not in VOC's palette"):
        read_objects(objects, colors)
    with pytest.raises(ValueError, match="its mode is RGB, not P"):
        read_objects(objects, None)


@pytest.mark.parametrize(
    "text, said",
    [
        ("car:1,2,3::\ndog:1,2,3::", r":2: dog has the color of car; give each its own"),
        ("car:1,2::", r":1: expected a name and its color, such as car:250,50,83::, found 'car:1,2::'"),
        ("car:1,2,256::", ":1: expected a name and its color"),
        ("car", ":1: expected a name and its color"),
        ("background:0,0,0::", "expected 1 to 254 classes, found 0"),
        ("", "expected 1 to 254 classes, found 0"),
    ],
)
def test_a_labelmap_that_cannot_be_meant_is_refused(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "labelmap.txt").write_text(text)
    with pytest.raises(UserError, match=said):
        LabelColors(tmp_path / "labelmap.txt")


def test_a_labelmap_names_the_classes_of_a_run(tmp_path: Path) -> None:
    path = write_colors(tmp_path / "labelmap.txt", {**COLORS, "ignored": (9, 9, 9), "unlabeled": (8, 8, 8)})
    (tmp_path / "config.json").write_text(json.dumps({"dataset": {"classes": "labelmap.txt"}}))
    assert load_config(tmp_path / "config.json").dataset.classes == ("dog", "car", "bird")
    picture = np.array([[(9, 9, 9), (8, 8, 8), (0, 0, 0), (1, 2, 3)]], np.uint8)
    assert LabelColors(path).labels(picture).tolist() == [[VOID, 0, 0, 3]]
    path.write_text("car : 1, 2, 3 :door,wheel:\r\n")
    assert load_config(tmp_path / "config.json").dataset.classes == ("car",)
    assert LabelColors(path).labels(picture[:, 2:]).tolist() == [[0, 1]], (
        "black is the background where nothing else is"
    )


def test_a_labelmap_without_colors_is_a_list_of_names(trees: tuple[Path, Path], tmp_path: Path) -> None:
    plain, _ = trees
    (plain / "labelmap.txt").write_text("\n".join(NAMES))
    (tmp_path / "config.json").write_text(json.dumps({"dataset": {"classes": "plain/labelmap.txt"}}))
    assert load_config(tmp_path / "config.json").dataset.classes == NAMES
    np.testing.assert_array_equal(VocDataset(plain, "val", None, NAMES, with_gt_masks=True).load(0).gt_mask, LABELS)
    assert AnnotationFolder(plain, ClassIndex(NAMES)).read("clip/a", LABELS.shape).detections.class_ids.tolist() == [
        0,
        1,
        2,
    ]


def test_an_evaluation_begins_on_a_tree_in_colors(
    trees: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def begin(*more: str) -> None:
        open_images(parse("evaluate", None, ["--data", str(trees[1]), "-o", str(tmp_path / "out"), *more]), Session())

    begin("--set", f"dataset.classes={trees[1] / 'labelmap.txt'}")
    begin("--set", f"dataset.classes={trees[1] / 'labelmap.txt'}", "-a", str(trees[1]))
    assert "dataset.label_map" not in capsys.readouterr().err
    begin("--set", f"dataset.classes={trees[1] / 'labelmap.txt'}", "--set", 'dataset.label_map={"1": 2}')
    assert "dataset.label_map is for values of masks; their colors mean what" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"is that of dog, which is none of the run's classes"):
        begin("--set", 'dataset.classes=["car"]')
