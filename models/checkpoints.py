"""Read checkpoint files without running code from them, and say what is wrong with those that cannot be read.

They are loaded by torch's restricted unpickler. While a file that is not trusted is being loaded, nothing may connect,
start a process or write a file: the classes that torch lets a checkpoint name have constructors that would, to fetch a
model, for example.
"""

from __future__ import annotations

import functools
import os
import pickle
import re
import sys
import threading
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.config.official import address_of
from utils.errors import UserError, first_line
from utils.files import foreign_content

if TYPE_CHECKING:
    import torch

SHOWN = 3
"""How many tensors of a kind a message names."""

OLD_FORM = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""How torch.save began before 1.6, when its files were no archives."""

_loading = threading.local()
_REFUSED = (
    *("socket.", "urllib.", "subprocess.", "shutil."),
    *("os.system", "os.exec", "os.spawn", "os.posix_spawn", "os.fork", "os.remove", "os.rename", "os.rmdir", "os.kill"),
)


def read_checkpoint(path: Path, load: Callable[[bool], Any], *, trust: bool) -> Any:
    """Return the result of `load`; raise any error of it as a UserError that names the file.

    The checksums of a zip archive are checked in a thread meanwhile.

    Args:
        load: loads the file safely if it gets True, else in a way that may run code from it.
        trust: whether the latter is allowed, where the former fails.
    """
    if path.is_dir():  # that of an export of YOLO, whose name is that of weights
        raise UserError(f"{path}: not a regular file")
    kind = kind_of(path)
    if kind not in ("zip", "pickle"):
        with path.open("rb") as file:
            found = foreign_content(file.read(512))
        fact = f"not a checkpoint, but {found}" if found else "truncated, or not a checkpoint at all"
        raise UserError(f"{path}: {fact}{_again(path)}")
    with ThreadPoolExecutor(1) as pool:
        damage = pool.submit(damage_of, path) if kind == "zip" else None
        try:
            content, failure = _load(load, trust), None
        except Exception as error:  # torch and ultralytics raise almost anything on a broken file
            content, failure = None, error
    if damage is not None and (found := damage.result()):
        raise UserError(f"{path}: truncated or damaged: {found}{_again(path)}")
    if failure is not None:
        raise _explained(path, failure) from failure
    return content


def _load(load: Callable[[bool], Any], trust: bool) -> Any:
    try:
        with _guarded():
            return load(True)
    except Exception:
        if not trust:
            raise
        return load(False)


def read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    """Read the tensors of a safetensors file onto the CPU; UserError if that cannot be done."""
    if find_spec("safetensors") is None:
        raise UserError(f"{path}: safetensors, which needs a package: pip install safetensors")
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except Exception as error:  # its errors are of its own kind
        raise UserError(f"{path}: cannot be loaded: {first_line(error)}{_again(path)}") from error


def unwrapped(model: object) -> object:
    """Take a model out of torch.compile and DataParallel; only trusted files hold these."""
    for name in ("_orig_mod", "module"):
        model = getattr(model, name, model)
    return model


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


def contents_of(checkpoint: object) -> str:
    """Describe what a file holds, for a message."""
    if isinstance(checkpoint, Mapping):
        return f"the keys {listed([str(key) for key in checkpoint])}" if checkpoint else "nothing"
    return f"a {type(checkpoint).__name__}"


def listed(names: list[str]) -> str:
    """Join the first names of a list, for a message."""
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def message_of(error: Exception) -> str:
    """Return the first line of an error, without the prefix that Ultralytics puts before it."""
    return first_line(error).removeprefix("ERROR ❌️ ")[:300]


def _explained(path: Path, error: Exception) -> UserError:
    """Make the error that says why a checkpoint was not loaded, and what to do next."""
    refused = _refused_name(error)
    if kind_of(path) == "zip" and (names := _names_in(path)) and not any(name.endswith("data.pkl") for name in names):
        return UserError(f"{path}: not a checkpoint, but an archive that holds {listed(names)}; unpack it")
    if _is_unsafe_form(path, error):
        form = "its pickle has a form that is not read safely, as of torch before 1.6, of protocol 4 or of dill"
        return UserError(f"{path}: {form}; --trust-weights reads it, for files whose origin you trust")
    if (missing := _missing_name(path)) is not None:
        advice = "where it is, export a YOLO to ONNX, or save the state_dict() of a SAM2 alone"
        return UserError(f"{path}: it needs {missing}, which is not installed here; {advice}")
    if refused is None:
        return UserError(f"{path}: cannot be loaded: {message_of(error)}{_again(path)}")
    if refused.startswith("ultralytics."):
        return UserError(f"{path}: holds a YOLO model ({refused}), not SAM2's tensors")
    advice = "--trust-weights lets it, for files whose origin you trust"
    return UserError(f"{path}: refused, since loading it would run code ({refused}); {advice}")


def _names_in(path: Path) -> list[str]:
    """Return the names of the files in a zip archive; torch.save puts what it saves into `data.pkl`."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError):
        return []


def _is_unsafe_form(path: Path, error: Exception) -> bool:
    """Tell if it is for the form of its pickle that a file is not read without running code from it.

    Torch does not know what protocol 4 and newer add, nor some that dill uses, and says so by an operand's number;
    Ultralytics does not read files of torch before 1.6, which are no archives.
    """
    if "Unsupported operand" in str(_pickle_error(error)):
        return True
    with path.open("rb") as file:
        return file.read(len(OLD_FORM)) == OLD_FORM and not isinstance(error, pickle.UnpicklingError)


def _again(path: Path) -> str:
    return "; delete it, and it is downloaded again" if address_of(path.name) else ""


def _pickle_error(error: BaseException) -> BaseException | None:
    """Return the error of torch's restricted unpickler that an error is, or comes from."""
    cause = error if isinstance(error, pickle.UnpicklingError) else error.__cause__
    return cause if isinstance(cause, pickle.UnpicklingError) else None


def _refused_name(error: BaseException) -> str | None:
    """Return the name of what a checkpoint wanted to call, if that is why it was not loaded."""
    found = re.search(r"GLOBAL (\S+)|class (\S+)|function (\S+)", str(_pickle_error(error)))
    return next(filter(None, found.groups())) if found else None


def _missing_name(path: Path) -> str | None:
    """Return a class or function that a checkpoint names and that this installation lacks; nothing is imported."""
    import torch

    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # a file that it cannot read
        return None
    return next((name for name in sorted(names) if _is_missing(name)), None)


def _is_missing(name: str) -> bool:
    """Return whether a dotted name does not exist; modules that are not imported are looked for as files."""
    module, _, own = name.rpartition(".")
    if module in sys.modules:
        return not hasattr(sys.modules[module], own)
    top, *rest = module.split(".")
    try:
        found = find_spec(top)
    except (ImportError, ValueError):
        found = None
    if found is None or not rest:
        return found is None
    places = [Path(place).joinpath(*rest) for place in found.submodule_search_locations or ()]
    return not any(place.is_dir() or any(place.parent.glob(f"{place.name}.*")) for place in places)


@contextmanager
def _guarded() -> Iterator[None]:
    """Surround the loading of a file that is not trusted; torch's warnings about it are not for users."""
    _install_guard()
    before, _loading.active = getattr(_loading, "active", False), True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        _loading.active = before


@functools.cache
def _install_guard() -> None:
    sys.addaudithook(_guard)


def _guard(event: str, arguments: tuple[Any, ...]) -> None:
    """Refuse what a checkpoint has no business to do, in the thread that is loading one."""
    if not getattr(_loading, "active", False):
        return
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if event.startswith(_REFUSED) or writes:
        raise PermissionError(f"the file wants to do what no weights need ({event})")
