"""The cascade begins at once where a GPU works on its own, and goes on where the GPU's memory is out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from models.cascade import ImageCascade
from utils.distributed import Session
from utils.structures import Detections, Instances, Sample


class Boxes:
    """A detector that finds as many boxes as an image's first pixel says."""

    def __call__(self, samples: Sequence[Sample]) -> list[Detections]:
        counts = [int(sample.image[0, 0, 0]) for sample in samples]
        return [Detections.from_arrays([[0, 0, 1, 1]] * count, np.ones(count), np.zeros(count)) for count in counts]

    def summary_lines(self, session: Session) -> list[str]:
        return ["boxes"]


class Masks:
    """A segmenter with room for so many images at a time."""

    def __init__(self, device: str, room: int = 99) -> None:
        self.device, self.room = torch.device(device), room
        self.launched: list[int] = []

    def launch(self, images: Sequence[np.ndarray], detections: Sequence[Detections]) -> list[Detections]:
        if len(images) > self.room:
            raise torch.OutOfMemoryError("no room")
        self.launched.append(len(images))
        return list(detections)

    def collect(self, pending: list[Detections]) -> list[Instances]:
        return [Instances((2, 2), found, [None] * len(found), np.ones(len(found), np.float32)) for found in pending]

    def free_memory(self) -> None:
        raise AssertionError("one image fits")

    def summary_lines(self) -> list[str]:
        return ["masks"]


def samples(count: int) -> list[Sample]:
    return [Sample(str(i), Path(f"{i}.png"), np.full((2, 2, 3), i, np.uint8)) for i in range(count)]


@pytest.mark.parametrize("device, at_once", [("cuda", [3]), ("cpu", [])])
def test_a_gpu_begins_when_it_is_told_and_a_cpu_when_it_is_asked(device: str, at_once: list[int]) -> None:
    masks = Masks(device)
    found = ImageCascade(Boxes(), masks)(samples(3))
    assert masks.launched == at_once
    assert [(sample.image_id, len(instances)) for sample, instances in found] == [("0", 0), ("1", 1), ("2", 2)]
    assert masks.launched == [3]


def test_images_keep_their_boxes_where_memory_cuts_the_batch_in_parts() -> None:
    masks = Masks("cuda", room=3)
    cascade = ImageCascade(Boxes(), masks)
    assert [(sample.image_id, len(instances)) for sample, instances in cascade(samples(7))] == [
        (str(i), i) for i in range(7)
    ]
    assert masks.launched == [3, 3, 1]
    assert cascade.summary_lines(Session()) == ["boxes", "masks", "GPU out of memory: went on with 3 images at a time"]
