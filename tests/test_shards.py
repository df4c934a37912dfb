"""Shards without a rendezvous, merged: the files of one run, byte for byte."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import yolo_sam
from datasets.scenes import main as paint
from tests.helpers.project import (
    FORMATS,
    PROGRAM,
    REPOSITORY,
    Project,
    TinyProject,
    assert_same_files,
    run_files,
    tree,
)
from tests.helpers.track import write_demo_config
from utils.cli.guard import guarded
from utils.shards import _Unpickler

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Five batches, one image of the third of which is cut off."""
    project = Project(tmp_path / "project")
    project.settings["dataloader"]["batch_size"] = 2
    broken = project.photos / "6.png"
    broken.write_bytes(broken.read_bytes()[:200])
    return project


def files(out: Path) -> dict[str, bytes | str]:
    return {name: content for name, content in tree(out).items() if not name.endswith(".lock")}


def one_run(project: Project) -> dict[str, bytes | str]:
    """The files of one run, which are moved away."""
    assert project.run() == 1
    project.out.rename(project.folder / "one")
    return files(project.folder / "one")


@pytest.mark.slow
def test_four_shards_one_of_them_killed_make_the_files_of_one_run(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = one_run(project)
    assert project.run("--shard", "1/4") == 0
    assert "coco/instances.json" not in files(project.out), "what all images share is left to the merge"
    killed = subprocess.Popen(
        [sys.executable, str(PROGRAM), *project.arguments("--shard", "2/4")],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not list(project.out.glob(".review/**/[0-9].json"))[4:] and killed.poll() is None:
        time.sleep(0.001)
    killed.kill()
    killed.wait()
    (project.out / ".shards" / "2-of-4" / "notes").unlink(missing_ok=True)  # it may have ended before
    assert project.run("--shard", "4/4") == 0
    assert project.run("--shard", "3/4") == 1, "the image that is cut off"
    capsys.readouterr()
    assert project.run("--merge") == 2
    assert "not all shards have ended; run these first: --shard 2/4" in capsys.readouterr().err
    assert project.run("--shard", "2/4") == 0
    assert "next: " in capsys.readouterr().out
    assert project.run("--merge") == 1
    assert "failed: " in capsys.readouterr().out
    assert files(project.out) == expected
    assert project.seen is None, "a merge loads no model"
    assert project.run("--merge") == 2
    assert "has no shards; they are merged already, or have not run" in capsys.readouterr().err


def test_shards_of_another_run_are_refused(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    for shard in ("1/2", "2/2"):
        project.run("--shard", shard)
    for option, name in (
        ("--set=auto_mask.low_overlap=0.5", "auto_mask.low_overlap"),
        ("-conf=0.5", "dataset.conf"),
        ("--set=cleanup.smallest_part=9", "cleanup.smallest_part"),
        ("--precision=bf16", "precision"),
        ("--also=visual", "--also"),
    ):
        assert project.run("--merge", *option.split("=", 1)) == 2
        said = (
            f"shard 1/2 was run with other values of {name}; merge with the options of the shards, or run --shard 1/2"
        )
        assert said in capsys.readouterr().err
    new = project.photos / "new.png"
    shutil.copy(project.photos / "1.png", new)
    assert project.run("--merge") == 2
    assert "was run with other values of images; merge with" in capsys.readouterr().err
    new.unlink()
    project.labelme("3").unlink()
    assert project.run("--merge") == 2
    assert "1 image without an annotation that is up to date, such as 3; run these shards again: --shard " in (
        capsys.readouterr().err
    )


@pytest.mark.slow
def test_shards_run_at_once_but_none_twice_and_no_other_run_beside_them(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [sys.executable, str(PROGRAM), *project.arguments("--shard", "1/2")]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    first = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (project.out / ".shards" / "1-of-2" / ".lock").exists():
        time.sleep(0.01)
    first.send_signal(signal.SIGSTOP)  # it holds its locks
    assert project.run("--shard", "1/2") == 2
    assert project.run("--merge") == 2
    assert project.run() == 2
    assert capsys.readouterr().err.count("another run writes there") == 3
    assert project.run("--shard", "2/2") == 0
    first.send_signal(signal.SIGCONT)
    assert first.wait() == 1, "the image that is cut off"
    assert not (project.out / ".lock").exists()
    assert project.run("--merge") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--shard", "5/4"], "5/4: must be a number from 1"),
        (["--shard", "0/4"], "0/4: must be a number from 1"),
        (["--shard", "1/2", "--merge"], "run it without --shard"),
        (["--shard", "1/2", "--prune"], "leave it to --merge"),
        (["--merge", "--dry-run"], "runs no model"),
    ],
)
def test_what_makes_no_sense_is_refused(
    project: Project, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert project.run(*options) == 2
    assert message in capsys.readouterr().err
    assert not project.out.exists()


@pytest.mark.slow
def test_shards_of_evaluations_and_overlays_are_merged(tmp_path: Path) -> None:
    images = tmp_path / "tree"
    assert paint(["--seed", "9", "--count", "7", "--out", str(images), "--plain"]) == 0
    broken = images / "JPEGImages" / "val_00002.jpg"
    broken.write_bytes(broken.read_bytes()[:3000])

    small = write_demo_config(tmp_path / "small.yaml", 256)

    def run(out: Path, *more: str) -> int:
        arguments = [
            f"--data={images}",
            f"--set=arch.sam_config={small}",
            "-p",
            str(images / "prediction.json"),
            "-b",
            "2",
            "--device=cpu",
        ]
        outputs = ["--attribute", "--also", "visual", "annotate", "-o", str(out)]
        return guarded(lambda: yolo_sam.main([*arguments, *outputs, *more]))

    assert run(tmp_path / "one" / "out") == 1
    assert [run(tmp_path / "two" / "out", "--shard", f"{i}/3") for i in (3, 1, 2)] == [0, 0, 1]
    assert not (tmp_path / "two" / "out" / "evaluation" / "metrics.json").exists()
    assert run(tmp_path / "two" / "out", "--merge") == 1
    assert_same_files(run_files(tmp_path / "two" / "out"), run_files(tmp_path / "one" / "out"))


@pytest.mark.slow
def test_shards_of_clips_are_merged(tmp_path: Path) -> None:
    project = TinyProject(tmp_path)
    more = ["--also", "visual", "annotate", "--set=predictor.format=mp4", "--format", *FORMATS]

    def run(*options: str) -> int:
        return guarded(lambda: yolo_sam.main(project.arguments(*more, *options)))

    assert run() == 0
    expected = project.files()
    project.out.rename(tmp_path / "one")
    assert [run("--shard", f"{i}/2") for i in (2, 1)] == [0, 0]
    assert run("--merge") == 0
    assert_same_files(project.files(), expected)


def test_notes_cannot_run_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "made"),)

    path = tmp_path / "notes"
    path.write_bytes(pickle.dumps(Evil()))
    with path.open("rb") as file, pytest.raises(pickle.UnpicklingError):
        _Unpickler(file).load()
    assert not (tmp_path / "made").exists()
