"""Files as people have them: old, odd, damaged or hostile; each loads rightly or is refused with what to do next."""

from __future__ import annotations

import io
import os
import pickle
import sys
import types
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.checkpoints import Calls, changed, stored

from models import checkpoints
from models.checkpoints import damage_of
from models.sam2_build import describe_mismatch, load_sam_state
from models.ultralytics_quiet import quiet_ultralytics
from models.yolo_weights import load_yolo
from utils.errors import UserError

REPOSITORY = Path(__file__).parents[2]
FAULTS = REPOSITORY / "../shared/data/faults/weights"
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


@pytest.mark.parametrize("load", LOADERS)
def test_the_folder_of_an_export_is_no_checkpoint(load: Callable[[Path], object], tmp_path: Path) -> None:
    (folder := tmp_path / "boats_openvino_model").mkdir()
    with pytest.raises(UserError, match="boats_openvino_model: not a regular file"):
        load(folder)


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
        "an archive": zipped({"mine/best.pt": "weights"}),
        "hollow": zipped({"hollow/data.pkl": "", "hollow/version": "3"}),
    }[kind]


@pytest.mark.parametrize("load", LOADERS)
@pytest.mark.parametrize("kind", ["truncated", "empty", "text", "overwritten", "an archive", "hollow"])
def test_damaged_and_foreign_files_are_refused_by_name(
    load: Callable, kind: str, tmp_path: Path, yolo_file: Path
) -> None:
    path = tmp_path / f"{kind}.pt"
    path.write_bytes(damaged(kind, yolo_file.read_bytes()))
    with pytest.raises(UserError, match=rf"{kind}\.pt: (truncated|cannot be loaded|not a checkpoint, but {kind})"):
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
    for kind in (torch.int8, torch.bool):
        assert describe_mismatch({**expected, "a": torch.zeros(2, 3).to(kind)}, expected) == "1 of integers (a)"


def test_other_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"mine\.pt: no such weight file"):
        load_yolo(tmp_path / "mine.pt")


# Genuine files of old versions, and their hostile siblings


@pytest.mark.skipif(not FAULTS.is_dir(), reason="no genuine files at hand")
@pytest.mark.parametrize("name", ["best_8.0.130.pt", "best_8.2.0_dill.pt", "names_list.pt"])
@pytest.mark.parametrize("trust", [False, True])
def test_genuine_files_of_old_versions_load(name: str, trust: bool) -> None:
    names = load_yolo(FAULTS / name, trust=trust).names
    assert list(names.values()) == ["car", "airplane", "elephant", "turtle", "watercraft"]


def renamed_globals(path: Path, names: dict[str, str]) -> None:
    """Write other module names into a checkpoint's pickle, as an old version would have."""
    with zipfile.ZipFile(path) as archive:
        parts = {each.filename: archive.read(each) for each in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for part, content in parts.items():
            if part.endswith("data.pkl"):
                for new, old in names.items():
                    content = content.replace(b"c" + new.encode() + b"\n", b"c" + old.encode() + b"\n")
            archive.writestr(part, content)


@pytest.mark.parametrize("loss", ["v8DetectionLoss", "v8SegmentationLoss", "v8PoseLoss", "v8OBBLoss"])
def test_a_criterion_left_by_an_old_version_does_no_harm(loss: str, yolo_file: Path, tmp_path: Path) -> None:
    from ultralytics.utils import loss as losses
    from ultralytics.utils.tal import TaskAlignedAssigner

    def leave(model: Any) -> None:
        criterion = object.__new__(getattr(losses, loss))
        criterion.assigner, criterion.bbox_loss = TaskAlignedAssigner(), losses.BboxLoss(16)
        model.criterion = criterion

    path = changed(yolo_file, tmp_path / "old.pt", leave)
    old = "ultralytics.yolo.utils"
    renamed_globals(path, {"ultralytics.utils.loss": f"{old}.loss", "ultralytics.utils.tal": f"{old}.tal"})
    with zipfile.ZipFile(path) as archive:
        assert f"c{old}.loss\n{loss}\n".encode() in archive.read(f"{path.stem}/data.pkl")
    assert load_yolo(path).names[0] == "car"


def fake_dill(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Stand in for dill while a file is written."""
    module = types.ModuleType("dill._dill")

    def load(name: str) -> Any:
        raise AssertionError(name)

    load.__module__, load.__qualname__ = "dill._dill", "_load_type"
    module._load_type = load
    monkeypatch.setitem(sys.modules, "dill", types.ModuleType("dill"))
    monkeypatch.setitem(sys.modules, "dill._dill", module)
    return load


@pytest.mark.parametrize("name, sound", [("set", True), ("eval", False), ("CodeType", False), ("type", False)])
def test_of_dills_types_only_harmless_ones_are_given(
    name: str, sound: bool, yolo_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = fake_dill(monkeypatch)
    path = changed(yolo_file, tmp_path / "dill.pt", lambda model: setattr(model, "left", Calls(load, name)))
    monkeypatch.undo()
    if sound:
        assert load_yolo(path).names[0] == "car"
    else:
        with pytest.raises(UserError, match=r"dill\.pt: (refused, since loading it would run code|it needs dill)"):
            load_yolo(path)


def test_constructors_that_torch_lets_a_checkpoint_call_reach_nothing(
    yolo_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet_ultralytics()
    from ultralytics.nn.modules.block import TorchVision
    from ultralytics.nn.tasks import DetectionModel

    monkeypatch.chdir(tmp_path)
    for i, call in enumerate(
        (
            Calls(DetectionModel, "http://127.0.0.1:9/evil.yaml"),
            Calls(TorchVision, "resnet18", "DEFAULT"),
        )
    ):
        path = changed(yolo_file, tmp_path / f"evil{i}.pt", lambda model, call=call: setattr(model, "left", call))
        before = sorted(tmp_path.iterdir())
        with pytest.raises(UserError, match=rf"evil{i}\.pt: "):
            load_yolo(path)
        assert sorted(tmp_path.iterdir()) == before


def test_while_a_file_loads_nothing_may_be_written_started_or_called(tmp_path: Path) -> None:
    import socket
    import subprocess

    attempts: list[Callable[[], object]] = [
        lambda: (tmp_path / "new").write_text("x"),
        lambda: os.open(tmp_path / "new", os.O_CREAT | os.O_RDONLY),
        lambda: os.system(f"touch {tmp_path}/new"),
        lambda: subprocess.run(["touch", tmp_path / "new"], check=False),
        lambda: socket.create_connection(("127.0.0.1", 9)),
        lambda: socket.getaddrinfo("example.org", 80),
        lambda: os.remove(tmp_path / "old"),
    ]
    (tmp_path / "old").touch()
    for attempt in attempts:
        with checkpoints._guarded(), pytest.raises(PermissionError, match="what no weights need"):
            attempt()
    assert [*tmp_path.iterdir()] == [tmp_path / "old"]
    (tmp_path / "new").write_text("x")  # and afterwards everything may


def test_a_name_by_which_ultralytics_would_load_another_file_is_just_a_name(yolo_file: Path, tmp_path: Path) -> None:
    for name in ("yolov5n.pt", "yolov3-tiny.pt", "best.pth", "best", "best.ckpt", "my weights.PT"):
        path = tmp_path / name
        path.write_bytes(yolo_file.read_bytes())
        assert load_yolo(path).names[0] == "car"


@pytest.mark.skipif(not FAULTS.is_dir(), reason="no genuine files at hand")
@pytest.mark.parametrize("trust", [False, True])
def test_what_a_changed_ultralytics_left_is_named(trust: bool) -> None:
    message = r"needs ultralytics\.nn\.modules\.block\.C2f_CBAM, which is not installed here; .* export a YOLO to ONNX"
    with pytest.raises(UserError, match=message) as refused:
        load_yolo(FAULTS / "fork_module.pt", trust=trust)
    assert "--trust-weights" not in str(refused.value)


# Bit rot


@pytest.mark.slow
def test_every_flipped_byte_of_the_weights_is_noticed(yolo_file: Path, tmp_path: Path) -> None:
    whole, rng = yolo_file.read_bytes(), np.random.default_rng(0)
    assert damage_of(yolo_file) is None
    silent = []
    for position in rng.integers(0, len(whole), 40):
        content = bytearray(whole)
        content[position] ^= 1 << int(rng.integers(8))
        (tmp_path / "rot.pt").write_bytes(content)
        with suppress(UserError):
            load_yolo(tmp_path / "rot.pt")
            silent.append(int(position))
    for position in silent:  # outside of the records is padding, which holds nothing
        assert not inside_a_record(yolo_file, position), position
    assert len(silent) < 20


def inside_a_record(path: Path, position: int) -> bool:
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        for each in archive.infolist():
            header = whole[each.header_offset : each.header_offset + 30]
            start = each.header_offset + 30 + int.from_bytes(header[26:28], "little")
            start += int.from_bytes(header[28:30], "little")
            if start <= position < start + each.file_size:
                return True
    return False


def test_files_without_checksums_load(yolo_file: Path, tmp_path: Path) -> None:
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(stored(yolo_file), tmp_path / "fast.pt")
    finally:
        torch.serialization.set_crc32_options(before)
    assert load_yolo(tmp_path / "fast.pt").names[0] == "car"


def test_of_a_damaged_official_file_the_message_says_what_to_delete(yolo_file: Path, tmp_path: Path) -> None:
    for content in (yolo_file.read_bytes()[:5000], b"", b"<html>log in</html>", yolo_file.read_bytes()[:-4000]):
        for name, load in (("yolo26n.pt", load_yolo), ("sam2_hiera_tiny.pt", load_sam_state)):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(UserError, match=rf"{name}: .*; delete it, and it is downloaded again"):
                load(tmp_path / name)


def test_a_yolo_file_is_told_from_sam2s_whatever_was_loaded_before(yolo_file: Path) -> None:
    for _ in range(2):
        with pytest.raises(UserError, match=r"random\.pt: holds a YOLO model"):
            load_sam_state(yolo_file)
        load_yolo(yolo_file)


def test_pickles_that_are_no_checkpoints_are_refused(tmp_path: Path) -> None:
    for i, content in enumerate(
        (pickle.dumps({"a": 1}), pickle.dumps(Calls(os.system, "touch trace")), b"\x80\x02", b"\x80")
    ):
        (tmp_path / f"{i}.pt").write_bytes(content)
        for load in (load_yolo, load_sam_state):
            with pytest.raises(UserError, match=rf"{i}\.pt: "):
                load(tmp_path / f"{i}.pt")
    assert not Path("trace").exists()


@pytest.mark.slow
def test_a_mutated_pickle_is_never_a_traceback(yolo_file: Path, tmp_path: Path) -> None:
    """With checksums that fit: what a person with bad intentions would make."""
    with zipfile.ZipFile(yolo_file) as archive:
        parts = {each.filename: archive.read(each) for each in archive.infolist()}
    pickled = next(name for name in parts if name.endswith("data.pkl"))
    rng = np.random.default_rng(2)
    for _ in range(40):
        content = bytearray(parts[pickled])
        for position in rng.integers(0, len(content), rng.integers(1, 4)):
            content[position] = rng.integers(256)
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, part in parts.items():
                archive.writestr(name, bytes(content) if name == pickled else part)
        (tmp_path / "mutated.pt").write_bytes(buffer.getvalue())
        with suppress(UserError):
            load_yolo(tmp_path / "mutated.pt")


def test_of_tensors_alone_the_message_says_how_to_save_a_yolo(yolo_file: Path, tmp_path: Path) -> None:
    torch.save(stored(yolo_file)["model"].state_dict(), tmp_path / "mine.pt")
    with pytest.raises(UserError, match=r"but no YOLO model; Ultralytics' YOLO\(...\).save\(FILE\) writes one"):
        load_yolo(tmp_path / "mine.pt")


FORM = "its pickle has a form that is not read safely, .*; --trust-weights reads it"


def test_the_old_form_of_torch_save_is_read_where_it_is_trusted(yolo_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.pt"
    torch.save(stored(yolo_file), path, _use_new_zipfile_serialization=False)
    allowed = torch.serialization.get_safe_globals()
    for known in (False, True):  # of classes that torch has been told of, it stumbles elsewhere
        torch.serialization.clear_safe_globals()
        if known:
            torch.serialization.add_safe_globals(allowed)
            load_yolo(yolo_file)
        with pytest.raises(UserError, match=FORM):
            load_yolo(path)
    assert load_yolo(path, trust=True).names[0] == "car"


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_newer_pickles_are_read_where_they_are_trusted(
    protocol: int, yolo_file: Path, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    torch.save(stored(yolo_file), tmp_path / "yolo.pt", pickle_protocol=protocol)
    torch.save({"model": {"weight": torch.ones(2)}}, tmp_path / "sam.pt", pickle_protocol=protocol)
    for load, name in ((load_yolo, "yolo.pt"), (load_sam_state, "sam.pt")):
        if protocol > 3:
            with pytest.raises(UserError, match=rf"{name}: {FORM}"):
                load(tmp_path / name)
        assert load(tmp_path / name, trust=protocol > 3)
    assert not [each for each in recwarn if "pickle protocol" in str(each.message)]


@pytest.mark.parametrize("wrap", [torch.nn.DataParallel, torch.compile], ids=["parallel", "compiled"])
def test_wrapped_detectors_are_loaded_where_they_are_trusted(wrap: Callable, yolo_file: Path, tmp_path: Path) -> None:
    path, checkpoint = tmp_path / "wrapped.pt", stored(yolo_file)
    torch.save({**checkpoint, "model": wrap(checkpoint["model"])}, path)
    with pytest.raises(UserError, match=r"would run code .*--trust-weights lets it"):
        load_yolo(path)
    assert load_yolo(path, trust=True).names[0] == "car"
