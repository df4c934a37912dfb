from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import signal
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from datasets.voc import VocDataset
from models.sam2_build import load_sam_state
from models.sam2_config import read_sam_config
from models.yolo_weights import load_yolo
from utils.annotations.diff import References
from utils.classes import load_class_names
from utils.config import load_config
from utils.errors import UserError
from utils.evaluation.files import METRICS, date_of_evaluation
from utils.files import read_text
from utils.formats.labelme_reader import read_labelme_json
from utils.io.photos import read_image
from utils.prompts.readers import read_prompt_table
from utils.prompts.table import PromptSource
from utils.visual.drawing import check_font


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[Path]:
    """A pipe into which nobody writes; a test that waits for it fails."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    signal.alarm(60)
    yield path
    signal.alarm(0)


def read_split(path: Path) -> None:
    lists = path.parent / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    path.rename(lists / "val.txt")
    dataset = VocDataset(path.parent, "val", {}, False)
    raise UserError("\n".join(dataset.problems))


def read_labels(path: Path) -> None:
    (path.parent / "labels").mkdir()
    (path.parent / "classes.txt").write_text("car\n")
    path.rename(path.parent / "labels" / "a.txt")
    read_prompt_table(PromptSource(path.parent / "labels"))


READERS: dict[str, Callable[[Path], object]] = {
    "config": load_config,
    "class list": load_class_names,
    "data.yaml": lambda path: load_class_names(path.rename(path.with_suffix(".yaml"))),
    "prompt file": lambda path: read_prompt_table(PromptSource(path)),
    "YOLO labels": read_labels,
    "labelme file": read_labelme_json,
    "split": read_split,
    "YOLO": load_yolo,
    "SAM2": load_sam_state,
    "SAM2's config": lambda path: read_sam_config(str(path)),
    "font": check_font,
}


@pytest.mark.skipif(os.name != "posix", reason="makes pipes")
@pytest.mark.parametrize("reader", READERS)
def test_a_pipe_in_the_place_of_a_file_is_named_and_not_waited_for(reader: str, pipe: Path) -> None:
    with pytest.raises(UserError):
        READERS[reader](pipe)


@pytest.mark.skipif(os.name != "posix", reason="makes pipes")
def test_a_pipe_among_the_files_of_an_earlier_run_is_not_waited_for(pipe: Path) -> None:
    pipe.rename(pipe.with_name(METRICS))
    assert date_of_evaluation(pipe.parent)  # when it was made
    (pipe.parent / METRICS).rename(pipe.with_name("a.json"))
    assert References(pipe.parent).content_hash("a") is None


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_texts_are_read_in_the_encodings_and_with_the_line_ends_of_all_systems(
    encoding: str, end: str, tmp_path: Path
) -> None:
    path, mark = tmp_path / "names.txt", "\ufeff" if encoding in ("utf-16-le", "utf-16-be") else ""
    path.write_bytes(f"{mark}car{end}größer{end}".encode(encoding))
    assert read_text(path) == "car\ngrößer\n"
    assert load_class_names(path) == ("car", "größer")
    path.write_bytes((mark + json.dumps({"shapes": [], "a": "ö"}, ensure_ascii=False)).encode(encoding))
    assert read_labelme_json(path)["a"] == "ö"


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32"])
def test_a_text_in_another_encoding_is_refused_and_makes_no_names(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_bytes("car\nbus\n".encode(encoding))
    with pytest.raises(UserError, match=r"names\.txt: .*not UTF-8 text \(byte \d"):
        load_class_names(tmp_path / "names.txt")


FOREIGN = {
    "empty": b"",
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
    "a web page": b"\n<!DOCTYPE html><html>404</html>",
    "JPEG XL, which is not read": b"\xff\x0a\xfa\x1f" + bytes(80),
    "HEIC; pip install pillow-heif reads it": b"\0\0\0\x18ftypheic" + bytes(80),
    r"compressed or an archive \(gzip\); unpack it": gzip.compress(b"weights"),
    r"compressed or an archive \(xz\); unpack it": lzma.compress(b"weights"),
    r"compressed or an archive \(bzip2\); unpack it": bz2.compress(b"weights"),
    r"compressed or an archive \(tar\); unpack it": tarfile.TarInfo("weights.pt").tobuf() + bytes(1024),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_what_stands_in_the_place_of_a_photo_or_of_weights_is_named(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(FOREIGN[kind])
    with pytest.raises(ValueError, match=f"not an image, but {kind}"):
        read_image(path)
    for load in (load_yolo, load_sam_state):
        with pytest.raises(UserError, match=f"not a checkpoint, but {kind}"):
            load(path)
