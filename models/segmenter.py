"""SAM2 with box prompts: the boxes of all images of a batch become masks in one flattened decode.

Numerically the official `SAM2ImagePredictor` (sam2 1.1.0) with `multimask_output=False`, for any `image_size`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from models.decoding import Features, decode, single_masks
from utils.errors import UserError
from utils.structures import Detections, Instances, Mask

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

PIXEL_MEAN = (0.485, 0.456, 0.406)
PIXEL_STD = (0.229, 0.224, 0.225)

# CUDA's attention takes at most 65,535 windows a launch; at 1024 px an image has 1,024 of them.
MAX_ENCODER_BATCH = 63


def preprocess(images: Sequence[np.ndarray], side: int, device: torch.device) -> torch.Tensor:
    """Images as SAM2 wants them: (B, 3, side, side) float32, squashed to a square with antialiasing, normalised.

    Args:
        images: (H, W, 3) uint8 RGB each, of any sizes. They cross to the device as bytes.
    """
    resize_device = torch.device("cpu") if device.type == "mps" else device  # MPS lacks the antialiased resize
    mean, std = (torch.tensor(values, device=resize_device).view(3, 1, 1) for values in (PIXEL_MEAN, PIXEL_STD))

    def resized(image: np.ndarray) -> torch.Tensor:
        pixels = torch.from_numpy(np.ascontiguousarray(image)).to(resize_device).permute(2, 0, 1)
        pixels = pixels.float().div_(255).contiguous()
        return F.interpolate(pixels[None], (side, side), mode="bilinear", align_corners=False, antialias=True)[0]

    return torch.stack([resized(image) for image in images]).sub_(mean).div_(std).to(device)


def encode(model: SAM2Base, pixels: torch.Tensor) -> Features:
    """Features of (B, 3, S, S) preprocessed images."""
    levels = model.forward_image(pixels)["backbone_fpn"][-model.num_feature_levels :]
    embedding = levels[-1]
    if model.directly_add_no_mem_embed:
        embedding = embedding + model.no_mem_embed.view(1, -1, 1, 1)
    return Features(embedding, list(levels[:-1]))


class Segmenter:
    """Masks for boxes.

    Args:
        model: a SAM2 model in eval mode on its device.
        precision: torch.float32, or the 16-bit type that matrix products run in.
        chunk_bytes: how much memory the boxes of one decode may take; bounds memory at any number of boxes.
    """

    def __init__(self, model: SAM2Base, precision: torch.dtype, chunk_bytes: int) -> None:
        self.model, self.precision, self.chunk_bytes = model, precision, chunk_bytes

    @property
    def device(self) -> torch.device:
        """Where the model runs."""
        return self.model.device

    @torch.inference_mode()
    def __call__(self, images: Sequence[np.ndarray], detections: Sequence[Detections]) -> list[Instances]:
        """Instances of each image, in the order of its detections.

        Args:
            images: B arrays (H, W, 3) uint8 RGB, of any sizes.
            detections: the boxes of each image, in pixels of that image; an image may have none.

        Raises:
            UserError: the precision overflowed and the model's output is not finite.
        """
        sizes = [(image.shape[0], image.shape[1]) for image in images]
        masks, scores = self._masks(images, sizes, detections)
        instances, start = [], 0
        for size, found in zip(sizes, detections):
            stop = start + len(found)
            instances.append(Instances(size, found, masks[start:stop], scores[start:stop]))
            start = stop
        return instances

    def _masks(
        self, images: Sequence[np.ndarray], sizes: list[tuple[int, int]], detections: Sequence[Detections]
    ) -> tuple[list[Mask], np.ndarray]:
        """Masks and scores of the flattened list of all boxes; images without boxes are not encoded."""
        prompted = [i for i, found in enumerate(detections) if len(found)]
        if not prompted:
            return [], np.zeros(0, np.float32)
        counts = [len(detections[i]) for i in prompted]
        image_index = np.repeat(np.arange(len(prompted)), counts)
        box_sizes = np.repeat(np.array([sizes[i] for i in prompted]), counts, axis=0)
        boxes = self._to_model_pixels(np.concatenate([detections[i].boxes for i in prompted]), box_sizes)
        features = self._encode([images[i] for i in prompted])
        masks: list[Mask] = []
        scores: list[np.ndarray] = []
        for chunk in self._chunks(box_sizes, features):
            logits, chunk_scores = self._decode(features, image_index[chunk], boxes[chunk])
            masks += _masks_at_image_size(logits, box_sizes[chunk])
            scores.append(chunk_scores)
        return masks, np.concatenate(scores)

    def _encode(self, images: Sequence[np.ndarray]) -> Features:
        """Features of all images, a bounded number of them at a time."""
        parts = []
        for start in range(0, len(images), MAX_ENCODER_BATCH):
            pixels = preprocess(images[start : start + MAX_ENCODER_BATCH], self.model.image_size, self.device)
            with self._autocast():
                parts.append(encode(self.model, pixels))
        return Features(
            torch.cat([part.embedding for part in parts]),
            [torch.cat(level) for level in zip(*(part.high_res for part in parts))],
        )

    def _to_model_pixels(self, boxes: np.ndarray, box_sizes: np.ndarray) -> torch.Tensor:
        """Boxes in pixels of their images -> pixels of the model's square input, (N, 4) float32 on the device."""
        scale = torch.from_numpy(box_sizes[:, [1, 0, 1, 0]].astype(np.float32))
        return (torch.from_numpy(boxes) / scale * self.model.image_size).to(self.device)

    def _autocast(self) -> AbstractContextManager[None]:
        low = self.precision != torch.float32
        return torch.autocast(self.device.type, dtype=self.precision if low else torch.bfloat16, enabled=low)

    def _chunks(self, box_sizes: np.ndarray, features: Features) -> Iterator[slice]:
        """Consecutive slices of the boxes, each within the memory budget, but of one box at least."""
        # The decoder holds about four copies of its inputs; a full-size mask is a float32 logit and a bool a pixel.
        costs = 4 * features.row_bytes + 5 * box_sizes.prod(axis=1)
        start, spent = 0, 0
        for i, cost in enumerate(costs.tolist()):
            if i > start and spent + cost > self.chunk_bytes:
                yield slice(start, i)
                start, spent = i, 0
            spent += cost
        yield slice(start, len(costs))

    def _decode(
        self, features: Features, image_index: np.ndarray, boxes: torch.Tensor
    ) -> tuple[torch.Tensor, np.ndarray]:
        """(N, S/4, S/4) float32 mask logits on the device and (N,) float32 scores on the host."""
        with self._autocast():
            decoded = decode(self.model, features, torch.from_numpy(image_index).to(self.device), boxes)
            logits, scores = single_masks(self.model, *decoded)
        host_scores = scores.float().cpu().numpy()
        if not np.isfinite(host_scores).all():
            raise UserError(f"SAM2's output is not finite in {self.precision}: choose --precision bf16 or fp32")
        return logits.float(), host_scores


def _masks_at_image_size(logits: torch.Tensor, box_sizes: np.ndarray) -> list[Mask]:
    """Masks of (N, h, w) logits, each upsampled to its own image's (height, width) and cut at 0."""
    masks: dict[int, Mask] = {}
    for size in np.unique(box_sizes, axis=0):
        rows = np.flatnonzero((box_sizes == size).all(axis=1))
        full = F.interpolate(logits[rows, None], tuple(size.tolist()), mode="bilinear", align_corners=False)
        masks |= zip(rows.tolist(), map(Mask.of, (full[:, 0] > 0).cpu().numpy()))
    return [masks[i] for i in range(len(logits))]
