"""SAM2 with box prompts: the boxes of all images of a batch become masks in one flattened decode.

Numerically the official `SAM2ImagePredictor` (sam2 1.1.0) with `multimask_output=False`, for any `image_size`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from models.sam2_compile import CompiledForward, EagerForward, Sam2Forward
from models.sam2_forward import Backbone, Features, autocast, features_of, select_single_mask
from models.transfer import AsyncInstances, HostSync, to_device
from utils.boxes import normalize
from utils.errors import RunError, UserError, first_line
from utils.structures import Detections, Instances

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

PIXEL_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
PIXEL_STD = np.array([0.229, 0.224, 0.225], np.float32)

MIN_CHUNK_BYTES = 32 * 2**20
"""Where memory is out, the budget of a decode is halved down to this."""

LONG_RUN = 20_000
"""Images from which on compiling is taken to pay on a GPU: it takes minutes and saves milliseconds an image."""


def preprocess(images: Sequence[np.ndarray], side: int, device: torch.device) -> torch.Tensor:
    """Images as SAM2 wants them: (B, 3, side, side) float32, squashed to a square with antialiasing, normalised.

    Args:
        images: (H, W, 3) uint8 RGB each, of any sizes. They cross to the device as bytes.
    """
    resize_device = torch.device("cpu") if device.type == "mps" else device  # MPS lacks the antialiased resize
    mean, std = (to_device(values[:, None, None], resize_device) for values in (PIXEL_MEAN, PIXEL_STD))

    def resized(image: np.ndarray) -> torch.Tensor:
        pixels = to_device(image, resize_device).permute(2, 0, 1).float().div_(255).contiguous()
        return F.interpolate(pixels[None], (side, side), mode="bilinear", align_corners=False, antialias=True)[0]

    return torch.stack([resized(image) for image in images]).sub_(mean).div_(std).to(device)


class Segmenter:
    """Masks for boxes.

    Args:
        model: a SAM2 model in eval mode on its device.
        precision: torch.float32, or the 16-bit type that matrix products run in.
        chunk_bytes: how much memory the boxes of one decode may take; bounds memory at any number of boxes.
    """

    def __init__(self, model: SAM2Base, precision: torch.dtype, chunk_bytes: int) -> None:
        self.model, self.precision, self.chunk_bytes = model, precision, chunk_bytes
        self._passes: Sam2Forward = EagerForward(model)

    @property
    def device(self) -> torch.device:
        """Where the model runs."""
        return self.model.device

    def __call__(self, images: Sequence[np.ndarray], detections: Sequence[Detections]) -> list[Instances]:
        """Instances of each image, in the order of its detections; see `launch`.

        Raises:
            RunError: the precision overflowed and the model's output is not finite.
        """
        return self.collect(self.launch(images, detections))

    def collect(self, pending: AsyncInstances) -> list[Instances]:
        """Instances of each image of a batch that was launched; raises RunError as `__call__`."""
        return pending.instances(f"in {self.precision}: choose --precision bf16 or fp32")

    @torch.inference_mode()
    def compile(self, max_batch: int, backend: str = "inductor") -> float:
        """Compiles the forward passes for batches of so many images; the seconds that it took.

        Args:
            backend: what `torch.compile` compiles with.

        Raises:
            UserError: torch cannot compile on this machine; the passes stay as they are.
        """
        try:
            passes = CompiledForward(self.model, max_batch, backend)
            with autocast(self.device, self.precision):
                seconds = passes.warm_up(self.chunk_bytes)
        except Exception as error:  # compilers raise almost anything
            reason = first_line(error)
            raise UserError(f"--compile: torch cannot compile on this machine: {reason}") from error
        self._passes = passes
        return seconds

    def free_memory(self) -> None:
        """Frees memory for another try at an image that was too much.

        Raises:
            RunError: nothing is left to be saved.
        """
        if isinstance(self._passes, CompiledForward):
            self._passes = EagerForward(self.model)  # those that are compiled always take whole batches
        elif self.chunk_bytes > MIN_CHUNK_BYTES:
            self.chunk_bytes //= 2
        else:
            raise RunError("the GPU has too little memory for a single image; choose smaller models or --device cpu")

    def summary_lines(self) -> list[str]:
        """A line if something was compiled in the midst of the run."""
        count = self._passes.recompilations() if isinstance(self._passes, CompiledForward) else 0
        return [f"segmenter: compiled anew in the midst of the run: {count} graphs"] if count else []

    @torch.inference_mode()
    def launch(self, images: Sequence[np.ndarray], detections: Sequence[Detections]) -> AsyncInstances:
        """Has the device begin with a batch; only a CPU is done when this returns.

        The boxes of all images are one flattened list; images without boxes are not encoded.

        Args:
            images: B arrays (H, W, 3) uint8 RGB, of any sizes.
            detections: the boxes of each image, in pixels of that image; an image may have none.
        """
        sizes = [(image.shape[0], image.shape[1]) for image in images]
        pending = AsyncInstances(sizes, detections)
        prompted = [i for i, found in enumerate(detections) if len(found)]
        for start in range(0, len(prompted), self._passes.max_batch):
            group = prompted[start : start + self._passes.max_batch]
            self._segment([images[i] for i in group], [detections[i].boxes for i in group], pending)
        pending.arrival = HostSync(self.device)
        return pending

    @torch.inference_mode()
    def launch_encoded(self, backbone: Backbone, size: tuple[int, int], detections: Detections) -> AsyncInstances:
        """As `launch`, for one image of a (height, width) that is encoded already."""
        pending = AsyncInstances([size], [detections])
        if len(detections):
            self._prompt(features_of(self.model, backbone), [size], [detections.boxes], pending)
        pending.arrival = HostSync(self.device)
        return pending

    def _segment(self, images: Sequence[np.ndarray], boxes: Sequence[np.ndarray], pending: AsyncInstances) -> None:
        """Adds the masks of images that each have a box or more."""
        with autocast(self.device, self.precision):
            features = self._passes.encode(preprocess(images, self.model.image_size, self.device))
        self._prompt(features, [(image.shape[0], image.shape[1]) for image in images], boxes, pending)

    def _prompt(
        self,
        features: Features,
        sizes: Sequence[tuple[int, int]],
        boxes: Sequence[np.ndarray],
        pending: AsyncInstances,
    ) -> None:
        """Adds the masks of the boxes of images with these features and sizes."""
        counts = [len(each) for each in boxes]
        image_index = np.repeat(np.arange(len(boxes)), counts)
        box_sizes = np.repeat(np.array(sizes), counts, axis=0)
        prompts = self._to_model_pixels(np.concatenate(boxes), box_sizes)
        for chunk in self._chunks(box_sizes, features):
            pending.add(*self._decode(features, image_index[chunk], prompts[chunk]), box_sizes[chunk])

    def _to_model_pixels(self, boxes: np.ndarray, box_sizes: np.ndarray) -> torch.Tensor:
        """Boxes in pixels of their images -> pixels of the model's square input, (N, 4) float32 on the device."""
        scaled = normalize(boxes, box_sizes) * np.float32(self.model.image_size)
        return to_device(scaled, self.device)

    def _chunks(self, box_sizes: np.ndarray, features: Features) -> Iterator[slice]:
        """Consecutive slices of the boxes, each within the memory budget, but of one box at least."""
        # A full-size mask is a float32 logit and a bool a pixel.
        total = np.cumsum(features.box_bytes + 5 * box_sizes.prod(axis=1))
        start, spent = 0, 0
        while start < len(total):
            next_chunk = int(np.searchsorted(total, spent + self.chunk_bytes, side="right")) - start
            stop = start + self._passes.max_boxes(max(1, next_chunk))
            yield slice(start, stop)
            start, spent = stop, int(total[stop - 1])

    def _decode(
        self, features: Features, image_index: np.ndarray, boxes: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, S/4, S/4) float32 mask logits and (N,) scores, on the device."""
        with autocast(self.device, self.precision):
            decoded = self._passes.decode(features, to_device(image_index, self.device), boxes)
            logits, scores = select_single_mask(self.model, *decoded)
        return logits.float(), scores
