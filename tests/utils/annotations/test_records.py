from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

import utils.io.writers
from tests.helpers.project import tree
from utils.annotations.records import RecordedFiles, SharedFiles, State
from utils.formats.base import Exported


def places(image_id: str) -> list[str]:
    return [f"labels/{image_id}.txt", f"maps/{image_id}.bin"]


class Killed(BaseException):
    """Stands for the end of the process."""


class ImageMatch:
    """Joins the words of all images."""

    def __init__(self, files: tuple[str, ...] = ("all.txt", "count.txt")) -> None:
        self.files = files

    def assemble(self, records: Iterable[tuple[str, Mapping[str, Any]]]) -> dict[str, bytes]:
        words = [f"{image_id} {record['word']}" for image_id, record in records]
        return dict(zip(self.files, ("\n".join(words).encode(), str(len(words)).encode())))


def exported(word: str, photo: Path | None = None) -> Exported:
    """Two files and, with a photo, a link."""
    files = {"labels/a.txt": word.encode(), "maps/a.bin": word.upper().encode()}
    return Exported(files, {"images/a.png": photo} if photo else {}, {"word": word})


def ledger(folder: Path, settings: str = "1") -> RecordedFiles:
    return RecordedFiles(folder, lambda image_id, image: settings, places)


def state(folder: Path, settings: str = "1") -> State:
    return ledger(folder, settings).state("a", folder / "a.png")


def write(folder: Path, word: str = "one", settings: str = "1", overwrite: bool = False) -> bool:
    photo = folder.parent / "photo.png"
    photo.write_bytes(b"photo")
    return ledger(folder, settings).write("a", photo, exported(word, photo), overwrite=overwrite)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "format"


def test_files_are_new_then_done_then_outdated(folder: Path) -> None:
    assert state(folder) is State.NEW
    assert write(folder)
    assert (state(folder), state(folder, "2")) == (State.DONE, State.OUTDATED)
    assert (folder / "images/a.png").read_bytes() == b"photo"
    assert write(folder, "two", "2")
    assert (state(folder), state(folder, "2")) == (State.OUTDATED, State.DONE)
    assert (folder / "labels/a.txt").read_bytes() == b"two"


@pytest.mark.parametrize("name", ["labels/a.txt", "maps/a.bin"])
def test_a_changed_file_is_edited_and_a_missing_one_is_made_again(name: str, folder: Path) -> None:
    write(folder)
    (folder / name).write_bytes(b"mine")
    assert state(folder) is state(folder, "2") is State.EDITED
    (folder / name).unlink()
    assert state(folder) is State.NEW


@pytest.mark.parametrize("name", ["labels/a.txt", "maps/a.bin", "images/a.png"])
def test_a_file_without_a_record_is_a_persons(name: str, folder: Path) -> None:
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_bytes(b"mine")
    assert state(folder) is (State.NEW if name.startswith("images") else State.EDITED)
    assert not write(folder)
    assert tree(folder) == {name: b"mine"}
    assert write(folder, overwrite=True)
    assert state(folder) is State.DONE


def test_files_that_another_setting_does_not_make_are_removed(folder: Path) -> None:
    write(folder)
    ledger(folder, "2").write("a", folder / "a.png", Exported({"labels/a.txt": b"x"}), overwrite=False)
    assert {name for name in tree(folder) if not name.startswith(".")} == {"labels/a.txt"}


def test_a_record_that_somebody_spoilt_proves_nothing(folder: Path) -> None:
    write(folder)
    (folder / ".records/a.json").write_text('{"settings": 1, "colour": 2}')
    assert state(folder) is State.EDITED


def test_a_photo_is_copied_where_links_cannot_be_made(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*paths: object, **options: object) -> None:
        raise OSError("not on this disk")

    monkeypatch.setattr(Path, "symlink_to", no_links)
    assert write(folder)
    assert not (folder / "images/a.png").is_symlink()
    assert (folder / "images/a.png").read_bytes() == b"photo"
    assert state(folder) is State.DONE
    path = folder / ".records/a.json"
    record = json.loads(path.read_text())
    earlier = {**record, "photo": " ".join(record["photo"].split()[:2])}  # marks told less once
    path.write_text(json.dumps(earlier))
    assert (state(folder), state(folder, "2")) == (State.DONE, State.OUTDATED)
    (folder / "images/a.png").write_bytes(b"mine")
    assert state(folder) is State.EDITED


def test_a_photo_that_a_person_put_over_a_link_is_no_link(folder: Path) -> None:
    write(folder)
    link = folder / "images/a.png"
    link.unlink()
    link.write_bytes(b"photo")  # as copying the folder with its links followed makes it
    assert (state(folder), state(folder, "2")) == (State.DONE, State.OUTDATED)
    link.write_bytes(b"mine")
    assert state(folder) is state(folder, "2") is State.EDITED


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
    return SharedFiles(ledger(folder, settings), settings, overwrite).assemble(ImageMatch(), ["a", "b"])  # type: ignore[arg-type]


def rewrite(folder: Path) -> None:
    """What a run with other settings does."""
    if state(folder, "2") is not State.DONE:
        assert state(folder, "2") is not State.EDITED
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
        ledger(folder).write(image_id, folder / "x", Exported({}, record={"word": word}), overwrite=False)
    assert assemble(folder) == []
    assert (folder / "all.txt").read_text() == "a alpha\nb beta"
    assert (folder / "count.txt").read_text() == "2"


def shared(folder: Path, settings: str = "1") -> SharedFiles:
    return SharedFiles(ledger(folder), settings)


def test_shared_files_are_fresh_until_a_record_a_setting_or_a_file_is_another(folder: Path) -> None:
    assert not shared(folder).fresh(["a", "b"])
    write(folder)
    assemble(folder)
    assert shared(folder).fresh(["a", "b"])
    assert not shared(folder, "2").fresh(["a", "b"])
    assert not shared(folder).fresh(["b", "a"])
    (folder / "count.txt").unlink()
    assert not shared(folder).fresh(["a", "b"])
    assemble(folder)
    write(folder, "other")
    assert not shared(folder).fresh(["a", "b"])


def test_an_edited_shared_file_is_kept_and_the_others_are_renewed(folder: Path) -> None:
    write(folder)
    assemble(folder)
    (folder / "all.txt").write_text("mine")
    ledger(folder).write("b", folder / "x", Exported({}, record={"word": "beta"}), overwrite=False)
    for _ in range(2):
        assert assemble(folder) == [folder / "all.txt"]
        assert (folder / "all.txt").read_text() == "mine"
        assert (folder / "count.txt").read_text() == "2"
        assert shared(folder).fresh(["a", "b"])
    assert assemble(folder, overwrite=True) == []
    assert (folder / "all.txt").read_text() == "a one\nb beta"


def test_shared_files_of_another_run_stay(folder: Path) -> None:
    write(folder)
    SharedFiles(ledger(folder), "train").assemble(ImageMatch(("train.txt",)), ["a"])  # type: ignore[arg-type]
    SharedFiles(ledger(folder), "val").assemble(ImageMatch(("val.txt",)), ["a"])  # type: ignore[arg-type]
    assert {"train.txt", "val.txt"} <= tree(folder).keys()
    (folder / "train.txt").write_text("mine")
    assert SharedFiles(ledger(folder), "train").assemble(ImageMatch(("train.txt",)), ["a", "b"]) == [
        folder / "train.txt"
    ]  # type: ignore[arg-type]


def test_links_are_made_anew_over_what_a_killed_run_left(tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"photo")
    left = utils.io.writers.temporary_path(tmp_path / "link.png")
    left.symlink_to("nowhere")
    utils.io.writers.atomic_link(tmp_path / "link.png", photo)
    assert os.readlink(tmp_path / "link.png") == "photo.png"
    assert not os.path.lexists(left)
