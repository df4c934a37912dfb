from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import yaml
from PIL import Image

from utils.classes import VOC_PALETTE, canonical, load_class_names, match_classes, nearest, palette
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
        (b"car\n\xff\n", "names.txt: the class names are not UTF-8 text"),
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


def test_missing_class_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.txt: cannot read the class names: No such file"):
        load_class_names(tmp_path / "nowhere.txt")


def test_an_alias_counts_as_a_repeated_name() -> None:
    with pytest.raises(UserError, match=r'classes\[2\]: "couch" names the same class as "sofa" at classes\[0\]'):
        load_class_names(["sofa", "tv", "couch"], "classes")


@pytest.mark.parametrize(
    "name, expected", [("batchsize", "batch_size"), ("Conf", "conf"), ("splits", "split"), ("xyz", None)]
)
def test_nearest(name: str, expected: str | None) -> None:
    assert nearest(name, ["batch_size", "conf", "split"]) == expected
