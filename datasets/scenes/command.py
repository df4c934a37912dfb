"""Paint labelled scenes as a Pascal VOC tree.

The tree has images, class masks, object masks, class_names.txt, and prediction.json with the exact boxes. Paint each
split with a command of its own; the grounds and poses of the pool "heldout" never occur in the pool "train":

    python -m datasets.scenes --seed 1 --count 800 --out scenes --split train --pool train
    python -m datasets.scenes --seed 2 --count 40 --clips 1 --out scenes --split val
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from datasets.scenes.composition import Style
from datasets.scenes.dice import POOLS
from datasets.scenes.tree import Order, write_split
from utils.cli.parsers import guarded


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        argv: the command line without the program, `sys.argv[1:]` by default.

    Returns:
        the exit code: 0, 2 if the split cannot be painted as asked, 3 if a file cannot be written.
    """
    return guarded(lambda: _paint(_parser().parse_args(argv)))


def _paint(given: argparse.Namespace) -> int:
    style = Style(given.pool, given.things, given.plain, given.void, given.visible)
    order = Order(given.seed, given.count, given.split, given.clips, given.frames, given.quality, style)
    boxes = write_split(given.out, order, given.workers)
    print(f"{given.out}: split {order.split}: {order.count} images, {order.clips} clips, {boxes} boxes")
    return 0


def _parser() -> argparse.ArgumentParser:
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m datasets.scenes", description=__doc__, formatter_class=layout)
    add = parser.add_argument
    add("--seed", type=int, required=True, help="the same seed paints the same pixels")
    add("--count", type=int, required=True, help="number of single images")
    add("--out", type=Path, required=True, help="the tree's folder; it may hold other splits")
    add("--split", default="val", help="name of the split (default: %(default)s)")
    add("--pool", choices=POOLS, default="heldout", help="grounds and poses to draw from (default: %(default)s)")
    add("--clips", type=int, default=0, help="number of clips, each a folder of frames (default: %(default)s)")
    add("--frames", type=int, default=12, help="number of frames in a clip (default: %(default)s)")
    add("--quality", type=int, default=92, help="of the JPEG files (default: %(default)s)")
    add("--workers", type=int, default=1, help="number of processes that paint (default: %(default)s)")
    add("--visible", type=float, default=0.75, help="the least share that is seen of an object (default: %(default)s)")
    add("--void", action="store_true", help="label a border around every object 255, as VOC does")
    add("--things", action="store_true", help="paint objects of a sixth class, thing, too, and rougher photographs")
    add("--plain", action="store_true", help="paint few, separate objects on smooth grounds")
    return parser
