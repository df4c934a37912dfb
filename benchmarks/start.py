"""What a start costs: many photos in one folder, from the command to the first annotation, and when all are there.

python -m benchmarks.start                     1,000,000 photos; to annotate them takes an hour
python -m benchmarks.start --images 100000
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks import harness
from datasets.loading import open_images
from models.loading import RunModels
from utils.cli.parsers import parse
from utils.config.official import REPOSITORY
from utils.engine import RunSummary
from utils.run import open_run
from utils.structures import Instances, Sample

PHOTO = REPOSITORY / "datasets" / "demo" / "JPEGImages" / "val_00000.jpg"
LINKS = 50_000
"""Names of one file; ext4 allows 65,000."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; return 0, or 1 if a second run does not find everything finished."""
    parser = harness.parser_of("start", __doc__)
    parser.add_argument("--images", type=int, default=1_000_000, help="(default: %(default)s)")
    given = parser.parse_args(argv)
    with harness.folder_of(given.folder) as folder:
        photos, out = Path(folder, "photos"), Path(folder, "out")
        link_photos(photos, given.images)
        arguments = ["-c", str(REPOSITORY / "config.json"), "-s", str(photos), "-o", str(out), "--device", given.device]
        command = [sys.executable, str(REPOSITORY / "yolo_sam_auto_anno_generator.py"), *arguments, *given.project]
        first = timed(command, lambda: any(out.glob("annotations/*.json")))
        annotate([*arguments, *given.project])
        again = timed(command, lambda: False)
    finished = harness.Gate("a second run has nothing to do", again["exit code"] == 0, {})
    lines = [{"photos": given.images, "run": name, **each} for name, each in (("first", first), ("again", again))]
    print(harness.heading(), finished, "", harness.markdown(lines), sep="\n")
    harness.write_json(given.json, lines=lines)
    return 0 if finished.passed else 1


def link_photos(folder: Path, count: int) -> None:
    """Make a folder of hard links to copies of one photo."""
    folder.mkdir()
    for i in range(count):
        if i % LINKS == 0:
            source = shutil.copy(PHOTO, folder / f"{i:08}.jpg")
        else:
            os.link(source, folder / f"{i:08}.jpg")


def timed(command: Sequence[str], is_done: Callable[[], bool]) -> dict[str, float]:
    """Run a command until it has done something, or to its end; measure the time until then, and its memory."""
    began, peak = time.perf_counter(), 0
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not is_done():
        time.sleep(0.05)
        status = Path(f"/proc/{process.pid}/status").read_text().split()
        peak = int(status[status.index("VmHWM:") + 1]) // 1024 if "VmHWM:" in status else peak
    seconds = time.perf_counter() - began
    process.terminate()
    return {"s": round(seconds, 1), "peak MiB": peak, "exit code": process.wait()}


def annotate(arguments: Sequence[str]) -> None:
    """Write the annotations of all photos by the real outputs, as if nothing had been found in them."""
    options = parse("annotate", __doc__, arguments)
    image, nothing = np.zeros((1, 1, 3), np.uint8), Instances.from_masks((1, 1), [], [])
    with open_run(options, open_images, RunModels) as run:
        sinks = run.plan.sinks(run.class_names, run.writers)
        for image_id, path in zip(run.images.ids, run.images.paths):
            for sink in sinks:
                sink.write(Sample(image_id, path, image), nothing)
        for sink in sinks:
            sink.finish(RunSummary(), run.session)


if __name__ == "__main__":
    sys.exit(main())
