"""Row 6, the limit: SAM2's encoder and decoder alone, on tensors that already lie on the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from benchmarks import plain
from benchmarks.gates import Evidence
from benchmarks.rows import UnavailableError, autocast
from benchmarks.workload import Workload

MOST_BOXES = 128
"""Boxes decoded at once; more of them are no faster, and take memory."""


class LimitRow:
    """One batch, encoded and decoded again and again; nothing is read, resized, upsampled, copied or written.

    Args:
        work: images, boxes and weights; the first batch is used.
        precision: `fp32`, `bf16` or `fp16`.
        compile_mode: a mode of `torch.compile`, or `off`.
    """

    def __init__(self, work: Workload, precision: str, compile_mode: str) -> None:
        import torch

        order = work.order
        self.batch, self.precision, self.device = min(order.batch, order.images), precision, order.device
        predictor = plain.load_predictor(work.sam_config, work.sam_weights, order.device)
        self.model = predictor.model
        images = [plain.read_image(work.image(i)) for i in range(self.batch)]
        boxes = [work.boxes(i).xyxy for i in range(self.batch)]
        with torch.inference_mode():
            self.pixels = predictor._transforms.forward_batch(images).to(order.device)
            self.chunks = self._chunks(images, boxes)
        self.compiled = compile_mode != "off"
        self.encode, self.decode = self._encode, self._decode
        if self.compiled:
            self.encode = torch.compile(self._encode, dynamic=False, mode=compile_mode)
            self.decode = torch.compile(self._decode, dynamic=False, mode=compile_mode)

    def ready(self, scope: str, count: int) -> Callable[[], int]:
        """See Row; whole batches only, at least one."""
        return partial(self._run, max(1, count // self.batch))

    def evidence(self, count: int) -> Evidence:
        """See Row."""
        raise UnavailableError("not compared: it makes no masks")

    def _chunks(self, images: Sequence[np.ndarray], boxes: Sequence[np.ndarray]) -> list[tuple]:
        """For up to MOST_BOXES boxes each: the image of each box, and the prompt encoder's two outputs."""
        import torch

        index = torch.from_numpy(np.repeat(np.arange(len(images)), [len(each) for each in boxes])).to(self.device)
        sizes = [np.tile(image.shape[1::-1], 2) for image in images]
        scaled = [each / size * self.model.image_size for each, size in zip(boxes, sizes)]
        corners = torch.from_numpy(np.concatenate(scaled).astype(np.float32)).view(-1, 2, 2).to(self.device)
        labels = torch.tensor([[2, 3]], dtype=torch.int, device=self.device)
        chunks = []
        for start in range(0, len(index), MOST_BOXES):
            rows = slice(start, min(start + MOST_BOXES, len(index)))
            points = (corners[rows], labels.expand(rows.stop - start, 2))
            sparse, dense = self.model.sam_prompt_encoder(points=points, boxes=None, masks=None)
            chunks.append((index[rows], sparse, dense))
        return chunks

    def _encode(self) -> list:
        """The three levels of features of the batch, as the decoder takes them."""
        levels = self.model.forward_image(self.pixels)["backbone_fpn"][-self.model.num_feature_levels :]
        if self.model.directly_add_no_mem_embed:
            levels[-1] = levels[-1] + self.model.no_mem_embed.view(1, -1, 1, 1)
        return levels

    def _decode(self, levels: list, index: object, sparse: object, dense: object) -> object:
        """(N, 1, S/4, S/4) mask logits of the boxes of a chunk."""
        *high_res, embedding = (level[index] for level in levels)
        return self.model.sam_mask_decoder(
            image_embeddings=embedding,
            image_pe=self.model.sam_prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
            repeat_image=False,
            high_res_features=high_res,
        )[0]

    def _run(self, batches: int) -> int:
        import torch

        with torch.inference_mode(), autocast(self.precision, self.device):
            for _ in range(batches):
                if self.compiled:
                    torch.compiler.cudagraph_mark_step_begin()
                levels = self.encode()
                for chunk in self.chunks:
                    self.decode(levels, *chunk)
        return batches * self.batch
