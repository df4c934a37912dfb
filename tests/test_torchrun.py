"""The scripts in two processes: the files and the lines of one process, byte for byte."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from datasets.scenes import main as paint
from tests.helpers.project import TinyProject, assert_same_files, run_files
from tests.helpers.track import write_demo_config

pytestmark = pytest.mark.slow

Run = Callable[..., subprocess.CompletedProcess[str]]
OUTPUTS = {"evaluator": "evaluation", "predictor": "masks", "auto_mask": "annotations"}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven painted images, the third of which is cut off."""
    tree = tmp_path_factory.mktemp("painted") / "tree"
    assert paint(["--seed", "9", "--count", "7", "--out", str(tree), "--plain"]) == 0
    broken = tree / "JPEGImages" / "val_00002.jpg"
    broken.write_bytes(broken.read_bytes()[:3000])
    return tree


def outcome(start: Run, tree: Path, out: Path) -> tuple[int, list[str], dict[str, bytes]]:
    """Exit code, printed lines and files of a run with all outputs."""
    small = write_demo_config(tree.parent / "small.yaml", 256)
    images = [
        f"--set=dataset.data_dir={tree}",
        f"--set=arch.sam_config={small}",
        "-p",
        str(tree / "prediction.json"),
        "-b",
        "2",
    ]
    save_dirs = [f"--set={section}.save_dir={out / name}" for section, name in OUTPUTS.items()]
    done = start(
        "yolo_sam.py", *images, "--attribute", "--tune", "--also", "visual", "annotate", *save_dirs, "--device=cpu"
    )
    lines = [line.replace(str(out), "OUT") for line in done.stdout.splitlines()]
    return done.returncode, lines, run_files(out)


def test_two_processes_give_what_one_gives(tree: Path, tmp_path: Path, run_alone: Run, torchrun: Run) -> None:
    code, lines, files = outcome(run_alone, tree, tmp_path / "one" / "out")
    assert code == 1
    assert any("val_00002.jpg" in line for line in lines)
    tables = {
        *("metrics.json", "per_class.csv", "per_class.tex", "per_image.csv", "confusion_matrix.csv"),
        *(
            "report.html",
            "attribution.json",
            "review.csv",
            "class_names.txt",
            "per_image_counts.npz",
            "thresholds.json",
        ),
    }
    assert len([name for name in files if "/." not in name]) == 6 + 6 + len(tables)
    again = outcome(torchrun, tree, tmp_path / "two" / "out")
    assert again[:2] == (code, lines)
    assert_same_files(again[2], files)


def test_two_processes_share_clips(tmp_path: Path, run_alone: Run, torchrun: Run) -> None:
    found = []
    for name, start in (("one", run_alone), ("two", torchrun)):
        project = TinyProject(tmp_path / name)
        (project.tree / "JPEGImages" / "first" / "3.png").write_bytes(b"torn")
        formats = ["--format", "labelme", "labelme-polygon", "coco", "yolo", "voc"]
        films = ["--set=predictor.format=mp4", "--set=video.keyframe_interval=2"]
        done = start("yolo_sam.py", *project.arguments("--also", "visual", "annotate", *formats, *films))
        found.append((done.returncode, done.stdout.replace(str(project.folder), "FOLDER"), project.files()))
        assert "frame/s" in done.stderr or "s/frame" in done.stderr
    code, lines, files = found[0]
    assert code == 1
    assert "failed: FOLDER/tree/JPEGImages/first/3.png" in lines
    assert "video: boxes of the prompt file on frames that are no keyframes, left out: 4\n" in lines
    assert {f"masks/{clip}.mp4" for clip in ("first", "second", "third")} < set(files)
    assert "id_switches" in json.loads(files["evaluation/metrics.json"])["clips"]
    assert found[1][:2] == (code, lines)
    assert_same_files(found[1][2], files)
