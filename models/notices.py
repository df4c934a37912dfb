"""Make the lines that a run prints about its models before it begins: which they are, and what they cannot find."""

from __future__ import annotations

import filecmp
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from utils.classes import match_classes
from utils.cli.options import Options
from utils.config.official import DEMO_WEIGHTS, PAINTED
from utils.device import Backend
from utils.errors import first_of
from utils.io.terminal import counted

if TYPE_CHECKING:
    import torch


def models_line(options: Options, detector_names: Sequence[str], device: str) -> str:
    """Say what finds the objects of a run.

    Args:
        detector_names: classes of the detector that gives the boxes.
        device: see `describe_device`.
    """
    arch, parts = options.config.arch, []
    if options.runs_detector and arch.yolo_weights:
        side = options.config.detector.slice
        slices = f", slices of {side} px" if side else ""
        parts.append(f"detector {arch.yolo_weights.name} ({counted(len(detector_names), 'class', 'classes')}{slices})")
    sources = {"detector": "YOLO", "file": str(options.prompt), "target": "the ground truth"}
    sam = arch.sam_weights.name if arch.sam_weights else ""
    sam += " by window" if options.config.segmenter.window == "auto" else ""
    return " \u00b7 ".join([*parts, f"SAM2 {sam}", device, f"boxes from {sources[options.boxes]}"])


def describe_device(device: torch.device, precision: torch.dtype, backend: Backend) -> str:
    """Name a device, the precision of SAM2's matrix products, and OpenVINO where it is used: `cuda:0 bf16`."""
    short = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}
    name = short[str(precision).removeprefix("torch.")]
    return f"{device} {name} OpenVINO" if backend == "openvino" else f"{device} {name}"


def missing_class_warnings(detector: Sequence[str], names: Sequence[str], kept: Sequence[str] | None) -> list[str]:
    """Name the classes of a run that no box of the detector can have.

    Args:
        detector: its class names.
        names: those of the run.
        kept: those that `detector.classes` leaves, or None for all.
    """
    known = set(match_classes(detector, names).values())
    lacking = [name for class_id, name in enumerate(names) if class_id not in known]
    left = known if kept is None else set(match_classes(kept, names).values())
    dropped = [name for class_id, name in enumerate(names) if class_id in known - left]
    lists = {"the detector has no class": lacking, "detector.classes leaves out": dropped}
    return [
        f"{reason} {first_of(found)}: {'its' if len(found) == 1 else 'their'} IoU will be 0"
        for reason, found in lists.items()
        if found
    ]


def demo_warnings(options: Options) -> list[str]:
    """Warn of the demo's weights, which know painted scenes only, on other images."""
    toys = [path for path in options.model_files.values() if _is_demo(path)]
    data = options.config.dataset.data_dir
    images = options.source or ([data] if data else [])
    if not toys or all(map(_is_painted, images)):
        return []
    return [
        f"{' and '.join(map(str, toys))}: toy weights, which know painted scenes only and find nothing sensible in "
        "these images; -c configs/official.json takes the official models"
    ]


def _is_demo(path: Path) -> bool:
    """Return whether a weight file is one of the demo's, whatever its name."""
    return path.is_file() and any(
        shipped.is_file() and filecmp.cmp(path, shipped, shallow=False) for shipped in DEMO_WEIGHTS
    )


def _is_painted(path: Path) -> bool:
    """Return whether images lie in a tree that `datasets.scenes` painted."""
    folders: Iterable[Path] = (path, *path.absolute().parents)
    return any((folder / PAINTED).is_file() for folder in folders)
