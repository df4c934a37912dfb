"""Whole processes on the embedded demo: overlays and annotations by this project and by the plain loop, in turn.

python -m benchmarks.demo                    on two CPU cores some 15 minutes
python -m benchmarks.demo --repeats 5 --json outputs/demo.json

Also measured: the time until the first overlay is written, and what `--help` takes.
"""

from __future__ import annotations

import argparse
import os
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.comparison import folder_of, say
from benchmarks.gates import Gate
from benchmarks.report import MIB, gate_line, heading, machine, markdown, write_json
from benchmarks.settings import add_machine, device_name
from datasets.voc import VocDataset
from models.ultralytics_quiet import ENVIRONMENT
from utils.config import Config, load_config
from utils.config.official import REPOSITORY

SCRIPTS = ("yolo_sam.py", "yolo_sam_visual.py", "yolo_sam_auto_anno_generator.py")
LOOP = "plain loop (row 1), fp32"
FILES = ("overlays", "annotations")
POLL = 0.02
"""Seconds between two looks for the first overlay."""


@dataclass(frozen=True)
class Run:
    """One process, from its start to its end.

    Attributes:
        seconds: wall time.
        first: seconds until the first overlay was there, or None if none came.
        cpu_seconds: processor time of all threads.
        peak_rss: the most memory that it held, in bytes.
        overlays, annotations: files written.
    """

    seconds: float
    first: float | None
    cpu_seconds: float
    peak_rss: int
    overlays: int
    annotations: int


def main(argv: Sequence[str] | None = None) -> int:
    """Measures; 0, or 1 if the systems did not write equally many files."""
    given = _parser().parse_args(argv)
    device = device_name(given.device)
    path = given.config.absolute()
    config = load_config(path)
    project, exact = shlex.split(given.project), ["--precision=fp32"]
    commands: dict[str, Callable[[Path], list[str]]] = {
        "this project": lambda out: ours(path, device, out, project),
        "this project, fp32": lambda out: ours(path, device, out, [*project, *exact]),
        LOOP: lambda out: loop(config, device, out),
    }
    runs: dict[str, list[Run]] = {name: [] for name in commands}
    for done in range(given.repeats):
        for name, command in commands.items():
            with folder_of(given.folder) as folder:
                runs[name].append(timed(command(folder), folder))
            say(f"round {done + 1} of {given.repeats}: {name}: {runs[name][-1].seconds:.1f} s")
    helps = {script: [seconds_of([script, "--help"]) for _ in range(given.repeats)] for script in SCRIPTS}
    gate = same_files(runs)
    print(heading(machine()))
    print(gate_line(gate), "", *_table(runs), "", *_help_table(helps), sep="\n")
    if given.json:
        rows = {name: [asdict(run) for run in each] for name, each in runs.items()}
        write_json(given.json, gates=[asdict(gate)], runs=rows, help_seconds=helps)
    return 0 if gate.passed else 1


def ours(config: Path, device: str, out: Path, further: Sequence[str]) -> list[str]:
    """The command of `yolo_sam_visual.py`, annotations written in the same pass."""
    save_dirs = [f"predictor.save_dir={out / 'masks'}", f"auto_mask.save_dir={out / 'annotations'}"]
    settings = [f"--set={each}" for each in save_dirs]
    return ["yolo_sam_visual.py", "-c", str(config), "--also", "annotate", "--device", device, *settings, *further]


def loop(config: Config, device: str, out: Path) -> list[str]:
    """The command of the plain loop with the same weights, images and settings."""
    arch, dataset = config.arch, config.dataset
    assert dataset.data_dir is not None
    images = VocDataset(dataset.data_dir, dataset.split).paths
    weights = [f"--yolo={arch.yolo_weights}", f"--sam={arch.sam_weights}", f"--sam_config={arch.sam_config}"]
    settings = [f"--conf={dataset.conf}", f"--imgsz={config.detector.imgsz}", f"--batch={config.dataloader.batch_size}"]
    files = ["--images", *map(str, images)]
    return ["-m", "benchmarks.plain", *weights, *settings, f"--device={device}", f"--out={out}", *files]


def timed(arguments: Sequence[str], out: Path) -> Run:
    """Runs a Python process that writes below `out`, `masks` and `annotations`.

    Raises:
        subprocess.CalledProcessError: it failed; what it printed is shown.
    """
    masks = out / "masks"
    environment = {**os.environ, **ENVIRONMENT, "YOLO_CONFIG_DIR": str(out)}
    command = [sys.executable, *arguments]
    first: float | None = None
    with (out / "log").open("w+") as log:
        began = time.perf_counter()
        process = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=log, stderr=log)
        while True:
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
            if first is None and any(masks.rglob("*.jpg")):
                first = time.perf_counter() - began
            if ended:
                break
            time.sleep(POLL)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            log.seek(0)
            say(log.read())
            raise subprocess.CalledProcessError(process.returncode, command)
    overlays = sum(1 for _ in masks.rglob("*.jpg"))
    folder = out / "annotations"
    shown = (path.relative_to(folder) for path in folder.rglob("*.json"))
    annotations = sum(not any(part.startswith(".") for part in path.parts) for path in shown)  # records are hidden
    return Run(seconds, first, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, overlays, annotations)


def seconds_of(arguments: Sequence[str]) -> float:
    """Wall time of a Python process that prints and ends."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def same_files(runs: Mapping[str, Sequence[Run]]) -> Gate:
    """All runs wrote an overlay and an annotation for each image."""
    counts = {name: (each.overlays, each.annotations) for name, done in runs.items() for each in done}
    numbers = {f"{name}: {what}": number for name, pair in counts.items() for what, number in zip(FILES, pair)}
    written = set(numbers.values())
    return Gate("every system wrote both files of every image", len(written) == 1 and written != {0}, numbers)


def _table(runs: Mapping[str, Sequence[Run]]) -> list[str]:
    medians = {name: statistics.median(run.seconds for run in each) for name, each in runs.items()}
    rows = []
    for name, each in runs.items():
        seconds = [run.seconds for run in each]
        first = [run.first for run in each if run.first is not None]
        rows.append(
            (
                name,
                f"{medians[name]:.2f}",
                f"{100 * (max(seconds) - min(seconds)) / medians[name]:.0f} %",
                f"{medians[LOOP] / medians[name]:.2f}",
                f"{statistics.median(first):.2f}" if first else "",
                f"{statistics.median(run.cpu_seconds for run in each):.1f}",
                f"{max(run.peak_rss for run in each) / MIB:.0f}",
                str(len(each)),
            )
        )
    return markdown(("process", "s", "spread", "x row 1", "s to first overlay", "CPU s", "peak MiB", "runs"), rows)


def _help_table(helps: Mapping[str, Sequence[float]]) -> list[str]:
    rows = ((name, f"{statistics.median(each):.2f}", f"{max(each):.2f}") for name, each in helps.items())
    return markdown(("--help of", "median s", "slowest s"), rows)


def _parser() -> argparse.ArgumentParser:
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m benchmarks.demo", description=__doc__, formatter_class=layout)
    config = REPOSITORY / "config.json"
    parser.add_argument("-c", "--config", type=Path, default=config, help="config file (default: the demo's)")
    parser.add_argument("--repeats", type=int, default=3, help="(default: %(default)s)")
    add_machine(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
