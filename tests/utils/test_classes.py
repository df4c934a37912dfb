from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import yaml
from PIL import Image

from models.ultralytics_quiet import quiet_ultralytics
from utils.classes import (
    COCO_CLASSES,
    COCO_IDS,
    VOC_PALETTE,
    canonical,
    find_class_names,
    is_no_label_file,
    load_class_names,
    match_classes,
    nearest,
    palette,
)
from utils.errors import UserError

VOC_MASKS = Path(__file__).parents[2] / "../shared/data/voc/SegmentationClass"


def published_names(dataset: str) -> list[str]:
    """The class names of a dataset as ultralytics ships them."""
    spec = importlib.util.find_spec("ultralytics")
    assert spec is not None
    assert spec.origin is not None
    text = (Path(spec.origin).parent / "cfg" / "datasets" / f"{dataset}.yaml").read_text("utf-8")
    return list(yaml.safe_load(text)["names"].values())


def test_palette_is_that_of_the_voc_development_kit() -> None:
    published = {
        0: (0, 0, 0),
        1: (128, 0, 0),
        4: (0, 0, 128),
        15: (192, 128, 128),
        20: (0, 64, 128),
        255: (224, 224, 192),
    }
    colors = palette(256)
    assert {label: tuple(colors[label].tolist()) for label in published} == published


@pytest.mark.skipif(not VOC_MASKS.is_dir(), reason="no real VOC masks here")
def test_palette_is_that_of_a_real_voc_mask() -> None:
    with Image.open(next(VOC_MASKS.glob("*.png"))) as mask:
        assert bytes(mask.getpalette() or []) == VOC_PALETTE


def test_cocos_classes_and_ids_are_those_of_ultralytics() -> None:
    quiet_ultralytics()
    from ultralytics.data.converter import coco80_to_coco91_class

    assert list(COCO_IDS) == coco80_to_coco91_class()
    assert list(COCO_CLASSES) == published_names("coco")


def test_every_voc_class_has_its_coco_class_and_back() -> None:
    voc, coco = published_names("VOC"), published_names("coco")
    to_coco = match_classes(voc, coco)
    renamed = {voc[source]: coco[target] for source, target in to_coco.items() if voc[source] != coco[target]}
    assert len(to_coco) == 20
    assert renamed == {
        "aeroplane": "airplane",
        "diningtable": "dining table",
        "motorbike": "motorcycle",
        "pottedplant": "potted plant",
        "sofa": "couch",
        "tvmonitor": "tv",
    }
    assert match_classes(coco, voc) == {target: source for source, target in to_coco.items()}


@pytest.mark.parametrize("name", ["Potted-Plant", "potted_plant", " potted  plant", "pottedplant", "PottedPlant"])
def test_case_and_separators_do_not_count(name: str) -> None:
    assert canonical(name) == "potted plant"


def test_composed_and_decomposed_letters_are_equal() -> None:
    assert canonical("be\u0301be\u0301") == canonical("b\u00e9b\u00e9")


def test_two_sources_may_have_one_target_and_some_none() -> None:
    assert match_classes(["sofa", "lamp", "couch"], ["cat", "Couch"]) == {0: 1, 2: 1}


def test_the_target_spelt_like_the_source_wins() -> None:
    assert match_classes(["couch", "Sofa"], ["sofa", "couch"]) == {0: 1, 1: 0}


def test_class_file_with_byte_order_mark_and_blank_end(tmp_path: Path) -> None:
    file = tmp_path / "names.txt"
    file.write_text("\ufeffcar\r\n étoile \nwatercraft\n\n  \n", "utf-8")
    assert load_class_names(file) == ("car", "étoile", "watercraft")


@pytest.mark.parametrize(
    "content, place",
    [
        (b"car\n\nplane\n", "names.txt, line 2: a class name is blank"),
        (b"car\nplane\nCar\n", 'names.txt, line 3: "Car" names the same class as "car" at '),
        (b"\n\n", "names.txt: there are no class names"),
        (b"car\n\xff\n", "names.txt: is not UTF-8 text"),
    ],
)
def test_unusable_class_files_name_the_line(tmp_path: Path, content: bytes, place: str) -> None:
    (tmp_path / "names.txt").write_bytes(content)
    with pytest.raises(UserError) as refusal:
        load_class_names(tmp_path / "names.txt")
    assert place in str(refusal.value)


def test_a_data_yaml_names_its_classes(tmp_path: Path) -> None:
    path = tmp_path / "data.yaml"
    for text in ("names: [car, tree]", "train: images\nnames:\n  1: tree\n  0: car\n"):
        path.write_text(text)
        assert load_class_names(path) == ("car", "tree")
    path.write_text("names:\n  1: car\n  2: tree\n")
    with pytest.raises(UserError, match=r"data\.yaml: names: expected"):
        load_class_names(path)


@pytest.mark.parametrize("form", ["list", "mapping", "lines"])
def test_names_in_a_data_yaml_are_read_as_they_are_written(form: str, tmp_path: Path) -> None:
    names = (
        "car",
        "no",
        "on",
        "null",
        "~",
        "010",
        "1_000",
        "12:30",
        "1.10",
        "0x1F",
        "2024-01-01",
        "1e3",
        "traffic light",
    )
    texts = {
        "list": f"names: [{', '.join(names)}]",
        "mapping": "names:\n" + "".join(f"  {i}: {name}\n" for i, name in enumerate(names)),
        "lines": "names:\n" + "".join(f"- {name}\n" for name in names),
    }
    (tmp_path / "data.yaml").write_text(f"nc: {len(names)}\n{texts[form]}\n")
    assert load_class_names(tmp_path / "data.yaml") == names


def test_a_data_yaml_that_counts_other_classes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.yaml"
    path.write_text("nc: 3\nnames: [car, bus]\n")
    with pytest.raises(UserError, match=r"data\.yaml: nc is 3, but names has 2 classes"):
        load_class_names(path)
    for text in ("names: [[a], b]", "names: {car: 0}", "names:", "- car", "nc: 2"):
        path.write_text(text)
        with pytest.raises(UserError, match=r"data\.yaml: names: expected a list"):
            load_class_names(path)


def test_names_of_ultralytics_own_datasets_are_those_of_its_loader() -> None:
    quiet_ultralytics()
    from ultralytics.nn.autobackend import check_class_names
    from ultralytics.utils import ROOT, YAML

    files = [file for file in sorted((ROOT / "cfg" / "datasets").glob("*.yaml")) if "names" in YAML.load(file)]
    for file in files:
        loaded = check_class_names(YAML.load(file)["names"])
        if not str(loaded[0]).startswith("n0") and len({canonical(name) for name in loaded.values()}) == len(loaded):
            assert load_class_names(file) == tuple(loaded[i].strip() for i in range(len(loaded)))
    assert len(files) > 10


def test_only_line_feeds_end_a_name(tmp_path: Path) -> None:
    names = ("a\x0bb", "c\x0cd", "e\x1cf", "g\x85h", "i\u2028j", "k")
    (tmp_path / "names.txt").write_text("\r\n".join(names) + "\r\n", "utf-8", newline="")
    assert load_class_names(tmp_path / "names.txt") == names


LAYOUTS = {
    "inside": ("labels/classes.txt", "labels"),
    "inside a folder of it": ("labels/train/classes.txt", "labels"),
    "beside": ("data.yaml", "labels"),
    "beside its parent, a folder a split": ("data.yaml", "labels/train"),
    "beside its parent, as Roboflow": ("data.yaml", "train/labels"),
    "another name": ("boats.yaml", "labels"),
    "darknet": ("obj.names", "obj_train_data"),
    "the whole dataset": ("data.yaml", "."),
}


@pytest.mark.parametrize("file, folder", LAYOUTS.values(), ids=LAYOUTS)
def test_class_names_are_found_where_datasets_keep_them(file: str, folder: str, tmp_path: Path) -> None:
    root = tmp_path / "a" / "det"
    for path in (root / folder / "x", root / file):
        path.parent.mkdir(parents=True, exist_ok=True)
    assert find_class_names(root / folder) is None
    (root / file).write_text("names: [boat, car]" if file.endswith("yaml") else "boat\ncar\n")
    found = find_class_names(root / folder)
    assert found is not None and found.path == root / file and found.names == ("boat", "car")


def test_the_nearest_names_count_and_contradictions_are_refused(tmp_path: Path) -> None:
    labels = tmp_path / "det" / "labels"
    labels.mkdir(parents=True)
    (tmp_path / "data.yaml").write_text("names: [far]")
    (labels.parent / "other.yaml").write_text("services: {names: [a]}\n")
    assert find_class_names(labels).names == ("far",)  # type: ignore[union-attr]
    (labels.parent / "data.yaml").write_text("names: [boat, Car]\nkpt_shape: [17, 3]")
    assert find_class_names(labels) == (labels.parent / "data.yaml", ("boat", "Car"), 51)
    (labels.parent / "classes.txt").write_text("boat\ncar\n")
    assert find_class_names(labels).names == ("boat", "car")  # type: ignore[union-attr]
    (labels.parent / "classes.txt").write_text("car\nboat\n")
    with pytest.raises(UserError, match=r"classes\.txt and .*data\.yaml name different classes; --prompt-names"):
        find_class_names(labels)


@pytest.mark.parametrize(
    "shape", ["[1t]", "[17, 3.0]", "[[17], 3]", "17", "{a: 1}", "[-1, 3]", f"[{'9' * 5000}]", "[null]"]
)
def test_keypoints_that_are_no_two_integers_are_refused_in_a_file_of_a_usual_name(shape: str, tmp_path: Path) -> None:
    for name in ("data.yaml", "other.yaml"):
        (tmp_path / name).write_text(f"names: [boat]\nkpt_shape: {shape}")
    with pytest.raises(UserError, match=r"data\.yaml: kpt_shape: expected two integers, such as \[17, 3\]"):
        find_class_names(tmp_path)
    (tmp_path / "data.yaml").unlink()
    assert find_class_names(tmp_path) is None


def test_the_labels_of_an_image_called_classes_are_no_class_list(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    for text, is_list in {
        "0 0.5 0.5 0.1 0.1\n\n2.0 0.5 0.5 0.1 0.1 0.9\n": False,
        "": False,
        "car\nbus\n": True,
        "0\n1\n2\n": True,
        "type 1 2 3 4\n": True,
    }.items():
        path.write_text(text)
        assert is_no_label_file(path) == is_list


@pytest.mark.parametrize("name", ["train.txt", "Valid.txt", "README.dataset.txt"])
def test_lists_of_images_and_notes_are_no_labels(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    for text, is_other in {"0 0.5 0.5 0.1 0.1\n": False, "": False, "data/obj_train_data/a 1.jpg\n": True}.items():
        path.write_text(text)
        assert is_no_label_file(path) == is_other


def test_missing_class_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.txt: cannot be read: No such file"):
        load_class_names(tmp_path / "nowhere.txt")


def test_an_alias_counts_as_a_repeated_name() -> None:
    with pytest.raises(UserError, match=r'classes\[2\]: "couch" names the same class as "sofa" at classes\[0\]'):
        load_class_names(["sofa", "tv", "couch"], "classes")


@pytest.mark.parametrize(
    "name, expected", [("batchsize", "batch_size"), ("Conf", "conf"), ("splits", "split"), ("xyz", None)]
)
def test_nearest(name: str, expected: str | None) -> None:
    assert nearest(name, ["batch_size", "conf", "split"]) == expected
