from __future__ import annotations

import os
import shutil
from pathlib import Path
from threading import current_thread
from time import sleep

import numpy as np
import pytest

from tests.helpers.project import FORMATS, Project, tree
from utils.annotations import fingerprint, scan
from utils.annotations.index import KEY, NO_KEY, Index
from utils.annotations.labelme_manifest import LabelmeManifest
from utils.annotations.manifest import Manifest
from utils.annotations.review import ReviewManifest


@pytest.fixture
def done(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    assert project.run() == 0
    return project


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The images whose files are read to tell their status."""
    asked: list[str] = []
    for kind in (Manifest, LabelmeManifest, ReviewManifest):
        real = kind.status

        def status(self: Manifest, image_id: str, image: Path, real: object = real) -> object:
            asked.append(image_id)
            return real(self, image_id, image)  # type: ignore[operator]

        monkeypatch.setattr(kind, "status", status)
    return asked


def test_finished_images_are_known_without_reading_them(done: Project, asked: list[str]) -> None:
    assert done.run() == 0
    assert not asked
    assert done.seen is None


def test_each_photo_is_asked_for_once_whatever_the_outputs(done: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, real = list[str](), fingerprint.file_times
    monkeypatch.setattr(fingerprint, "file_times", lambda path: (asked.append(str(path)), real(path))[1])
    assert done.run() == 0
    assert sorted(asked) == sorted(map(str, done.photos.rglob("*.png")))


def test_a_disk_that_answers_late_is_asked_by_several_threads(
    done: Project, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    threads, real = set[str](), Manifest.key

    def key(self: Manifest, image_id: str, image: str, times: bytes | None = None) -> bytes:
        threads.add(current_thread().name)
        sleep(0.002)
        return real(self, image_id, image, times)

    monkeypatch.setattr(Manifest, "key", key)
    monkeypatch.setattr(scan, "CHUNK", 2)
    assert done.run() == 0
    assert len(threads) > 1
    assert not asked


def test_what_changed_is_read_and_only_that(done: Project, asked: list[str]) -> None:
    (done.photos / "3.png").touch()
    assert done.run() == 0
    assert {*asked} == {"3"}
    asked.clear()
    assert done.run() == 0
    assert not asked, "what was read is known from then on"


def test_an_edit_of_the_same_size_and_time_is_seen_and_kept(done: Project, capsys: pytest.CaptureFixture[str]) -> None:
    path = next(path for path in map(done.labelme, done.ids()) if b'"car"' in path.read_bytes())
    before = path.stat()
    path.write_bytes(path.read_bytes().replace(b'"car"', b'"cat"'))
    edited = path.read_bytes()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert done.run("--set", "cleanup.largest_hole=3") == 0
    assert "labelme: 9 to write again, made with other settings or from another image, 1 edited and kept" in (
        capsys.readouterr().out
    )
    assert path.read_bytes() == edited


@pytest.mark.parametrize("name", ["coco/instances.json", "yolo/labels/0.txt", "voc/SegmentationClass/0.png", "0.json"])
def test_a_file_that_is_gone_is_made_again(done: Project, name: str) -> None:
    expected = tree(done.out)
    (done.out / name).unlink()
    assert done.run() == 0
    assert tree(done.out) == expected


def test_a_link_to_a_photo_that_is_gone_is_made_again(done: Project) -> None:
    expected = tree(done.out)
    for link in (done.out / "yolo/images").rglob("*.png"):
        link.unlink()
    assert done.run() == 0
    assert tree(done.out) == expected


@pytest.mark.parametrize("content", [b"", b"torn", b"\0" * 100_003])
def test_a_damaged_index_or_none_costs_time_only(done: Project, content: bytes, asked: list[str]) -> None:
    indexes = [*done.out.rglob("*.index")]
    assert len(indexes) == len(FORMATS) + 1
    for index in indexes:
        shutil.rmtree(index)
        if content:
            index.mkdir()
            (index / "0").write_bytes(content)
    expected = tree(done.out)
    assert done.run() == 0
    assert done.seen is None
    assert tree(done.out) == expected
    assert asked
    asked.clear()
    assert done.run() == 0
    assert not asked


def test_no_index_is_written_through_a_link(done: Project, tmp_path: Path) -> None:
    index, elsewhere = done.out / ".records.index", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "0").write_bytes(b"somebody's")
    shutil.rmtree(index)
    index.symlink_to(elsewhere)
    assert done.run() == 0
    assert [path.read_bytes() for path in elsewhere.iterdir()] == [b"somebody's"]


def test_dry_runs_write_no_index(done: Project) -> None:
    for index in done.out.rglob("*.index"):
        shutil.rmtree(index)
    assert done.run("--dry-run") == 0
    assert not [*done.out.rglob("*.index")]


def test_of_rows_with_one_key_the_last_one_counts(tmp_path: Path) -> None:
    first, keys = Index(tmp_path / "x.index"), [bytes([i]) * 16 for i in (1, 2, 3)]
    for key, status in ((keys[2], 1), (keys[0], 1), (keys[2], 4)):
        first.add(key, status)
    first.save()
    second = Index(tmp_path / "x.index")
    second.open("0")
    assert second.look_up(np.array([*reversed(keys), NO_KEY], KEY)).tolist() == [4, 0, 1, 0]
