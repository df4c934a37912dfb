"""The judge is labelme: what it loads and saves without a change counts as unchanged, however it writes it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import labelme
import numpy as np
import pytest
from PIL import Image

from utils.annotations.fingerprint import ImageFingerprint
from utils.annotations.labelme_manifest import CONTENT, SETTINGS, LabelmeManifest, content_hash
from utils.annotations.records import AnnotationOutput, FileStatus
from utils.formats.base import Exported, ExportSettings
from utils.formats.registry import FORMATS
from utils.masks import Mask
from utils.structures import Detections, Instances, Sample

NAMES = ("car", "tree")
Edit = Callable[[dict[str, Any]], object]


def settings_of(image_id: str, image: Path) -> str:
    return f"settings of {image_id}"


def manifest(folder: Path, settings: Callable[[str, Path], str] = settings_of) -> LabelmeManifest:
    form = FORMATS["labelme"]
    output = AnnotationOutput(
        "labelme", folder, lambda names: form.exporter(ExportSettings(folder, names)), files=form.files
    )
    return LabelmeManifest(output, ImageFingerprint(settings, lambda *_: b""))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)).save(path)
    return path


@pytest.fixture
def file(tmp_path: Path, image: Path) -> Path:
    """The stamped annotation of two objects."""
    masks = [np.random.default_rng(seed).random((40, 60)) < 0.4 for seed in range(2)]
    detections = Detections.from_arrays([[0, 0, 60, 40]] * 2, [0.1, 0.75], [0, 1])
    instances = Instances(
        (40, 60), detections, [Mask.from_array(mask) for mask in masks], np.array([0.3, 0.9], np.float32)
    )
    sample = Sample("a", image, np.array(Image.open(image)))
    exported = FORMATS["labelme"].exporter(ExportSettings(tmp_path, NAMES)).export(sample, instances)
    assert manifest(tmp_path).write("a", image, exported)
    return tmp_path / "a.json"


def status(file: Path, settings: Callable[[str, Path], str] = settings_of, image: str = "a.png") -> FileStatus:
    return manifest(file.parent, settings).status("a", file.parent / image)


def saved_by_labelme(file: Path) -> None:
    """Opens and saves the file as labelme's window does, with a configuration that has flags of its own."""
    loaded = labelme.LabelFile(str(file))
    shapes = [
        {
            **shape["other_data"],
            **{key: shape[key] for key in ("label", "group_id", "description", "shape_type")},
            "points": [(float(x), float(y)) for x, y in shape["points"]],
            "flags": {"occluded": False, **shape["flags"]},
            "mask": labelme.utils.img_arr_to_b64(shape["mask"].astype(np.uint8)),
        }
        for shape in loaded.shapes
    ]
    loaded.save(
        str(file), shapes, "a.png", 40, 60, loaded.image_data, loaded.other_data, {"blurred": False, **loaded.flags}
    )


def test_a_file_is_done_until_settings_or_image_change(file: Path) -> None:
    assert status(file) is FileStatus.DONE
    assert status(file, lambda image_id, image: "other") is FileStatus.OUTDATED
    assert status(file, image="b.png") is FileStatus.OUTDATED
    assert manifest(file.parent).status("b", file.parent / "b.png") is FileStatus.NEW


def test_saving_in_labelme_without_a_change_is_no_edit(file: Path) -> None:
    before = json.loads(file.read_text())
    saved_by_labelme(file)
    after = json.loads(file.read_text())
    assert (after[SETTINGS], after[CONTENT]) == (before[SETTINGS], before[CONTENT])
    for key in ("version", "imageData", "flags"):
        assert after[key] != before[key]
    assert [shape["mask"] for shape in after["shapes"]] != [shape["mask"] for shape in before["shapes"]]
    assert status(file) is FileStatus.DONE


def test_labelmes_own_window_loads_and_saves_no_edit(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    app = pytest.importorskip("labelme.app", exc_type=ImportError)
    loaded = labelme.LabelFile(str(file))
    shapes = app._shapes_from_dicts(shape_dicts=loaded.shapes, label_flags={"c.*": ["occluded"]})
    loaded.save(str(file), [app._shape_to_dict(shape) for shape in shapes], "a.png", 40, 60, None, loaded.other_data)
    assert json.loads(file.read_text())["shapes"][0]["flags"] == {"occluded": False}
    assert status(file) is FileStatus.DONE


EDITS: dict[str, Edit] = {
    "another label": lambda content: content["shapes"][0].update(label="tree"),
    "a moved point": lambda content: content["shapes"][0]["points"][1].__setitem__(0, 58),
    "a group": lambda content: content["shapes"][0].update(group_id=1),
    "a description": lambda content: content["shapes"][0].update(description="why?"),
    "a flag of a shape": lambda content: content["shapes"][0].update(flags={"occluded": True}),
    "a flag of the image": lambda content: content.update(flags={"blurred": True}),
    "one mask pixel": lambda content: content["shapes"][0].update(mask=one_pixel_less(content["shapes"][0]["mask"])),
    "a shape gone": lambda content: content["shapes"].pop(),
    "a shape more": lambda content: content["shapes"].append({**content["shapes"][0], "shape_type": "polygon"}),
    "shapes in another order": lambda content: content["shapes"].reverse(),
    "a key of another tool": lambda content: content.update(checked_by="me"),
}


def one_pixel_less(png: str) -> str:
    pixels = labelme.utils.img_b64_to_arr(png).astype(np.uint8)
    pixels[tuple(np.argwhere(pixels)[0])] = 0
    return labelme.utils.img_arr_to_b64(pixels)


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_any_change_is_an_edit(edit: Edit, file: Path) -> None:
    content = json.loads(file.read_text())
    edit(content)
    file.write_text(json.dumps(content))
    assert status(file) is FileStatus.EDITED
    saved_by_labelme(file)
    assert status(file) is FileStatus.EDITED


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"shapes": []}', '{"shapes": 3}', '{"shapes": [{"mask": "?"}]}', '{"shapes"', "\0"]
)
def test_what_carries_no_stamp_is_a_persons(content: str, file: Path) -> None:
    file.write_text(content)
    assert status(file) is FileStatus.EDITED


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_a_number_that_json_does_not_have_ends_no_refresh(number: str, file: Path) -> None:
    content = file.read_text()
    file.write_text(changed := re.sub(r'"version": "[^"]*"', f'"version": {number}', content))
    assert changed != content
    manifest(file.parent).refresh("a", file.parent / "a.png")
    assert file.read_text() == changed


def test_a_file_from_before_the_stamps_is_a_persons(file: Path) -> None:
    content = json.loads(file.read_text())
    for key in (SETTINGS, CONTENT):
        del content[key]
    file.write_text(json.dumps(content))
    assert status(file) is FileStatus.EDITED


def test_the_stamp_stands_at_the_end_and_changes_nothing_else(tmp_path: Path) -> None:
    content = {"flags": {}, "shapes": [], "imagePath": "ü\udcff.png", "imageData": None}
    exported = Exported({"a.json": json.dumps(content).encode()})
    manifest(tmp_path).write("a", tmp_path / "a.png", exported)
    written = json.loads((tmp_path / "a.json").read_text())
    assert list(written.items()) == [*content.items(), (SETTINGS, "settings of a"), (CONTENT, content_hash(content))]


def test_a_file_whose_name_is_too_long_for_the_disk_was_never_edited(tmp_path: Path) -> None:
    assert not manifest(tmp_path).is_edited("x" * 300)
