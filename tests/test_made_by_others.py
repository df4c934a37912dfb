"""Annotations that others made: shapes without a pixel, and files whose contents lead elsewhere or nowhere."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import yolo_sam_auto_anno_generator as script
from tests.helpers.project import Project, tree
from tests.helpers.read_back import read_back
from utils.cli.guard import guarded
from utils.errors import UserError

SQUARE = {"label": "car", "points": [[1, 2], [5, 2], [5, 9]], "shape_type": "polygon", "flags": {}}


def annotations(project: Project, **content: Any) -> Path:
    """A folder with an annotation of each photo."""
    folder = project.folder / "mine"
    for image_id in project.ids():
        path = folder / f"{image_id}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        entry = {"imagePath": f"{image_id}.png", "imageData": None, "imageHeight": 24, "imageWidth": 32}
        path.write_text(json.dumps(entry | {"shapes": [SQUARE]} | content))
    return folder


def run_with(project: Project, folder: Path, *more: str) -> int:
    """The exit code of a run that takes its objects from the folder."""
    return guarded(lambda: script.main(project.arguments("-a", str(folder), *more)))


def empty_mask() -> dict[str, Any]:
    png = io.BytesIO()
    Image.fromarray(np.zeros((3, 4), np.uint8)).save(png, "PNG")
    corners = [[1, 2], [4, 4]]
    return SQUARE | {"shape_type": "mask", "points": corners, "mask": base64.b64encode(png.getvalue()).decode()}


@pytest.mark.parametrize("segmentation", ["rle", "polygon"])
@pytest.mark.parametrize("beside", [[], [SQUARE]])
def test_shapes_that_cover_no_pixel_count_as_empty_masks(
    project: Project, beside: list[Any], segmentation: str, capsys: pytest.CaptureFixture[str]
) -> None:
    far = SQUARE | {"points": [[700, 10], [760, 10], [760, 90]]}
    disk = SQUARE | {"shape_type": "circle", "points": [[-1e6, 0], [-1e6, 5]]}
    folder = annotations(project, shapes=[far, empty_mask(), disk, *beside])
    project.settings["auto_mask"] |= {"coco_segmentation": segmentation, "review_below": 0.9}
    assert run_with(project, folder, "--also", "visual") == 0
    assert capsys.readouterr().out.count("empty masks left out: 30") == 5
    assert project.run("--diff", str(folder), "--overwrite") == 0


@pytest.mark.parametrize("size", [(10**30, 32), (24, -(2**64)), (-1, -1), (24, 2**31), (0, 10**30)])
def test_sizes_that_no_image_has_are_named_before_anything_is_drawn(
    project: Project, size: tuple[int, int], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = annotations(project, imageHeight=size[0], imageWidth=size[1])
    with pytest.raises(UserError):
        dict(read_back(folder, ["car"]))
    assert run_with(project, folder) == 2
    assert project.run("--diff", str(folder)) == 1
    assert "Traceback" not in capsys.readouterr().err


NESTED = '{"shapes": ' + "[" * 1500 + "]" * 1500 + "}"


def test_files_nested_too_deep_are_kept_or_named(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    folder = annotations(project)
    (folder / "0.json").write_text(NESTED)
    assert run_with(project, folder) == 2
    assert f"{folder / '0.json'}: " in capsys.readouterr().err
    assert project.run("-p", str(folder)) == 2
    assert f"{folder / '0.json'}" in capsys.readouterr().err
    assert project.run("--diff", str(folder)) == 1
    project.labelme("1").write_text(NESTED)
    assert project.run("-conf", "0.5") == 0
    assert project.labelme("1").read_text() == NESTED


ELSEWHERE = ["/etc/passwd", "../../../secret.png", "a\0b", "x" * 300, "\ud800", 3, None, [], {}, "", "."]


@pytest.mark.parametrize(
    "value",
    ELSEWHERE[:4] + [pytest.param(each, marks=pytest.mark.slow) for each in ELSEWHERE[4:]],
    ids=lambda value: ascii(value)[:20],
)
def test_the_photo_that_an_annotation_names_is_never_written_to(done: Project, value: object) -> None:
    secret = done.folder.parent / "secret.png"
    Image.new("RGB", (32, 24)).save(secret)
    before = tree(done.photos), secret.read_bytes()
    for path in (done.labelme("0"), done.out / "labelme-polygon" / "0.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"imagePath": value}))
    assert done.run("-conf", "0.5") == 0
    assert json.loads(done.labelme("0").read_text())["imagePath"] == "../photos/0.png"
    folder = annotations(done, imagePath=value, imageHeight=None)
    assert run_with(done, folder, "--overwrite") in (0, 2)
    assert (tree(done.photos), secret.read_bytes()) == before
    assert {path.name for path in done.folder.parent.iterdir()} == {"project", "secret.png"}


@pytest.mark.parametrize("name", [*ELSEWHERE, "../photos/0.png", "C:\\0.png"], ids=lambda value: ascii(value)[:20])
@pytest.mark.parametrize("kind", ["coco", "rows"])
def test_the_file_that_boxes_name_is_an_id_and_no_path(project: Project, name: object, kind: str) -> None:
    row = {"image_id": 1, "category_id": 1, "bbox": [1, 2, 5, 6], "score": 0.9}
    images = [{"id": 1, "file_name": name, "height": 24, "width": 32}]
    classes = [{"id": 1, "name": "car"}]
    coco = {"images": images, "annotations": [row | {"id": 1}], "categories": classes}
    path = project.folder / "boxes.json"
    path.write_text(json.dumps(coco if kind == "coco" else [row | {"file_name": name}]))
    before = {name for name in tree(project.folder.parent) if "config.json" not in name}
    code = project.run("-p", str(path))
    after = {name for name in tree(project.folder.parent) if "config.json" not in name}
    assert code in (0, 2)
    assert all(name.startswith("project/out/") for name in after - before)


HUGE_CLASSES = [str(2**63), str(-(2**63) - 1), "9" * 5000]


@pytest.mark.parametrize(
    "row", [*(f"{name} 0.5 0.5 0.2 0.2" for name in HUGE_CLASSES), "1 1e400 0 0.2 0.2"], ids=range(4)
)
def test_label_rows_with_numbers_that_nothing_holds_are_named(
    project: Project, row: str, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = project.folder / "labels"
    labels.mkdir()
    (labels / "0.txt").write_text(row + "\n")
    assert project.run("-p", str(labels)) == 2
    assert f"{labels / '0.txt'}:1: " in capsys.readouterr().err
