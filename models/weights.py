"""Weight files: official ones are fetched, none runs code while it loads, what does not fit is refused by name."""

from __future__ import annotations

import os
import pickle
import re
import sys
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.ultralytics_quiet import quiet_ultralytics
from utils.config import ArchConfig
from utils.config.official import OFFICIAL_SAM, OFFICIAL_YOLO
from utils.distributed import Session
from utils.errors import UserError, first_line
from utils.io.terminal import write_lines

if TYPE_CHECKING:
    import torch
    from ultralytics.nn.tasks import BaseModel, DetectionModel

YOLO_ADDRESS = "https://github.com/ultralytics/assets/releases/download/v8.3.0/"
SAM_ADDRESS = "https://dl.fbaipublicfiles.com/segment_anything_2/092824/"
SHOWN = 3
"""How many tensors of a kind a message names."""


def address_of(name: str) -> str | None:
    """Where the publisher offers an official weight file, or None if the name is not official."""
    if name in OFFICIAL_YOLO:
        return YOLO_ADDRESS + name
    published = {"sam2.1_hiera_l.pt": "sam2.1_hiera_large.pt"}.get(name, name)
    return SAM_ADDRESS + published if name in OFFICIAL_SAM else None


def yolo_weights(arch: ArchConfig) -> Path:
    """The detector's weights; UserError if they are not set."""
    if arch.yolo_weights is None:
        official = ", ".join(OFFICIAL_YOLO)
        raise UserError(f"arch.yolo_weights: not set; name a checkpoint, or an official one: {official}")
    return arch.yolo_weights


def ensure_weights(path: Path, *, download: bool = True) -> None:
    """Download a missing official weight file, showing progress; an interrupted download leaves no weight file.

    Args:
        download: False only looks whether the file is there or could be downloaded.

    Raises:
        UserError: the file is missing, and not official or not to be had.
    """
    if path.is_file():
        return
    address = address_of(path.name)
    if address is None:
        official = ", ".join((*OFFICIAL_YOLO, *OFFICIAL_SAM))
        raise UserError(f"{path}: no such weight file; only official ones are downloaded: {official}")
    if not download:
        return
    from torch.hub import download_url_to_file

    # Not `say`: any process of a machine may be the one that downloads.
    write_lines([f"{path.name} is missing; downloading {address} to {path.parent}"], sys.stdout)
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        download_url_to_file(address, str(part))
        if not zipfile.is_zipfile(part):  # its directory stands at the end
            part.unlink()
            raise OSError("the download was cut off")
        os.replace(part, path)
    except OSError as error:
        raise UserError(f"{path}: missing, and cannot be downloaded: {error}; put a copy of {address} there") from error


def fetch_weights(paths: Iterable[Path], session: Session, *, download: bool = True) -> None:
    """`ensure_weights` of each path, by one process of each machine for all of them."""
    if session.local_rank == 0:
        for path in paths:
            ensure_weights(path, download=download)
    session.barrier()


def load_yolo(path: Path, *, trust: bool = False) -> DetectionModel:
    """A YOLO detector, in float32 on the CPU.

    Args:
        path: a checkpoint in ultralytics' form; a missing official one is downloaded.
        trust: let the checkpoint run code while it is loaded.

    Raises:
        UserError: the file is missing, damaged, foreign or would run code, or its model is no detector of RGB images.
    """
    ensure_weights(path)
    quiet_ultralytics()
    import torch
    from ultralytics.nn.tasks import BaseModel, torch_safe_load

    if not trust and not hasattr(torch.serialization, "get_unsafe_globals_in_checkpoint"):
        # ultralytics would load unsafely without a word
        raise UserError(f"{path}: torch {torch.__version__} cannot load it safely; use torch 2.6 or later")
    checkpoint, _ = _read(path, lambda: torch_safe_load(str(path), safe_only=not trust))
    model = checkpoint.get("ema") or checkpoint.get("model")
    if not isinstance(model, BaseModel):
        raise UserError(f"{path}: not a YOLO checkpoint: it holds {_contents(checkpoint)}, but no YOLO model")
    if not is_detector(model):
        raise UserError(f"{path}: its model is no detector: it ends in {type(model.model[-1]).__name__}, not Detect")
    if model.yaml.get("channels", 3) != 3:
        raise UserError(f"{path}: its model takes images of {model.yaml['channels']} channels, not 3")
    return model.float()


def is_detector(model: BaseModel) -> bool:
    """Whether a YOLO model finds boxes, and nothing else by which it would choose among them."""
    from ultralytics.nn.modules import Detect

    return type(model.model[-1]) is Detect


def load_sam_state(path: Path, *, trust: bool = False) -> dict[str, torch.Tensor]:
    """The tensors of a SAM2 checkpoint, on the CPU, in the types in which they are stored.

    Args:
        path: a file that holds `{"model": state_dict}`; a missing official one is downloaded.
        trust: let the checkpoint run code while it is loaded.

    Raises:
        UserError: the file is missing, damaged, foreign or would run code.
    """
    ensure_weights(path)
    import torch

    checkpoint = _read(path, lambda: torch.load(path, map_location="cpu", weights_only=not trust))
    state = checkpoint.get("model") if isinstance(checkpoint, Mapping) else None
    if not isinstance(state, Mapping) or not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        raise UserError(f'{path}: not a SAM2 checkpoint, {{"model": state_dict}}: it holds {_contents(checkpoint)}')
    return dict(state)


def describe_mismatch(state: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> str:
    """How the tensors of a checkpoint differ from those that a model expects; empty if they fit."""
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


def _read(path: Path, load: Callable[[], Any]) -> Any:
    """What `load` makes of a checkpoint; whatever goes wrong becomes a UserError that names the file."""
    if not zipfile.is_zipfile(path):  # what torch.save writes is a zip archive, with its directory at the end
        raise UserError(f"{path}: truncated, or not a checkpoint at all")
    try:
        return load()
    except Exception as error:  # torch and ultralytics raise almost anything on a broken file
        refused = _refused_global(error)
        if refused is None:
            raise UserError(f"{path}: cannot be loaded: {first_line(error)}") from error
        if refused.startswith("ultralytics."):
            raise UserError(f"{path}: holds a YOLO model ({refused}), not SAM2's tensors") from error
        advice = "--trust-weights lets it, for files whose origin you trust"
        raise UserError(f"{path}: refused, since loading it would run code ({refused}); {advice}") from error


def _refused_global(error: BaseException) -> str | None:
    """The name of what a checkpoint wanted to call, if that is why it was not loaded."""
    cause = error if isinstance(error, pickle.UnpicklingError) else error.__cause__
    if not isinstance(cause, pickle.UnpicklingError):
        return None
    found = re.search(r"GLOBAL (\S+)|class (\S+)|function (\S+)", str(cause))
    return next(filter(None, found.groups())) if found else None


def _contents(checkpoint: object) -> str:
    """What a file holds, for a message."""
    if isinstance(checkpoint, Mapping):
        return f"the keys {_listed([str(key) for key in checkpoint])}" if checkpoint else "nothing"
    return f"a {type(checkpoint).__name__}"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
