"""The judge is ultralytics: its check of data.yaml, its scan of images and labels, its reader, its masks."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image
from scipy import ndimage

from models.ultralytics_quiet import quiet_ultralytics
from tests.helpers.read_back import read_back
from utils.errors import SampleError
from utils.formats.base import MSG_EMPTY_MASKS, MSG_POLYGON_IOU, ExportSettings
from utils.formats.polygons import bridge_rings, iou, polygons_on_pixel_centers, rasterize_ultralytics
from utils.formats.yolo import (
    MSG_BRIDGES,
    MSG_TINY_IMAGES,
    YoloExporter,
    polygon_mask,
)
from utils.formats.yolo_labels import Label, escape_images_dir, unescape_images_dir
from utils.io.photos import read_image
from utils.masks import Mask
from utils.structures import Instances, Sample

NAMES = ("car", "air plane: 1", "汽车")
ODD = Path(__file__).parents[3] / ".." / "shared" / "data" / "odd"
Scene = tuple[Sample, Instances]


def scanned(folder: Path) -> Any:
    """What ultralytics makes of the folder, as it does before it trains."""
    quiet_ultralytics()
    from ultralytics.data import YOLODataset
    from ultralytics.data.utils import check_det_dataset

    data = check_det_dataset(folder / "data.yaml", autodownload=False)
    assert data["names"] == dict(enumerate(NAMES))
    return YOLODataset(img_path=data["train"], data=data, task="segment", augment=False)


def exporter(folder: Path, tolerance: float = 1.0) -> YoloExporter:
    return YoloExporter(ExportSettings(folder, NAMES, tolerance=tolerance))


def as_written(mask: Mask, tolerance: float) -> np.ndarray:
    return rasterize_ultralytics(bridge_rings(polygons_on_pixel_centers(mask.crop, tolerance)), mask.crop.shape)


def test_ultralytics_draws_the_masks_whose_iou_is_told(tmp_path: Path, scene: Scene, write: Callable) -> None:
    quiet_ultralytics()
    from ultralytics.data.utils import polygon2mask

    instances = scene[1]
    (exported,) = write(exporter(tmp_path), tmp_path, [scene])
    (label,) = scanned(tmp_path).labels
    masks = [(mask, i) for i in instances.z_order().tolist() if (mask := instances.masks[i]).crop.size]
    assert label["shape"] == (40, 60)
    assert len(label["cls"]) == exported.shapes == len(masks) == 6
    found = {i: None for _, i in masks}
    for class_id, segment, (mask, i) in zip(label["cls"].ravel(), label["segments"], masks):
        drawn = polygon2mask((40, 60), [segment.ravel() * np.tile((60, 40), len(segment))]).astype(bool)
        np.testing.assert_array_equal(drawn[mask.slices], as_written(mask, 1))
        found[i] = iou(drawn, mask.to_full((40, 60)))
        assert class_id == instances.detections.class_ids[i]
    assert exported.measures[MSG_POLYGON_IOU] == list(found.values())
    assert exported.losses[MSG_EMPTY_MASKS] == 1
    assert exported.losses[MSG_BRIDGES] >= ndimage.label(instances.masks[6].crop, np.ones((3, 3)))[1] - 1


@pytest.mark.parametrize("tolerance", [0, 1])
def test_what_is_read_back_is_what_ultralytics_draws(
    tmp_path: Path, scene: Scene, write: Callable, tolerance: float
) -> None:
    write(exporter(tmp_path, tolerance), tmp_path, [scene])
    ((image_id, read),) = read_back(tmp_path, ("汽车", "air plane: 1", "car"))
    kept = [i for i in scene[1].z_order().tolist() if scene[1].masks[i].crop.size]
    assert image_id == "clip/a"
    assert read.detections.class_ids.tolist() == (2 - scene[1].detections.class_ids[kept]).tolist()
    for i, again in zip(kept, read.masks, strict=True):
        mask = scene[1].masks[i]
        np.testing.assert_array_equal(again.to_full((40, 60))[mask.slices], as_written(mask, tolerance))
        if i in (2, 3, 4):  # of one part, without holes
            assert iou(again.to_full((40, 60)), mask.to_full((40, 60))) == 1


def test_the_object_that_wins_a_pixel_wins_it_when_read_back(tmp_path: Path, write: Callable) -> None:
    """Rows have no scores. The detector is surer of one object, SAM2 of the other's mask, which decides."""
    image = np.full((60, 60, 3), 90, np.uint8)
    Image.fromarray(image).save(tmp_path / "a.png")
    squares = np.zeros((2, 60, 60), bool)
    squares[0, 10:40, 10:40] = squares[1, 20:50, 20:50] = True
    masks = [Mask.from_array(square) for square in squares]
    for mask_scores in ([0.9, 0.6], [0.6, 0.9]):
        found = Instances.from_masks((60, 60), [0, 2], masks, [0.8, 0.7], mask_scores)
        folder = tmp_path / str(mask_scores[0])
        write(exporter(folder), folder, [(Sample("a", tmp_path / "a.png", image), found)])
        ((_, read),) = read_back(folder, NAMES)
        np.testing.assert_array_equal(read.to_semantic(), found.to_semantic())


def test_an_image_without_objects_and_a_folder_called_images(tmp_path: Path, scene: Scene, write: Callable) -> None:
    sample, instances = scene
    empty = Instances.from_masks((40, 60), [], [])
    ids = ["a", "images/b", "x/images_/images/c.d"]
    pairs = [(Sample(i, sample.path, sample.image), empty if i == "a" else instances) for i in ids]
    write(exporter(tmp_path), tmp_path, pairs)
    assert (tmp_path / "labels" / "a.txt").read_bytes() == b""
    assert [len(label["cls"]) for label in scanned(tmp_path).labels] == [0, 6, 6]
    assert [image_id for image_id, _ in read_back(tmp_path, NAMES)] == ids
    for image_id in (*ids, "images", "Images/a", "images__/b"):
        assert unescape_images_dir(escape_images_dir(image_id)) == image_id


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".bmp", ".gif"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_ultralytics_sees_the_image_upright(tmp_path: Path, write: Callable, suffix: str, orientation: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)
    exif, path = Image.Exif(), tmp_path / f"a{suffix}"
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(noise).save(path, **({} if suffix in (".bmp", ".gif") else {"exif": exif}))
    sample = Sample("a", path, read_image(path))
    instances = Instances.from_masks(sample.size, [0], [Mask.from_array(np.ones(sample.size, bool))])
    (exported,) = write(exporter(tmp_path / "out"), tmp_path / "out", [(sample, instances)])
    split = scanned(tmp_path / "out")
    assert split.labels[0]["shape"] == sample.size
    np.testing.assert_array_equal(seen(split)[:, :, ::-1], sample.image)
    assert bool(exported.links) == (suffix in (".jpg", ".bmp") or (suffix in (".png", ".webp") and orientation == 1))


def seen(split: Any) -> np.ndarray:
    """The first image as ultralytics reads it, (H, W, 3) BGR."""
    from ultralytics.utils.patches import imread

    return imread(split.im_files[0])


def test_a_jpeg_that_ultralytics_would_save_anew_is_copied(tmp_path: Path, write: Callable) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)).save(path)
    content = path.read_bytes() + b"appended by a phone"
    path.write_bytes(content)
    sample = Sample("a", path, read_image(path))
    instances = Instances.from_masks(sample.size, [0], [Mask.from_array(np.ones(sample.size, bool))])
    (exported,) = write(exporter(tmp_path / "out"), tmp_path / "out", [(sample, instances)])
    assert (exported.files["images/a.jpg"], exported.links) == (content, {})
    assert len(scanned(tmp_path / "out").labels) == 1
    assert path.read_bytes() == content


def test_an_image_that_ultralytics_leaves_out_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (40, 9)).save(path)
    exported = exporter(tmp_path).export(Sample("a", path, read_image(path)), Instances.from_masks((9, 40), [], []))
    assert Counter(exported.losses) == Counter({MSG_TINY_IMAGES: 1})


def test_a_photo_that_has_gone_is_the_images_own_failure(tmp_path: Path, scene: Scene) -> None:
    scene[0].path.unlink()
    with pytest.raises(SampleError, match="No such file"):
        exporter(tmp_path).export(*scene)


@pytest.mark.skipif(not ODD.is_dir(), reason="the real photographs are not here")
@pytest.mark.filterwarnings("ignore:Palette images with Transparency", "ignore:Corrupt EXIF")
def test_ultralytics_takes_whatever_we_can_read(tmp_path: Path, write: Callable) -> None:
    pairs = []
    for entry in json.loads((ODD / "INDEX.json").read_text()):
        if entry["cv2_color"] is None or "large" in entry["file"]:
            continue
        image = read_image(ODD / entry["file"])
        sample = Sample(entry["file"].replace(".", "_"), ODD / entry["file"], image)
        mask = Mask.from_array(np.eye(*sample.size, dtype=bool))
        pairs.append((sample, Instances.from_masks(sample.size, [0], [mask])))
    write(exporter(tmp_path), tmp_path, pairs)
    split = scanned(tmp_path)
    sizes = {Path(label["im_file"]).stem: label["shape"] for label in split.labels}
    expected = {Path(sample.image_id).name: sample.size for sample, _ in pairs if min(sample.size) > 9}
    assert sizes == expected
    assert len(sizes) > 35


@pytest.mark.parametrize("reach", [1, 1.2])
def test_polygons_are_drawn_alone_as_they_are_in_the_image(reach: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where they stick out; an array of a large image for each small polygon would take long."""
    sizes: list[tuple[int, int]] = []
    monkeypatch.setattr(
        "utils.formats.yolo.rasterize_ultralytics",
        lambda ring, size: sizes.append(tuple(size)) or rasterize_ultralytics(ring, size),
    )
    rng = np.random.default_rng(0)
    for _ in range(300):
        points = rng.random(2) + rng.uniform(0.05, 0.6) * (rng.random((int(rng.integers(3, 9)), 2)) - 0.5)
        points = points.clip(1 - reach, reach - 0.01)
        whole = rasterize_ultralytics(np.floor(points * (60, 40)), (40, 60))
        np.testing.assert_array_equal(polygon_mask(Label(1, 0, points, 1), (40, 60)).to_full((40, 60)), whole)
    assert np.mean([height * width for height, width in sizes]) < 40 * 60 / 2 or reach > 1
