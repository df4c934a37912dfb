"""A YOLO detection dataset becomes a segmentation dataset by one command, with no detector and no classes set."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import yolo_sam_auto_anno_generator as script
from models.ultralytics_quiet import quiet_ultralytics
from utils.cli.guard import guarded

REPOSITORY = Path(__file__).parents[1]
SHARED = REPOSITORY.parent / "shared" / "data"
NAMES = ("no", "010", "12:30", "traffic light")
ROWS = {"train/a": "2.0 0.5 0.5 0.4 0.4\n3 0.25 0.75 0.3 0.3\n", "train/sub/b": "0 0.6 0.4 0.5 0.6\n", "val/c": ""}
"""Labels by image; `val/d` has no label file."""


def write_config(folder: Path, **dataset: object) -> list[str]:
    """Write a config whose detector is nowhere; return the options that all commands have."""
    arch = json.loads((REPOSITORY / "config.json").read_text())["arch"]
    arch = {key: str(REPOSITORY / value) if "/" in value else value for key, value in arch.items()}
    content = {"arch": arch | {"yolo_weights": "gone.pt"}, "dataset": dataset, "auto_mask": {"save_dir": "out"}}
    (folder / "config.json").write_text(json.dumps(content))
    return ["-c", str(folder / "config.json"), "--device", "cpu"]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A dataset in ultralytics' layout, with noise for photos."""
    rng, folder = np.random.default_rng(0), tmp_path / "det"
    for name in (*ROWS, "val/d"):
        photo, labels = folder / "images" / f"{name}.png", folder / "labels" / f"{name}.txt"
        photo.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (40, 60, 3), dtype=np.uint8)).save(photo)
        labels.parent.mkdir(parents=True, exist_ok=True)
        if name in ROWS:
            labels.write_text(ROWS[name])
    (folder / "data.yaml").write_text(f"train: images/train\nval: images/val\nnames: [{', '.join(NAMES)}]\n")
    return folder


def test_a_detection_dataset_becomes_one_of_masks(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [*write_config(tmp_path), "-s", str(dataset / "images"), "-p", str(dataset / "labels")]
    assert guarded(lambda: script.main([*command, "--format", "yolo"])) == 0
    mapping = "0 no, 1 010, 2 12:30, 3 traffic light"
    assert f"prompts: classes by {dataset / 'data.yaml'}: {mapping}" in capsys.readouterr().out.splitlines()
    quiet_ultralytics()
    from ultralytics.data.utils import check_det_dataset, img2label_paths, verify_image_label

    out = tmp_path / "out" / "yolo"
    assert check_det_dataset(out / "data.yaml", autodownload=False)["names"] == dict(enumerate(NAMES))
    photos = sorted((out / "images").rglob("*.png"))
    assert [path.relative_to(out / "images").with_suffix("").as_posix() for path in photos] == sorted([*ROWS, "val/d"])
    for photo, label in zip(photos, img2label_paths([*map(str, photos)])):
        _, boxes, _, segments, *_ = verify_image_label((str(photo), label, "", False, 4, 0, 0, False))
        name = photo.relative_to(out / "images").with_suffix("").as_posix()
        classes = [int(float(row.split()[0])) for row in ROWS.get(name, "").splitlines()]
        assert sorted(boxes[:, 0].tolist()) == sorted(classes)
        assert len(segments) == len(classes)


def test_labels_that_nothing_names_are_refused_before_any_weights_are_asked_for(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (dataset / "data.yaml").unlink()
    command = [*write_config(tmp_path), "-s", str(dataset / "images"), "-p", str(dataset / "labels")]
    assert guarded(lambda: script.main(command)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {dataset / 'labels'}: nothing names the classes") and "--prompt-names coco" in line
    assert guarded(lambda: script.main([*command, "--prompt-names", "coco", "--dry-run"])) == 0
    assert "classes by --prompt-names: 0 person, 2 car, 3 motorcycle" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not SHARED.is_dir(), reason="no shared data")
def test_labels_named_by_the_shared_data_yaml(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(SHARED / "faults" / "names" / "data.yaml", dataset)
    command = [*write_config(tmp_path), "-s", str(dataset / "images"), "-p", str(dataset / "labels"), "--dry-run"]
    assert guarded(lambda: script.main(command)) == 0
    assert "0 car, 1 no, 2 on, 3 null, 4 010, 5 1_000, 6 12:30, 7 1.10" in capsys.readouterr().out


def test_other_classes_or_another_number_of_them_are_refused(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["-s", str(dataset / "images"), "-p", str(dataset / "labels"), "--dry-run"]
    assert guarded(lambda: script.main([*write_config(tmp_path, classes=["person"]), *command])) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f"the run has person; --set dataset.classes={dataset / 'data.yaml'} takes its classes")
    assert guarded(lambda: script.main([*write_config(tmp_path, num_classes=9), *command])) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "error: num_classes: is 9, but 4 class names and the background make 5"


def test_a_key_of_class_map_that_no_label_can_have_is_told_before_the_run(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [*write_config(tmp_path), "-s", str(dataset), "-p", str(dataset), "--format", "yolo", "--dry-run"]
    assert guarded(lambda: script.main([*command, "--set", 'dataset.class_map={"traffic lights": null}'])) == 0
    printed = capsys.readouterr().err
    fact = f'"traffic lights" is no class of the dataset or {dataset}; did you mean traffic light?'
    assert f"warning: dataset.class_map: {fact}\n" in printed
    assert guarded(lambda: script.main([*command, "--set", 'dataset.class_map={"traffic light": null}'])) == 0
    assert "class_map" not in capsys.readouterr().err


def test_set_classes_are_matched_by_name(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = write_config(tmp_path, classes=["Traffic-Light", "person"])
    command = [*options, "-s", str(dataset / "images"), "-p", str(dataset / "labels"), "--dry-run"]
    assert guarded(lambda: script.main(command)) == 0
    said = capsys.readouterr()
    assert "2 12:30 -> no class of the run, 3 traffic light -> Traffic-Light" in said.out
    assert "warning: " in said.err and f"--set dataset.classes={dataset / 'data.yaml'}" in said.err
