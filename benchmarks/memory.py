"""Memory of this project: flat over images, and how it grows with boxes and with the size of images.

python -m benchmarks.memory                              on two CPU cores some 10 minutes
python -m benchmarks.memory --model large --batch 4      the growth of another model and batch
python -m benchmarks.memory --video --boxes              flat over the frames of one clip, too, and no growth with boxes
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass

from benchmarks.comparison import folder_of, say
from benchmarks.gates import Gate
from benchmarks.measuring import resident
from benchmarks.project import HostMasks, ProjectRow
from benchmarks.report import MIB, gate_line, heading, machine, markdown, write_json
from benchmarks.settings import PRECISIONS, add_machine, add_model, device_name, size_of
from benchmarks.workers import Recipe, Worker, one_pass, row_of
from benchmarks.workload import Order, Workload, write_workload
from utils.structures import Instances, Sample

WINDOW = 100
"""Over how many images the most memory held is taken, before each mark."""
MOST_GROWTH = 1.05
"""How much more memory a long run may hold than a short one."""
FOLLOWING = ("--video", "--keyframe-interval=5", "--set=video.patience=2")
"""Boxes are random in each frame, so tracks start on each keyframe, and end soon."""


class ResidentMemory(HostMasks):
    """A sink that notes the memory that the process holds after each image, in bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list[int] = []

    def write(self, sample: Sample, instances: Instances) -> None:
        """Notes it."""
        super().write(sample, instances)
        self.held.append(resident())


def held_over_time(recipe: Recipe, count: int) -> list[int]:
    """The bytes that the process holds after each of `count` images, with all sinks at work."""
    row, probe = row_of(recipe), ResidentMemory()
    assert isinstance(row, ProjectRow)
    row.ready("all", count, probe)()
    return probe.held


def flat_gate(held: Sequence[int], short: int, long: int) -> Gate:
    """A run of `long` images holds no more memory than one of `short` images.

    Args:
        held: bytes after each image, `long` of them.
    """
    most = {mark: max(held[max(0, mark - WINDOW) : mark]) for mark in (short, long)}
    growth = most[long] / most[short]
    numbers = {f"MiB at {mark}": most[mark] / MIB for mark in (short, long)}
    return Gate("memory is flat over images", growth <= MOST_GROWTH, {**numbers, "growth": growth})


@dataclass(frozen=True)
class Point:
    """The most memory that one pass took.

    Attributes:
        width, height: of the images in pixels.
        boxes: boxes an image.
        peak_rss: of the process, model and libraries included, in bytes.
        peak_cuda: of tensors on the GPU, in bytes.
        seconds_per_image: of the pass.
    """

    width: int
    height: int
    boxes: int
    peak_rss: int
    peak_cuda: int
    seconds_per_image: float


def main(argv: Sequence[str] | None = None) -> int:
    """Measures; 0, or 1 if memory grows over images."""
    given = _parser().parse_args(argv)
    gates = [_flat(given, *given.flat_images)] if any(given.flat_images) else []
    points = list(_growth(given))
    print(heading(machine()))
    print(*map(gate_line, gates), "", *_table(points), sep="\n")
    if given.json:
        settings = {name: value for name, value in vars(given).items() if name != "json"}
        write_json(given.json, settings=settings, gates=list(map(asdict, gates)), points=list(map(asdict, points)))
    return 0 if all(gate.passed for gate in gates) else 1


def _flat(given: argparse.Namespace, short: int, long: int) -> Gate:
    """Small images through a small model, with all sinks."""
    device = device_name(given.device)
    order = Order("demo", 128, given.flat_size, long, boxes=3, batch=4, device=device, clip=given.video)
    with folder_of(given.folder) as folder:
        say(f"painting {long} images of {order.size[0]}x{order.size[1]}")
        recipe = _recipe(given, write_workload(order, folder), FOLLOWING if given.video else ())
        say(f"running through {long} images")
        with closing(Worker(recipe, own_process=not given.one_process)) as worker:
            return flat_gate(worker(held_over_time, long), short, long)


def _growth(given: argparse.Namespace) -> Iterator[Point]:
    """Two batches of each number of boxes at the first size, then of ten boxes at the other sizes."""
    first, *others = given.sizes
    device = device_name(given.device)
    weights = None
    for size, boxes in [*((first, count) for count in given.boxes), *((other, 10) for other in others)]:
        order = Order(given.model, given.image_size, size, 2 * given.batch, boxes, given.batch, device)
        with folder_of(given.folder) as folder:
            work = write_workload(order, folder, weights)
            weights = weights or work.sam_weights.read_bytes()
            say(f"{boxes} boxes at {size[0]}x{size[1]}")
            with closing(Worker(_recipe(given, work), own_process=not given.one_process)) as worker:
                done = worker(one_pass, "all", order.images)
            say(f"{done.peak_rss / MIB:.0f} MiB")
            yield Point(size[0], size[1], boxes, done.peak_rss, done.peak_cuda, 1 / done.rate)


def _recipe(given: argparse.Namespace, work: Workload, further: Sequence[str] = ()) -> Recipe:
    return Recipe(5, given.precision, work, arguments=(*shlex.split(given.project), *further))


def _table(points: Iterable[Point]) -> list[str]:
    titles = ("image", "boxes", "peak MiB", "CUDA MiB", "s/img")
    return markdown(
        titles,
        (
            (
                f"{each.width}x{each.height}",
                str(each.boxes),
                f"{each.peak_rss / MIB:.0f}",
                f"{each.peak_cuda / MIB:.0f}" if each.peak_cuda else "",
                f"{each.seconds_per_image:.3g}",
            )
            for each in points
        ),
    )


def _parser() -> argparse.ArgumentParser:
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m benchmarks.memory", description=__doc__, formatter_class=layout)
    add_model(parser)
    add_machine(parser)
    add = parser.add_argument
    add("--precision", choices=PRECISIONS, default="fp32", help="(default: %(default)s)")
    add(
        "--flat_images",
        type=int,
        nargs=2,
        default=(200, 2000),
        metavar="N",
        help="lengths of two runs (200 2000); 0 0: none",
    )
    add("--video", action="store_true", help="the images of these runs are the frames of one clip")
    add("--flat_size", type=size_of, default=(320, 180), metavar="WxH", help="of its images (320x180)")
    add("--boxes", type=int, nargs="*", default=(1, 10, 100, 1000), metavar="N", help="boxes an image (1 10 100 1000)")
    sizes = ((1920, 1080), (640, 360), (3840, 2160))
    add("--sizes", type=size_of, nargs="+", default=sizes, metavar="WxH", help="of images; all boxes at the first one")
    add("--batch", type=int, default=1, metavar="N", help="images a batch (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
