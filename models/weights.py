"""Load weight files without running code from them, and check once that each holds a model that can be used."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.archives import damage_of, kind_of
from models.downloads import ensure_weights
from models.safe_loading import load_torch, load_ultralytics, missing_name, refused_name
from models.ultralytics_quiet import quiet_ultralytics
from utils.config import ArchConfig
from utils.config.official import address_of
from utils.errors import UserError, first_line
from utils.files import foreign_content

if TYPE_CHECKING:
    import torch
    from ultralytics.nn.tasks import BaseModel

SHOWN = 3
"""How many tensors of a kind a message names."""

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

STATE_KEYS = ("model", "state_dict", "model_state_dict", "ema")
"""Keys under which trainers keep the tensors of SAM2."""

SAM_PART = "sam_mask_decoder."
"""Part of every SAM2; before its name stands what DataParallel, torch.compile or Lightning put before all tensors."""


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
    checkpoint = _read(path, lambda: load_ultralytics(path, trust=trust))
    model = next((each for key in ("ema", "model") if isinstance(each := checkpoint.get(key), BaseModel)), None)
    if model is None:
        advice = "; Ultralytics' YOLO(...).save(FILE) writes one"
        raise UserError(f"{path}: not a YOLO checkpoint: it holds {_contents(checkpoint)}, but no YOLO model{advice}")
    try:
        return _checked(model, path)
    except UserError:
        raise
    except Exception as error:  # of a model that was put together by hand, anything may be missing
        raise UserError(f"{path}: its model cannot be used: {_told(error)}") from error


def load_sam_state(path: Path, *, trust: bool = False) -> dict[str, torch.Tensor]:
    """Load the tensors of a SAM2 checkpoint, on the CPU, in the types in which they are stored.

    Args:
        path: a file that holds the tensors by name, or has them under `model` or `state_dict`; or safetensors. A
            missing official one is downloaded.
        trust: let the checkpoint run code while it is loaded; then it may hold a whole model, too.

    Raises:
        UserError: the file is missing, damaged, foreign or would run code, or a tensor cannot be used.
    """
    ensure_weights(path)
    import torch

    if path.is_file() and kind_of(path) == "safetensors":
        state: object = _read_safetensors(path)
    else:
        state = content = _read(path, lambda: load_torch(path, trust=trust))
        while isinstance(state, Mapping) and (key := next((key for key in STATE_KEYS if key in state), None)):
            state = state[key]
        if type(state).__module__.startswith("ultralytics."):
            raise UserError(f"{path}: holds a YOLO model ({type(state).__name__}), not SAM2's tensors")
        if isinstance(state, torch.nn.Module) and type(state).__module__.startswith("sam2."):
            state = state.state_dict()
        named = isinstance(state, Mapping) and all(isinstance(each, torch.Tensor) for each in state.values())
        if not named or not state:
            raise UserError(f'{path}: not a SAM2 checkpoint, {{"model": state_dict}}: it holds {_contents(content)}')
    assert isinstance(state, Mapping)
    tensors = {str(name): tensor for name, tensor in state.items()}
    wrapper = next((name.partition(SAM_PART)[0] for name in tensors if SAM_PART in name), "")
    if all(name.startswith(wrapper) for name in tensors):
        tensors = {name.removeprefix(wrapper): tensor for name, tensor in tensors.items()}
    _check_tensors(tensors.items(), path)
    return tensors


def describe_mismatch(state: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> str:
    """Describe how the tensors of a checkpoint differ from those that a model expects; return "" if they fit."""
    differing = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in state and state[name].shape != tensor.shape
    ]
    kinds = {
        "missing": [name for name in expected if name not in state],
        "unexpected": [name for name in state if name not in expected],
        "of another shape": differing,
    }
    return "; ".join(f"{len(names)} {kind} ({_listed(names)})" for kind, names in kinds.items() if names)


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
    _check_tensors([*model.named_parameters(), *model.named_buffers()], path)
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
    plain = isinstance(names, (list, tuple)) and all(isinstance(name, (str, int, float)) for name in names)
    if not plain or len(names) != count:
        found = f"{len(names)}" if plain else f"a {type(names).__name__} that is none of ids and texts"
        raise UserError(f"{path}: its model has {count} classes, but its names are {found}")
    return [str(name) for name in names]


def _check_tensors(tensors: Iterable[tuple[str, torch.Tensor]], path: Path) -> None:
    """Raise UserError if a tensor is not a plain one on the CPU, or holds NaN or infinite numbers."""
    import torch

    for name, tensor in tensors:
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta or tensor.is_complex():
            kind = "empty (meta)" if tensor.is_meta else "quantized" if tensor.is_quantized else tensor.layout
            raise UserError(f"{path}: its tensor {name} is {kind}, not of plain numbers; save the model in float32")
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor.float()).all()):
            raise UserError(
                f"{path}: its tensor {name} holds NaN or infinite numbers: its training diverged, or it is damaged; "
                "take the weights of an earlier epoch"
            )


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    if find_spec("safetensors") is None:
        raise UserError(f"{path}: safetensors, which needs a package: pip install safetensors")
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except Exception as error:  # its errors are of its own kind
        raise UserError(f"{path}: cannot be loaded: {first_line(error)}{_again(path)}") from error


def _read(path: Path, load: Callable[[], Any]) -> Any:
    """Return the result of `load`; raise any error of it as a UserError that names the file.

    The checksums of a zip archive are checked in a thread meanwhile.
    """
    kind = kind_of(path)
    if kind not in ("zip", "pickle"):
        with path.open("rb") as file:
            found = foreign_content(file.read(64))
        told = f"not a checkpoint, but {found}" if found else "truncated, or not a checkpoint at all"
        raise UserError(f"{path}: {told}{_again(path)}")
    with ThreadPoolExecutor(1) as pool:
        damage = pool.submit(damage_of, path) if kind == "zip" else None
        try:
            content, failure = load(), None
        except Exception as error:  # torch and ultralytics raise almost anything on a broken file
            content, failure = None, error
    if damage is not None and (found := damage.result()):
        raise UserError(f"{path}: truncated or damaged: {found}{_again(path)}")
    if failure is not None:
        raise _explained(path, failure) from failure
    return content


def _explained(path: Path, error: Exception) -> UserError:
    """Make the error that says why a checkpoint was not loaded, and what to do next."""
    refused = refused_name(error)
    if refused and "." not in refused and kind_of(path) == "pickle":  # it stumbles over what every checkpoint holds
        old = "is in the format of torch before 1.6, in which it is not read safely"
        return UserError(f"{path}: {old}; where you trust it, torch.load it with weights_only=False and save it anew")
    if (missing := missing_name(path)) is not None:
        advice = "save its state_dict() alone where it is installed"
        if missing.startswith("ultralytics."):
            advice = "it is of a changed Ultralytics; export it to ONNX where that is installed"
        return UserError(f"{path}: it needs {missing}, which is not installed here; {advice}")
    if refused is None:
        return UserError(f"{path}: cannot be loaded: {_told(error)}{_again(path)}")
    if refused.startswith("ultralytics."):
        return UserError(f"{path}: holds a YOLO model ({refused}), not SAM2's tensors")
    advice = "--trust-weights lets it, for files whose origin you trust"
    return UserError(f"{path}: refused, since loading it would run code ({refused}); {advice}")


def _told(error: Exception) -> str:
    """Return the first line of an error, without the prefix that Ultralytics puts before it."""
    return first_line(error).removeprefix("ERROR ❌️ ")[:300]


def _again(path: Path) -> str:
    return "; delete it, and it is downloaded again" if address_of(path.name) else ""


def _contents(checkpoint: object) -> str:
    """Describe what a file holds, for a message."""
    if isinstance(checkpoint, Mapping):
        return f"the keys {_listed([str(key) for key in checkpoint])}" if checkpoint else "nothing"
    return f"a {type(checkpoint).__name__}"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
