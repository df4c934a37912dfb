"""Checkpoints: fetched, loaded without running code, refused by name."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from models.sam2_build import describe_mismatch, load_sam_state
from models.ultralytics_quiet import quiet_ultralytics
from models.yolo_weights import load_yolo
from utils.errors import UserError

LOADERS = (load_yolo, load_sam_state)


class RunsCode:
    """Unpickling it makes a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch '{self.trace}'",)


@pytest.mark.parametrize("load", LOADERS)
def test_code_in_a_checkpoint_does_not_run_unless_trusted(load: Callable, tmp_path: Path) -> None:
    trace, path = tmp_path / "trace", tmp_path / "evil.pt"
    torch.save({"model": RunsCode(trace)}, path)
    with pytest.raises(UserError, match=r"evil\.pt: refused.*would run code \((posix|nt)\.system\); --trust-weights"):
        load(path)
    assert not trace.exists()
    with pytest.raises(UserError, match=r"evil\.pt: not a"):
        load(path, trust=True)
    assert trace.exists()


def test_where_torch_is_too_old_for_safe_loading_yolo_is_refused(
    yolo_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(torch.serialization, "get_unsafe_globals_in_checkpoint")
    with pytest.raises(UserError, match=r"random\.pt: torch .* cannot load it safely"):
        load_yolo(yolo_file)


def test_half_precision_weights_load_in_float32(yolo_file: Path) -> None:
    model = load_yolo(yolo_file)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    stored = torch.load(yolo_file, weights_only=False)["model"]
    assert {parameter.dtype for parameter in stored.parameters()} == {torch.float16}
    assert all(torch.equal(a.float(), b) for a, b in zip(stored.parameters(), model.parameters()))


def zipped(files: dict[str, str]) -> bytes:
    """A zip archive of these."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return content.getvalue()


def damaged(kind: str, whole: bytes) -> bytes:
    """A checkpoint that is damaged, or never was one."""
    middle = len(whole) // 2
    return {
        "truncated": whole[:middle],
        "empty": b"",
        "text": b"not a checkpoint",
        "overwritten": whole[:40] + bytes(2000) + whole[2040:],
        "archive": zipped({"notes/hello.txt": "hello"}),
        "hollow": zipped({"hollow/data.pkl": "", "hollow/version": "3"}),
    }[kind]


@pytest.mark.parametrize("load", LOADERS)
@pytest.mark.parametrize("kind", ["truncated", "empty", "text", "overwritten", "archive", "hollow"])
def test_damaged_and_foreign_files_are_refused_by_name(
    load: Callable, kind: str, tmp_path: Path, yolo_file: Path
) -> None:
    path = tmp_path / f"{kind}.pt"
    path.write_bytes(damaged(kind, yolo_file.read_bytes()))
    with pytest.raises(UserError, match=rf"{kind}\.pt: (truncated|cannot be loaded|not a checkpoint, but empty)"):
        load(path)


@pytest.mark.parametrize(
    "content", [[1, 2], {}, {"state": 1}, torch.nn.Linear(2, 2), {"model": torch.nn.Linear(2, 2)}, {"model": {"a": 1}}]
)
@pytest.mark.parametrize("load", LOADERS)
def test_checkpoints_of_something_else_are_refused(load: Callable, content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(UserError, match=r"other\.pt: "):
        load(tmp_path / "other.pt", trust=True)


def test_each_loader_refuses_the_others_checkpoints(tmp_path: Path, yolo_file: Path) -> None:
    sam = tmp_path / "sam.pt"
    torch.save({"model": {"weight": torch.ones(2)}}, sam)
    assert torch.equal(load_sam_state(sam)["weight"], torch.ones(2))
    with pytest.raises(UserError, match=r"sam\.pt: not a YOLO checkpoint: it holds the keys model"):
        load_yolo(sam)
    with pytest.raises(UserError, match=r"random\.pt: (holds a YOLO model|not a SAM2 checkpoint)"):
        load_sam_state(yolo_file)


@pytest.mark.parametrize(
    "name, why",
    [("yolov8n-cls", "a classifier"), ("yolo26n-sem", "a semantic segmenter"), ("yolo26n-depth", "a depth estimator")],
)
def test_models_without_boxes_are_refused_with_the_reason(name: str, why: str, tmp_path: Path) -> None:
    quiet_ultralytics()
    from ultralytics import YOLO

    path = tmp_path / "other.pt"
    torch.save({"model": YOLO(f"{name}.yaml").model.half()}, path)
    with pytest.raises(UserError, match=rf"other\.pt: its model is no detector: {why}, which .*; name one that was"):
        load_yolo(path)


def test_a_mismatch_says_what_differs() -> None:
    expected = {name: torch.zeros(2, 3) for name in "abcdef"}
    state = {"a": torch.zeros(2, 3), "b": torch.zeros(3, 2), "x": torch.zeros(1)}
    text = describe_mismatch(state, expected)
    assert "4 missing (c, d, e, ...)" in text
    assert "1 unexpected (x)" in text
    assert "1 of another shape (b (3, 2) instead of (2, 3))" in text
    assert describe_mismatch(expected, expected) == ""


def test_other_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"mine\.pt: no such weight file"):
        load_yolo(tmp_path / "mine.pt")
