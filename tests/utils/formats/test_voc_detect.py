"""The judge is torchvision, which reads the tree as that of VOC 2012."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import ExifTags, Image

from utils.errors import SampleError
from utils.formats.base import MSG_EMPTY_MASKS, ExportSettings
from utils.formats.voc_detect import VocDetectExporter
from utils.io.photos import read_image
from utils.masks import Mask
from utils.prompts.readers import read_prompt_table
from utils.prompts.table import PromptSource
from utils.structures import Instances, Sample

NAMES = ("car", "air plane: <1> & 2", "汽车")
Scene = tuple[Sample, Instances]


def read_by_torchvision(tree: Path, folder: Path, split: str) -> list[tuple[Image.Image, dict[str, Any]]]:
    """Images and annotations of a split; torchvision looks for VOCdevkit/VOC2012."""
    from torchvision.datasets import VOCDetection

    if not folder.exists():
        (folder / "VOCdevkit").mkdir(parents=True)
        (folder / "VOCdevkit" / "VOC2012").symlink_to(tree)
    return [(image, target["annotation"]) for image, target in VOCDetection(folder, image_set=split)]


def pairs_of(scene: Scene, folder: Path, image_ids: tuple[str, ...]) -> list[Scene]:
    """The scene under several names, as a JPEG: torchvision reads no other images."""
    Image.fromarray(scene[0].image).save(folder / "photo.jpg")
    return [(replace(scene[0], image_id=i, path=folder / "photo.jpg"), scene[1]) for i in image_ids]


def test_torchvision_reads_the_tight_boxes(tmp_path: Path, scene: Scene, write: Callable) -> None:
    pair = pairs_of(scene, tmp_path, ("clip/a",))
    (made,) = write(VocDetectExporter(ExportSettings(tmp_path / "out", NAMES)), tmp_path / "out", pair)
    ((image, annotation),) = read_by_torchvision(tmp_path / "out", tmp_path / "devkit", "val")
    masks = [(i, mask) for i, mask in enumerate(scene[1].masks) if mask.crop.size]
    assert made.shapes == len(masks) == len(annotation["object"]) and made.losses[MSG_EMPTY_MASKS] == 1
    assert (annotation["size"], image.size) == ({"width": "60", "height": "40", "depth": "3"}, (60, 40))
    assert (annotation["filename"], annotation["segmented"]) == ("clip/a.jpg", "0")
    for (i, mask), found in zip(masks, annotation["object"]):
        assert found["name"] == NAMES[scene[1].detections.class_ids[i]]
        assert (found["difficult"], found["truncated"]) == ("0", "0")
        # The first and the last row and column of the object, counted from 1.
        rows, columns = np.nonzero(mask.to_full((40, 60)))
        corners = [int(found["bndbox"][side]) for side in ("xmin", "ymin", "xmax", "ymax")]
        assert corners == [columns.min() + 1, rows.min() + 1, columns.max() + 1, rows.max() + 1]


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_photos_that_exif_turns_are_upright_for_readers_that_do_not_turn_them(
    tmp_path: Path, write: Callable, suffix: str, orientation: int
) -> None:
    exif, path = Image.Exif(), tmp_path / f"a{suffix}"
    exif[ExifTags.Base.Orientation] = orientation
    gradient = np.linspace(0, 255, 24 * 40).reshape(24, 40, 1).repeat(3, 2).astype(np.uint8)
    Image.fromarray(gradient).save(path, exif=exif)
    sample = Sample("a", path, read_image(path))
    instances = Instances.from_masks(sample.size, [0], [Mask.from_array(np.ones(sample.size, bool))])
    (made,) = write(VocDetectExporter(ExportSettings(tmp_path / "out", NAMES)), tmp_path / "out", [(sample, instances)])
    assert bool(made.links) == (orientation == 1 or suffix == ".tif"), "all readers turn a TIFF"
    (photo,) = (tmp_path / "out" / "JPEGImages").iterdir()
    with Image.open(photo) as image:
        np.testing.assert_allclose(np.asarray(image.convert("RGB")), sample.image, atol=6)
    annotation = ElementTree.parse(tmp_path / "out" / "Annotations" / "a.xml")
    assert annotation.findtext("filename") == photo.name
    assert [int(annotation.findtext(f"size/{side}") or 0) for side in ("height", "width")] == [*sample.size]


def test_an_object_that_fills_its_image_reaches_from_1_to_its_size(
    tmp_path: Path, scene: Scene, write: Callable
) -> None:
    full = Instances.from_masks((40, 60), [0], [Mask.from_array(np.ones((40, 60), bool))])
    pair = [(sample, full) for sample, _ in pairs_of(scene, tmp_path, ("a",))]
    write(VocDetectExporter(ExportSettings(tmp_path / "out", NAMES)), tmp_path / "out", pair)
    ((_, annotation),) = read_by_torchvision(tmp_path / "out", tmp_path / "devkit", "val")
    assert annotation["object"][0]["bndbox"] == {"xmin": "1", "ymin": "1", "xmax": "60", "ymax": "40"}


def test_each_split_has_its_list_and_an_image_without_objects_its_file(
    tmp_path: Path, scene: Scene, write: Callable
) -> None:
    pairs = pairs_of(scene, tmp_path, ("a", "b", "c"))
    pairs[2] = pairs[2][0], Instances.from_masks((40, 60), [], [])
    settings = ExportSettings(tmp_path / "out", NAMES, splits={"a": "train", "b": "val", "c": "train"})
    write(VocDetectExporter(settings), tmp_path / "out", pairs)
    counts = {
        split: [
            (each["filename"], len(each["object"]))
            for _, each in read_by_torchvision(tmp_path / "out", tmp_path / "devkit", split)
        ]
        for split in ("train", "val")
    }
    assert counts == {"train": [("a.jpg", 6), ("c.jpg", 0)], "val": [("b.jpg", 6)]}


def test_the_boxes_come_back_as_prompts(tmp_path: Path, scene: Scene, write: Callable) -> None:
    write(
        VocDetectExporter(ExportSettings(tmp_path / "out", NAMES)),
        tmp_path / "out",
        pairs_of(scene, tmp_path, ("clip/a",)),
    )
    table = read_prompt_table(PromptSource(tmp_path / "out"))
    masks = [(NAMES[i], mask) for i, mask in zip(scene[1].detections.class_ids, scene[1].masks) if mask.crop.size]
    np.testing.assert_array_equal(table.boxes, [mask.box for _, mask in masks])
    assert table.class_names is not None and table.image_keys == ["clip/a"]
    assert [table.class_names[i] for i in table.category_ids] == [name for name, _ in masks]


@pytest.mark.parametrize("name", ["bell\a", "cr\rx", "not utf-8 \udcff"])
def test_a_name_that_no_file_of_the_tree_holds_is_the_images_own_failure(
    tmp_path: Path, scene: Scene, name: str
) -> None:
    ((sample, instances),) = pairs_of(scene, tmp_path, (name,))
    with pytest.raises(SampleError, match=r"no XML file holds|no split list can hold"):
        VocDetectExporter(ExportSettings(tmp_path, NAMES)).export(sample, instances)
