"""SAM2's forward passes, eager or compiled for a few fixed shapes.

`torch.compile` with dynamic shapes has given wrong masks with SAM2, and would recompile during a run. So batches of
images are padded to their full size, and boxes are decoded in groups of 128, 64, 32, 16 and 8, the last one padded.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from models.device_limits import largest_batch
from models.sam2_forward import Features, decode, encode, without_cudnn_attention

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

BUCKETS = (128, 64, 32, 16, 8)
"""Numbers of boxes for which the decoder is compiled."""

MOST_SHAPES = 64
"""For how many shapes torch may compile a pass; its own limit of eight would end a run that is short of memory.

The decoder has one for each bucket, and each once more for every number of images that is encoded at once.
"""


class Sam2Forward:
    """Hold the forward passes of a model in eval mode on its device, for any shapes.

    Attributes:
        max_batch: how many images may be encoded at once.
    """

    def __init__(self, model: SAM2Base, max_batch: int | None = None) -> None:
        limit = largest_batch(model.device, model.image_size)
        self.max_batch, self._model = min(max_batch or limit, limit), model
        self._before: list[int] = []

    def take_at_most(self, images: int) -> None:
        """Encode no more than so many images at once from now on, since memory was out."""
        if images < self.max_batch:
            self._before.append(self.max_batch)
            self.max_batch = images

    def take_more(self) -> None:
        """Encode as many images at once as before the last `take_at_most`; passes for them are compiled already."""
        if self._before:
            self.max_batch = self._before.pop()

    def encode(self, pixels: Tensor) -> Features:
        """Encode (B, 3, S, S) preprocessed images; the result may be padded, the first B rows are valid."""
        with without_cudnn_attention():
            return encode(self._model, pixels)

    def max_boxes(self, next_chunk: int) -> int:
        """Return how many boxes, at least 1, to decode next if memory and remaining boxes allow `next_chunk`."""
        return next_chunk

    def decode(self, features: Features, image_index: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Compute logits and scores of boxes; see `models.sam2_forward.decode`."""
        with without_cudnn_attention():
            return decode(self._model, features, image_index, boxes)


class CompiledForward(Sam2Forward):
    """Hold the compiled forward passes.

    Args:
        model: a SAM2 model in eval mode on its device.
        max_batch: images per batch; smaller batches are padded. Where it is lowered, the encoder is compiled once more.
        backend: of `torch.compile`.
    """

    def __init__(self, model: SAM2Base, max_batch: int, backend: str = "inductor") -> None:
        super().__init__(model, max_batch)
        from torch._dynamo import config

        config.cache_size_limit = max(config.cache_size_limit, MOST_SHAPES)
        self._graphs = 0
        self._encode = torch.compile(self._levels, dynamic=False, fullgraph=True, backend=backend)
        self._decode = torch.compile(self._masks, dynamic=False, fullgraph=True, backend=backend)

    def encode(self, pixels: Tensor) -> Features:
        """See Sam2Forward."""
        embedding, *high_res = self._encode(_padded(pixels, max(len(pixels), self.max_batch)))
        return Features(embedding, high_res)

    def max_boxes(self, next_chunk: int) -> int:
        """Return the largest bucket that fits; if none does, `next_chunk`, which is padded to the smallest one."""
        return next((bucket for bucket in BUCKETS if bucket <= next_chunk), next_chunk)

    def decode(self, features: Features, image_index: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """See Sam2Forward."""
        count, bucket = len(boxes), max(len(boxes), BUCKETS[-1])
        levels = (features.embedding, *features.high_res)
        logits, scores = self._decode(levels, _padded(image_index, bucket), _padded(boxes, bucket))
        return logits[:count], scores[:count]

    def warm_up(self, chunk_bytes: int) -> float:
        """Compile all shapes that can occur within a memory budget per decode; return the seconds that it took."""
        device, side, start = self._model.device, self._model.image_size, time.perf_counter()
        images = torch.zeros(self.max_batch, 3, side, side, device=device)
        encode(self._model, images[:1])  # fills the model's position cache: if it changed later, torch would recompile
        features = self.encode(images)
        next_chunk = max(BUCKETS[-1], chunk_bytes // features.box_bytes)
        for bucket in (bucket for bucket in BUCKETS if bucket <= next_chunk):
            image_index = torch.zeros(bucket, dtype=torch.int64, device=device)
            self.decode(features, image_index, torch.zeros(bucket, 4, device=device))
        self._graphs = _graphs()
        return time.perf_counter() - start

    def recompilations(self) -> int:
        """Return the number of graphs compiled since `warm_up`; it should be 0."""
        return _graphs() - self._graphs

    def _levels(self, pixels: Tensor) -> Sequence[Tensor]:
        features = encode(self._model, pixels)
        return features.embedding, *features.high_res

    def _masks(self, levels: Sequence[Tensor], image_index: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        return decode(self._model, Features(levels[0], list(levels[1:])), image_index, boxes)


def _padded(tensor: Tensor, rows: int) -> Tensor:
    """Repeat the last row of a tensor until it has so many rows."""
    missing = rows - len(tensor)
    return torch.cat([tensor, tensor[-1:].expand(missing, *tensor.shape[1:])]) if missing else tensor


def _graphs() -> int:
    from torch._dynamo.utils import counters

    return int(counters["stats"]["unique_graphs"])
