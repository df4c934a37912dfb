"""Predictions that others wrote: files as pycocotools, Ultralytics and mmsegmentation write them, and what is open."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_masks
from pycocotools.coco import COCO

from models.ultralytics_quiet import quiet_ultralytics
from utils.annotations.source import AnnotationFolder, annotation_problems
from utils.classes import COCO_CLASSES, VOID, ClassIndex, palette
from utils.distributed import Session
from utils.errors import SampleError, UserError
from utils.formats import predictions
from utils.formats.labelme_reader import LabelmeFiles
from utils.formats.predictions import CocoFiles
from utils.io import json_files

NAMES = ("car", "dog", "bird")
SIZE = (30, 40)
IDS = ("clip/000001", "000000000009")


def disk(x: int, y: int, radius: int) -> np.ndarray:
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


FIRST, SECOND = disk(12, 14, 9), disk(20, 15, 8)
"""They overlap."""


def images(*ids: str, size: tuple[int, int] = SIZE, folder: Path = Path("photos")) -> SimpleNamespace:
    paths = [folder / f"{image_id}.jpg" for image_id in ids]
    return SimpleNamespace(ids=ids, paths=paths, sizes=lambda positions: [size] * len(positions))


def problems(path: Path, *ids: str, names: tuple[str, ...] = NAMES, offset: str | None = None) -> list[str]:
    return annotation_problems(path, ClassIndex(names), offset, images(*(ids or IDS)), Session())


def rle(mask: np.ndarray) -> dict[str, Any]:
    encoded = coco_masks.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}


def instances_file(folder: Path, **more: Any) -> Path:
    """As pycocotools loads it."""
    names = ("clip/000001.jpg", "000000000009.jpg")
    pictures = [{"id": i, "file_name": name, "height": SIZE[0], "width": SIZE[1]} for i, name in enumerate(names)]
    common = {"iscrowd": 0, "bbox": [0, 0, 5, 5], "area": 25}
    rows = [
        {"id": 1, "image_id": 0, "category_id": 7, "segmentation": rle(FIRST), **common, **more},
        {"id": 2, "image_id": 0, "category_id": 3, "segmentation": rle(SECOND), **common, **more},
    ]
    path = folder / "instances.json"
    categories = [{"id": 7, "name": "bird"}, {"id": 3, "name": "car"}]
    path.write_text(json.dumps({"info": {}, "images": pictures, "categories": categories, "annotations": rows}))
    return path


def results_file(folder: Path, *category_ids: int, image_id: Any = 9) -> Path:
    """As detectors write it and `loadRes` reads it."""
    masks = (FIRST, SECOND)
    rows = [
        {"image_id": image_id, "category_id": each, "segmentation": rle(mask), "score": score}
        for each, mask, score in zip(category_ids, masks, (0.9, 0.6))
    ]
    path = folder / "results.json"
    path.write_text(json.dumps(rows))
    return path


def test_coco_instances_are_those_of_pycocotools(tmp_path: Path) -> None:
    path = instances_file(tmp_path)
    coco = COCO(str(path))
    for place in (path, tmp_path):
        assert problems(place) == []
        found = AnnotationFolder(place, ClassIndex(NAMES)).read("clip/000001", SIZE)
        assert found.detections.class_ids.tolist() == [2, 0]
        for annotation, mask in zip(coco.loadAnns([1, 2]), found.masks):
            np.testing.assert_array_equal(mask.to_full(SIZE), coco.annToMask(annotation))
        assert len(AnnotationFolder(place, ClassIndex(NAMES)).read("000000000009", SIZE)) == 0
        with pytest.raises(SampleError, match="has no annotation"):
            AnnotationFolder(place, ClassIndex(NAMES)).read("other", SIZE)


def test_the_files_of_the_splits_of_roboflow_are_read_together(tmp_path: Path) -> None:
    """Their ids, and perhaps names, are the same; `file_name` starts at the folder of the file."""
    for split, category_id in (("train", 7), ("valid", 3)):
        file = instances_file(tmp_path, category_id=category_id)
        (tmp_path / split).mkdir()
        file.rename(tmp_path / split / "_annotations.coco.json")
    ids = [f"{split}/{image_id}" for split in ("train", "valid") for image_id in IDS]
    assert problems(tmp_path, *ids) == []
    folder = AnnotationFolder(tmp_path, ClassIndex(NAMES))
    assert folder.coverage(ids) == ": COCO instances, 4 of 4 images are in the run, which has 4 images"
    for split in ("train", "valid"):
        coco = COCO(tmp_path / split / "_annotations.coco.json")
        rows = coco.loadAnns(coco.getAnnIds(imgIds=[0]))
        found = folder.read(f"{split}/{IDS[0]}", SIZE)
        names = [coco.cats[row["category_id"]]["name"] for row in rows]
        assert [NAMES[i] for i in found.detections.class_ids] == names
        for row, mask in zip(rows, found.masks, strict=True):
            np.testing.assert_array_equal(mask.to_full(SIZE), coco.annToMask(row))
        whole = AnnotationFolder(tmp_path / split, ClassIndex(NAMES)).read(IDS[0], SIZE)
        assert whole.detections.class_ids.tolist() == found.detections.class_ids.tolist()


@pytest.mark.parametrize("crowd", [0, 1])
def test_crowds_are_named_that_count_as_objects(tmp_path: Path, crowd: int, capsys: pytest.CaptureFixture[str]) -> None:
    path = instances_file(tmp_path, iscrowd=crowd)
    assert problems(path) == []
    assert ("2 of its objects are crowds (iscrowd), which stand for many" in capsys.readouterr().err) == bool(crowd)
    found = AnnotationFolder(path, ClassIndex(NAMES)).read("clip/000001", SIZE)
    np.testing.assert_array_equal(found.masks[0].to_full(SIZE), FIRST)


def test_scores_in_percent_are_refused_with_and_without_an_instances_file(tmp_path: Path) -> None:
    """As they are in prompt files: calibrations and annotations made of them would hold them, too."""
    path = results_file(tmp_path, 3, 1, image_id=0)
    path.write_text(json.dumps([row | {"score": 100 * row["score"]} for row in json.loads(path.read_text())]))
    said = f"{path}: [0].score: expected a number from 0 to 1, found a number (90.0)"
    assert problems(path) == [said]
    instances_file(tmp_path, category_id=3)
    assert problems(tmp_path) == [said]


@pytest.mark.parametrize(("times", "scored"), [(2, True), (1, True), (1, False), (2, False)])
def test_results_that_repeat_rows_or_lack_scores_are_named(
    tmp_path: Path, times: int, scored: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without scores, nothing says which of two objects that overlap gets a pixel: the order of rows means nothing."""
    path = results_file(tmp_path, 3, 1)
    rows = json.loads(path.read_text()) * times
    path.write_text(json.dumps([row if scored else {k: row[k] for k in row if k != "score"} for row in rows]))
    assert problems(path) == []
    said = capsys.readouterr().err
    assert ("2 of its objects repeat others with all their values" in said) == (times == 2)
    assert ("they have no scores, so the later one gets them" in said) == (not scored)


def test_coco_results_are_those_of_pycocotools_and_the_higher_score_gets_a_pixel(tmp_path: Path) -> None:
    path = results_file(tmp_path, 3, 1)
    loaded = COCO(str(instances_file(tmp_path))).loadRes(
        [each | {"image_id": 1} for each in json.loads(path.read_text())]
    )
    found = AnnotationFolder(path, ClassIndex(NAMES)).read("000000000009", SIZE)
    assert found.detections.class_ids.tolist() == [2, 0]  # ids begin at 1: there is a 3
    assert found.detections.scores.tolist() == pytest.approx([0.9, 0.6])
    for annotation, mask in zip(loaded.loadAnns([1, 2]), found.masks):
        np.testing.assert_array_equal(mask.to_full(SIZE), loaded.annToMask(annotation))
    label_map = found.to_semantic()
    assert (label_map[FIRST] == 3).all() and (label_map[SECOND & ~FIRST] == 1).all()
    assert (
        len(AnnotationFolder(path, ClassIndex(NAMES)).read("clip/000001", SIZE)) == 0
    )  # no row: nothing was found there
    assert problems(path) == []


def test_results_beside_their_instances_file_have_its_ids_as_pycocotools_has_it(tmp_path: Path) -> None:
    """Image 0 is called clip/000001, and 9 is no image of the file; MMDetection writes boxes to another file."""
    instances = instances_file(tmp_path).rename(tmp_path / "val.json")
    results = results_file(tmp_path, 7, 3, image_id=0)
    (tmp_path / "results.bbox.json").write_text(
        json.dumps([{"image_id": 0, "category_id": 7, "bbox": [0, 0, 5, 5], "score": 0.9}])
    )
    loaded = COCO(str(instances)).loadRes(str(results))
    assert problems(tmp_path) == []
    source = AnnotationFolder(tmp_path, ClassIndex(NAMES))
    found = source.read("clip/000001", SIZE)
    assert found.detections.class_ids.tolist() == [2, 0] and found.mask_scores.tolist() == pytest.approx([0.9, 0.6])
    for annotation, mask in zip(loaded.loadAnns(loaded.getAnnIds(imgIds=0)), found.masks, strict=True):
        np.testing.assert_array_equal(mask.to_full(SIZE), loaded.annToMask(annotation))
    assert len(source.read("000000000009", SIZE)) == 0
    with pytest.raises(SampleError, match="has no annotation"):  # the model never saw it
        source.read("other", SIZE)
    (tmp_path / "more.json").write_text(results.read_text())
    assert "both more.json and results.json are COCO results; leave one of them here" in "".join(problems(tmp_path))


def test_a_folder_may_hold_results_alone_and_says_where_their_ids_may_be_from(tmp_path: Path) -> None:
    results_file(tmp_path, 3, 1)
    assert problems(tmp_path) == []
    assert len(AnnotationFolder(tmp_path, ClassIndex(NAMES)).read("000000000009", SIZE)) == 2
    results_file(tmp_path, 3, 1, image_id=8)
    assert "name a folder that holds both files" in "".join(problems(tmp_path))


@pytest.mark.parametrize("image_id", ["000000000009.jpg", "000000000009", "9", 9.0])
def test_ids_of_results_may_be_texts_whole_numbers_or_names_of_files(tmp_path: Path, image_id: object) -> None:
    path = results_file(tmp_path, 3, 1, image_id=image_id)
    rows = json.loads(path.read_text())
    path.write_text(json.dumps([rows[0] | {"category_id": "3"}, rows[1] | {"category_id": 1.0}]))
    found = AnnotationFolder(path, ClassIndex(NAMES)).read("000000000009", SIZE)
    assert found.detections.class_ids.tolist() == [2, 0]
    path.write_text(json.dumps([rows[0] | {"category_id": "bird"}]))
    assert '[0].category_id: expected an integer, found "bird"' in "".join(problems(path))


def test_images_of_results_that_are_not_in_the_run_are_counted(tmp_path: Path) -> None:
    path = results_file(tmp_path, 3, 1)
    rows = json.loads(path.read_text())
    path.write_text(json.dumps([*rows, rows[0] | {"image_id": 8}, rows[0] | {"image_id": "elsewhere"}]))
    assert AnnotationFolder(path, ClassIndex(NAMES)).coverage(IDS) == (
        ": COCO results, 1 of 3 images is in the run, which has 2 images"
    )


@pytest.mark.parametrize("folder", ["", "train/", "test/train/"])
def test_images_are_those_of_the_file_whichever_of_their_folders_lies_higher(folder: str, tmp_path: Path) -> None:
    """The file names clip/000001.jpg; without objects an image counts as empty, so it may not be missed."""
    labels = tmp_path / "labels" / "clip"
    labels.mkdir(parents=True)
    (labels / "000001.txt").write_text("0 0.1 0.1 0.9 0.1 0.9 0.9\n")
    for path in (instances_file(tmp_path), labels.parent):
        source = AnnotationFolder(path, ClassIndex(NAMES))
        assert len(source.read(f"{folder}clip/000001", SIZE)) > 0
        assert source.files.key("other/000001") is None


def test_frames_of_clips_that_have_the_same_names_are_found_by_their_clips(tmp_path: Path) -> None:
    for clip, radius in (("a", 3), ("b", 5)):
        (tmp_path / clip).mkdir()
        Image.fromarray(disk(12, 14, radius).astype(np.uint8)).save(tmp_path / clip / "000001.png")
    source = AnnotationFolder(tmp_path, ClassIndex(NAMES))
    assert [source.files.key(f"train/{clip}/000001") for clip in "abc"] == ["a/000001", "b/000001", None]
    with pytest.raises(SampleError, match="several of its images may be 000001"):
        source.read("000001", SIZE)


def test_labels_of_poses_are_boxes_whatever_their_keypoints_look_like(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("names: [car, dog, bird]\nkpt_shape: [2, 2]\n")
    (tmp_path / "000001.txt").write_text("0 0.5 0.5 0.2 0.2 0.1 0.9 0.45 0.55\n")
    assert "holds boxes, no masks; -p takes them" in "".join(problems(tmp_path))


def test_a_file_of_coco_is_read_no_more_than_four_times_to_be_known_and_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results_file(instances_file(tmp_path).parent, 7, 3, image_id=0)
    reads, read = Counter[str](), predictions.read_user_text
    for module in (predictions, json_files):
        monkeypatch.setattr(module, "read_user_text", lambda path: reads.update([path.name]) or read(path))
    assert problems(tmp_path) == []
    assert len(reads) == 2 and max(reads.values()) <= 4


def test_uploads_of_label_studio_are_found_by_their_names_before(tmp_path: Path) -> None:
    path = instances_file(tmp_path)
    path.write_text(path.read_text().replace("clip/000001.jpg", "images/1a2b3c4d-photo.jpg"))
    source = AnnotationFolder(path, ClassIndex(NAMES))
    for image_id in ("photo", "images/photo", "images/1a2b3c4d-photo", "day/images/1a2b3c4d-photo"):
        assert source.files.key(image_id) == "images/1a2b3c4d-photo"
    assert source.files.key("other/photo") is None


def test_results_of_images_of_another_size_are_refused_before_work(tmp_path: Path) -> None:
    path = results_file(tmp_path, 3, 1)
    (said,) = annotation_problems(path, ClassIndex(NAMES), None, images(*IDS, size=(60, 80)), Session())
    assert said == f"{path}: [0].segmentation.size: the image is 60 high and 80 wide, this is not"


def test_results_without_a_row_mean_that_nothing_was_found(tmp_path: Path) -> None:
    path = results_file(tmp_path)
    assert json.loads(path.read_text()) == [] and problems(path) == []
    assert len(AnnotationFolder(path, ClassIndex(NAMES)).read("000000000009", SIZE)) == 0


@pytest.mark.parametrize(
    ("ids", "offset", "said"),
    [
        ((1, 2), None, "may begin at 0 or 1: give --category-offset 0 or 1"),
        ((1, 2), "0", ""),
        ((0, 2), None, ""),
        ((0, 3), None, "category ids 0 to 3 do not fit the 3 classes"),
        ((1, 3), "0", "do not fit the 3 classes with --category-offset 0"),
    ],
)
def test_where_category_ids_begin_is_never_guessed(
    tmp_path: Path, ids: tuple[int, ...], offset: str | None, said: str
) -> None:
    told = "".join(problems(results_file(tmp_path, *ids), offset=offset))
    assert said in told and bool(said) == bool(told)


def test_ids_of_coco_may_be_its_own(tmp_path: Path) -> None:
    folder = AnnotationFolder(results_file(tmp_path, 90, 18), ClassIndex(COCO_CLASSES))
    found = folder.read("000000000009", SIZE).detections.class_ids
    assert [COCO_CLASSES[i] for i in found] == ["toothbrush", "dog"]
    (said,) = problems(results_file(tmp_path, 18, 17), names=COCO_CLASSES)
    assert "--category-offset 0 or 1 or coco91" in said


def test_a_run_may_have_some_of_the_classes_of_coco(tmp_path: Path) -> None:
    """Car is 3, dog 18 and bird 16 in COCO's file; 17 is a cat, which the run lacks."""
    found = AnnotationFolder(results_file(tmp_path, 16, 18), ClassIndex(NAMES)).read("000000000009", SIZE)
    assert found.detections.class_ids.tolist() == [2, 1]
    found = AnnotationFolder(results_file(tmp_path, 3, 3), ClassIndex(NAMES), "coco91").read("000000000009", SIZE)
    assert found.detections.class_ids.tolist() == [0, 0]
    assert "category ids 16 to 17 do not fit the 3 classes" in "".join(problems(results_file(tmp_path, 16, 17)))


def test_labels_are_those_that_ultralytics_writes(tmp_path: Path) -> None:
    quiet_ultralytics()
    from ultralytics.engine.results import Results

    masks = np.stack([FIRST, SECOND]).astype(np.uint8)
    import torch

    results = Results(
        np.zeros((*SIZE, 3), np.uint8),
        "000000000009.jpg",
        dict(enumerate(NAMES)),
        boxes=torch.tensor([[3, 5, 22, 24, 0.9, 2], [12, 7, 29, 24, 0.6, 0]]),
        masks=torch.from_numpy(masks),
    )
    (tmp_path / "labels").mkdir()
    results.save_txt(tmp_path / "labels" / "000000000009.txt", save_conf=True)
    for place in (tmp_path, tmp_path / "labels"):
        assert problems(place) == []
        found = AnnotationFolder(place, ClassIndex(NAMES)).read("000000000009", SIZE)
        assert found.detections.class_ids.tolist() == [2, 0]
        for mask, drawn in zip((FIRST, SECOND), found.masks):
            full = drawn.to_full(SIZE)
            assert (mask & full).sum() / (mask | full).sum() > 0.85  # its polygons run through the centers of pixels
        assert found.to_semantic()[14, 16] == 3  # of both, the one with the higher score
        assert len(AnnotationFolder(place, ClassIndex(NAMES)).read("clip/000001", SIZE)) == 0
    file = tmp_path / "labels" / "000000000009.txt"
    file.rename(file.with_suffix(".TXT"))
    assert len(AnnotationFolder(tmp_path, ClassIndex(NAMES)).read("000000000009", SIZE)) == 2


def test_labels_of_the_images_of_each_split_lie_where_ultralytics_looks(tmp_path: Path) -> None:
    quiet_ultralytics()
    from ultralytics.data.utils import img2label_paths

    ids = [f"{split}/images/{name}" for split, name in (("train", "a"), ("train", "b.rf.1"), ("valid", "a"))]
    for class_id, file in enumerate(img2label_paths([f"{tmp_path}/{image_id}.jpg" for image_id in ids])):
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).write_text(f"{class_id} 0.1 0.1 0.5 0.1 0.5 0.5\n")
    assert problems(tmp_path, *ids) == []
    folder = AnnotationFolder(tmp_path, ClassIndex(NAMES))
    assert [folder.read(image_id, SIZE).detections.class_ids.tolist() for image_id in ids] == [[0], [1], [2]]
    assert len(folder.read("test/images/b.rf.1", SIZE)) == 0, "of another split"


def test_images_that_are_found_in_several_splits_are_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for label in ("train/labels/a", "train/labels/c", "valid/labels/b", "valid/labels/d"):
        (tmp_path / label).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{label}.txt").write_text("0 0.1 0.1 0.5 0.1 0.5 0.5\n")
    assert problems(tmp_path, "b", "d") == [] and capsys.readouterr().err == ""
    assert problems(tmp_path, "valid/b", "train/a") == [] and capsys.readouterr().err == ""
    assert problems(tmp_path, "a", "b", "d") == [], "a of valid has no objects, so no label"
    assert "in several folders: valid/ 2, train/ 1; if one is meant, name it" in capsys.readouterr().err
    of_split = images("a", "b", "d", folder=tmp_path / "valid/images")
    assert annotation_problems(tmp_path, ClassIndex(NAMES), None, of_split, Session()) == []
    assert capsys.readouterr().err == ""
    folder = AnnotationFolder(tmp_path, ClassIndex(NAMES), None, of_split)
    assert [len(folder.read(image_id, SIZE)) for image_id in of_split.ids] == [0, 1, 1], "a of train is another image"


def label_map() -> np.ndarray:
    found = np.zeros(SIZE, np.uint8)
    found[FIRST], found[SECOND], found[0, 0], found[29, 39] = 1, 3, 2, VOID
    return found


@pytest.mark.parametrize("name", ["000001", "clip/000001"])
def test_label_maps_as_mmsegmentation_writes_them_are_taken_pixel_by_pixel(tmp_path: Path, name: str) -> None:
    """`IoUMetric` with an output folder writes `<stem>.png` of mode L; the tree of a dataset may be kept as well."""
    path = tmp_path / "maps" / f"{name}.png"
    path.parent.mkdir(parents=True)
    Image.fromarray(label_map()).save(path)
    assert problems(tmp_path / "maps") == []
    found = AnnotationFolder(tmp_path / "maps", ClassIndex(NAMES)).read("clip/000001", SIZE).to_semantic()
    np.testing.assert_array_equal(found, np.where(label_map() == VOID, 0, label_map()))
    with pytest.raises(SampleError, match="no annotation"):
        AnnotationFolder(tmp_path / "maps", ClassIndex(NAMES)).read("000000000009", SIZE)
    (wrong,) = annotation_problems(tmp_path / "maps", ClassIndex(NAMES[:2]), None, images(*IDS), Session())
    assert "the value 3 is the label of no class; 0 is the background, 1 to 2 are the classes, 255 is" in wrong
    (other,) = annotation_problems(tmp_path / "maps", ClassIndex(NAMES), None, images(*IDS, size=(9, 9)), Session())
    assert "40 x 30 pixels, the image has 9 x 9" in other


def test_a_label_map_of_the_dataset_is_said_not_to_count_for_maps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(label_map()).save(tmp_path / "000001.png")
    for has_one in (False, True):
        source = tmp_path, ClassIndex(NAMES), None, images(*IDS), Session()
        assert annotation_problems(*source, label_map=has_one) == []
        said = capsys.readouterr().err
        assert ("dataset.label_map is for masks of the dataset alone; values of the maps in" in said) == has_one


@pytest.mark.parametrize("suffix", ["PNG", "JSON"])
def test_suffixes_in_capitals_are_found(suffix: str, tmp_path: Path) -> None:
    if suffix == "PNG":
        for kind in ("SegmentationClass", "SegmentationObject"):
            (tmp_path / kind).mkdir()
            Image.fromarray(label_map()).save(tmp_path / kind / "000001.PNG")
    else:
        points = [[3, 3], [20, 3], [20, 20]]
        shape = {"label": "car", "shape_type": "polygon", "points": points, "group_id": None}
        (tmp_path / "clip").mkdir()
        (tmp_path / "clip" / "000001.JSON").write_text(json.dumps({"shapes": [shape]}))
    assert problems(tmp_path) == []
    assert len(AnnotationFolder(tmp_path, ClassIndex(NAMES)).read("clip/000001", SIZE)) > 0


def test_tasks_of_label_studio_are_called_so(tmp_path: Path) -> None:
    path, task = tmp_path / "a.json", {"data": {"image": "a"}, "annotations": []}
    for content, what in ((task, "a task of Label Studio, which is"), ([task], "tasks of Label Studio, which are")):
        path.write_text(json.dumps(content))
        assert f"a.json: {what} not read; export COCO" in "".join(problems(path))


def test_a_voc_tree_keeps_its_objects(tmp_path: Path) -> None:
    """Two of them touch, which are one connected part."""
    objects = label_map() % VOID
    objects[:, 20:] += objects[:, 20:] == 3
    for folder, values in (("SegmentationClass", label_map()), ("SegmentationObject", objects)):
        path = tmp_path / folder / "000000000009.png"
        path.parent.mkdir()
        Image.fromarray(np.asarray(values, np.uint8)).save(path)
    assert problems(tmp_path) == []
    found = AnnotationFolder(tmp_path, ClassIndex(NAMES)).read("000000000009", SIZE)
    assert found.detections.class_ids.tolist() == [0, 1, 2, 2]


def test_an_object_map_that_lacks_objects_of_the_label_map_is_refused(tmp_path: Path) -> None:
    """Without it, connected parts are the objects, and their label map is that of the file."""
    for folder, values in (("SegmentationClass", label_map()), ("SegmentationObject", SECOND * 1)):
        (tmp_path / folder).mkdir()
        Image.fromarray(np.asarray(values, np.uint8)).save(tmp_path / folder / "000000000009.png")
    lost = np.count_nonzero((label_map() % 255 > 0) & ~SECOND)
    assert f"{lost} of the {np.count_nonzero(label_map() % 255)} pixels of classes" in "".join(problems(tmp_path))
    (tmp_path / "SegmentationObject" / "000000000009.png").unlink()
    found = AnnotationFolder(tmp_path, ClassIndex(NAMES)).read("000000000009", SIZE).to_semantic()
    np.testing.assert_array_equal(found, np.where(label_map() == VOID, 0, label_map()))


@pytest.mark.parametrize("ids", [("data/000001", "labels/000001"), ("a", "a_mask")])  # as FiftyOne, Roboflow write them
def test_label_maps_among_the_photos_of_a_run_are_not_taken_for_photos(tmp_path: Path, ids: tuple[str, str]) -> None:
    paths = [tmp_path / f"{ids[0]}.jpg", tmp_path / f"{ids[1]}.png"]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(label_map()).save(path)
    run = SimpleNamespace(ids=ids, paths=paths, sizes=lambda positions: [SIZE] * len(positions))
    (told,) = annotation_problems(tmp_path, ClassIndex(NAMES), None, run, Session())
    assert told.startswith(f"1 image of the run is a label map here, {paths[1]}: ")


@pytest.mark.parametrize(("values", "told"), [((VOID, 0, 2), True), ((0, 1, 3), False)])
def test_label_maps_whose_background_may_be_255_are_named(
    tmp_path: Path, values: tuple[int, ...], told: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(np.select([FIRST, SECOND], values[1:], values[0]).astype(np.uint8)).save(tmp_path / "000001.png")
    assert problems(tmp_path) == []
    said = capsys.readouterr().err
    assert ("warning: " in said and "add 1 to every value, as uint8: 255 becomes 0" in said) == told
    assert f"255 fills {100 * (~FIRST & ~SECOND).mean():.0f} % of the maps" in said or not told


@pytest.mark.parametrize(("order", "told"), [((2, 0, 3, 1), True), ((0, 1, 2, 3), False)])
def test_label_maps_whose_palette_shows_other_labels_are_named(
    tmp_path: Path, order: tuple[int, ...], told: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """As Pillow's `quantize` makes them of the colors of VOC; `dataset.label_map` is not for them."""
    picture = Image.fromarray(np.argsort(order).astype(np.uint8)[np.where(label_map() == VOID, 0, label_map())])
    picture.putpalette(palette(256)[[*order]].tobytes())
    picture.save(tmp_path / "000001.png")
    assert problems(tmp_path) == []
    said = capsys.readouterr().err
    assert ("000001.png: the palette holds VOC's colors at other indices" in said) == told
    assert ("quantize(palette=p, dither=0)" in said) == told and "dataset.label_map" not in said


def test_panoptic_maps_are_named_once_and_not_read(tmp_path: Path) -> None:
    (tmp_path / "panoptic").mkdir()
    (tmp_path / "panoptic.json").write_text('{"images": [], "annotations": [], "categories": []}')
    for image_id in ("a", "b"):
        Image.new("RGB", SIZE[::-1]).save(tmp_path / "panoptic" / f"{image_id}.png")
    (problem,) = problems(tmp_path, "a", "b")
    assert problem == f"{tmp_path}: holds COCO's panoptic maps, which are not read; -a takes COCO instances"


def test_maps_of_object_numbers_are_not_taken_for_label_maps(tmp_path: Path) -> None:
    for folder in ("SegmentationClass", "SegmentationObject"):
        (tmp_path / folder).mkdir()
        Image.fromarray(label_map()).save(tmp_path / folder / "000001.png")
    (told,) = problems(tmp_path / "SegmentationObject")
    assert told.endswith("holds the numbers of objects; name the tree, or its SegmentationClass")
    assert problems(tmp_path / "SegmentationClass") == problems(tmp_path) == []


@pytest.mark.parametrize(
    ("classes", "confidence", "told"), [((0, 1), "", True), ((0, 0), "", False), ((0, 1), " 0.5", False)]
)
def test_labels_whose_order_decides_what_an_image_shows_are_named(
    tmp_path: Path, classes: tuple[int, int], confidence: str, told: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `yolo predict save_txt=True` writes them, the surest object first; `save_conf=True` adds the last column."""
    outlines = ("0.1 0.1 0.6 0.1 0.6 0.5 0.4 0.6 0.1 0.6", "0.4 0.2 0.9 0.2 0.9 0.8 0.6 0.9 0.4 0.8")
    rows = "".join(f"{i} {each}{confidence}\n" for i, each in zip(classes, outlines))
    (tmp_path / "000001.txt").write_text(rows)
    assert problems(tmp_path) == []
    said = capsys.readouterr().err
    assert ("they have no scores, so the later one gets them" in said) == told == ("warning" in said)


@pytest.mark.parametrize(("rows", "told"), [(1, True), (2, False)])
def test_oriented_boxes_are_named_that_count_as_masks(
    tmp_path: Path, rows: int, told: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `yolo-obb` has them: four corners in each row. Other outlines have another number of points."""
    both = "0 0.1 0.1 0.5 0.2 0.5 0.5 0.1 0.4\n", "0 0.1 0.1 0.5 0.2 0.5 0.5 0.1 0.4 0.1 0.3\n"
    (tmp_path / "000001.txt").write_text("".join(both[:rows]))
    assert problems(tmp_path) == []
    assert ("every outline has four corners, as oriented boxes have" in capsys.readouterr().err) == told


@pytest.mark.parametrize("kind", ["results", "instances", "labelme"])
def test_an_offset_of_category_ids_is_named_where_it_changes_nothing(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = {"results": lambda: results_file(tmp_path, 1, 2), "instances": lambda: instances_file(tmp_path)}.get(kind)
    if path is None:
        (tmp_path / f"{IDS[0]}.json").parent.mkdir(parents=True, exist_ok=True)
        content = {"shapes": [], "imageHeight": SIZE[0], "imageWidth": SIZE[1]}
        (tmp_path / f"{IDS[0]}.json").write_text(json.dumps(content))
    assert problems(tmp_path if path is None else path(), offset="1") == []
    assert ("--category-offset 1 changes nothing in " in capsys.readouterr().err) == (kind != "results")


def test_names_without_folders_that_may_be_two_images_are_refused(tmp_path: Path) -> None:
    Image.fromarray(label_map()).save(tmp_path / "000001.png")
    (said,) = problems(tmp_path, "a/000001", "b/000001")
    assert '"000001" may be for a/000001 or b/000001' in said
    for clip in "ab":
        (tmp_path / clip).mkdir()
        Image.fromarray(label_map()).save(tmp_path / clip / "000001.png")
    assert problems(tmp_path, "a/000001", "b/000001") == []


def test_names_that_images_share_but_for_their_suffix_are_refused(tmp_path: Path) -> None:
    """Else both would count as images without objects."""
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text("0 0.1 0.1 0.5 0.2 0.5 0.5\n")
    for ids in (["a.jpg", "a.png", "b"], ["a.jpg", "a.png"], ["x/a.jpg", "x/a.png"]):
        (said,) = problems(tmp_path, *ids)
        assert f'"a" may be for {ids[0]} or another image whose name differs in the suffix alone' in said
    for name in ("a.jpg", "a.png"):
        (tmp_path / f"{name}.txt").write_text("")
    assert problems(tmp_path, "a.jpg", "a.png", "b") == []


def write_boxes(folder: Path, kind: str) -> Path:
    (folder / "rows.json").write_text(json.dumps([{"image_id": 9, "category_id": 3, "bbox": [1, 2, 3, 4], "score": 1}]))
    (folder / "labels").mkdir()
    (folder / "labels" / "a.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    return folder / {"results": "rows.json", "labels": "labels"}[kind]


@pytest.mark.parametrize("kind", ["instances", "labels"])
def test_boxes_among_masks_are_named(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As CVAT exports them, where a person drew some objects as boxes."""
    path = tmp_path
    if kind == "instances":
        content = json.loads((path := instances_file(tmp_path)).read_text())
        row = content["annotations"][0]
        row["segmentation"] = []
        content["annotations"] += [row | {"id": 100, "bbox": [1, 1, 9, 9]}, content["annotations"][1] | {"id": 101}]
        path.write_text(json.dumps(content))
    else:
        (path / "000001.txt").write_text("0 0.5 0.5 0.2 0.2\n0 0.1 0.1 0.5 0.2 0.5 0.5\n")
    assert problems(path) == []
    found = "2 of 4" if kind == "instances" else "1 of 2"
    said = capsys.readouterr().err
    assert f"{found} objects have a box, no mask: each counts as a filled box; -p takes" in said
    assert ("1 of its objects repeat others" in said) == (kind == "instances"), "other boxes without masks are others"


def test_what_is_not_there_is_called_so(tmp_path: Path) -> None:
    for name in ("masks", "masks.json"):
        (said,) = problems(tmp_path / name)
        assert said == f"{tmp_path / name}: No such file or directory"


def test_photos_of_boxes_are_no_label_maps(tmp_path: Path) -> None:
    """As `voc-detect` has them, and photos that are PNG files."""
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox>"
    for name, content in (("JPEGImages/000001.png", ""), ("Annotations/000001.xml", f"<object>{box}</object>")):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(f"<annotation>{content}</annotation>")
    (said,) = problems(tmp_path)
    assert said.endswith("; -p takes Pascal VOC boxes as prompts, and SAM2 makes the masks")


@pytest.mark.parametrize("kind", ["results", "labels"])
def test_boxes_are_prompts_no_masks(tmp_path: Path, kind: str) -> None:
    assert "holds boxes, no masks; -p takes them" in "".join(problems(write_boxes(tmp_path, kind)))


def test_boxes_of_voc_are_prompts_too(tmp_path: Path) -> None:
    (tmp_path / "Annotations").mkdir()
    assert "-p takes" not in "".join(problems(tmp_path))
    (tmp_path / "Annotations" / "000001.xml").write_text("<annotation/>")
    assert "; -p takes Pascal VOC boxes as prompts, and SAM2 makes the masks" in "".join(problems(tmp_path))


def labelme(folder: Path) -> None:
    (folder / "a.json").write_text(json.dumps({"shapes": [], "imageHeight": 30, "imageWidth": 40}))


def yolo(folder: Path) -> None:
    (folder / "a.txt").write_text("0 0.1 0.1 0.5 0.1 0.5 0.5\n")


def tree(folder: Path) -> None:
    (folder / "SegmentationClass").mkdir()


def coco(folder: Path) -> None:
    instances_file(folder)


@pytest.mark.parametrize("writers", [(labelme, yolo), (yolo, tree), (coco, yolo)])
def test_a_folder_of_two_kinds_is_refused(tmp_path: Path, writers: tuple[Callable[[Path], None], ...]) -> None:
    for write in writers:
        write(tmp_path)
    (said,) = problems(tmp_path)
    assert said.endswith("name a folder of one kind")


def test_a_folder_names_the_file_in_it_that_is_read_by_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    path = instances_file(tmp_path).rename(tmp_path / "annotations/instances_default.json")
    assert "".join(problems(tmp_path)).endswith(f"; -a {path} takes COCO instances")
    path.write_text(json.dumps([{"data": {"image": "a"}, "annotations": []}]))
    assert f"; {path}: tasks of Label Studio" in "".join(problems(tmp_path))


def test_the_lists_in_an_export_of_cvat_are_no_labels(tmp_path: Path) -> None:
    tree(tmp_path)
    (tmp_path / "labelmap.txt").write_text("# label:color_rgb:parts:actions\ncar:1,2,3::\n")
    assert "no image of the run is among a VOC tree" in "".join(problems(tmp_path))


def test_labelme_files_may_lie_beside_their_photos_and_other_formats(tmp_path: Path) -> None:
    labelme(tmp_path)
    Image.new("RGB", SIZE[::-1]).save(tmp_path / "a.png")
    (tmp_path / "coco").mkdir()
    instances_file(tmp_path / "coco")
    assert type(AnnotationFolder(tmp_path, ClassIndex(NAMES)).files) is LabelmeFiles
    assert type(AnnotationFolder(tmp_path / "coco", ClassIndex(NAMES)).files) is CocoFiles


@pytest.mark.parametrize("files", [["instances.json"], ["instances_train.json", "instances_val.json"]])
def test_photos_that_differ_in_their_suffix_keep_their_own_objects(files: list[str], tmp_path: Path) -> None:
    """They may be in one file, or in those of two splits."""
    content = json.loads(instances_file(tmp_path).read_text())
    (tmp_path / "instances.json").unlink()
    content["annotations"][1]["image_id"] = 1
    for image, name in zip(content["images"], ("a.jpg", "a.png")):
        image["file_name"] = name
    for name, own in zip(files, ({0, 1},) if len(files) == 1 else ({0}, {1})):
        part = {key: [row for row in content[key] if row[id_] in own] for key, id_ in KEYS}
        (tmp_path / name).write_text(json.dumps(content | part))
    source = AnnotationFolder(tmp_path, ClassIndex(NAMES))
    for image_id, mask in (("a.jpg", FIRST), ("a.png", SECOND)):
        (read,) = source.read(image_id, SIZE).masks
        np.testing.assert_array_equal(read.to_full(SIZE), mask)
    with pytest.raises(SampleError, match='the image "a" has no annotation'):
        source.read("a", SIZE)


KEYS = (("images", "id"), ("annotations", "image_id"))


def test_what_is_no_annotation_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.json").write_text("3")
    with pytest.raises(UserError, match="expected COCO instances or results"):
        AnnotationFolder(tmp_path / "notes.json", ClassIndex(NAMES))
    (said,) = problems(instances_file(tmp_path), "unknown")
    assert "no image of the run is among COCO instances" in said
    assert '"bird" is none of the 2 classes' in "".join(problems(tmp_path / "instances.json", names=("car", "dog")))
