"""Check exported detectors: ONNX, OpenVINO, TorchScript and TensorRT, where the package that runs them is installed."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from models.downloads import ensure_weights
from models.ultralytics_quiet import quiet_ultralytics
from models.yolo_weights import HEADS
from utils.errors import UserError

PACKAGES: Mapping[str, tuple[str, ...]] = {
    ".onnx": ("onnx", "onnxruntime"),
    "_openvino_model": ("openvino",),
    ".torchscript": (),
    ".engine": ("tensorrt",),
}
"""Ending of an export's name -> the packages that run it."""

PROGRAMS = (".torchscript", ".engine")
"""Exports that are programs rather than data."""


def is_export(path: Path) -> bool:
    """Tell by its name whether a file, or the folder of an OpenVINO model, is an export rather than a checkpoint."""
    return _ending(path) is not None


def load_export(path: Path, *, trust: bool = False) -> Path:
    """Check that an export can be run here and finds boxes; return its path, which Ultralytics loads.

    Args:
        trust: whether the export may be a program.

    Raises:
        UserError: it is missing, needs a package, is a program that is not trusted, or finds no boxes.
    """
    ensure_weights(path)
    ending = _ending(path)
    assert ending is not None, path
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
    return path


def export_kind(path: Path) -> tuple[str, str]:
    """Return the task of an export and the name of its last layer; the name is empty if it is not stated."""
    metadata = _metadata(path)
    return str(metadata["task"]), str(metadata.get("head", ""))


def _ending(path: Path) -> str | None:
    return next((ending for ending in PACKAGES if path.name.endswith(ending)), None)


def _metadata(path: Path) -> dict[str, Any]:
    quiet_ultralytics()
    from ultralytics.nn.backends.base import BaseBackend

    found = BaseBackend.read_metadata(path)
    return found if isinstance(found, dict) else {}
