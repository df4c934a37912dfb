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

from models import safe_loading
from models.archives import damage_of
from models.ultralytics_quiet import quiet_ultralytics
from models.weights import check_yolo_yaml, load_sam_state, load_yolo
from utils.errors import UserError

REPOSITORY = Path(__file__).parents[2]
FAULTS = REPOSITORY / "../shared/data/faults/weights"


def stored(path: Path) -> dict[str, Any]:
    quiet_ultralytics()
    return torch.load(path, weights_only=False)


def changed(yolo_file: Path, path: Path, change: Callable[[Any], object]) -> Path:
    """The checkpoint with a changed model."""
    checkpoint = stored(yolo_file)
    change(checkpoint["model"])
    torch.save(checkpoint, path)
    return path


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


class Calls:
    """Unpickling it calls a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments


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
        with safe_loading._guarded(), pytest.raises(PermissionError, match="what no weights need"):
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
    message = r"needs ultralytics\.nn\.modules\.block\.C2f_CBAM, which is not installed here; .* export it to ONNX"
    with pytest.raises(UserError, match=message) as refused:
        load_yolo(FAULTS / "fork_module.pt", trust=trust)
    assert "--trust-weights" not in str(refused.value)


# What a model must have


def test_names_in_any_form_are_read(yolo_file: Path, tmp_path: Path) -> None:
    forms: dict[str, Any] = {
        "list": ["a", "b", "c", "d"],
        "tuple": ("a", "b", "c", "d"),
        "dict": {0: "a", 1: "b", 2: "c", 3: "d"},
        "unordered": {3: "d", 1: "b", 2: "c", 0: "a"},
        "text keys": {"0": "a", "1": "b", "2": "c", "3": "d"},
    }
    for form, names in forms.items():
        path = changed(yolo_file, tmp_path / f"{form}.pt", lambda model, names=names: setattr(model, "names", names))
        assert load_yolo(path).names == {0: "a", 1: "b", 2: "c", 3: "d"}, form
    path = changed(yolo_file, tmp_path / "ints.pt", lambda model: setattr(model, "names", {i: i * 7 for i in range(4)}))
    assert load_yolo(path).names == {0: "0", 1: "7", 2: "14", 3: "21"}
    for missing in (lambda model: delattr(model, "names"), lambda model: setattr(model, "names", None)):
        path = changed(yolo_file, tmp_path / "missing.pt", missing)
        assert load_yolo(path).names == {i: f"class{i}" for i in range(4)}


def poison(model: Any, value: float) -> None:
    model.model[2].cv1.conv.weight.data[0, 0, 0, 0] = value


def without(name: str) -> Callable[[Any], None]:
    return lambda model: model.__dict__.pop(name)


CRAFTED: dict[str, tuple[Callable[[Any], object], str]] = {
    "nan": (lambda model: poison(model, float("nan")), r"tensor model\.2\.cv1\.conv\.weight holds NaN"),
    "inf": (lambda model: poison(model, float("inf")), r"tensor model\.2\.cv1\.conv\.weight holds NaN or infinite"),
    "nan buffer": (lambda model: model.model[0].bn.running_var.fill_(float("nan")), r"model\.0\.bn\.running_var"),
    "sparse": (
        lambda model: setattr(model.model[0].conv, "weight", sparse(model.model[0].conv.weight)),
        r"model\.0\.conv\.weight is .*sparse",
    ),
    "meta": (lambda model: model.to("meta"), r"is empty \(meta\)"),
    "few names": (lambda model: setattr(model, "names", ["a"]), "has 4 classes, but its names are 1"),
    "odd names": (lambda model: setattr(model, "names", {"a": 1}), "its names are a dict that is none of"),
    "nested names": (lambda model: setattr(model, "names", [["a"]] * 4), "its names are a list that is none of"),
    "number for names": (lambda model: setattr(model, "names", 7), "its names are a int"),
    "text for names": (lambda model: setattr(model, "names", "abcd"), "its names are a str"),
    "no layers": (lambda model: setattr(model, "model", torch.nn.Sequential()), "its model cannot be used"),
    "no model": (lambda model: model._modules.pop("model"), "its model cannot be used"),
    "no save": (without("save"), "its model cannot be used"),
    "no stride": (lambda model: setattr(model, "stride", torch.zeros(3)), "no usable stride"),
    "text for stride": (lambda model: setattr(model, "stride", "8"), "no usable stride"),
    "nan stride": (lambda model: setattr(model, "stride", torch.full((3,), torch.nan)), "no usable stride"),
    "wrong shape": (
        lambda model: setattr(model.model[0].conv, "weight", torch.nn.Parameter(torch.zeros(1, 1, 1, 1))),
        "its model cannot be used",
    ),
    "half a head": (lambda model: model.model[-1]._modules.pop("cv3"), "its model cannot be used"),
    "no class count": (lambda model: model.model[-1].__dict__.pop("nc"), "its model cannot be used"),
    "list for yaml": (lambda model: setattr(model, "yaml", [1]), "its yaml: not the yaml of a YOLO model"),
    "grey": (lambda model: model.yaml.update(channels=1), "takes images of 1 channels, not 3"),
    "eval": (
        lambda model: model.yaml.update(activation="__import__('os').system('touch trace')"),
        r"its yaml: activation: __import__.* is no activation of torch\.nn; it is not run",
    ),
}


def sparse(weight: torch.Tensor) -> torch.nn.Parameter:
    return torch.nn.Parameter(weight.detach().float().to_sparse(), requires_grad=False)


@pytest.mark.parametrize("kind", CRAFTED)
def test_a_model_that_lacks_something_is_refused_by_what(kind: str, yolo_file: Path, tmp_path: Path) -> None:
    change, reason = CRAFTED[kind]
    path = changed(yolo_file, tmp_path / "crafted.pt", change)
    with pytest.raises(UserError, match=rf"crafted\.pt: .*{reason}"):
        load_yolo(path)


@pytest.mark.parametrize("ema", [torch.ones(3), torch.zeros(1), 7, "text", {"a": 1}, [1], False])
def test_what_is_no_model_under_ema_does_not_hide_the_model(ema: object, yolo_file: Path, tmp_path: Path) -> None:
    torch.save({**stored(yolo_file), "ema": ema}, tmp_path / "ema.pt")
    assert load_yolo(tmp_path / "ema.pt").names[0] == "car"


@pytest.mark.parametrize(
    "content", [{"model": torch.ones(2), "epoch": 1}, {"ema": None}, {"model": {}}, [], {1: 2}, 7, "text", None]
)
def test_files_without_a_model_are_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "other.pt")
    for load in (load_yolo, load_sam_state):
        with pytest.raises(UserError, match=r"other\.pt: "):
            load(tmp_path / "other.pt")


ACTIVATIONS = [
    "nn.SiLU()",
    "torch.nn.ReLU()",
    "nn.LeakyReLU(0.1)",
    "nn.ReLU(inplace=True)",
    "nn.Hardtanh(-1, 1.5)",
    None,
]
EVILS = [
    "__import__('os').system('touch trace')",
    "nn.SiLU() or exit()",
    "nn.modules.module.torch.hub.load('a', 'b')",
    "nn.Module.__class__()",
    "nn.init.os()",
    "nn.SiLU(); exit()",
    "nn.SiLU(exit())",
    "nn.factory_kwargs({})",
    "torch.load('x')",
    "lambda: 1",
    7,
    ["nn.SiLU()"],
]
LAYERS = [[-1, 1, "Conv", [64, 3, 2]], [-1, 1, "nn.Upsample", [None, 2, "nearest"]]]


def test_the_yaml_of_a_model_names_layers_and_activations_only() -> None:
    quiet_ultralytics()
    for activation in ACTIVATIONS:
        check_yolo_yaml({"activation": activation, "backbone": LAYERS, "head": LAYERS}, "mine.yaml")
    for activation in EVILS:
        with pytest.raises(UserError, match=r"mine\.yaml: activation: .*it is not run"):
            check_yolo_yaml({"activation": activation, "backbone": LAYERS, "head": LAYERS}, "mine.yaml")
    for layer in (
        "exit",
        "torch_safe_load",
        "nn.init.os",
        "torch",
        "nn.factory_kwargs",
        "Path",
        7,
        None,
        "__builtins__",
    ):
        with pytest.raises(UserError, match=r"mine\.yaml: .* is no layer that Ultralytics has"):
            check_yolo_yaml({"backbone": [[-1, 1, layer, []]], "head": LAYERS}, "mine.yaml")


def test_every_yaml_of_ultralytics_passes() -> None:
    quiet_ultralytics()
    from ultralytics.utils import ROOT, YAML

    files = [*(ROOT / "cfg/models").rglob("*.yaml")]
    assert len(files) > 50
    for file in [*files, REPOSITORY / "yolo/yolov8/yolov8-demo.yaml"]:
        check_yolo_yaml(YAML.load(file), file.name)


# Bit rot


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
