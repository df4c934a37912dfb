"""What the model in a checkpoint must have: it is used, or refused by what it lacks, before a run begins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.checkpoints import changed, stored

from models.sam2_build import load_sam_state
from models.ultralytics_quiet import quiet_ultralytics
from models.yolo_weights import check_export, check_yolo_yaml, load_yolo
from utils.errors import UserError

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.slow
def test_names_in_any_form_are_read(yolo_file: Path, tmp_path: Path) -> None:
    forms: dict[str, Any] = {
        "list": ["a", "b", "c", "d"],
        "tuple": ("a", "b", "c", "d"),
        "dict": {0: "a", 1: "b", 2: "c", 3: "d"},
        "unordered": {3: "d", 1: "b", 2: "c", 0: "a"},
        "text keys": {"0": "a", "1": "b", "2": "c", "3": "d"},
        "numpy": {np.int64(i): np.str_(name) for i, name in enumerate("abcd")},
    }
    for form, names in forms.items():
        path = changed(yolo_file, tmp_path / f"{form}.pt", lambda model, names=names: setattr(model, "names", names))
        assert load_yolo(path).names == {0: "a", 1: "b", 2: "c", 3: "d"}, form
    path = changed(yolo_file, tmp_path / "ints.pt", lambda model: setattr(model, "names", {i: i * 7 for i in range(4)}))
    assert load_yolo(path).names == {0: "0", 1: "7", 2: "14", 3: "21"}
    path = changed(yolo_file, tmp_path / "array.pt", lambda model: setattr(model, "names", np.array(list("abcd"))))
    assert load_yolo(path, trust=True).names == {0: "a", 1: "b", 2: "c", 3: "d"}
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


@pytest.mark.parametrize("old", [False, True])
def test_a_checkpoint_that_is_called_an_export_is_told_so(old: bool, yolo_file: Path, tmp_path: Path) -> None:
    torch.save(stored(yolo_file), path := tmp_path / "a.onnx", _use_new_zipfile_serialization=not old)
    with pytest.raises(UserError, match=r"a\.onnx: not what its name says, but a checkpoint .* rename it to a\.pt"):
        check_export(path)


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
