"""SAM2 with box prompts: the boxes of all images of a batch become masks in one flattened decode.

Numerically the official `SAM2ImagePredictor` (sam2 1.1.0) with `multimask_output=False`, for any `image_size`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from models.sam2_compile import CompiledForward, Sam2Forward
from models.sam2_forward import Backbone, Features, autocast, features_of, select_single_mask
from models.transfer import STRIP_PIXELS, AsyncMasks, BoxMasks, Upload, to_device
from models.windows import View, views_of
from utils.boxes import Size, normalize
from utils.device import Backend
from utils.errors import RunError, UserError, first_line

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

PIXEL_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
PIXEL_STD = np.array([0.229, 0.224, 0.225], np.float32)

MIN_CHUNK_BYTES = 32 * 2**20
"""Smallest budget of a decode, to which it is halved when memory runs out."""

LONG_RUN = 20_000
"""Number of images from which on SAM2 is compiled on a GPU: it takes minutes and saves milliseconds per image."""


def preprocess(images: Sequence[np.ndarray | torch.Tensor], side: int, device: torch.device) -> torch.Tensor:
    """Prepare images for SAM2: (B, 3, side, side) float32, squashed to a square with antialiasing, normalised.

    Args:
        images: (H, W, 3) uint8 RGB each, of any sizes. They cross to the device as bytes, or are there already.
    """
    resize_device = torch.device("cpu") if device.type == "mps" else device  # MPS lacks the antialiased resize
    mean, std = (to_device(values[:, None, None], resize_device) for values in (PIXEL_MEAN, PIXEL_STD))

    def scaled(pixels: torch.Tensor, height: int) -> torch.Tensor:
        return F.interpolate(pixels[None], (height, side), mode="bilinear", align_corners=False, antialias=True)[0]

    def resized(image: np.ndarray | torch.Tensor) -> torch.Tensor:
        rows = max(1, STRIP_PIXELS // image.shape[1])  # a large image is never float32 as a whole
        strips = []
        for top in range(0, image.shape[0], rows):
            strip = to_device(image[top : top + rows], resize_device)
            pixels = strip.permute(2, 0, 1).float().div_(255).contiguous()
            if strip.shape[0] == image.shape[0]:
                return scaled(pixels, side)
            # The width alone: torch itself scales the width first, so the pixels are those of one call for the whole.
            strips.append(scaled(pixels, strip.shape[0]))
        return scaled(torch.cat(strips, dim=1), side)

    return torch.stack([resized(image) for image in images]).sub_(mean).div_(std).to(device)


def not_finite(precision: torch.dtype) -> RunError:
    """Make the error of an output that is not finite: because of a precision that overflows, else of the weights."""
    overflows = precision == torch.float16
    advice = "choose --precision bf16 or fp32" if overflows else "the weights are damaged: replace arch.sam_weights"
    return RunError(f"SAM2's output is not finite in {precision}: {advice}")


class Segmenter:
    """Give boxes their masks. A mask has no class: `models/cascade.py` gives it that of its box.

    Args:
        model: a SAM2 model in eval mode on its device.
        precision: torch.float32, or the 16-bit type that matrix products run in.
        chunk_bytes: how much memory the boxes of one decode may take; bounds memory at any number of boxes.
        backend: what the model's encoder runs in, to be named.
        windows_at_once: how many windows of large images are encoded at once; None: images are encoded as a whole.
    """

    def __init__(
        self,
        model: SAM2Base,
        precision: torch.dtype,
        chunk_bytes: int,
        backend: Backend = "torch",
        windows_at_once: int | None = None,
    ) -> None:
        self.model, self.precision, self.chunk_bytes, self.backend = model, precision, chunk_bytes, backend
        self._windows_at_once, self._passes = windows_at_once, Sam2Forward(model, windows_at_once)
        self._most_chunk_bytes = chunk_bytes

    @property
    def device(self) -> torch.device:
        """Return the device on which the model runs."""
        return self.model.device

    @property
    def max_batch(self) -> int:
        """Return how many images may be encoded at once; fewer for a while after memory was out."""
        return self._passes.max_batch

    def __call__(
        self, images: Sequence[npt.NDArray[np.uint8]], boxes: Sequence[npt.NDArray[np.float32]]
    ) -> list[BoxMasks]:
        """Return the masks of each set of boxes, the k-th set in pixels of the k-th image; see `launch`."""
        return self.collect(self.launch(images, boxes))

    def collect(self, pending: AsyncMasks) -> list[BoxMasks]:
        """Wait for the masks of a launched batch.

        Raises:
            RunError: the precision overflowed and the model's output is not finite.
        """
        found = pending.wait()
        if not all(np.isfinite(each.scores).all() for each in found):
            raise not_finite(self.precision)
        return found

    @torch.inference_mode()
    def compile(self, max_batch: int, backend: str = "inductor") -> float:
        """Compile the forward passes for batches of `max_batch` images; return the seconds that it took.

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

    def use_less_memory(self, images: int, reason: str) -> None:
        """Make the next try smaller: of half as many images, and with half the memory for each decode.

        Args:
            images: how many were too many.
            reason: what the device said.

        Raises:
            RunError: it was a single image, and nothing is left to be halved.
        """
        if self._windows_at_once is not None:  # even a single image has many windows, encoded `max_batch` at once
            images = max(images, self.max_batch)
        if images > 1:
            self._passes.take_at_most(images // 2)
        elif self.chunk_bytes <= MIN_CHUNK_BYTES:
            if not isinstance(self._passes, CompiledForward):
                advice = "choose smaller models or --device cpu"
                raise RunError(f"the GPU has too little memory for a single image ({reason}); {advice}")
            self._passes = Sam2Forward(self.model, self._windows_at_once)  # which pads neither images nor boxes
        self.chunk_bytes = min(self.chunk_bytes, max(MIN_CHUNK_BYTES, self.chunk_bytes // 2))

    def use_more_memory(self) -> None:
        """Undo the last `use_less_memory`, to see whether there is more memory by now."""
        self.chunk_bytes = min(2 * self.chunk_bytes, self._most_chunk_bytes)
        self._passes.take_more()

    def upload(self, images: Sequence[npt.NDArray[np.uint8]]) -> Upload:
        """Send (H, W, 3) uint8 RGB images to the device ahead of `launch`; any thread may do so.

        Images of which windows are encoded stay on the host: `launch` sends the windows, which may be a small part.
        """
        return Upload(images, self.device if self._windows_at_once is None else torch.device("cpu"))

    def summary_lines(self) -> list[str]:
        """Return a line to print if something was compiled during the run."""
        count = self._passes.recompilations() if isinstance(self._passes, CompiledForward) else 0
        return [f"segmenter: compiled anew in the midst of the run: {count} graphs"] if count else []

    @torch.inference_mode()
    def launch(
        self,
        images: Sequence[npt.NDArray[np.uint8] | torch.Tensor],
        boxes: Sequence[npt.NDArray[np.float32]],
        image_index: Sequence[int] | None = None,
    ) -> AsyncMasks:
        """Start a batch on the device. When this returns, a CPU is done, and a GPU may still compute.

        An image, or a window of it, is encoded once, whatever the number of sets that have boxes in it; it is not
        encoded if none has. The boxes of all sets are decoded as one list.

        Args:
            images: B arrays (H, W, 3) uint8 RGB, of any sizes; tensors if `upload` sent them ahead.
            boxes: K sets, (N, 4) float32 x1 y1 x2 y2 in pixels of their image, N >= 0.
            image_index: the image of each set, ascending; left out, the k-th set belongs to the k-th image.
        """
        index = np.arange(len(images)) if image_index is None else np.asarray(image_index)
        pending = AsyncMasks([len(each) for each in boxes])
        all_boxes = np.concatenate([np.zeros((0, 4), np.float32), *boxes])
        sizes = np.array([image.shape[:2] for image in images], np.int64).reshape(-1, 2)
        box_images = np.repeat(index, [len(each) for each in boxes])
        side = None if self._windows_at_once is None else self.model.image_size
        views = views_of(all_boxes, box_images, sizes, side)
        at_once = self.max_batch  # read once, since the detector's thread may lower it meanwhile
        for start in range(0, len(views), at_once):
            group = views[start : start + at_once]
            with autocast(self.device, self.precision):
                crops = [images[view.image][view.slices] for view in group]
                features = self._passes.encode(preprocess(crops, self.model.image_size, self.device))
            self._decode_views(features, group, all_boxes, pending)
        return pending.complete(self.device)

    @torch.inference_mode()
    def launch_encoded(self, backbone: Backbone, size: Size, boxes: npt.NDArray[np.float32]) -> AsyncMasks:
        """Start as `launch`, for one set of (N, 4) boxes of one image of a (height, width) that is encoded already."""
        pending = AsyncMasks([len(boxes)])
        views = views_of(boxes, np.zeros(len(boxes), np.int64), np.array([size]), side=None)
        if views:
            self._decode_views(features_of(self.model, backbone), views, boxes, pending)
        return pending.complete(self.device)

    def _decode_views(
        self, features: Features, views: Sequence[View], boxes: npt.NDArray[np.float32], pending: AsyncMasks
    ) -> None:
        """Append the masks of the boxes of some views.

        Args:
            features: of the views, encoded.
            views: of images of the batch; their `rows` say which of `boxes` are in them.
            boxes: (N, 4), all boxes of the batch, in pixels of their images.
            pending: to which the masks are appended.
        """
        rows = np.concatenate([view.rows for view in views])
        view_index = np.repeat(np.arange(len(views)), [len(view.rows) for view in views])
        sizes, corners = np.array([view.size for view in views]), np.array([view.box[:2] for view in views])
        box_sizes, box_corners = sizes[view_index], corners[view_index]
        in_view = boxes[rows] - np.tile(box_corners, 2).astype(np.float32)
        in_model_pixels = normalize(in_view, box_sizes) * np.float32(self.model.image_size)  # of its square input
        prompts = to_device(in_model_pixels, self.device)
        for chunk in self._chunks(box_sizes, features):
            decoded = self._decode(features, view_index[chunk], prompts[chunk])
            pending.append(*decoded, rows[chunk], box_sizes[chunk], box_corners[chunk])

    def _chunks(self, box_sizes: np.ndarray, features: Features) -> Iterator[slice]:
        """Yield consecutive slices of the boxes, each within the memory budget, but of one box at least."""
        # A full-size mask takes 5 bytes a pixel: a float32 logit and a bool.
        total = np.cumsum(features.box_bytes + 5 * box_sizes.prod(axis=1))
        start, spent = 0, 0
        while start < len(total):
            fitting = int(np.searchsorted(total, spent + self.chunk_bytes, side="right")) - start
            stop = start + self._passes.max_boxes(max(1, fitting))
            yield slice(start, stop)
            start, spent = stop, int(total[stop - 1])

    def _decode(
        self, features: Features, view_index: np.ndarray, boxes: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Decode boxes of encoded views: (N, S/4, S/4) float32 mask logits and (N,) scores, on the device."""
        with autocast(self.device, self.precision):
            decoded = self._passes.decode(features, to_device(view_index, self.device), boxes)
            logits, scores = select_single_mask(self.model, *decoded)
        return logits.float(), scores
