"""YOLO's boxes in a file: `-p` of it gives bit for bit what running YOLO gives."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

import yolo_sam_auto_anno_generator
from datasets.loading import open_images
from models.loading import RunModels
from tests.helpers.clips import write_video
from utils.annotations.labelme_manifest import SETTINGS
from utils.cli.guard import guarded
from utils.cli.parsers import options_of, parse
from utils.distributed import Session
from utils.io.photos import read_image
from utils.structures import Sample
from yolo.predict import main, predict_parser

REPOSITORY = Path(__file__).parents[2]
DEMO = REPOSITORY / "datasets/demo"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The demo's config for a split of three images and a broken one, with weights and outputs in a folder."""
    content = json.loads((REPOSITORY / "config.json").read_text())
    shutil.copy(REPOSITORY / content["arch"]["yolo_weights"], tmp_path / "demo.pt")
    content["arch"] = {key: str(REPOSITORY / v) if "/" in v else v for key, v in content["arch"].items()}
    content["arch"]["yolo_weights"] = "demo.pt"
    tree = tmp_path / "tree"
    (tree / "ImageSets/Segmentation").mkdir(parents=True)
    (tree / "JPEGImages/clip").mkdir(parents=True)
    for image_id, photo in zip(("clip/007", "7", "b"), sorted((DEMO / "JPEGImages").glob("*.jpg"))):
        shutil.copy(photo, tree / f"JPEGImages/{image_id}.jpg")
    (tree / "ImageSets/Segmentation/val.txt").write_text("clip/007\n7\nb\n")
    content["dataset"] |= {"data_dir": "tree", "classes": str(DEMO / "class_names.txt")}
    content["auto_mask"] = {"save_dir": "annotations"}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(content))
    return path


def run(config: Path, *arguments: str) -> int:
    return guarded(lambda: main(["-c", str(config), "--device", "cpu", *arguments]))


def test_a_run_with_the_prompt_file_equals_a_run_with_yolo(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(config, "-conf", "0.05") == 0
    path = config.parent / "prediction.json"
    printed = capsys.readouterr().out
    assert f"use it:  python yolo_sam.py -c {config} --set=dataset.conf=0.05 -p {path}" in printed
    given = ["-c", str(config), "--device", "cpu", "-conf", "0.05"]
    options = [options_of(predict_parser().parse_args(given)), parse("visual", "", [*given, "-p", str(path)])]
    images = open_images(options[0], Session())
    yolo, prompted = (RunModels(each, images, Session())._box_source() for each in options)
    samples = [sample for batch in images.batches() for sample in batch if isinstance(sample, Sample)]
    count = 0
    for found, read in zip(yolo(samples), prompted(samples), strict=True):
        np.testing.assert_array_equal(read.boxes, found.boxes, strict=True)
        np.testing.assert_array_equal(read.scores, found.scores, strict=True)
        np.testing.assert_array_equal(read.class_ids, found.class_ids, strict=True)
        count += len(found)
    assert f"prompts: {count} boxes of 3 images in {path}" in printed
    assert count > 5
    assert prompted.summary_lines(Session()) == []


@pytest.mark.slow
def test_annotations_differ_only_in_their_recorded_origin(config: Path) -> None:
    assert run(config) == 0
    written = []
    for prompts in ([], ["-p", str(config.parent / "prediction.json")]):
        arguments = ["-c", str(config), "--device", "cpu", *prompts]
        assert guarded(lambda arguments=arguments: yolo_sam_auto_anno_generator.main(arguments)) == 0
        folder = config.parent / "annotations"
        content = {path.relative_to(folder): json.loads(path.read_text()) for path in folder.rglob("[!.]*.json")}
        written.append({path: {**file, SETTINGS: ""} for path, file in content.items() if path.parts[0] != ".review"})
        shutil.rmtree(folder)
    assert len(written[0]) == 3
    assert written[0] == written[1]


def test_a_broken_photo_is_reported_and_the_others_are_predicted(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, output = config.parent / "tree/JPEGImages", config.parent / "new/boxes.json"
    (photos / "0.jpg").write_bytes((photos / "b.jpg").read_bytes()[:3000])
    assert run(config, "-s", str(photos), "-o", str(output), "-b", "2") == 1
    rows = json.loads(output.read_text())
    assert {row["image_id"] for row in rows} <= {"clip/007", "7", "b"}
    assert len(rows) > 0
    printed = capsys.readouterr().out
    assert f"failed: {photos / '0.jpg'}: truncated" in printed
    again = f"-s {photos} -c {config} --set=dataloader.batch_size=2 -p {output}"
    assert f"use it:  python yolo_sam_auto_anno_generator.py {again}" in printed


def test_frames_of_clips_have_the_ids_of_a_run_with_clips(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip, output = config.parent / "tree/JPEGImages/clip", config.parent / "boxes.json"
    write_video(config.parent / "film.mp4", [read_image(clip / "007.jpg")] * 2)
    sources = [str(clip), str(config.parent / "film.mp4")]
    assert run(config, "--video", "-s", *sources, "-o", str(output)) == 0
    assert {row["image_id"] for row in json.loads(output.read_text())} == {"clip/007", "film/000000", "film/000001"}
    assert f"-s {shlex.join(sources)} --video -c" in capsys.readouterr().out


def test_unusable_options_are_refused(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = config.parent / "prediction.json"
    path.write_text("old")
    refused = {
        ("--overwrite", "--set", "arch.yolo=yolo8", "--set", "arch.yolo_weights=gone.pt"): "did you mean yolov8?",
        (): f"{path}: is there already; --overwrite replaces it, -o/--output names another file",
        ("-o", str(config.parent)): f"{config.parent}: is a folder; -o/--output names a file",
        ("--set", "arch.yolo_weights=null"): "arch.yolo_weights: not set",
        ("--overwrite", "--set", "arch.yolo_weights=gone.pt"): "gone.pt",
    }
    for arguments, message in refused.items():
        assert run(config, *arguments) == 2
        assert message in capsys.readouterr().err
    monkeypatch.setenv("RANK", "0")
    assert run(config, "--overwrite") == 2
    assert "without torchrun" in capsys.readouterr().err
    assert path.read_text() == "old"
    assert not list(config.parent.glob(".*"))
