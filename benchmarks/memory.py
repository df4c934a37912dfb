"""Memory of this project: flat over images, and how it grows with boxes and with the size of images.

python -m benchmarks.memory                              on two CPU cores some 10 minutes
python -m benchmarks.memory --model large --batch 4      the growth of another model and batch
python -m benchmarks.memory --video --boxes              flat over the frames of one clip, too, and no growth with boxes
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from benchmarks import harness
from benchmarks.processes import memory_held, one_pass
from benchmarks.rows import Rows, Run

# Boxes are random in each frame, so tracks start on each keyframe, and end soon.
FOLLOWING = ("--video", "--keyframe-interval=5", "--set=video.patience=2")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; return 0, or 1 if memory grows over images."""
    parser = harness.parser_of("memory", __doc__)
    add, sizes = parser.add_argument, [(1920, 1080), (640, 360), (3840, 2160)]
    add("--flat_images", type=int, nargs=2, default=[200, 2000], metavar="N", help="lengths of two runs; 0 0: none")
    add("--video", action="store_true", help="the images of these runs are the frames of one clip")
    add("--boxes", type=int, nargs="*", default=[1, 10, 100, 1000], metavar="N", help="boxes per image (1 10 100 1000)")
    add("--sizes", type=harness.size_of, nargs="+", default=sizes, metavar="WxH", help="all boxes at the first one")
    add("--batch", type=int, default=1, metavar="N", help="images per batch (default: %(default)s)")
    given = parser.parse_args(argv)
    gates, points = [], []
    if any(given.flat_images):
        order = {"model": "demo", "image_size": 128, "size": (320, 180), "boxes": 3, "batch": 4, "clip": given.video}
        order |= {"images": given.flat_images[1], "project": given.project + (FOLLOWING if given.video else ())}
        with harness.workload(given, **order) as work, Rows(work) as rows:
            gates.append(flat_gate(rows(5, "fp32", held_over_time, work.images), *given.flat_images))
    for size, boxes in [(given.sizes[0], boxes) for boxes in given.boxes] + [(size, 10) for size in given.sizes[1:]]:
        with harness.workload(given, size=size, boxes=boxes, images=2 * given.batch) as work, Rows(work) as rows:
            done = rows(5, "fp32", one_pass, "all", work.images)
        point: dict[str, Any] = {
            "image": "x".join(map(str, size)),
            "boxes": boxes,
            "peak MiB": done.peak_rss // harness.MIB,
        }
        points.append({**point, "CUDA MiB": done.peak_cuda // harness.MIB or None, "s/img": 1 / done.rate})
        harness.say(points[-1])
    print(harness.heading(), *gates, "", harness.markdown(points), sep="\n")
    harness.write_json(given.json, settings=vars(given), gates=[*map(asdict, gates)], points=points)
    return 0 if all(gate.passed for gate in gates) else 1


def held_over_time(run: Run, count: int) -> list[int]:
    """Return the bytes that the process holds after each of `count` images, with all outputs."""
    held: list[int] = []
    run("all", count, lambda masks: held.append(memory_held("VmRSS")))
    return held


def flat_gate(held: Sequence[int], short: int, long: int) -> harness.Gate:
    """Check that the last 100 of `long` images hold at most 5 % more memory than the last 100 of `short` ones."""
    before, after = (max(held[max(0, mark - 100) : mark]) / harness.MIB for mark in (short, long))
    numbers = {f"MiB at {short}": before, f"MiB at {long}": after, "growth": after / before}
    return harness.Gate("memory is flat over images", after / before <= 1.05, numbers)


if __name__ == "__main__":
    sys.exit(main())
