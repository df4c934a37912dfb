"""Hand-made clips: objects that move over a plain ground, with the ids of their tracks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from utils.masks import Mask
from utils.structures import Detections, Frame, Instances, Sample

GROUND = (40, 90, 160)
SIZE = (192, 256)


def sample(clip: str, index: int, count: int, path: Path = Path("none.jpg"), size: tuple[int, int] = SIZE) -> Sample:
    """A plain frame with a white strip whose length tells its number."""
    image = np.full((*size, 3), GROUND, np.uint8)
    image[-8:, : 4 * (index + 1)] = 255
    return Sample(f"{clip}/{index:06}", path, image, frame=Frame(clip, index, count))


def instances(index: int, tracks: Sequence[int], class_ids: Sequence[int], size: tuple[int, int] = SIZE) -> Instances:
    """A square a track, up to 30 below each other; all move to the right by 2 pixels a frame, 40 times."""
    corners = [(8 + 2 * (index % 40) + 90 * (i // 30), 24 + 44 * (i % 30)) for i in range(len(tracks))]
    boxes = [(x, y, x + 32, y + 32) for x, y in corners]
    masks = [Mask(x1, y1, np.ones((y2 - y1, x2 - x1), bool)) for x1, y1, x2, y2 in boxes]
    detections = Detections.of(boxes, np.full(len(boxes), 0.5), class_ids)
    return Instances(size, detections, masks, np.full(len(boxes), 0.75, np.float32), np.asarray(tracks, np.int64))


def clip(
    name: str, count: int, tracks: Sequence[int] = (1, 2), class_ids: Sequence[int] = (0, 0), path: Path = Path("a.jpg")
) -> Iterator[tuple[Sample, Instances]]:
    """All frames of a clip, with the same tracks in each."""
    for index in range(count):
        yield sample(name, index, count, path), instances(index, tracks, class_ids)
