"""SAM2's forward passes, as they are or compiled for a few fixed shapes.

`torch.compile` with changing shapes has given wrong masks with SAM2, and would compile again in the midst of a run. So
images are filled up to whole batches, and boxes are decoded by 128, 64, 32, 16 and 8, the last ones filled up to 8.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import torch

from models.sam2_forward import Features, decode, encode

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

MAX_BATCH = 63
"""CUDA's attention takes at most 65,535 windows a launch; at 1024 px an image has 1,024 of them."""

BUCKETS = (128, 64, 32, 16, 8)
"""Numbers of boxes that are compiled."""


class Sam2Forward(Protocol):
    """SAM2's two forward passes.

    Attributes:
        max_batch: how many images may be encoded at once.
    """

    max_batch: int

    def encode(self, pixels: torch.Tensor) -> Features:
        """Features of (B, 3, S, S) preprocessed images, of B at least; the first rows are theirs."""

    def max_boxes(self, next_chunk: int) -> int:
        """How many boxes, 1 at least, to decode next where memory and boxes at hand allow for `fitting`."""

    def decode(
        self, features: Features, image_index: torch.Tensor, boxes: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits and scores of boxes; see `models.sam2_forward.decode`."""


class EagerForward:
    """The passes as they are, for any shapes."""

    def __init__(self, model: SAM2Base) -> None:
        self.max_batch, self._model = MAX_BATCH, model

    def encode(self, pixels: torch.Tensor) -> Features:
        """See Passes."""
        return encode(self._model, pixels)

    def max_boxes(self, next_chunk: int) -> int:
        """All that fit."""
        return next_chunk

    def decode(
        self, features: Features, image_index: torch.Tensor, boxes: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See Passes."""
        return decode(self._model, features, image_index, boxes)


class CompiledForward:
    """The passes compiled.

    Args:
        model: a SAM2 model in eval mode on its device.
        max_batch: images a batch; fewer are filled up.
        backend: what `torch.compile` compiles with.
    """

    def __init__(self, model: SAM2Base, max_batch: int, backend: str = "inductor") -> None:
        self.max_batch, self._model = min(max_batch, MAX_BATCH), model
        self._graphs = 0
        self._encode = torch.compile(self._levels, dynamic=False, fullgraph=True, backend=backend)
        self._decode = torch.compile(self._masks, dynamic=False, fullgraph=True, backend=backend)

    def encode(self, pixels: torch.Tensor) -> Features:
        """See Passes."""
        embedding, *high_res = self._encode(_filled(pixels, self.max_batch))
        return Features(embedding, high_res)

    def max_boxes(self, next_chunk: int) -> int:
        """The largest bucket that fits; a rest that is smaller than all is filled up to the smallest."""
        return next((bucket for bucket in BUCKETS if bucket <= next_chunk), next_chunk)

    def decode(
        self, features: Features, image_index: torch.Tensor, boxes: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See Passes."""
        count, bucket = len(boxes), max(len(boxes), BUCKETS[-1])
        levels = (features.embedding, *features.high_res)
        logits, scores = self._decode(levels, _filled(image_index, bucket), _filled(boxes, bucket))
        return logits[:count], scores[:count]

    def warm_up(self, chunk_bytes: int) -> float:
        """Compiles all shapes that come where a decode may take so much memory; the seconds that it took."""
        device, side, start = self._model.device, self._model.image_size, time.perf_counter()
        images = torch.zeros(self.max_batch, 3, side, side, device=device)
        encode(self._model, images[:1])  # fills the model's own cache, a change of which would compile it anew
        features = self.encode(images)
        next_chunk = max(BUCKETS[-1], chunk_bytes // features.box_bytes)
        for bucket in (bucket for bucket in BUCKETS if bucket <= next_chunk):
            image_index = torch.zeros(bucket, dtype=torch.int64, device=device)
            self.decode(features, image_index, torch.zeros(bucket, 4, device=device))
        self._graphs = _graphs()
        return time.perf_counter() - start

    def recompilations(self) -> int:
        """How many graphs were compiled since `warm_up`; there should be none."""
        return _graphs() - self._graphs

    def _levels(self, pixels: torch.Tensor) -> Sequence[torch.Tensor]:
        features = encode(self._model, pixels)
        return features.embedding, *features.high_res

    def _masks(
        self, levels: Sequence[torch.Tensor], image_index: torch.Tensor, boxes: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return decode(self._model, Features(levels[0], list(levels[1:])), image_index, boxes)


def _filled(tensor: torch.Tensor, rows: int) -> torch.Tensor:
    """A tensor with its last row repeated up to so many."""
    missing = rows - len(tensor)
    return torch.cat([tensor, tensor[-1:].expand(missing, *tensor.shape[1:])]) if missing else tensor


def _graphs() -> int:
    from torch._dynamo.utils import counters

    return int(counters["stats"]["unique_graphs"])
