"""Annotating again with boxes from a prompt file: an image is redone when its own boxes are others."""

from __future__ import annotations

import json

import pytest

from tests.helpers.project import BATCH, Project, tree


def prompt_file(project: Project, boxes: dict[str, list[int]]) -> list[str]:
    """Options that give an image one box each."""
    path = project.folder / "prediction.json"
    rows = [{"image_id": name, "category_id": 0, "bbox": box, "score": 0.9} for name, box in boxes.items()]
    path.write_text(json.dumps(rows))
    return ["-p", str(path)]


def test_of_a_prompt_file_an_images_own_boxes_count(project: Project) -> None:
    boxes = {image_id: [1, 1, 9, 9] for image_id in project.ids()[1:]}
    assert project.run(*prompt_file(project, boxes)) == 0
    assert project.run(*prompt_file(project, dict(reversed(boxes.items())))) == 0
    assert project.seen is None
    before = tree(project.out)
    assert project.run(*prompt_file(project, boxes | {"9": [1, 1, 9, 8]})) == 0
    batch = project.ids().index("9") // BATCH * BATCH
    assert project.seen == project.ids()[batch : batch + BATCH]
    changed = {name for name, content in tree(project.out).items() if content != before[name]}
    assert {name for name in changed if not name.startswith(".")} >= {"9.json", "labelme-polygon/9.json"}
    assert not any(image_id in name for name in changed for image_id in "0123456")
    assert project.run() == 0
    assert project.seen == project.ids()


def test_the_same_file_read_otherwise_is_another(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    boxes = {image_id: [20, 15, 10, 8] for image_id in project.ids()} | {"0": [1, 1, 9, 9]}
    prompted = prompt_file(project, boxes)
    assert project.run(*prompted) == 0
    assert "prompts: only one interpretation fits" in capsys.readouterr().out
    project.photos /= "0.png"
    assert project.run(*prompted, "--bbox-format", "xywh") == 0
    assert not project.seen
    assert project.run(*prompted) == 0
    assert project.seen == ["0"]


def test_a_dry_run_downloads_no_detector_to_know_its_classes(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.settings["arch"]["yolo_weights"] = str(project.folder / "yolov8n.pt")
    project.settings["dataset"] = {}
    assert project.run(*prompt_file(project, {"0": [1, 1, 9, 9]}), "--dry-run") == 2
    assert "yolov8n.pt: missing, and a dry run downloads nothing" in capsys.readouterr().err


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_a_prompt_file_is_refused_before_anything_else(
    dry: list[str], project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert project.run("-p", str(project.folder / "gone.json"), *dry) == 2
    assert project.run(*prompt_file(project, {"elsewhere": [1, 1, 9, 9]}), *dry) == 2
    missing, elsewhere = capsys.readouterr().err.splitlines()
    assert missing.endswith("gone.json: cannot be read: No such file or directory")
    assert "none of its 1 row is for an image of the run" in elsewhere
    assert not project.out.exists()
