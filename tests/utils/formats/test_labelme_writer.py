"""The judge is labelme itself: its loader opens every file, finds its image and gives back the masks."""

from __future__ import annotations

import base64
import io
import json
import os
from pathlib import Path

import labelme
import numpy as np
import pytest
from PIL import Image, ImageOps

from utils.annotations.fingerprint import ImageFingerprint
from utils.annotations.labelme_manifest import CONTENT, SETTINGS, LabelmeManifest
from utils.annotations.records import AnnotationOutput
from utils.annotations.sink import AnnotationSink
from utils.distributed import Session
from utils.engine import RunSummary
from utils.formats.base import ExportSettings
from utils.formats.labelme_writer import MAX_JPEG_SIDE, LabelmeExporter
from utils.formats.registry import FORMATS
from utils.io.writers import Writers
from utils.masks import Mask
from utils.structures import Detections, Instances, Sample

DATA = Path(__file__).parents[3] / ".." / "shared" / "data"
NAMES = ("car", "airplane", "turtle")


def photo(path: Path, height: int = 40, width: int = 60) -> Sample:
    """A sample whose image is really there."""
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
    return Sample(path.stem, path, image)


def instances_of(masks: list[np.ndarray], class_ids: list[int], seed: int = 0) -> Instances:
    """Instances with these (H, W) masks and random scores."""
    rng, n = np.random.default_rng(seed), len(masks)
    detections = Detections.from_arrays(np.tile((0, 0, 1, 1), (n, 1)), rng.random(n), class_ids)
    return Instances(
        masks[0].shape, detections, [Mask.from_array(mask) for mask in masks], rng.random(n).astype(np.float32)
    )


def blobs(size: tuple[int, int], seed: int = 0) -> list[np.ndarray]:
    """Masks of every kind: noise, full, one pixel, one row, one column, corners, a ring."""
    noise = np.random.default_rng(seed).random(size) < 0.3
    masks = [noise, np.ones(size, bool)] + [np.zeros(size, bool) for _ in range(5)]
    masks[2][7, 9] = masks[3][5, 3:21] = masks[4][4:30, -1] = True
    masks[5][[0, 0, -1, -1], [0, -1, 0, -1]] = True
    masks[6][5:25, 5:25] = True
    masks[6][10:20, 10:20] = False
    return masks


def annotate(folder: Path, *pairs: tuple[Sample, Instances], names: tuple[str, ...] = NAMES) -> list[str]:
    output = AnnotationOutput(
        "labelme",
        folder,
        lambda names: LabelmeExporter(ExportSettings(folder, names)),
        files=FORMATS["labelme"].files,
    )
    manifest = LabelmeManifest(output, ImageFingerprint(lambda *image: "settings", lambda *_: b""))
    with Writers(1) as writers:
        sink = AnnotationSink(manifest, names, writers, [sample.image_id for sample, _ in pairs])
        for sample, instances in pairs:
            sink.write(sample, instances)
        return sink.finish(RunSummary(), Session()).lines


def full_mask(shape: dict, size: tuple[int, int]) -> np.ndarray:
    """The mask as labelme's own converter pastes it."""
    return labelme.utils.shapes_to_label((*size, 3), [shape], {shape["label"]: 1})[0] == 1


def test_every_mask_pixel_label_and_score_survives(tmp_path: Path) -> None:
    sample = photo(tmp_path / "images" / "a.jpg")
    masks, class_ids = blobs(sample.size), [0, 1, 2, 0, 1, 2, 0]
    instances = instances_of(masks, class_ids)
    annotate(tmp_path / "out", (sample, instances))
    loaded = labelme.LabelFile(str(tmp_path / "out" / "a.json"))
    assert loaded.image_data == sample.path.read_bytes()
    assert [shape["label"] for shape in loaded.shapes] == [NAMES[class_id] for class_id in class_ids]
    for i, (shape, mask) in enumerate(zip(loaded.shapes, masks)):
        assert np.array_equal(full_mask(shape, sample.size), mask)
        (x1, y1), (x2, y2) = shape["points"]
        assert shape["mask"].shape == (y2 - y1 + 1, x2 - x1 + 1)
        assert np.float32(shape["other_data"]["score"]) == instances.detections.scores[i]
        assert np.float32(shape["other_data"]["mask_score"]) == instances.mask_scores[i]


def test_the_keys_are_those_that_labelme_itself_writes(tmp_path: Path) -> None:
    sample = photo(tmp_path / "a.jpg")
    annotate(tmp_path, (sample, instances_of(blobs(sample.size), [0] * 7)))
    ours = json.loads((tmp_path / "a.json").read_text())
    labelme.LabelFile().save(str(tmp_path / "b.json"), [], "a.jpg", 40, 60)
    assert list(ours) == [*json.loads((tmp_path / "b.json").read_text()), SETTINGS, CONTENT]
    assert (ours["imagePath"], ours["imageData"], ours["imageHeight"], ours["imageWidth"]) == ("a.jpg", None, 40, 60)
    for shape in ours["shapes"]:
        assert list(shape) == [
            *("label", "points", "group_id", "description", "shape_type", "flags", "mask", "score", "mask_score"),
            "confidence",
        ]
        assert (shape["group_id"], shape["description"], shape["shape_type"], shape["flags"]) == (None, "", "mask", {})
        assert all(type(value) is int for point in shape["points"] for value in point)
        assert Image.open(io.BytesIO(base64.b64decode(shape["mask"]))).format == "PNG"


def test_empty_masks_are_left_out_and_counted(tmp_path: Path) -> None:
    sample = photo(tmp_path / "a.jpg")
    empty, some = np.zeros(sample.size, bool), np.eye(*sample.size, dtype=bool)
    lines = annotate(tmp_path, (sample, instances_of([empty, some, empty, some], [0, 1, 2, 2])))
    assert [shape["label"] for shape in labelme.LabelFile(str(tmp_path / "a.json")).shapes] == ["airplane", "turtle"]
    assert lines == [f"labelme: 2 shapes in 1 image in {tmp_path}", "labelme: empty masks left out: 2"]


def test_an_image_without_objects_has_its_file(tmp_path: Path) -> None:
    sample = photo(tmp_path / "a.jpg")
    none = Instances(sample.size, Detections.empty(), [], np.zeros(0, np.float32))
    assert annotate(tmp_path / "out", (sample, none)) == [f"labelme: 0 shapes in 1 image in {tmp_path / 'out'}"]
    assert labelme.LabelFile(str(tmp_path / "out" / "a.json")).shapes == []


def test_tracks_become_groups_and_a_drawn_shape_has_no_score(tmp_path: Path) -> None:
    sample = photo(tmp_path / "a.jpg")
    found = instances_of(blobs(sample.size)[:2], [0, 1])
    tracked = Instances(
        found.size, found.detections, found.masks, np.array([np.nan, 0.5], np.float32), np.array([7, 3])
    )
    annotate(tmp_path, (sample, tracked))
    shapes = labelme.LabelFile(str(tmp_path / "a.json")).shapes
    assert [shape["group_id"] for shape in shapes] == [7, 3]
    assert [shape["other_data"]["mask_score"] for shape in shapes] == [None, 0.5]


@pytest.mark.parametrize("image", ["images/a.jpg", "a.jpg", "out/clip/a.jpg", "a b/汽车 é.png", "deep/er/still/a.jpg"])
def test_the_image_is_found_from_any_folder(tmp_path: Path, image: str) -> None:
    sample = photo(tmp_path / image)
    sample = Sample("clip/000001", sample.path, sample.image)
    annotate(tmp_path / "out", (sample, instances_of(blobs(sample.size), [0] * 7)))
    assert labelme.LabelFile(str(tmp_path / "out" / "clip" / "000001.json")).image_data == sample.path.read_bytes()


@pytest.mark.skipif(os.name != "posix", reason="makes links")
def test_the_image_is_found_through_links(tmp_path: Path) -> None:
    real = photo(tmp_path / "store" / "x" / "4711.jpg")
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    (tmp_path / "out").symlink_to(tmp_path / "elsewhere" / "deep")
    (tmp_path / "images").symlink_to(tmp_path / "store" / "x")
    (tmp_path / "images" / "a.jpg").symlink_to(real.path)
    sample = Sample("a", tmp_path / "images" / "a.jpg", real.image)
    annotate(tmp_path / "out", (sample, instances_of(blobs(sample.size), [0] * 7)))
    loaded = labelme.LabelFile(str(tmp_path / "out" / "a.json"))
    assert loaded.image_data == real.path.read_bytes()
    assert Path(loaded.image_path).name == "a.jpg"


@pytest.mark.skipif(os.name != "posix", reason="file names are bytes only there")
def test_a_file_name_that_is_not_utf8_is_found(tmp_path: Path) -> None:
    sample = photo(tmp_path / "a.jpg")
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jpg"))
    try:
        sample.path.rename(odd)
    except OSError:
        pytest.skip("the file system takes UTF-8 names only")
    exporter = LabelmeExporter(ExportSettings(tmp_path, NAMES))
    exported = exporter.export(Sample("a", odd, sample.image), instances_of(blobs(sample.size), [0] * 7))
    (tmp_path / "a.json").write_bytes(exported.files["a.json"])
    assert labelme.LabelFile(str(tmp_path / "a.json")).image_data == odd.read_bytes()


def test_class_names_keep_their_script(tmp_path: Path) -> None:
    sample = photo(tmp_path / "a.jpg")
    annotate(tmp_path, (sample, instances_of(blobs(sample.size)[:2], [0, 1])), names=("汽车", 'a "b"\\'))
    assert "汽车" in (tmp_path / "a.json").read_text("utf-8")
    assert [shape["label"] for shape in labelme.LabelFile(str(tmp_path / "a.json")).shapes] == ["汽车", 'a "b"\\']


@pytest.mark.parametrize("mode,suffix", [("CMYK", "jpg"), ("I;16", "png"), ("P", "gif"), ("P", "bmp"), ("L", "webp")])
def test_labelme_shows_even_an_image_that_it_cannot_open(tmp_path: Path, mode: str, suffix: str) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (40, 60), np.uint8)
    if mode == "I;16":
        picture = Image.fromarray(grey.astype(np.uint16) * 256)
    else:
        picture = Image.fromarray(grey).convert("RGB").convert(mode)
    picture.save(tmp_path / f"a.{suffix}")
    sample = Sample("a", tmp_path / f"a.{suffix}", np.repeat(grey[:, :, None], 3, axis=2))
    annotate(tmp_path, (sample, instances_of(blobs(sample.size), [0] * 7)))
    loaded = labelme.LabelFile(str(tmp_path / "a.json"))
    assert loaded.image_path == f"a.{suffix}"
    assert labelme.utils.img_data_to_arr(loaded.image_data).shape[:2] == (40, 60)


def test_labelme_shows_an_image_that_is_too_long_for_a_jpeg(tmp_path: Path) -> None:
    Image.new("CMYK", (MAX_JPEG_SIDE + 1, 2)).save(tmp_path / "a.tif")
    sample = Sample("a", tmp_path / "a.tif", np.zeros((2, MAX_JPEG_SIDE + 1, 3), np.uint8))
    annotate(tmp_path, (sample, Instances.from_masks(sample.size, [], [])))
    loaded = labelme.LabelFile(str(tmp_path / "a.json"))
    assert labelme.utils.img_data_to_arr(loaded.image_data).shape == sample.image.shape


def real_instances(target: np.ndarray, objects: np.ndarray) -> Instances:
    """One instance for each pair of object and label in a split's masks."""
    pairs = [divmod(pair, 256) for pair in np.unique(objects.astype(int) * 256 + target).tolist()]
    pairs = [(number, label) for number, label in pairs if number not in (0, 255) and label not in (0, 255)]
    masks = [(objects == number) & (target == label) for number, label in pairs] or [np.zeros(target.shape, bool)]
    return instances_of(masks, [label - 1 for _, label in pairs] or [0])


@pytest.mark.skipif(not DATA.is_dir(), reason="the real photographs are not here")
@pytest.mark.parametrize("split", ["voc", "coco", "labelme_instance"])
def test_labelme_loads_all_of_a_real_split_and_gives_back_its_label_maps(tmp_path: Path, split: str) -> None:
    root = DATA / split
    names = tuple((root / "class_names.txt").read_text("utf-8").split("\n"))
    written = []
    for path in sorted((root / "JPEGImages").iterdir()):
        target = np.asarray(Image.open(root / "SegmentationClass" / f"{path.stem}.png"))
        objects = root / "SegmentationObject" / f"{path.stem}.png"
        instances = real_instances(target, np.asarray(Image.open(objects)) if objects.exists() else target)
        image = np.zeros((*target.shape, 3), np.uint8)
        written.append((Sample(path.stem, path, image), instances))
    annotate(tmp_path, *written, names=names)
    for sample, instances in written:
        loaded = labelme.LabelFile(str(tmp_path / f"{sample.image_id}.json"))
        assert loaded.image_data == sample.path.read_bytes()
        labels = labelme.utils.shapes_to_label(
            sample.image.shape, loaded.shapes, {name: class_id + 1 for class_id, name in enumerate(names)}
        )[0]
        assert np.array_equal(labels, instances.to_semantic())


@pytest.mark.skipif(not DATA.is_dir(), reason="the real photographs are not here")
@pytest.mark.filterwarnings("ignore:Palette images with Transparency", "ignore:Corrupt EXIF")
def test_labelme_loads_whatever_pillow_can_show(tmp_path: Path) -> None:
    loaded = 0
    for entry in json.loads((DATA / "odd" / "INDEX.json").read_text()):
        if entry.get("pil_load") != "ok" or entry["cv2_color"] is None or "large" in entry["file"]:
            continue
        path = DATA / "odd" / entry["file"]
        image = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
        sample = Sample(entry["file"], path, image)
        annotate(tmp_path, (sample, instances_of([np.ones(sample.size, bool)], [0])))
        shape = labelme.LabelFile(str(tmp_path / f"{entry['file']}.json")).shapes[0]
        assert full_mask(shape, sample.size).all()
        loaded += 1
    assert loaded > 30
