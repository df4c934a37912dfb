"""Checkpoints are loaded without running code: torch's restricted unpickler, a few harmless stand-ins, and a guard.

What genuine files name beside the classes of torch and ultralytics has restricted stand-ins here. While a file that is
not trusted is being loaded, nothing may connect, start a process or write a file: the classes that torch lets a
checkpoint name have constructors that would, to fetch a model, for example.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import pickle
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from models.ultralytics_quiet import quiet_ultralytics

_loading = threading.local()
_REFUSED = (
    *("socket.", "urllib.", "subprocess.", "shutil."),
    *("os.system", "os.exec", "os.spawn", "os.posix_spawn", "os.fork", "os.remove", "os.rename", "os.rmdir", "os.kill"),
)


def load_torch(path: Path, *, trust: bool = False) -> Any:
    """Load a file of plain data and tensors onto the CPU.

    Args:
        trust: whether it may run code, where it cannot be loaded without.
    """
    import torch

    try:
        with _guarded():
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception:
        if not trust:
            raise
        return torch.load(path, map_location="cpu", weights_only=False)


def load_ultralytics(path: Path, *, trust: bool = False) -> Any:
    """Load a checkpoint of Ultralytics onto the CPU, whatever the file is called.

    Args:
        trust: whether it may run code, where it cannot be loaded without.
    """
    quiet_ultralytics()
    import torchvision  # noqa: F401  (a layer may need it; the guard would not let it be imported whole)
    from ultralytics.nn.tasks import torch_safe_load

    _register_stand_ins()
    with _named_pt(path) as file:
        try:
            with _guarded():
                return torch_safe_load(file, safe_only=True)[0]
        except Exception:
            if not trust:
                raise
            return torch_safe_load(file, safe_only=False)[0]


def refused_name(error: BaseException) -> str | None:
    """Return the name of what a checkpoint wanted to call, if that is why it was not loaded."""
    cause = error if isinstance(error, pickle.UnpicklingError) else error.__cause__
    if not isinstance(cause, pickle.UnpicklingError):
        return None
    found = re.search(r"GLOBAL (\S+)|class (\S+)|function (\S+)", str(cause))
    return next(filter(None, found.groups())) if found else None


def missing_name(path: Path) -> str | None:
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
        found = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        found = None
    if found is None or not rest:
        return found is None
    places = [Path(place).joinpath(*rest) for place in found.submodule_search_locations or ()]
    return not any(place.is_dir() or any(place.parent.glob(f"{place.name}.*")) for place in places)


@functools.cache
def _register_stand_ins() -> None:
    """Let genuine checkpoints name what old versions of Ultralytics, and dill, left in them.

    Versions 8.0.115 to 8.0.135 left the criterion, under the modules' names of that time; where dill was installed, a
    version left `_load_type("set")`.
    """
    import torch
    from ultralytics.utils import loss, tal

    entries: list[Any] = [(_load_type, "dill._dill._load_type")]
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


@contextmanager
def _guarded() -> Iterator[None]:
    _install_guard()
    before, _loading.active = getattr(_loading, "active", False), True
    try:
        yield
    finally:
        _loading.active = before
