"""Where boxes and objects come from, from command line to files: true boxes, blame, annotations, corrections."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import yolo_sam
import yolo_sam_auto_anno_generator
import yolo_sam_visual
from datasets.scenes import main as paint
from tests.helpers.track import write_demo_config
from utils.cli.guard import guarded

REPOSITORY = Path(__file__).parents[1]
SCRIPTS = {"evaluate": yolo_sam, "visual": yolo_sam_visual, "annotate": yolo_sam_auto_anno_generator}


class Project:
    """Three painted images with the annotations, the metrics and the blame of one run of the demo's models."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.made = folder, folder / "made"
        painted = ["--seed", "8", "--count", "3", "--out", str(folder / "tree"), "--plain"]
        assert paint(painted) == 0
        demo = json.loads((REPOSITORY / "config.json").read_text())
        arch = {key: str(REPOSITORY / value) if "/" in value else value for key, value in demo["arch"].items()}
        arch["sam_config"] = str(write_demo_config(folder / "small.yaml", 256))
        sections: dict[str, Any] = {name: {"save_dir": name} for name in ("evaluator", "predictor", "auto_mask")}
        sections["evaluator"]["report"] = False  # it takes longer than the rest of an evaluation
        dataset = {"data_dir": "tree", "classes": "tree/class_names.txt"}
        (folder / "config.json").write_text(json.dumps({"arch": arch, "dataset": dataset, **sections}))
        assert self.run("annotate", "--also", "evaluate", "--attribute", f"--set=auto_mask.save_dir={self.made}") == 0
        self.direct = self.read("metrics")
        self.blame = self.read("attribution")

    def run(self, output: str, *arguments: str) -> int:
        command = ["-c", str(self.folder / "config.json"), "--device", "cpu", *arguments]
        return guarded(lambda: SCRIPTS[output].main(command))

    def read(self, name: str) -> Any:
        content = json.loads((self.folder / "evaluator" / f"{name}.json").read_text())
        content.pop("run", None)  # differs from run to run
        return content

    def files(self, folder: Path) -> list[Path]:
        """The annotations in a folder, those with shapes first."""
        return sorted(folder.glob("val_*.json"), key=lambda path: -len(json.loads(path.read_text())["shapes"]))

    def corrected(self, folder: Path) -> Path:
        """A copy of the annotations, as a person may change it."""
        shutil.copytree(self.made, folder)
        return folder


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("sources"))


def test_annotations_of_a_run_give_its_metrics_to_the_last_digit(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert project.run("evaluate", "-a", str(project.made)) == 0
    assert project.read("metrics") == project.direct
    assert f"annotations {project.made}, no model" in capsys.readouterr().out.splitlines()
    assert project.direct["Mean_IOU"] == project.blame["Mean_IOU"]


@pytest.mark.parametrize("below", ["", "labelme-polygon", "coco/instances.json"])
def test_annotations_need_classes_and_the_list_beside_them_is_offered(
    below: str, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["-a", str(project.made / below), "--dry-run", "--set"]
    assert project.run("annotate", *command, "dataset.classes=null") == 2
    setting = f"dataset.classes={project.made / 'class_names.txt'}"
    assert f"its labels need dataset.classes, since no detector is asked for its names; --set {setting} takes " in (
        capsys.readouterr().err
    )
    if not below:  # there is such a folder
        assert project.run("annotate", *command, setting) == 0


def test_a_coco_file_alone_is_offered_for_its_own_classes(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = sorted((project.folder / "tree/JPEGImages").iterdir())
    rows = [{"id": i, "file_name": path.name, "height": 360, "width": 640} for i, path in enumerate(photos)]
    drawn = {"id": 1, "image_id": 0, "category_id": 1, "segmentation": [[9, 9, 99, 9, 99, 99]], "bbox": [9, 9, 90, 90]}
    categories = [{"id": i, "name": name, "supercategory": "all"} for i, name in enumerate(("all", "car"))]
    file = tmp_path / "_annotations.coco.json"
    file.write_text(json.dumps({"images": rows, "annotations": [drawn], "categories": categories}))
    for path in (file, tmp_path):
        command = ["-a", str(path), "--dry-run", "--set"]
        assert project.run("annotate", *command, "dataset.classes=null") == 2
        setting = f"dataset.classes={file}"
        assert f"--set {setting} takes those there" in capsys.readouterr().err
        assert project.run("annotate", *command, setting) == 0


def test_the_blame_adds_up(project: Project) -> None:
    blame = project.blame
    assert sum(blame["parts"].values()) == pytest.approx(1 - project.direct["Mean_IOU"], abs=1e-12)
    assert blame["boxes"]["true"] > 0 < blame["parts"]["sam2"]


def test_true_boxes_give_what_the_blame_says_they_give(project: Project) -> None:
    assert project.run("evaluate", "--boxes", "target", "--set", "arch.yolo_weights=gone.pt") == 0
    boxes_right = ["false", "badly_placed", "missed", "wrong_class"]
    (true,) = [each["Mean_IOU"] for each in project.blame["coalitions"] if each["corrected"] == boxes_right]
    assert project.read("metrics")["Mean_IOU"] == pytest.approx(true, abs=1e-3)  # other boxes share the decoder's batch


def test_a_correction_is_scored_and_its_gain_told(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project.corrected(tmp_path / "corrected")
    path = project.files(folder)[0]
    content = json.loads(path.read_text())
    content["shapes"] = []  # a correction that makes things worse
    path.write_text(json.dumps(content))
    assert project.run("evaluate", "-a", str(folder), "--diff", str(project.made)) == 0
    comparison = project.read("comparison")
    mean = comparison["Mean_IOU"]
    assert comparison["images"] == 3 and comparison["without"] == {}
    assert mean["before"] == project.direct["Mean_IOU"]
    assert mean["now"] == project.read("metrics")["Mean_IOU"]
    assert mean["gain"] == mean["now"] - mean["before"] < 0
    assert "comparison: over 3 images, from " in capsys.readouterr().out


def test_files_of_an_earlier_evaluation_do_not_stand_beside_other_metrics(project: Project, tmp_path: Path) -> None:
    def files_of(*arguments: str) -> set[str]:
        assert project.run("evaluate", f"--set=evaluator.save_dir={tmp_path / 'out'}", *arguments) == 0
        return {path.name for path in (tmp_path / "out").iterdir()} - {"notes.txt"}

    numbers = {
        "metrics.json",
        "per_class.csv",
        "per_class.tex",
        "per_image.csv",
        "confusion_matrix.csv",
        "per_image_counts.npz",
    }
    report = "--set=evaluator.report=true"
    assert files_of("--attribute", "--diff", str(project.made), report) == {
        *numbers, "report.html", "attribution.json", "comparison.json",
    }  # fmt: skip
    (tmp_path / "out" / "notes.txt").write_text("a person's")
    (tmp_path / "out" / "per_clip.csv").write_text("of a run with --video")
    (tmp_path / "out" / "gain.json").write_text("of an earlier version")
    assert files_of("-a", str(project.made), report) == {*numbers, "report.html"}
    assert files_of("-a", str(project.made)) == numbers
    assert (tmp_path / "out" / "notes.txt").exists()


def test_images_without_an_annotation_are_counted_by_name(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project.corrected(tmp_path / "corrected")
    gone, *_ = project.files(folder)
    gone.unlink()
    assert project.run("evaluate", "-a", str(folder), "--also", "visual", f"--set=predictor.save_dir={tmp_path}/v") == 1
    printed = capsys.readouterr().out
    assert f"failed: {gone}: the image has no annotation" in printed and "over 2 of 3 images" in printed
    assert list(project.read("metrics")["failures"]) == [gone.stem]
    assert len(list((tmp_path / "v").glob("*.jpg"))) == 2


def test_unknown_labels_and_bad_masks_are_refused_together(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project.corrected(tmp_path / "corrected")
    path = project.files(folder)[0]
    content = json.loads(path.read_text())
    content["shapes"][0]["label"] = "elefant"
    path.write_text(json.dumps(content))
    shutil.copytree(project.folder / "tree", tmp_path / "tree")
    mask = sorted((tmp_path / "tree" / "SegmentationClass").glob("*.png"))[0]
    Image.fromarray(np.full((360, 640), 77, np.uint8)).save(mask)
    out = f"--set=evaluator.save_dir={tmp_path}/out"
    assert project.run("evaluate", "-a", str(folder), f"--set=dataset.data_dir={tmp_path}/tree", out) == 2
    message = capsys.readouterr().err
    assert f'{path}: shapes[0].label: "elefant" is none of the 5 classes; did you mean "elephant"?' in message
    assert f"{mask}: value 77 " in message and "Traceback" not in message
    assert not (tmp_path / "out").exists()


def test_annotations_are_written_in_other_formats_but_never_over_themselves(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project.corrected(tmp_path / "corrected")
    out = f"--set=auto_mask.save_dir={tmp_path}/out"
    assert project.run("annotate", "-a", str(folder), "--format", "labelme", "voc", out) == 0
    for path in project.files(folder):
        again = json.loads((tmp_path / "out" / path.name).read_text())
        assert again["shapes"] == json.loads(path.read_text())["shapes"]
        assert (tmp_path / "out/voc/SegmentationClass" / f"{path.stem}.png").is_file()
    capsys.readouterr()
    assert project.run("annotate", "-a", str(folder), "--format", "labelme", "voc", out, "--dry-run") == 0
    assert "labelme: 3 done" in capsys.readouterr().out
    path.write_text(path.read_text().replace('"imagePath"', ' "imagePath"'))
    assert project.run("annotate", "-a", str(folder), "--format", "labelme", "voc", out, "--dry-run") == 0
    assert "labelme: 1 to write again" in capsys.readouterr().out
    assert project.run("annotate", "-a", str(folder), f"--set=auto_mask.save_dir={folder}") == 2
    assert "labelme files would be written there" in capsys.readouterr().err


def test_a_tree_whose_classes_stand_in_another_order_is_warned_of(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    names = (project.folder / "tree" / "class_names.txt").read_text().split()
    order = json.dumps([names[1], names[0], *names[2:]])
    for classes, warned in ((order, True), (json.dumps(names), False)):
        assert project.run("evaluate", "-a", str(project.made), f"--set=dataset.classes={classes}") == 0
        said = f'class_names.txt does not fit dataset.classes: there "{names[0]}" has label 1, in dataset.classes 2'
        assert (said in capsys.readouterr().err) == warned


def test_who_lists_the_background_as_a_class_is_warned(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    names = json.dumps(["__background__", *(project.folder / "tree" / "class_names.txt").read_text().split()])
    assert project.run("evaluate", "-a", str(project.made), f"--set=dataset.classes={names}") == 0
    assert 'dataset.classes begins with "__background__", which label 1 then means' in capsys.readouterr().err


def test_photographs_that_are_not_read_are_counted(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photo,) = (project.folder / "tree" / "JPEGImages").glob("*0.jpg")
    shutil.copy(photo, tmp_path / "a.jpg")
    for name in ("b.HEIC", "c.heic", "d.nef", "film.mp4"):
        (tmp_path / name).write_bytes(b"a photograph")
    assert project.run("annotate", "-s", str(tmp_path), "--dry-run") == 0
    counts = "left out: 2 .heic, 1 .nef, 1 .mp4; --video takes videos"
    assert f"files of kinds that are not read, {counts}" in capsys.readouterr().err
