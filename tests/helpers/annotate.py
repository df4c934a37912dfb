"""The annotation script with a cascade that needs no weights to be loaded: run as a program, or in the process.

`python tests/helpers/annotate.py ARGUMENTS` is `python yolo_sam_auto_anno_generator.py ARGUMENTS`, but instances are
drawn by chance, for each image the same whenever its batch is the same. Where the environment has DIES=N and torchrun
has started it for the n-th time, N > n >= 0, the process of rank n kills itself at its second batch.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np

import yolo_sam_auto_anno_generator as script
from models.loading import RunModels
from utils.cli.guard import guarded
from utils.distributed import Session
from utils.masks import Mask
from utils.structures import Detections, Instances, Sample


class Chance:
    """A cascade whose masks depend on the image and on the ids of its batch."""

    seconds = 0.01
    """What an image takes, so that a signal finds the run in its midst."""

    def __init__(self) -> None:
        self.batches = 0

    def __call__(self, samples: Sequence[Sample]) -> Iterator[tuple[Sample, Instances]]:
        self.batches += 1
        start = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
        if self.batches == 2 and os.environ.get("RANK") == str(start) and start < int(os.environ.get("DIES", "0")):
            os.kill(os.getpid(), signal.SIGKILL)
        batch = ",".join(sample.image_id for sample in samples)
        for sample in samples:
            time.sleep(self.seconds)
            yield (
                sample,
                self.instances(sample, zlib.crc32(f"{batch}:{sample.image_id}".encode("utf-8", "surrogateescape"))),
            )

    def instances(self, sample: Sample, seed: int) -> Instances:
        rng, (height, width), count = np.random.default_rng(seed), sample.size, seed % 4
        corners = rng.integers(0, (width, height), (count, 2))
        boxes = np.hstack([corners, np.minimum(corners + rng.integers(4, 9, (count, 2)), (width, height))])
        masks = [Mask(x1, y1, np.ones((y2 - y1, x2 - x1), bool)) for x1, y1, x2, y2 in boxes.tolist()]
        detections = Detections.from_arrays(boxes, rng.random(count), rng.integers(0, 5, count))
        return Instances(sample.size, detections, masks, rng.random(count).astype(np.float32))

    def summary_lines(self, session: Session) -> list[str]:
        return []


def main(argv: Sequence[str], make: Callable[[], Chance] = Chance) -> int:
    """The exit code of the script with the cascade that `make` makes."""

    class ChanceModels(RunModels):
        def build_cascade(self) -> Chance:
            return make()

    real, script.RunModels = script.RunModels, ChanceModels
    try:
        return guarded(lambda: script.main(argv))
    finally:
        script.RunModels = real


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
