"""The three scripts from the command line to their files, on a small painted split and on what users get wrong."""

from __future__ import annotations

import hashlib
import html
import json
import os
import re
import shlex
import shutil
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import cv2
import labelme
import numpy as np
import pytest
from PIL import Image

import yolo_sam
import yolo_sam_auto_anno_generator
import yolo_sam_visual
from datasets.scenes import main as paint
from models.checkpoints import read_checkpoint
from tests.helpers.evaluate import without_run
from tests.helpers.track import write_demo_config
from utils.cli.guard import guarded

REPOSITORY = Path(__file__).parents[1]
SCRIPTS = {
    "evaluate": yolo_sam.main,
    "visual": yolo_sam_visual.main,
    "annotate": yolo_sam_auto_anno_generator.main,
}


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree of three painted images and a clip of two frames."""
    tree = tmp_path_factory.mktemp("painted") / "tree"
    assert paint(["--seed", "8", "--count", "3", "--clips", "1", "--frames", "2", "--out", str(tree), "--plain"]) == 0
    return tree


class Project:
    """A folder with a tree, a prompt file and a config; `run` runs a script on them."""

    def __init__(self, folder: Path, painted: Path) -> None:
        self.folder, self.tree, self.config = folder, folder / "tree", folder / "config.json"
        shutil.copytree(painted, self.tree)
        self.prompts = self.tree / "prediction.json"
        demo = json.loads((REPOSITORY / "config.json").read_text())
        arch = {key: str(REPOSITORY / value) if "/" in value else value for key, value in demo["arch"].items()}
        small = write_demo_config(folder / "small.yaml", 256)
        self.settings: dict[str, Any] = {
            "arch": arch | {"sam_config": str(small)},
            "dataset": {"data_dir": "tree", "classes": "tree/class_names.txt"},
            **{section: {"save_dir": f"out/{section}"} for section in ("evaluator", "predictor", "auto_mask")},
        }
        self.settings["evaluator"]["report"] = False  # it takes longer than the rest of an evaluation
        self.save()

    def save(self) -> None:
        self.config.write_text(json.dumps(self.settings))

    def ids(self) -> list[str]:
        lists = self.tree / "ImageSets" / "Segmentation"
        clips = (lists / "val_videos.txt").read_text().split()
        frames = [
            f"{clip}/{path.stem}" for clip in clips for path in sorted((self.tree / "JPEGImages" / clip).iterdir())
        ]
        return list(dict.fromkeys([*(lists / "val.txt").read_text().split(), *frames]))

    def mask(self, image_id: str) -> Path:
        return self.tree / "SegmentationClass" / f"{image_id}.png"

    def run(self, output: str, *arguments: str, prompts: bool = True) -> int:
        """The exit code of a script with the boxes of the prompt file, or with the detector's."""
        given = ["-p", str(self.prompts)] if prompts else []
        return guarded(lambda: SCRIPTS[output](["-c", str(self.config), "--device", "cpu", *given, *arguments]))

    def written(self) -> set[str]:
        """Every file below the folder that was not there at the start; records are not counted."""
        files = {path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file()}
        return {
            name
            for name in files
            if not name.startswith("tree/") and name not in ("config.json", "small.yaml") and "/." not in name
        }


@pytest.fixture
def project(tmp_path: Path, painted: Path) -> Project:
    return Project(tmp_path / "project", painted)


def test_evaluation_ends_in_the_metric_lines_and_writes_them(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert project.run("evaluate") == 0
    lines = capsys.readouterr().out.splitlines()[-3:]
    written = json.loads((project.folder / "out/evaluator/metrics.json").read_text())
    ious = " ".join(f"{label}:{'nan' if iou is None else f'{iou:.4f}'}" for label, iou in written["Class_IOU"].items())
    assert lines == [
        f"Pixel_Accuracy: {written['Pixel_Accuracy']:.4f}",
        f"Mean_IOU: {written['Mean_IOU']:.4f}",
        f"Class_IOU: {ious}",
    ]
    assert written["images"] == len(project.ids()) == 5
    assert written["failed"] == 0


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_an_evaluation_says_what_it_uses_and_what_made_it(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    started = datetime.now().astimezone().replace(microsecond=0)
    exact = "--set=segmenter.precision=fp32", "--set=segmenter.backend=torch"
    assert project.run("evaluate", "--set=evaluator.report=true", *exact, "-conf", "0.3") == 0
    printed = capsys.readouterr()
    parts = "SAM2 sam2.1_hiera_demo.pt", "cpu fp32", f"boxes from {project.prompts}"
    assert " · ".join(parts) in printed.out.splitlines()
    assert "painted" not in printed.err
    folder, arch = project.folder / "out/evaluator", project.settings["arch"]
    run = json.loads((folder / "metrics.json").read_text())["run"]
    assert shlex.split(run["command"])[-2:] == ["-conf", "0.3"]
    assert run["config"]["dataset"] | {"conf": 0.3, "split": "val"} == run["config"]["dataset"]
    assert run["weights"] == {"SAM2": {"path": arch["sam_weights"], "sha256": sha256(Path(arch["sam_weights"]))}}
    assert run["prompt_file"] == {"path": str(project.prompts), "sha256": sha256(project.prompts)}
    assert run["data"] == {"data_dir": str(project.tree), "split": "val"}
    assert run["versions"].keys() >= {"python", "torch", "ultralytics", "numpy"}
    assert (run["device"], run["processes"]) == ("cpu fp32", 1)
    assert started <= datetime.fromisoformat(run["date"]) <= datetime.now().astimezone()
    assert 0 < run["seconds"] < 600
    foot = (folder / "report.html").read_text().partition('<footer id="run"')[2]
    for text in ("-conf 0.3", run["weights"]["SAM2"]["sha256"], str(project.prompts), "cpu fp32", run["date"][:10]):
        assert text in html.unescape(foot)

    assert project.run("evaluate", prompts=False) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"replaces the evaluation of {run['date'].replace('T', ' ')[:16]} in {folder}; -o DIR" in "\n".join(lines)
    assert any(
        re.match(r"detector demo\.pt \(5 classes\) · SAM2 .* · cpu \w+( OpenVINO)? · boxes from YOLO$", line)
        for line in lines
    )
    weights = json.loads((folder / "metrics.json").read_text())["run"]["weights"]
    assert weights["detector"]["sha256"] == sha256(Path(arch["yolo_weights"]))


def test_all_outputs_of_a_run_go_below_one_folder(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert project.run("evaluate", "--also", "visual", "annotate", "-o", str(project.folder / "run")) == 0
    folders = {"/".join(name.split("/")[:2]) for name in project.written()}
    assert folders == {"run/evaluation", "run/masks", "run/annotations"}
    printed = capsys.readouterr()
    assert "replaces" not in printed.out
    final = re.findall(r"^Mean_IOU: (\S+)", printed.out, re.MULTILINE)[0]
    states = printed.err.strip().split("\r")
    assert states[-1].endswith(f"mIoU {final}]") and "nan" not in printed.err


def test_classes_that_the_detector_cannot_find_are_named(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    names = (project.tree / "class_names.txt").read_text().replace("airplane", "aeroplane").splitlines()
    project.settings["dataset"]["classes"] = [*names, "bicycle", "ship"]
    project.save()
    assert project.run("evaluate", "--classes", *names[:4], prompts=False) == 0
    warnings = capsys.readouterr().err
    assert "warning: the detector has no class bicycle, ship: their IoU will be 0\n" in warnings
    assert f"warning: detector.classes leaves out {names[4]}: its IoU will be 0\n" in warnings


@pytest.mark.parametrize("kind", ["photos", pytest.param("tree", marks=pytest.mark.slow)])
def test_toy_weights_on_anything_but_painted_scenes_are_warned_of(
    kind: str, project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toy = "toy weights, which know painted scenes only"
    painted = ["-s", str(project.tree / "JPEGImages")] if kind == "photos" else []
    renamed = tmp_path / "best.pt"
    shutil.copy(project.settings["arch"]["yolo_weights"], renamed)
    given = ["--yolo-weights", str(renamed), *painted]
    assert project.run("visual", *given, prompts=False) == 0
    assert toy not in capsys.readouterr().err
    (project.tree / "painted.json").unlink()
    assert project.run("visual", *given, prompts=False) == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if toy in line]
    assert line.startswith(f"warning: {renamed} and ") and "configs/official.json" in line


def test_each_script_writes_a_file_for_every_image(project: Project) -> None:
    assert project.run("visual", "--also", "annotate", prompts=False) == 0
    expected = {f"out/predictor/{image_id}.jpg" for image_id in project.ids()}
    expected |= {f"out/auto_mask/{image_id}.json" for image_id in project.ids()}
    assert project.written() == expected | {"out/auto_mask/review.csv", "out/auto_mask/class_names.txt"}


def test_one_pass_gives_what_separate_runs_give(project: Project) -> None:
    project.settings["evaluator"]["report"] = True
    project.save()
    assert project.run("annotate", "--also", "evaluate", "visual") == 0
    together = {name: without_run(name, (project.folder / name).read_bytes()) for name in project.written()}
    shutil.rmtree(project.folder / "out")
    for output in SCRIPTS:
        assert project.run(output) == 0
    apart = {name: without_run(name, (project.folder / name).read_bytes()) for name in project.written()}
    assert apart == together


def test_annotations_open_in_labelme_and_show_the_classes(project: Project) -> None:
    assert project.run("annotate") == 0
    names = set((project.tree / "class_names.txt").read_text().split())
    for image_id in project.ids():
        path = project.folder / "out/auto_mask" / f"{image_id}.json"
        content = json.loads(path.read_text())
        assert (path.parent / content["imagePath"]).resolve().is_file()
        assert {shape["label"] for shape in content["shapes"]} <= names
        assert content["shapes"]
    assert labelme.__version__ >= "6.3"


def test_masks_are_cleaned_where_the_config_asks_and_that_is_counted(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert project.run("annotate", "--set", "cleanup.smallest_part=1000000") == 0
    printed = capsys.readouterr().out
    emptied = int(re.findall(r"cleanup: masks left without a pixel: (\d+)", printed)[0])
    assert int(re.findall(r"labelme: empty masks left out: (\d+)", printed)[0]) >= emptied > 0
    files = [project.folder / "out" / "auto_mask" / f"{image_id}.json" for image_id in project.ids()]
    assert all(not json.loads(file.read_text())["shapes"] for file in files)


def test_photos_without_a_dataset_take_the_detectors_classes(project: Project, tmp_path: Path) -> None:
    del project.settings["dataset"]
    project.save()
    photos = tmp_path / "photos"
    shutil.copytree(project.tree / "JPEGImages", photos)
    assert project.run("annotate", "-s", str(photos), prompts=False) == 0
    expected = {f"out/auto_mask/{image_id}.json" for image_id in project.ids()}
    assert project.written() == expected | {"out/auto_mask/review.csv", "out/auto_mask/class_names.txt"}


@pytest.fixture
def read_checkpoints(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each checkpoint is read."""
    counts = Counter[str]()

    def read(path: Path, load: Callable[[bool], object], *, trust: bool) -> object:
        counts.update([path.name])
        return read_checkpoint(path, load, trust=trust)

    for module in ("sam2_build", "yolo_weights"):
        monkeypatch.setattr(f"models.{module}.read_checkpoint", read)
    return counts


ONCE = {"demo.pt": 1, "sam2.1_hiera_demo.pt": 1}


@pytest.mark.parametrize("prompts", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("output", "source"), [("annotate", True), ("visual", True), ("evaluate", False)])
def test_each_model_is_loaded_once_where_the_detector_names_the_classes(
    output: str, source: bool, prompts: bool, project: Project, read_checkpoints: Counter[str]
) -> None:
    del project.settings["dataset"]["classes"]
    photos = ["-s", str(project.tree / "JPEGImages")] if source else []
    project.save()
    assert project.run(output, *photos, prompts=prompts) == 0
    assert read_checkpoints == ONCE


def test_a_dataset_with_classes_and_a_prompt_file_need_no_detector(
    project: Project, read_checkpoints: Counter[str]
) -> None:
    assert project.run("evaluate", "--set=arch.yolo_weights=gone.pt") == 0
    assert read_checkpoints == {"sam2.1_hiera_demo.pt": 1}


def test_a_missing_and_a_broken_image_are_named_and_the_rest_is_done(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    del project.settings["dataset"]["classes"]  # masks are checked a second time when the detector has named them
    project.save()
    first, second = project.ids()[:2]
    (project.tree / "JPEGImages" / f"{first}.jpg").unlink()
    broken = project.tree / "JPEGImages" / f"{second}.jpg"
    broken.write_bytes(broken.read_bytes()[:2000])
    assert project.run("evaluate", "--also", "visual") == 1
    printed, errors = capsys.readouterr()
    assert errors.count("1 of 5 images are missing: ") == 1
    assert first in printed
    assert str(broken) in printed
    assert "over 3 of 5 images" in printed
    written = json.loads((project.folder / "out/evaluator/metrics.json").read_text())
    assert (written["images"], written["failed"]) == (3, 2)
    assert len([name for name in project.written() if name.endswith(".jpg")]) == 3


def edit_settings(**sections: dict[str, Any]) -> Callable[[Project], None]:
    def edit(project: Project) -> None:
        for section, values in sections.items():
            project.settings.setdefault(section, {}).update(values)
        project.save()

    return edit


def replace_mask(make: Callable[[np.ndarray], np.ndarray]) -> Callable[[Project], None]:
    def edit(project: Project) -> None:
        path = project.mask(project.ids()[0])
        Image.fromarray(make(np.array(Image.open(path)))).save(path)

    return edit


def binary_masks(project: Project) -> None:
    for image_id in project.ids():
        path = project.mask(image_id)
        Image.fromarray(((np.array(Image.open(path)) > 0) * 255).astype(np.uint8)).save(path)


def prompt_rows(change: Callable[[list[dict[str, Any]]], Any]) -> Callable[[Project], None]:
    def edit(project: Project) -> None:
        rows = json.loads(project.prompts.read_text())
        change(rows)
        project.prompts.write_text(json.dumps(rows))

    return edit


REFUSED: dict[str, tuple[Callable[[Project], Any], str]] = {
    "missing config": (lambda p: p.config.unlink(), "config.json"),
    "malformed JSON": (lambda p: p.config.write_text('{"arch": {,}}'), "config.json"),
    "unknown key": (edit_settings(dataset={"splitt": "val"}), "dataset.split"),
    "wrong type": (edit_settings(dataset={"conf": "high"}), "dataset.conf"),
    "missing SAM2 weights": (edit_settings(arch={"sam_weights": "gone.pt"}), "gone.pt"),
    "missing data_dir": (edit_settings(dataset={"data_dir": "gone"}), "gone"),
    "missing split list": (edit_settings(dataset={"split": "test"}), "test.txt"),
    "missing mask": (lambda p: p.mask(p.ids()[0]).unlink(), "SegmentationClass"),
    "mask of another size": (replace_mask(lambda mask: mask[:-1]), "640x359"),
    "value outside the classes": (replace_mask(lambda mask: np.full_like(mask, 9)), "9"),
    "RGB mask": (replace_mask(lambda mask: np.stack([mask] * 3, 2)), "SegmentationClass"),
    "binary masks": (binary_masks, "label_map"),
    "malformed prompts": (lambda p: p.prompts.write_text('[{"image_id": '), "prediction.json"),
    "category outside the classes": (prompt_rows(lambda rows: rows[0].update(category_id=5)), "category_id"),
    "prompts for other images": (
        prompt_rows(lambda rows: [row.update(image_id="../../x") for row in rows]),
        "none of its",
    ),
    "unknown detector": (
        edit_settings(arch={"yolo": "yolo8", "yolo_weights": "gone.pt", "sam_weights": "gone.pt"}),
        'arch.yolo: must be yolov8 or ultralytics, not "yolo8"; did you mean yolov8?',
    ),
    "bad option value": (edit_settings(dataset={"conf": 7}), "conf"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_work_is_refused_in_one_message_before_anything_is_written(
    case: str, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, named = REFUSED[case]
    spoil(project)
    assert project.run("evaluate", "--also", "visual", "annotate") == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert named in captured.err
    assert "Traceback" not in captured.err
    assert not project.written()


def test_boxes_that_are_none_are_dropped_or_clipped_and_counted(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    image_id = project.ids()[0]
    boxes = [[float("nan"), 0, 9, 9], [50, 50, 40, 60], [10, 10, 10, 40], [-5000, 0, -4000, 50], [-30, -30, 9999, 9999]]
    rows = [{"image_id": image_id, "category_id": 0, "bbox": box, "score": 0.9} for box in boxes]
    project.prompts.write_text(json.dumps(rows))
    assert project.run("annotate") == 0
    printed = capsys.readouterr().out
    assert re.search(r"dropped.*: 4$", printed, re.MULTILINE)
    assert re.search(r"clipped.*: 1$", printed, re.MULTILINE)
    content = json.loads((project.folder / "out/auto_mask" / f"{image_id}.json").read_text())
    assert len(content["shapes"]) <= 1


def test_confidence_is_applied_to_prompts_and_no_box_is_capped(project: Project) -> None:
    image_id = project.ids()[0]
    corner = np.random.default_rng(0).uniform(0, 300, (400, 2))
    boxes = np.hstack([corner, corner + 60]).tolist()
    rows = [
        {"image_id": image_id, "category_id": i % 5, "bbox": box, "score": 0.2 if i < 50 else 0.8}
        for i, box in enumerate(boxes)
    ]
    project.prompts.write_text(json.dumps(rows))
    assert project.run("visual", "-conf", "0.5") == 0
    assert cv2.imread(str(project.folder / "out/predictor" / f"{image_id}.jpg")) is not None


def test_a_run_with_the_thresholds_that_tuning_chose_gives_what_tuning_says(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    """Boxes of low scores that lie beside the objects are to be left out; they count before."""
    write_demo_config(project.folder / "small.yaml", 384)  # smaller images have too poor masks to gain
    rows = json.loads(project.prompts.read_text())
    wrong = [row | {"bbox": [each / 2 for each in row["bbox"]], "score": 0.4} for row in rows]
    project.prompts.write_text(json.dumps([row | {"score": 0.6} for row in rows] + wrong))
    assert project.run("evaluate", "--tune", "--set=evaluator.report=true") == 0
    assert "tune: one threshold" in capsys.readouterr().out
    tuned = json.loads((project.folder / "out/evaluator/thresholds.json").read_text())
    assert "Thresholds" in (project.folder / "out/evaluator/report.html").read_text()
    chosen = tuned[tuned["chosen"]]
    assert chosen["gain"] > 0 and tuned["conf"] == chosen["conf"]
    shutil.copy(project.folder / "out/evaluator/thresholds.json", project.folder / "kept.json")
    said = {}
    for conf in (project.folder / "kept.json", 0.25):
        assert project.run("evaluate", "-conf", str(conf)) == 0
        said[str(conf)] = json.loads((project.folder / "out/evaluator/metrics.json").read_text())["Mean_IOU"]
    assert [*said.values()] == [chosen["Mean_IOU_where_chosen"], tuned["before"]["Mean_IOU"]]
    assert not (project.folder / "out/evaluator/thresholds.json").exists(), "it belongs to another evaluation"


@pytest.mark.parametrize("others", [["--boxes", "target"], ["--video"], ["-a", "."]])
def test_tuning_where_scores_decide_nothing_is_refused(
    project: Project, others: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert project.run("evaluate", "--tune", *others, prompts=False) == 2
    assert "--tune" in capsys.readouterr().err and project.written() == set()


def test_an_empty_prompt_list_means_no_boxes(project: Project) -> None:
    project.prompts.write_text("[]")
    assert project.run("evaluate") == 0
    written = json.loads((project.folder / "out/evaluator/metrics.json").read_text())
    assert written["Class_IOU"]["1"] in (0.0, None)


def test_a_folder_that_cannot_be_written_to_ends_the_run_with_3(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = project.folder / "out/auto_mask" / project.ids()[-1].partition("/")[0]
    clip.parent.mkdir(parents=True)
    clip.write_text("a file where a folder must be")
    assert project.run("annotate") == 3
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("output", "section", "options"),
    [
        ("evaluate", "evaluator", []),
        ("visual", "predictor", []),
        ("annotate", "auto_mask", []),
        ("annotate", "auto_mask", ["--dry-run"]),
    ],
)
def test_a_save_dir_that_cannot_be_written_to_is_refused_before_weights_are_looked_for(
    output: str, section: str, options: list[str], project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    (project.folder / "out").write_text("a file where a folder must be")
    assert project.run(output, "--set=arch.sam_weights=gone.pt", *options) == 2
    error = capsys.readouterr().err
    assert f"{section}.save_dir: {project.folder / 'out' / section}: no file can be made in" in error
    assert "gone.pt" not in error and "Traceback" not in error


@pytest.mark.parametrize("folder", ["SegmentationClass", "SegmentationObject"])
@pytest.mark.parametrize("source", [[], ["-s", "JPEGImages"]])
def test_overlays_that_would_replace_masks_are_refused(
    folder: str, source: list[str], project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    masks = {path: path.read_bytes() for path in (project.tree / folder).rglob("*.png")}
    look = ["--set=predictor.format=png", f"--set=predictor.save_dir={project.tree / folder}"]
    assert project.run("visual", *look, *(str(project.tree / each) if each[0] == "J" else each for each in source)) == 2
    error = capsys.readouterr().err
    assert f"predictor.save_dir: {project.tree / folder}: overlays there would replace images or masks" in error
    assert all(str(path) in error for path in masks)
    assert {path: path.read_bytes() for path in (project.tree / folder).rglob("*.png")} == masks


@pytest.mark.skipif(os.name != "posix", reason="makes links")
def test_overlays_are_not_written_through_a_link_out_of_their_folder(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, elsewhere, out = tmp_path / "photos", tmp_path / "elsewhere", tmp_path / "out"
    shutil.copytree(project.tree / "JPEGImages", photos / "trip")
    for folder in (elsewhere, out):
        folder.mkdir()
    (out / "trip").symlink_to(elsewhere)
    (tmp_path / "none.json").write_text("[]")
    look = ["-s", str(photos), "-p", str(tmp_path / "none.json"), f"--set=predictor.save_dir={out}"]
    assert project.run("visual", *look) == 2
    assert f"{out / 'trip'}: leads to {elsewhere}" in capsys.readouterr().err
    assert [*elsewhere.iterdir()] == []
    shutil.move(out, elsewhere)
    out.symlink_to(elsewhere / "out")  # the folder itself may be a link
    (out / "trip").unlink()
    assert project.run("visual", *look) == 0
    assert [*(elsewhere / "out" / "trip").iterdir()] != []
