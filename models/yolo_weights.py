"""Load checkpoints of Ultralytics without running code from them, and check that their models find boxes.

What genuine files name beside the classes of torch and ultralytics has restricted stand-ins here.

Exports, which Ultralytics loads, are only checked: ONNX, OpenVINO, TorchScript and TensorRT, where the package that
runs them is installed.
"""

from __future__ import annotations

import functools
import pickle
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models.checkpoints import (
    check_tensors,
    contents_of,
    kind_of,
    message_of,
    read_checkpoint,
    unwrapped,
)
from models.downloads import ensure_weights
from models.ultralytics_quiet import quiet_ultralytics
from utils.config import ArchConfig
from utils.errors import UserError

if TYPE_CHECKING:
    from ultralytics.nn.tasks import BaseModel

HEADS = {
    **dict.fromkeys(("Detect", "v10Detect", "WorldDetect", "YOLOEDetect", "RTDETRDecoder"), "detect"),
    **dict.fromkeys(("Segment", "Segment26", "YOLOESegment", "YOLOESegment26"), "segment"),
    **dict.fromkeys(("Pose", "Pose26"), "pose"),
    **dict.fromkeys(("OBB", "OBB26"), "obb"),
}
"""The last layers that find boxes -> what Ultralytics calls their task."""

BOXLESS = {
    "Classify": "a classifier, which says what an image shows, but not where",
    "SemanticSegment": "a semantic segmenter, which labels pixels, but finds no boxes",
    "Depth": "a depth estimator, which finds no boxes",
}
"""Other last layers, and why they do not serve."""

TRIAL_SIZE = 192
"""Side of the image, in pixels, on which a model is tried when it is loaded: a multiple of every stride."""


PACKAGES: Mapping[str, tuple[str, ...]] = {
    ".onnx": ("onnx", "onnxruntime"),
    "_openvino_model": ("openvino",),
    ".torchscript": (),
    ".engine": ("tensorrt",),
}
"""Ending of an export's name -> the packages that run it."""

PROGRAMS = (".torchscript", ".engine")
"""Exports that are programs rather than data."""


def yolo_weights(arch: ArchConfig) -> Path:
    """Return the path of the detector's weights; raise UserError if it is not set."""
    if arch.yolo_weights is None:
        some = "yolov8n.pt, yolo11x.pt or yolo26s.pt"
        raise UserError(f"arch.yolo_weights: not set; name a checkpoint, or an official one such as {some}")
    return arch.yolo_weights


def load_yolo(path: Path, *, trust: bool = False) -> BaseModel:
    """Load a model of Ultralytics that finds boxes, in float32 on the CPU; its `names` are a dict by class id.

    Args:
        path: a checkpoint in ultralytics' form; a missing official one is downloaded.
        trust: let the checkpoint run code while it is loaded, if it cannot be loaded without.

    Raises:
        UserError: the file is missing, damaged, foreign or would run code, or its model finds no boxes in RGB images.
    """
    ensure_weights(path)
    quiet_ultralytics()
    import torch
    from ultralytics.nn.tasks import BaseModel

    if not trust and not hasattr(torch.serialization, "get_unsafe_globals_in_checkpoint"):
        # ultralytics would load unsafely without a word
        raise UserError(f"{path}: torch {torch.__version__} cannot load it safely; use torch 2.6 or later")
    checkpoint = _read_checkpoint(path, trust)
    found = (unwrapped(checkpoint.get(key)) for key in ("ema", "model"))
    model = next((each for each in found if isinstance(each, BaseModel)), None)
    if model is None:
        advice = "; Ultralytics' YOLO(...).save(FILE) writes one"
        raise UserError(f"{path}: not a YOLO checkpoint: it holds {contents_of(checkpoint)}, but no YOLO model{advice}")
    try:
        return _checked(model, path)
    except UserError:
        raise
    except Exception as error:  # of a model that was put together by hand, anything may be missing
        raise UserError(f"{path}: its model cannot be used: {message_of(error)}") from error


def _read_checkpoint(path: Path, trust: bool) -> Any:
    """Load a checkpoint of Ultralytics onto the CPU, whatever the file is called."""
    import torchvision  # noqa: F401  (a layer may need it; while a file is loaded it could not be imported whole)
    from ultralytics.nn.tasks import torch_safe_load

    _register_stand_ins()
    with _named_pt(path) as file:
        return read_checkpoint(path, lambda safe: torch_safe_load(file, safe_only=safe)[0], trust=trust)


@functools.cache
def _register_stand_ins() -> None:
    """Let genuine checkpoints name what old versions of Ultralytics, and dill, left in them.

    Versions 8.0.115 to 8.0.135 left the criterion, under the modules' names of that time; where dill was installed, a
    version left `_load_type("set")`. Class names may be texts and integers of numpy.
    """
    import torch
    from ultralytics.utils import loss, tal

    numpy_types = (type(np.dtype(code)) for code in "?bhilqBHILQefdUS")
    entries: list[Any] = [(_load_type, "dill._dill._load_type"), *numpy_types]
    for module, old in ((loss, "ultralytics.yolo.utils.loss"), (tal, "ultralytics.yolo.utils.tal")):
        own = (each for each in vars(module).values() if isinstance(each, type) and each.__module__ == module.__name__)
        entries += [(each, f"{old}.{each.__name__}") for each in own]
    torch.serialization.add_safe_globals(entries)


def _load_type(name: str) -> type:
    """Stand in for dill's function, which returns any builtin type by its name."""
    kinds: dict[str, type] = {"set": set, "SetType": set, "frozenset": frozenset, "slice": slice}
    if name not in kinds:
        raise pickle.UnpicklingError(f"GLOBAL dill._dill._load_type({name})")
    return kinds[name]


@contextmanager
def _named_pt(path: Path) -> Iterator[str]:
    """Give a file a name by which Ultralytics loads it and no other: it must end in .pt, and yolov5n means yolov5nu."""
    with tempfile.TemporaryDirectory(prefix="weights-") as folder:
        link = Path(folder) / "weights.pt"
        try:
            link.symlink_to(path.absolute())
        except OSError:  # Windows lets not everybody make links
            yield str(path)
            return
        yield str(link)


def is_export(path: Path) -> bool:
    """Tell by its name whether a file, or the folder of an OpenVINO model, is an export rather than a checkpoint."""
    return _ending(path) is not None


def check_export(path: Path, *, trust: bool = False) -> tuple[str, str]:
    """Check that an export, which Ultralytics loads, can be run here and finds boxes.

    Args:
        trust: whether the export may be a program.

    Returns:
        its task and the name of its last layer, which is empty if it is not stated.

    Raises:
        UserError: it is missing, needs a package, is a program that is not trusted, or finds no boxes.
    """
    ensure_weights(path)
    ending = _ending(path)
    assert ending is not None, path
    if ending in (".onnx", ".engine") and kind_of(path) in ("zip", "pickle"):
        raise UserError(f"{path}: not what its name says, but a checkpoint of PyTorch; rename it to {path.stem}.pt")
    if lacking := [name for name in PACKAGES[ending] if find_spec(name) is None]:
        raise UserError(f"{path}: to run it needs a package: pip install {' '.join(lacking)}; or name the checkpoint")
    if ending in PROGRAMS and not trust:
        advice = "--trust-weights lets it run, for files whose origin you trust; the checkpoint or ONNX needs no trust"
        raise UserError(f"{path}: refused, since it is a program; {advice}")
    metadata = _metadata(path)
    if not metadata:
        raise UserError(f"{path}: not an export of Ultralytics: it does not say which classes it finds")
    task = metadata.get("task")
    if task not in HEADS.values():
        raise UserError(f"{path}: its model is no detector, but of the task {task}; name one that finds boxes")
    return str(task), str(metadata.get("head", ""))


def check_yolo_yaml(content: object, place: str) -> None:
    """Check that the yaml of a YOLO model names layers only: Ultralytics evaluates `activation` as code.

    Args:
        place: names the yaml in messages.

    Raises:
        UserError: it names anything but layers, or is not the yaml of a YOLO model.
    """
    import torch
    from ultralytics.nn import tasks

    if not isinstance(content, Mapping):
        raise UserError(f"{place}: not the yaml of a YOLO model")
    number = r"\s*(\w+\s*=\s*)?(-?[\d.]+(e-?\d+)?|True|False|None)\s*"
    activation = content.get("activation") or "nn.SiLU()"
    called = re.fullmatch(rf"(?:torch\.)?nn\.(\w+)\(({number}(,{number})*)?\)", str(activation).strip())
    if called is None or not _is_layer(torch.nn, called.group(1)):
        raise UserError(f"{place}: activation: {str(activation)[:80]} is no activation of torch.nn; it is not run")
    for row in [*(content.get("backbone") or ()), *(content.get("head") or ())]:
        name = row[2] if isinstance(row, (list, tuple)) and len(row) == 4 else None
        known = isinstance(name, str) and (
            _is_layer(torch.nn, name[3:]) if name.startswith("nn.") else _is_layer(tasks, name)
        )
        if not known and not (isinstance(name, str) and re.fullmatch(r"torchvision\.ops\.[A-Z]\w+", name)):
            raise UserError(f"{place}: {str(row)[:80]} is no layer that Ultralytics has")


def _is_layer(module: Any, name: str) -> bool:
    import torch

    layer = getattr(module, name, None)
    return isinstance(layer, type) and issubclass(layer, torch.nn.Module)


def _checked(model: BaseModel, path: Path) -> BaseModel:
    """Check that a YOLO model finds boxes and has names, a stride and finite weights; return it in float32."""
    import torch

    head = model.model[-1]
    kind = type(head).__name__
    if kind not in HEADS:
        why = BOXLESS.get(kind, f"its last layer is {kind}")
        raise UserError(f"{path}: its model is no detector: {why}; name one that was trained to find boxes")
    settings = getattr(model, "yaml", None) or {}
    if isinstance(settings, Mapping) and settings.get("channels", 3) != 3:
        raise UserError(f"{path}: its model takes images of {settings['channels']} channels, not 3")
    if kind.startswith("YOLOE") and not hasattr(model, "pe") and not hasattr(head, "lrpc"):
        raise UserError(f"{path}: no classes are set in this YOLOE; call its set_classes([...]) and save it again")
    if settings:
        check_yolo_yaml(settings, f"{path}: its yaml")
    check_tensors([*model.named_parameters(), *model.named_buffers()], path)
    model = model.float().eval()
    stride = getattr(model, "stride", torch.tensor([32.0]))
    if not (isinstance(stride, torch.Tensor) and stride.numel() and stride.min() >= 1 and stride.max() <= TRIAL_SIZE):
        raise UserError(f"{path}: its model has no usable stride, but {str(stride)[:40]}")
    model.stride = stride
    model.names = dict(enumerate(_names_of(model, int(head.nc), path)))
    with torch.no_grad():
        model(torch.zeros(1, 3, TRIAL_SIZE, TRIAL_SIZE))  # fails here if anything else is missing
    return model


def _names_of(model: BaseModel, count: int, path: Path) -> list[str]:
    """Return the class names of a model by class id: class0, class1 and so on if it has none."""
    names = getattr(model, "names", None)
    if names is None or (isinstance(names, (Mapping, list, tuple)) and not names):
        return [f"class{i}" for i in range(count)]
    if isinstance(names, Mapping) and all(re.fullmatch(r"\d+", str(key)) for key in names):
        by_id = {int(key): name for key, name in names.items()}
        names = [by_id[i] for i in range(len(by_id))] if by_id.keys() == set(range(len(by_id))) else names
    plain = isinstance(names, (list, tuple, np.ndarray))
    plain = plain and all(isinstance(name, (str, int, float, np.generic)) for name in names)
    if not plain or len(names) != count:
        found = f"{len(names)}" if plain else f"a {type(names).__name__} that is none of ids and texts"
        raise UserError(f"{path}: its model has {count} classes, but its names are {found}")
    return [str(name) for name in names]


def _ending(path: Path) -> str | None:
    return next((ending for ending in PACKAGES if path.name.endswith(ending)), None)


def _metadata(path: Path) -> dict[str, Any]:
    quiet_ultralytics()
    from ultralytics.nn.backends.base import BaseBackend

    found = BaseBackend.read_metadata(path)
    return found if isinstance(found, dict) else {}
