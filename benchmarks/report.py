"""What a run of the benchmarks prints and writes: a Markdown table and a JSON document."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from benchmarks.gates import Gate
from benchmarks.measuring import Pass
from benchmarks.rows import SCOPES
from benchmarks.workers import ROWS
from utils.config.official import REPOSITORY

MIB = 2**20


@dataclass(frozen=True)
class Cell:
    """What is measured: a row in a precision, to the outputs of a scope."""

    row: int
    precision: str
    scope: str


@dataclass
class Result:
    """All passes of a cell.

    Attributes:
        warm_up: seconds of the passes before the measured ones, compilation included; loading is not.
        passes: the measured ones.
        idle: the GPU's idle share in one more pass, or None.
    """

    cell: Cell
    warm_up: float
    passes: list[Pass] = field(default_factory=list)
    idle: float | None = None

    @property
    def rate(self) -> float:
        """Median of images a second."""
        return statistics.median(each.rate for each in self.passes)

    @property
    def spread(self) -> float:
        """Slowest to fastest pass, as a share of the median."""
        rates = [each.rate for each in self.passes]
        return (max(rates) - min(rates)) / self.rate

    @property
    def cpu_ms(self) -> float:
        """Median of the host's processor time an image, in ms."""
        return statistics.median(1e3 * each.cpu_seconds / each.images for each in self.passes)

    @property
    def peak_rss(self) -> int:
        """The most memory of any pass, in bytes."""
        return max(each.peak_rss for each in self.passes)

    @property
    def peak_cuda(self) -> int:
        """The most GPU memory of any pass, in bytes."""
        return max(each.peak_cuda for each in self.passes)


def ratios(result: Result, results: Iterable[Result]) -> dict[str, float]:
    """The rate of a result divided by those of other rows that do the same work.

    `plain` is row 1 where the scope renders, else row 2; `plain fp32` is the same in fp32; `limit` is row 6.
    """
    rates = {each.cell: each.rate for each in results}
    cell, loop = result.cell, 1 if result.cell.scope in ("overlays", "all") else 2
    others = {
        "plain": Cell(loop, cell.precision, cell.scope),
        "plain fp32": Cell(loop, "fp32", cell.scope),
        "official": Cell(3, cell.precision, cell.scope),
        "Ultralytics": Cell(4, "fp32", "annotations"),
        "limit": Cell(6, cell.precision, "model"),
    }
    if "annotations" not in cell.scope:
        del others["Ultralytics"]
    return {name: result.rate / rates[other] for name, other in others.items() if other in rates}


TITLES = (
    *("scope", "row", "precision", "img/s", "spread", "x plain", "x plain fp32", "x official", "x Ultralytics"),
    *("of row 6", "peak MiB", "CUDA MiB", "CPU ms/img", "GPU idle", "images x passes", "warm-up s"),
)


def table(results: Sequence[Result]) -> list[str]:
    """A Markdown table, scope by scope."""
    places = list(SCOPES)
    ordered = sorted(results, key=lambda each: (places.index(each.cell.scope), each.cell.precision, each.cell.row))
    return markdown(TITLES, (_columns(each, ratios(each, results)) for each in ordered))


def markdown(titles: Sequence[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """The lines of a Markdown table."""
    return [f"| {' | '.join(columns)} |" for columns in (titles, ["---"] * len(titles), *rows)]


def _columns(result: Result, ratio: Mapping[str, float]) -> list[str]:
    cell, first = result.cell, result.passes[0]
    times = [f"{ratio[name]:.2f}" if name in ratio else "" for name in ("plain", "plain fp32", "official")]
    return [
        cell.scope,
        f"{cell.row} {ROWS[cell.row]}",
        cell.precision,
        f"{result.rate:.4g}",
        f"{100 * result.spread:.0f} %",
        *times,
        f"{ratio['Ultralytics']:.2f}" if "Ultralytics" in ratio else "",
        f"{100 * ratio['limit']:.0f} %" if "limit" in ratio else "",
        f"{result.peak_rss / MIB:.0f}",
        f"{result.peak_cuda / MIB:.0f}" if result.peak_cuda else "",
        f"{result.cpu_ms:.0f}",
        "" if result.idle is None else f"{100 * result.idle:.0f} %",
        f"{first.images} x {len(result.passes)}",
        f"{result.warm_up:.1f}",
    ]


def gate_line(gate: Gate) -> str:
    """A gate in one line."""
    numbers = ", ".join(f"{name} {value:.6g}" for name, value in gate.numbers.items())
    return f"{'passed' if gate.passed else 'FAILED'}: {gate.name} ({numbers})"


def result_document(result: Result, results: Sequence[Result]) -> dict[str, Any]:
    """A result for JSON, with what follows from its passes."""
    derived = {"images_per_second": result.rate, "spread": result.spread, "cpu_ms_per_image": result.cpu_ms}
    return {**asdict(result), **derived, "ratios": ratios(result, results)}


def machine() -> dict[str, Any]:
    """Where this runs: processor, GPU, memory, versions."""
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    packages = ("torch", "sam2", "ultralytics", "numpy", "opencv-python", "matplotlib")
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in packages},
        "commit": _commit(),
    }


def heading(place: Mapping[str, Any]) -> str:
    """One line that says where, when and with which command."""
    where = f"{place['gpu'] or place['processor']}, {place['cores']} cores, {place['threads']} threads"
    return f"{where}; torch {place['versions']['torch']}; {_now()[:10]}; `{command()}`"


def write_json(path: Path, **content: Any) -> None:
    """Writes a document with the command, the date and the machine."""
    document = {"command": command(), "date": _now(), "machine": machine(), **content}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2, default=str) + "\n")


def command() -> str:
    """The command line of this process."""
    module = Path(sys.argv[0]).stem
    return shlex.join(["python", "-m", f"benchmarks.{module}", *sys.argv[1:]])


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit that is checked out, or None outside a repository."""
    show = ["git", "-C", str(REPOSITORY), "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(show, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
