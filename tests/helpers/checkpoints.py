"""Checkpoints that are changed by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from models.ultralytics_quiet import quiet_ultralytics


def stored(path: Path) -> dict[str, Any]:
    quiet_ultralytics()
    return torch.load(path, weights_only=False)


def changed(yolo_file: Path, path: Path, change: Callable[[Any], object]) -> Path:
    """The checkpoint with a changed model."""
    checkpoint = stored(yolo_file)
    change(checkpoint["model"])
    torch.save(checkpoint, path)
    return path


class Calls:
    """Unpickling it calls a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments
