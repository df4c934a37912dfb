"""Instances that the device is still at work on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F

from models.crossing import Arrival, sent, to_device, to_host
from utils.errors import RunError
from utils.masks import Mask
from utils.structures import Detections, Instances


@dataclass
class PendingInstances:
    """The instances of a batch, which the device finds while the host does something else.

    Attributes:
        sizes: (height, width) of each image.
        detections: the boxes of each image.
        arrival: when all that was added is on the host.
    """

    sizes: Sequence[tuple[int, int]]
    detections: Sequence[Detections]
    arrival: Arrival | None = None
    _scores: list[torch.Tensor] = field(default_factory=list)
    _masks: list[tuple[np.ndarray, Callable[[], list[Mask]]]] = field(default_factory=list)

    def add(self, logits: torch.Tensor, scores: torch.Tensor, box_sizes: np.ndarray) -> None:
        """Adds the next N boxes of the flattened list of all boxes.

        Args:
            logits: (N, h, w) float32 on the device; each mask is upsampled to its image and cut at 0.
            scores: (N,).
            box_sizes: (N, 2) height and width of the image that each box is in.
        """
        start = sum(map(len, self._scores))
        self._scores.append(to_host(scores.float()))
        for size in np.unique(box_sizes, axis=0):
            rows = np.flatnonzero((box_sizes == size).all(axis=1))
            chosen = logits[to_device(rows, logits.device), None]
            full = F.interpolate(chosen, tuple(size.tolist()), mode="bilinear", align_corners=False)[:, 0] > 0
            self._masks.append((start + rows, sent(full)))

    def instances(self, advice: str) -> list[Instances]:
        """The instances of each image, in the order of its detections; waits for the device.

        Args:
            advice: what to do where the numbers overflowed.

        Raises:
            RunError: the model's output is not finite.
        """
        if self.arrival is not None:
            self.arrival.wait()
        scores = np.concatenate([np.zeros(0, np.float32), *(part.numpy() for part in self._scores)])
        if not np.isfinite(scores).all():
            raise RunError(f"SAM2's output is not finite {advice}")
        masks: dict[int, Mask] = {}
        for places, arrived in self._masks:
            masks |= zip(places.tolist(), arrived(), strict=True)
        instances, start = [], 0
        for size, found in zip(self.sizes, self.detections):
            stop = start + len(found)
            instances.append(Instances(size, found, [masks[i] for i in range(start, stop)], scores[start:stop]))
            start = stop
        return instances
