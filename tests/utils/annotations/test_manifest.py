from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

import utils.io.writers
from tests.helpers.project import tree
from utils.annotations.fingerprint import ImageFingerprint, hash_of
from utils.annotations.manifest import Manifest
from utils.annotations.records import AnnotationOutput, FileStatus
from utils.formats.base import Exported


def files(image_id: str) -> list[str]:
    return [f"labels/{image_id}.txt", f"maps/{image_id}.bin"]


class Killed(BaseException):
    """Stands for the end of the process."""


class WordExporter:
    """Joins the words of all images."""

    def __init__(self, files: tuple[str, ...] = ("all.txt", "count.txt")) -> None:
        self.files = files

    def is_record(self, image_id: str, record: Mapping[str, Any]) -> bool:
        return record.keys() <= {"word"}

    def assemble(self, records: Iterable[tuple[str, Mapping[str, Any]]]) -> dict[str, bytes]:
        words = [f"{image_id} {record['word']}" for image_id, record in records]
        return dict(zip(self.files, ("\n".join(words).encode(), str(len(words)).encode())))


def exported(word: str, photo: Path | None = None) -> Exported:
    """Two files and, with a photo, a link."""
    files = {"labels/a.txt": word.encode(), "maps/a.bin": word.upper().encode()}
    return Exported(files, {"images/a.png": photo} if photo else {}, {"word": word})


def manifest(folder: Path, settings: str = "1", shared: str = "1", overwrite: bool = False) -> Manifest:
    output = AnnotationOutput(
        "words",
        folder,
        lambda names: WordExporter(),  # type: ignore[arg-type, return-value]
        files=files,
        photo=lambda image_id: f"images/{image_id}",
        shared_settings=lambda: shared,
        overwrite=overwrite,
    )
    return Manifest(output, ImageFingerprint(lambda image_id, image: settings, lambda *_: b""))


def status(folder: Path, settings: str = "1") -> FileStatus:
    return manifest(folder, settings).status("a", folder / "a.png")


def write(folder: Path, word: str = "one", settings: str = "1", overwrite: bool = False) -> bool:
    photo = folder.parent / "photo.png"
    photo.write_bytes(b"photo")
    return manifest(folder, settings, overwrite=overwrite).write("a", photo, exported(word, photo))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "format"


def test_files_are_new_then_done_then_outdated(folder: Path) -> None:
    assert status(folder) is FileStatus.NEW
    assert write(folder)
    assert (status(folder), status(folder, "2")) == (FileStatus.DONE, FileStatus.OUTDATED)
    assert (folder / "images/a.png").read_bytes() == b"photo"
    assert write(folder, "two", "2")
    assert (status(folder), status(folder, "2")) == (FileStatus.OUTDATED, FileStatus.DONE)
    assert (folder / "labels/a.txt").read_bytes() == b"two"


@pytest.mark.parametrize("name", ["labels/a.txt", "maps/a.bin"])
def test_a_changed_file_is_edited_and_a_missing_one_is_made_again(name: str, folder: Path) -> None:
    write(folder)
    (folder / name).write_bytes(b"mine")
    assert status(folder) is status(folder, "2") is FileStatus.EDITED
    (folder / name).unlink()
    assert status(folder) is FileStatus.NEW


@pytest.mark.parametrize("name", ["labels/a.txt", "maps/a.bin", "images/a.png"])
def test_a_file_without_a_record_is_a_persons(name: str, folder: Path) -> None:
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_bytes(b"mine")
    assert status(folder) is (FileStatus.NEW if name.startswith("images") else FileStatus.EDITED)
    assert not write(folder)
    assert tree(folder) == {name: b"mine"}
    assert write(folder, overwrite=True)
    assert status(folder) is FileStatus.DONE


def test_files_that_another_setting_does_not_make_are_removed(folder: Path) -> None:
    write(folder)
    manifest(folder, "2").write("a", folder / "a.png", Exported({"labels/a.txt": b"x"}))
    assert {name for name in tree(folder) if not name.startswith(".")} == {"labels/a.txt"}


def test_a_record_that_somebody_spoilt_proves_nothing(folder: Path) -> None:
    write(folder)
    (folder / ".records/a.json").write_text('{"settings": 1, "colour": 2}')
    assert status(folder) is FileStatus.EDITED


def test_a_photo_is_copied_where_links_cannot_be_made(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*paths: object, **options: object) -> None:
        raise OSError("not on this disk")

    monkeypatch.setattr(Path, "symlink_to", no_links)
    assert write(folder)
    assert not (folder / "images/a.png").is_symlink()
    assert (folder / "images/a.png").read_bytes() == b"photo"
    assert status(folder) is FileStatus.DONE
    path = folder / ".records/a.json"
    record = json.loads(path.read_text())
    earlier = {**record, "photo": " ".join(record["photo"].split()[:2])}  # marks told less once
    path.write_text(json.dumps(earlier))
    assert (status(folder), status(folder, "2")) == (FileStatus.DONE, FileStatus.OUTDATED)
    (folder / "images/a.png").write_bytes(b"mine")
    assert status(folder) is FileStatus.EDITED


def test_a_photo_that_a_person_put_over_a_link_is_no_link(folder: Path) -> None:
    write(folder)
    link = folder / "images/a.png"
    link.unlink()
    link.write_bytes(b"photo")  # as copying the folder with its links followed makes it
    assert (status(folder), status(folder, "2")) == (FileStatus.DONE, FileStatus.OUTDATED)
    link.write_bytes(b"mine")
    assert status(folder) is status(folder, "2") is FileStatus.EDITED


def killed_at(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the process end before its `number`-th change to the disk, counted from 0; what is half done stays."""
    left = number

    def counted(change: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            return change(*arguments, **options)

        return call

    for owner, name in ((os, "replace"), (os, "unlink"), (Path, "symlink_to"), (Path, "write_bytes")):
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))


def assemble(folder: Path, settings: str = "1", overwrite: bool = False) -> list[Path]:
    return manifest(folder, settings, settings, overwrite).assemble(WordExporter(), ["a", "b"])  # type: ignore[arg-type]


def rewrite(folder: Path) -> None:
    """What a run with other settings does."""
    if status(folder, "2") is not FileStatus.DONE:
        assert status(folder, "2") is not FileStatus.EDITED
        assert write(folder, "two", "2")
    assert assemble(folder, "2") == []


def test_wherever_the_process_ends_the_next_run_ends_as_an_unbroken_one(tmp_path: Path) -> None:
    unbroken = tmp_path / "unbroken"
    write(unbroken)
    assemble(unbroken)
    rewrite(unbroken)
    number, ended = 0, False
    while not ended:
        folder = tmp_path / f"killed_{number}"
        write(folder)
        assemble(folder)
        with pytest.MonkeyPatch.context() as monkeypatch:
            killed_at(number, monkeypatch)
            try:
                rewrite(folder)
                ended = True
            except Killed:
                number += 1
        rewrite(folder)
        assert tree(folder) == tree(unbroken), number
    assert number > 10  # Python 3.10 calls fewer of the functions that kill here


def test_shared_files_hold_the_records_in_the_order_of_the_run(folder: Path) -> None:
    for image_id, word in (("b", "beta"), ("a", "alpha")):
        manifest(folder).write(image_id, folder / "x", Exported({}, record={"word": word}))
    assert assemble(folder) == []
    assert (folder / "all.txt").read_text() == "a alpha\nb beta"
    assert (folder / "count.txt").read_text() == "2"


def is_assembled(folder: Path, image_ids: str = "ab", shared: str = "1") -> bool:
    return manifest(folder, shared=shared).is_assembled([*image_ids])


def test_shared_files_are_assembled_until_a_record_a_setting_or_a_file_is_another(folder: Path) -> None:
    assert not is_assembled(folder)
    write(folder)
    assemble(folder)
    assert is_assembled(folder)
    assert not is_assembled(folder, shared="2")
    assert not is_assembled(folder, "ba")
    (folder / "count.txt").unlink()
    assert not is_assembled(folder)
    assemble(folder)
    write(folder, "other")
    assert not is_assembled(folder)


def test_an_edited_shared_file_is_kept_and_the_others_are_renewed(folder: Path) -> None:
    write(folder)
    assemble(folder)
    (folder / "all.txt").write_text("mine")
    manifest(folder).write("b", folder / "x", Exported({}, record={"word": "beta"}))
    for _ in range(2):
        assert assemble(folder) == [folder / "all.txt"]
        assert (folder / "all.txt").read_text() == "mine"
        assert (folder / "count.txt").read_text() == "2"
        assert is_assembled(folder)
    assert assemble(folder, overwrite=True) == []
    assert (folder / "all.txt").read_text() == "a one\nb beta"


def test_shared_files_of_another_run_stay(folder: Path) -> None:
    def listed(split: str, *image_ids: str) -> list[Path]:
        exporter = WordExporter((f"{split}.txt",))
        return manifest(folder, shared=split).assemble(exporter, image_ids)  # type: ignore[arg-type]

    write(folder)
    assert listed("train", "a") == listed("val", "a") == []
    assert {"train.txt", "val.txt"} <= tree(folder).keys()
    (folder / "train.txt").write_text("mine")
    assert listed("train", "a", "b") == [folder / "train.txt"]


@pytest.mark.parametrize("name", ["../kept.txt", "labels/b.txt", "images/b.png"])
def test_a_record_that_names_files_of_others_removes_none(name: str, folder: Path) -> None:
    write(folder)
    other = folder / name
    other.parent.mkdir(parents=True, exist_ok=True)
    other.write_bytes(b"kept")
    path = folder / ".records/a.json"
    record = json.loads(path.read_text())
    record["files"][name] = hash_of(b"kept")
    path.write_text(json.dumps(record))
    assert status(folder, "2") is FileStatus.EDITED
    assert write(folder, "two", "2", overwrite=True)
    assert other.read_bytes() == b"kept"
    assert status(folder, "2") is FileStatus.DONE


def test_links_are_made_anew_over_what_a_killed_run_left(tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"photo")
    left = utils.io.writers.temporary_path(tmp_path / "link.png").with_suffix(".link.tmp")
    left.symlink_to("nowhere")
    utils.io.writers.atomic_link(tmp_path / "link.png", photo)
    assert os.readlink(tmp_path / "link.png") == str(photo)
    assert not os.path.lexists(left)


def test_a_file_whose_name_is_too_long_for_the_disk_was_never_edited(tmp_path: Path) -> None:
    assert not manifest(tmp_path).is_edited("x" * 300)
