"""The command line of `benchmarks.throughput`, with defaults that depend on the device."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.rows import SCOPES
from benchmarks.workers import ROWS
from benchmarks.workload import MODELS, Order
from utils.device import choose_device
from utils.distributed import Session

PRECISIONS = ("fp32", "bf16", "fp16")
DEFAULTS: dict[str, dict[str, Any]] = {
    "cpu": {
        "batch": 2,
        "images": 8,
        "scopes": ("metrics+annotations", "overlays"),
        "seconds": 10.0,
        "minutes": 10.0,
        "gate_images": 2,
        "compile": "off",
    },
    "cuda": {
        "batch": 16,
        "images": 1024,
        "scopes": tuple(SCOPES),
        "seconds": 3.0,
        "minutes": 0.0,
        "gate_images": 8,
        "compile": "default",
    },
}
"""Defaults that depend on the device."""


@dataclass(frozen=True)
class Settings:
    """What to compare, and how long.

    Attributes:
        order: what to measure on.
        rows: numbers of rows, 1 to 6.
        scopes: names of scopes.
        precisions: `fp32`, `bf16`, `fp16`.
        repeats: rounds at most.
        seconds: about how long a pass takes.
        minutes: after two rounds, no further one begins that would end later than this; 0 for no limit.
        gate_images: images whose results are checked; 0 for none.
        compile_mode: of row 6.
        arguments: further options for the project.
        one_process: whether all rows share this process.
        folder: where the files of a run go for its time, or None.
        json: the document to write, or None.
    """

    order: Order
    rows: tuple[int, ...]
    scopes: tuple[str, ...]
    precisions: tuple[str, ...]
    repeats: int
    seconds: float
    minutes: float
    gate_images: int
    compile_mode: str
    arguments: tuple[str, ...]
    one_process: bool
    folder: Path | None
    json: Path | None


def parse(description: str | None, argv: Sequence[str] | None) -> Settings:
    """The settings of a command line, what is left out filled in for the device."""
    given = _parser(description).parse_args(argv)
    device = device_name(given.device)
    for name, value in DEFAULTS["cuda" if device == "cuda" else "cpu"].items():
        if getattr(given, name) is None:
            setattr(given, name, value)
    order = Order(
        given.model, given.image_size, given.size, given.images, given.boxes, given.batch, device, given.detector
    )
    return Settings(
        order,
        tuple(given.rows),
        tuple(given.scopes),
        tuple(given.precisions),
        given.repeats,
        given.seconds,
        given.minutes,
        given.gate_images,
        given.compile,
        tuple(shlex.split(given.project)),
        given.one_process,
        given.folder,
        given.json,
    )


def device_name(given: str) -> str:
    """What torch calls a device: `cpu`, `cuda`, `mps`; `auto` takes the GPU if there is one."""
    return choose_device(given, Session()).type


def size_of(text: str) -> tuple[int, int]:
    """(width, height) of a text such as `1920x1080`."""
    width, height = text.split("x")
    return int(width), int(height)


def box_count(text: str) -> int | None:
    """Boxes an image, or None for `skewed`."""
    return None if text == "skewed" else int(text)


def _parser(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.throughput",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Defaults not named here depend on the device; README.md has them.",
    )
    add_model(parser)
    add_machine(parser)
    add = parser.add_argument
    add("--size", type=size_of, default=(1920, 1080), metavar="WxH", help="of the images in px (default: 1920x1080)")
    add("--boxes", type=box_count, default=10, metavar="N", help="boxes an image, or skewed (default: %(default)s)")
    add("--detector", metavar="NAME", help="yolov8n, ...: YOLO finds the boxes, at most --boxes an image")
    add("--images", type=int, metavar="N", help="images at hand")
    add("--batch", type=int, metavar="N", help="images a batch")
    add("--rows", type=int, nargs="+", choices=ROWS, default=tuple(ROWS), help="all by default")
    add("--scopes", nargs="+", choices=SCOPES)
    add("--precisions", nargs="+", choices=PRECISIONS, default=("fp32", "bf16"))
    add("--repeats", type=int, default=5, help="rounds at most (default: %(default)s)")
    add("--seconds", type=float, help="about how long a pass takes")
    add("--minutes", type=float, help="no third or later round that would end after so many; 0: no limit")
    add("--gate_images", type=int, metavar="N", help="images whose results are checked; 0: none")
    add("--compile", metavar="MODE", help="of row 6: off, default, reduce-overhead, max-autotune")
    return parser


def add_model(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say which SAM2 is measured."""
    add = parser.add_argument
    add("--one_process", action="store_true", help="measure in this process: starts sooner, but peaks are shared")
    add("--model", choices=MODELS, default="tiny", help="SAM2.1's architecture (default: %(default)s)")
    add("--image_size", type=int, metavar="N", help="side of SAM2's input in px, instead of the architecture's own")


def add_machine(parser: argparse.ArgumentParser) -> None:
    """Adds the options that every benchmark has."""
    add = parser.add_argument
    add("--device", default="auto", help="cpu, cuda or auto (default: %(default)s)")
    add("--project", default="", metavar="OPTIONS", help="further options of the project's scripts, in one text")
    add("--folder", type=Path, metavar="DIR", help="where a run's files go for its time")
    add("--json", type=Path, metavar="FILE", help="write the results there, too")
