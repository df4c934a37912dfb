"""Two runs at once, and hands of others in the folder of a run."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.helpers import annotate
from tests.helpers.project import PROGRAM, Project, tree
from utils.annotations.fingerprint import hash_of
from utils.structures import Instances, Sample

pytestmark = pytest.mark.skipif(os.name != "posix", reason="locks files, makes links")


def started(project: Project, *more: str) -> subprocess.Popen[str]:
    """A run that has begun to write."""
    command = [sys.executable, str(PROGRAM), *project.arguments(*more)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while process.poll() is None and not (project.out / ".lock").exists():
        time.sleep(0.01)
    return process


@pytest.mark.slow
def test_a_second_run_in_the_folder_is_refused_and_the_first_one_ends_whole(done: Project) -> None:
    unbroken = tree(done.out)
    shutil.rmtree(done.out)
    first = started(done)
    first.send_signal(signal.SIGSTOP)
    second = subprocess.run([sys.executable, str(PROGRAM), *done.arguments()], capture_output=True, text=True)
    first.send_signal(signal.SIGCONT)
    assert second.returncode == 2
    assert "another run writes there; wait until it ends, or name another folder by auto_mask.save_dir" in second.stderr
    assert first.wait(60) == 0
    assert tree(done.out) == unbroken


@pytest.mark.slow
def test_a_killed_run_leaves_nothing_locked(project: Project) -> None:
    first = started(project)
    first.kill()
    first.wait()
    assert (project.out / ".lock").exists()
    assert project.run() == 0
    assert not (project.out / ".lock").exists()


def test_a_disk_without_locks_breaks_no_run(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*arguments: object) -> None:
        raise OSError("not on this disk")

    assert project.run() == 0
    unbroken = tree(project.out)
    shutil.rmtree(project.out)
    monkeypatch.setattr("utils.io.writers.fcntl.flock", no_locks)
    assert project.run() == 0
    assert tree(project.out) == unbroken


def test_a_dry_run_and_a_refused_one_leave_no_folder(project: Project) -> None:
    assert project.run("--dry-run") == 0
    assert not project.out.exists()
    assert project.run("--diff", str(project.folder)) == 2
    assert not project.out.exists()


class Removing(annotate.Chance):
    """Removes something when the second batch begins."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def instances(self, sample: Sample, seed: int) -> Instances:
        if self.batches == 2 and self.path.exists():
            time.sleep(0.3)  # the first batch is written
            shutil.rmtree(self.path)
        return super().instances(sample, seed)


@pytest.mark.parametrize("name", [".", "yolo/labels", "coco", "voc/SegmentationClass", "labelme-polygon"])
def test_a_folder_that_is_removed_in_the_midst_of_a_run_is_told(
    project: Project, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    project.settings["dataloader"]["batch_size"] = 5
    assert annotate.main(project.arguments(), lambda: Removing(project.out / name)) == 3
    assert "removed while the run wrote there; run again" in capsys.readouterr().err
    assert project.run() == 0
    assert len([*project.out.glob("yolo/labels/**/*.txt")]) == 10


OUTSIDE = "kept"


def record_of(project: Project, image_id: str) -> Path:
    return project.out / "yolo" / ".records" / f"{image_id}.json"


def names_elsewhere(outside: Path) -> Sequence[str]:
    return [str(outside / "a.txt"), "../../../elsewhere/a.txt", "labels/../../../../elsewhere/a.txt"]


@pytest.mark.parametrize("key", ["files", "links"])
@pytest.mark.parametrize("number", range(3))
def test_a_record_removes_no_file_elsewhere(done: Project, key: str, number: int) -> None:
    outside = done.folder.parent / "elsewhere"
    outside.mkdir()
    (outside / "a.txt").write_text(OUTSIDE)
    for path in (record_of(done, "0"), done.out / "yolo" / ".records.json"):
        record, name = json.loads(path.read_text()), names_elsewhere(outside)[number]
        record["files"] |= {name: hash_of(OUTSIDE.encode())} if key == "files" else {}
        record["links"] = [name] if key == "links" else []
        path.write_text(json.dumps(record))
    assert done.run("-conf", "0.5", "--overwrite") == 0
    assert (outside / "a.txt").read_text() == OUTSIDE


@pytest.mark.parametrize(
    ("link", "inside"),
    [
        ("yolo/labels", "0.txt"),
        ("yolo/images", "0.png"),
        ("yolo/.records", "0.json"),
        ("yolo", "labels/0.txt"),
        ("voc/SegmentationClass", "0.png"),
        ("labelme-polygon", "0.json"),
        ("clip", "2.json"),
        ("coco/.records", "0.json"),
    ],
)
def test_no_file_is_written_or_removed_through_a_link_out_of_the_folder(
    done: Project, link: str, inside: str, capsys: pytest.CaptureFixture[str]
) -> None:
    outside = done.folder.parent / "elsewhere"
    shutil.move(done.out / link, outside)
    (done.out / link).symlink_to(outside)
    before = tree(outside)
    assert inside in before
    assert done.run("-conf", "0.5", "--overwrite") == 2
    assert f"{done.out / link}" in capsys.readouterr().err
    assert tree(outside) == before


def test_a_linked_folder_of_photos_gets_its_annotations_beside_them(project: Project) -> None:
    elsewhere = project.folder.parent / "elsewhere"
    shutil.move(project.photos / "clip", elsewhere)
    (project.photos / "clip").symlink_to(elsewhere)
    project.settings["auto_mask"] = {"save_dir": "photos", "formats": ["labelme"]}
    assert project.run() == 0
    assert (elsewhere / "2.json").is_file()


SPOILT = [
    "[]", "3", '"text"', "null", "{", "", '{"files": 3}', '{"files": []}', '{"files": {"labels/0.txt": 3}}',
    '{"links": {}}', '{"links": [3]}', '{"photo": 3}', '{"settings": []}', '{"record": 3}', '{"record": {"image": 3}}',
    '{"record": {"image": {"file_name": "../x.png"}, "annotations": []}}', '{"record": {"clip": 3}}', '{"other": 1}',
    '{"record": {"doubt": 0.5, "confidences": [0.5]}}', '{"record": {"doubt": 0.5, "objects": "3"}}',
    '{"record": {"image": {"file_name": "0.png"}, "annotations": [3]}}', "[" * 100_000, '{"record": {"doubt": []}}',
    '{"record": {"image": {"file_name": "0.png"}, "annotations": [{"category_id": []}], "frame": 3}}', "\ud800",
    '{"settings": NaN}', '{"record": {"extra": 1, "missing": [], "low_overlap": 0}}',
]  # fmt: skip


@pytest.mark.parametrize("content", SPOILT[:4] + [pytest.param(each, marks=pytest.mark.slow) for each in SPOILT[4:]])
def test_a_damaged_record_counts_as_edited_and_what_has_no_file_is_made_again(done: Project, content: str) -> None:
    unbroken = tree(done.out)
    labels = (done.out / "yolo" / "labels" / "0.txt").read_bytes()
    for record in (*done.out.rglob(".records/0.json"), done.out / ".review" / "0.json"):
        record.write_bytes(content.encode("utf-8", "surrogatepass"))
    assert done.run() == 0
    assert (done.out / "coco" / "instances.json").read_bytes() == unbroken["coco/instances.json"]
    assert reviewed((done.out / "review.csv").read_bytes()) == reviewed(unbroken["review.csv"])
    assert (done.out / "yolo" / "labels" / "0.txt").read_bytes() == labels
    assert done.run("--overwrite") == 0
    assert tree(done.out) == unbroken


def reviewed(table: bytes) -> list[dict[str, str]]:
    """The rows of review.csv by image, without who edited them: the damaged one counts as edited."""
    rows = ({**row, "edited": ""} for row in csv.DictReader(table.decode().splitlines()))
    return sorted(rows, key=lambda row: row["image_id"])


@pytest.mark.parametrize("content", SPOILT[:4] + [pytest.param(each, marks=pytest.mark.slow) for each in SPOILT[4:]])
def test_a_damaged_record_of_shared_files_makes_them_anew(done: Project, content: str) -> None:
    unbroken = tree(done.out)
    for record in [*done.out.rglob(".records.json"), done.out / ".review.json"]:
        record.write_bytes(content.encode("utf-8", "surrogatepass"))
    assert done.run() == 0
    assert tree(done.out) == unbroken


@pytest.mark.parametrize(
    "links",
    [3, [3, None], ["../a.png"], ["x" * 300, "."], ["a\0b"], ["sub/link.png"]],
)
def test_a_damaged_list_of_review_links_removes_nothing_elsewhere(project: Project, links: object) -> None:
    project.settings["auto_mask"]["review_below"] = 0.9
    assert project.run() == 0
    unbroken, outside = tree(project.out), project.folder.parent / "elsewhere"
    outside.mkdir()
    (outside / "link.png").symlink_to(project.photos / "0.png")
    (project.out / "review" / "sub").symlink_to(outside)
    record = project.out / "review" / ".records"
    record.write_text(json.dumps({"links": links, "pending": True}))
    assert project.run() == 0
    assert (outside / "link.png").is_symlink()
    (project.out / "review" / "sub").unlink()
    assert tree(project.out).keys() == unbroken.keys()


@pytest.mark.parametrize("name", ["x" * 300, "sub/a.txt", "a\0b", "\ud800"])
def test_a_record_of_shared_files_is_followed_through_no_link(done: Project, name: str) -> None:
    outside = done.folder.parent / "elsewhere"
    outside.mkdir()
    (outside / "a.txt").write_text(OUTSIDE)
    (done.out / "yolo" / "sub").symlink_to(outside)
    path = done.out / "yolo" / ".records.json"
    record = json.loads(path.read_text())
    record["files"][name] = hash_of(OUTSIDE.encode())
    path.write_text(json.dumps(record))
    assert done.run("-conf", "0.5", "--overwrite") == 0
    assert (outside / "a.txt").read_text() == OUTSIDE


@pytest.mark.parametrize("content", ["[" * 100_000, '{"imagePath": "a\\u0000/b"}', '{"imagePath": "\\ud800/b"}', "3"])
def test_a_damaged_annotation_of_a_doubtful_photo_is_left_as_it_is(project: Project, content: str) -> None:
    project.settings["auto_mask"]["review_below"] = 0.9
    assert project.run() == 0
    name = next(path for path in (project.out / "review").rglob("*.png")).stem
    (project.out / f"{name}.json").write_text(content)
    assert project.run("-conf", "0.5") == 0
    assert (project.out / f"{name}.json").read_text() == content


@pytest.mark.parametrize("photo", ["x" * 300, "y/" * 3000, "a\0b", "\ud800"])
def test_a_record_that_names_no_possible_photo_prunes_nothing(done: Project, photo: str) -> None:
    path = done.out / ".review" / "0.json"
    record = json.loads(path.read_text())
    record["record"]["photo"] = photo
    path.write_text(json.dumps(record))
    (done.photos / "0.png").unlink()
    assert done.run("--prune") == 0
