"""Names of files as people have them, and texts that nobody should have: each is carried through, or named."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datasets.folder import ImageTree
from datasets.voc import SplitLists
from tests.helpers import annotate
from tests.helpers.project import Project
from utils.errors import UserError
from utils.io.encoding import encode_csv

NUL, HALF, LONG, HUGE = "a\0b", "a\ud800b", "x" * 256, 2**63


def add_photo(project: Project, name: str | bytes) -> None:
    Image.new("RGB", (32, 24), (90, 60, 30)).save(project.folder / "new.png")
    shutil.copy(project.folder / "new.png", os.path.join(os.fsencode(project.photos), os.fsencode(name)))


def test_photos_of_one_stem_have_outputs_of_their_own(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (32, 24)).save(project.photos / "0.jpg")
    assert project.run() == 0
    assert "files that differ in their suffix alone keep it in their ids and outputs: 2, such as 0.jpg" in (
        capsys.readouterr().out
    )
    assert {"0.jpg.json", "0.png.json", "1.json"} <= {path.name for path in project.out.glob("*.json")}
    named = {image["file_name"] for image in json.loads((project.out / "coco/instances.json").read_text())["images"]}
    assert {"0.jpg", "0.png", "1.png", "clip/2.png"} <= named
    assert {path.name for path in project.out.glob("yolo/images/0.*")} == {"0.jpg.jpg", "0.png.png"}
    assert project.run() == 0
    assert project.seen is None


def test_a_name_that_leaves_no_room_for_a_suffix_fails_alone(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    add_photo(project, "y" * 251 + ".png")
    for _ in range(2):
        assert project.run() == 1
        assert 'labelme: the name "yyyyyyyyyyyyyyyyyyyy..." is longer than 255 bytes' in capsys.readouterr().out
    assert len([*project.out.glob("**/labels/**/*.txt")]) == 10


NAMES = ["line\nbreak", "colon:c", "back\\slash", " blank", "blank ", "\ufeffmark", "esc\x1b[2J", "ä", "c:x", "tab\t"]


@pytest.mark.skipif(os.name != "posix", reason="other systems refuse some of the names")
@pytest.mark.parametrize("name", [*NAMES, os.fsdecode(b"latin\xe4")], ids=ascii)
def test_a_name_survives_the_way_through_a_split_list_or_is_told(
    project: Project, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    add_photo(project, f"{name}.png")
    code = project.run()
    output = capsys.readouterr().out
    lists = SplitLists(project.out / "voc", "val", ImageTree(project.photos))
    assert lists.problems == []
    assert len(lists.images()) == (11 if code == 0 else 10)
    assert (name in lists.images()) == (code == 0)
    assert ("rename the file for voc" in output) == (code == 1)
    assert all("\x1b" not in line for line in output.splitlines() if "failed" in line)
    with Image.open(project.photos / f"{name}.png") as photo:
        assert photo.size == (32, 24)
    found = [image["file_name"] for image in json.loads((project.out / "coco/instances.json").read_text())["images"]]
    assert f"{name}.png" in found


def test_cells_that_begin_like_formulas_are_escaped_and_numbers_are_not() -> None:
    rows = [["=1+2", "+a", "-b", "@c", "\td", "\re", -1.5, -2, "d=1", ""]]
    (read,) = csv.reader(io.StringIO(encode_csv(rows).decode(), newline=""))
    assert read == ["'=1+2", "'+a", "'-b", "'@c", "'\td", "'\re", "-1.5", "-2", "d=1", ""]


BYTE = os.fsdecode(b"latin\xe4")

DEEP: list[Any] = []
for _ in range(900):
    DEEP = [DEEP]

BAD_VALUES = [
    ("dataloader.num_workers", DEEP), ("auto_mask.formats", DEEP), ("dataset.classes", DEEP), ("name", DEEP),
    ("name", BYTE), ("dataset.split", BYTE), ("auto_mask.formats", [BYTE]), ("predictor.format", BYTE),
    ("name", NUL), ("name", HALF), ("dataset.split", NUL), ("dataset.split", HALF), ("dataset.split", LONG),
    ("dataset.split", "a/" * 3000), ("dataset.data_dir", NUL), ("dataset.data_dir", HALF), ("dataset.data_dir", LONG),
    ("dataset.classes", ["car", NUL]), ("dataset.classes", ["car", HALF]), ("dataset.classes", LONG),
    ("dataset.classes", NUL), ("arch.yolo_weights", NUL), ("arch.sam_weights", HALF), ("arch.sam_weights", LONG),
    ("arch.sam_config", NUL), ("arch.sam_config", HALF), ("arch.yolo", NUL), ("arch.sam", HALF),
    ("auto_mask.save_dir", LONG), ("auto_mask.save_dir", NUL), ("auto_mask.save_dir", "~" + HALF),
    ("auto_mask.save_dir", "ü" * 128), ("predictor.font", NUL), ("auto_mask.formats", [NUL]),
    ("dataloader.batch_size", HUGE), ("dataloader.batch_size", 10**400), ("dataloader.num_workers", HUGE),
    ("detector.max_det", HUGE), ("detector.imgsz", 10**30), ("segmenter.chunk_mb", HUGE), ("video.patience", HUGE),
    ("dataset.num_classes", HUGE), ("dataset.label_map", {"1": HUGE}), ("dataset.label_map", {NUL: 1}),
    ("cleanup.largest_hole", HUGE), ("evaluator.report_images", HUGE), ("finetune.train_split", NUL),
    ("finetune.output", LONG), ("detector.classes", [NUL]), ("dataset.conf", 10**400),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), BAD_VALUES, ids=lambda value: ascii(value)[:30])
def test_texts_and_numbers_that_nothing_can_hold_are_refused_by_their_key(
    project: Project, key: str, value: object, capsys: pytest.CaptureFixture[str]
) -> None:
    section, _, name = key.rpartition(".")
    holder = project.settings.setdefault(section, {}) if section else project.settings
    holder[name] = value
    assert project.run() == 2
    message = capsys.readouterr().err
    assert key in message
    assert not project.out.exists()
    if isinstance(value, str) and key != "dataset.classes":  # there, what is no file is a list of names
        holder.pop(name)
        assert project.run("--set", f"{key}={value}") == 2
        assert key in capsys.readouterr().err


@pytest.mark.parametrize("option", ["-c", "-s", "-p", "-a", "--diff", "--prompt_names"])
@pytest.mark.parametrize("value", [NUL, HALF, LONG, "a/" * 3000], ids=ascii)
def test_paths_on_the_command_line_that_can_be_none_are_refused(
    project: Project, option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert annotate.main([*project.arguments(), option, value]) == 2
    assert option in capsys.readouterr().err


def test_a_split_list_with_a_nul_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "ImageSets/Segmentation").mkdir(parents=True)
    (tmp_path / "ImageSets/Segmentation/val.txt").write_text(f"a\n{NUL}\n")
    with pytest.raises(UserError, match=r"val\.txt: is not UTF-8 text \(byte 3\)"):
        SplitLists(tmp_path, "val", ImageTree(tmp_path / "JPEGImages"))


@pytest.mark.parametrize("entry", [LONG, "clip/" + LONG, LONG + "/1", "a/" * 3000 + "b"], ids=ascii)
@pytest.mark.parametrize("name", ["val.txt", "val_videos.txt"])
def test_lines_of_split_lists_that_can_name_no_file_are_named(tmp_path: Path, entry: str, name: str) -> None:
    lists, images = tmp_path / "ImageSets/Segmentation", tmp_path / "JPEGImages"
    lists.mkdir(parents=True)
    images.mkdir()
    Image.fromarray(np.zeros((3, 4, 3), np.uint8)).save(images / "a.png")
    (lists / "val.txt").write_text("a\n")
    with (lists / name).open("a") as file:
        file.write(f"{entry}\n")
    split = SplitLists(tmp_path, "val", ImageTree(images))
    assert split.images() == ["a"]
    assert [problem.split(":")[0] for problem in split.problems] == [str(lists / name)]
