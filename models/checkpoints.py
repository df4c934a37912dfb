"""Read checkpoint files without running code from them, and say what is wrong with those that cannot be read."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.safe_loading import missing_name, refused_name
from utils.config.official import address_of
from utils.errors import UserError, first_line
from utils.files import foreign_content

if TYPE_CHECKING:
    import torch

SHOWN = 3
"""How many tensors of a kind a message names."""


def read_checkpoint(path: Path, load: Callable[[], Any]) -> Any:
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


def read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    """Read the tensors of a safetensors file onto the CPU; UserError if that cannot be done."""
    if find_spec("safetensors") is None:
        raise UserError(f"{path}: safetensors, which needs a package: pip install safetensors")
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except Exception as error:  # its errors are of its own kind
        raise UserError(f"{path}: cannot be loaded: {first_line(error)}{_again(path)}") from error


def check_tensors(tensors: Iterable[tuple[str, torch.Tensor]], path: Path) -> None:
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


def kind_of(path: Path) -> str:
    """Tell what a file is by its first bytes: zip, pickle (torch before 1.6), safetensors, html, empty or other."""
    with path.open("rb") as file:
        start = file.read(64)
    if start[:4] == b"PK\3\4":
        return "zip"
    if start[:1] == b"\x80":
        return "pickle"
    if start[8:9] == b"{" and 0 < int.from_bytes(start[:8], "little") <= path.stat().st_size:
        return "safetensors"
    if start.lstrip()[:1] == b"<":
        return "html"
    return "other" if start else "empty"


def damage_of(path: Path) -> str | None:
    """Say what is wrong with a file as a whole zip archive, every byte of whose records fits its checksum; else None.

    Torch itself does not look at the checksums. A file of 900 MB takes a second.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if not any(record.CRC for record in archive.infolist()):
                return None  # torch.serialization.set_crc32_options(False) leaves them out
            bad = archive.testzip()
            return None if bad is None else f"its part {bad} does not fit its checksum"
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, EOFError, RuntimeError, NotImplementedError):
        return "it is truncated, or not an archive of torch.save"


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
        return UserError(f"{path}: cannot be loaded: {message_of(error)}{_again(path)}")
    if refused.startswith("ultralytics."):
        return UserError(f"{path}: holds a YOLO model ({refused}), not SAM2's tensors")
    advice = "--trust-weights lets it, for files whose origin you trust"
    return UserError(f"{path}: refused, since loading it would run code ({refused}); {advice}")


def message_of(error: Exception) -> str:
    """Return the first line of an error, without the prefix that Ultralytics puts before it."""
    return first_line(error).removeprefix("ERROR ❌️ ")[:300]


def _again(path: Path) -> str:
    return "; delete it, and it is downloaded again" if address_of(path.name) else ""


def contents_of(checkpoint: object) -> str:
    """Describe what a file holds, for a message."""
    if isinstance(checkpoint, Mapping):
        return f"the keys {listed([str(key) for key in checkpoint])}" if checkpoint else "nothing"
    return f"a {type(checkpoint).__name__}"


def listed(names: list[str]) -> str:
    """Join the first names of a list, for a message."""
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
