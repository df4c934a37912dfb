"""Asynchronous host-device copies; masks return bit-packed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from utils.boxes import Size
from utils.device import use_gpu
from utils.masks import Mask, PackedMask

STRIP_PIXELS = 2**24
"""Pixels of an image or of a mask that are float32 at a time."""


@dataclass(frozen=True)
class PackedMasks:
    """Hold N masks of one size, on their way to the host; read them only after `HostSync.wait`.

    Attributes:
        rows: (N, H) bool, True where a row has foreground.
        columns: (N, W) bool, the same of columns.
        bits: (N, H, ceil(W / 8)) uint8, the leftmost pixel of each eight in the highest bit.
    """

    rows: torch.Tensor
    columns: torch.Tensor
    bits: torch.Tensor

    @classmethod
    def from_masks(cls, full: torch.Tensor) -> PackedMasks:
        """Pack (N, H, W) bool masks on their device, eight pixels to a byte, and start to send them to the host."""
        eights = F.pad(full, (0, -full.shape[2] % 8)).unflatten(2, (-1, 8))
        weights = (1 << torch.arange(7, -1, -1, device=full.device)).to(torch.uint8)
        bits = (eights * weights).sum(-1, dtype=torch.uint8)
        return cls(to_host_async(full.any(dim=2)), to_host_async(full.any(dim=1)), to_host_async(bits))

    def masks(self) -> list[Mask]:
        """Return the masks, which keep their bits packed until one asks for a pixel."""
        return [
            _cropped(rows, columns, bits)
            for rows, columns, bits in zip(self.rows.numpy(), self.columns.numpy(), self.bits.numpy())
        ]


def masks_to_host_async(full: torch.Tensor) -> Callable[[], list[Mask]]:
    """Send (N, H, W) bool masks to the host, from CUDA packed to bits; call the result once they have arrived."""
    if full.device.type == "cuda":
        return PackedMasks.from_masks(full).masks
    masks = [*map(Mask.from_array, full.cpu().numpy())]
    return lambda: masks


def to_device(array: np.ndarray | torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy an array to a device; to CUDA without blocking, from pinned memory. What is on a device stays there."""
    if isinstance(array, torch.Tensor):
        return array
    if device.type == "cuda":
        return _pinned(array).to(device, non_blocking=True)
    # Of an array that cannot be written, torch would warn.
    return torch.from_numpy(np.require(array, requirements=("C", "W"))).to(device)


def _pinned(array: np.ndarray) -> torch.Tensor:
    """Copy an array to pinned memory in this thread alone; torch would take many, and wait for them on a busy host."""
    pinned = torch.empty(array.shape, dtype=getattr(torch, array.dtype.name), pin_memory=True)
    pinned.numpy()[...] = array
    return pinned


def upsampled(logits: torch.Tensor, size: Size) -> torch.Tensor:
    """Upsample (N, 1, h, w) logits bilinearly to (N, 1, *size) and return where they are above 0.

    What is larger than `STRIP_PIXELS` is done strip by strip, since logits take four times the memory of masks.
    """
    height, width = size
    if height * width <= STRIP_PIXELS:
        return F.interpolate(logits, size, mode="bilinear", align_corners=False) > 0
    # As torch computes it, to the bit: the width first, places in float32 and sums with one rounding.
    wide = F.interpolate(logits, (logits.shape[2], width), mode="bilinear", align_corners=False)
    scale = np.float32(logits.shape[2]) / np.float32(height)
    source = np.maximum((np.arange(height) + 0.5) * float(scale) - 0.5, 0).astype(np.float32)
    above = source.astype(np.int64)
    below, share = np.minimum(above + 1, logits.shape[2] - 1), (source - above.astype(np.float32))[:, None]
    full = torch.empty((len(logits), 1, height, width), dtype=torch.bool, device=logits.device)
    for top in range(0, height, rows := max(1, STRIP_PIXELS // width)):
        upper, lower, weight = (to_device(each[top : top + rows], logits.device) for each in (above, below, share))
        full[:, :, top : top + rows] = torch.addcmul(wide[:, :, lower] * weight, wide[:, :, upper], 1 - weight) > 0
    return full


COPIERS = 4
"""Threads that copy images to pinned memory; one alone would take as long for them as a GPU for SAM2 tiny."""


@cache
def _copiers(device: torch.device) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(COPIERS, "pin", partial(use_gpu, device))


@cache
def _copy_stream(device: torch.device, to: Literal["host", "device"]) -> torch.cuda.Stream:
    """Return the CUDA stream on which tensors travel in one direction, beside the computation and the other one."""
    return torch.cuda.Stream(device)


class Upload:
    """Send images to a device ahead of their use, each when one of several threads has copied it to pinned memory.

    Args:
        images: (H, W, 3) uint8 each.
        device: for other devices than CUDA the images stay as they are.
    """

    def __init__(self, images: Sequence[npt.NDArray[np.uint8]], device: torch.device) -> None:
        self._images: Sequence[npt.NDArray[np.uint8]] | list[torch.Tensor] = images
        self._arrived: torch.cuda.Event | None = None
        if device.type == "cuda":
            with torch.cuda.stream(_copy_stream(device, "device")):
                pinned = _copiers(device).map(_pinned, images)
                self._images = [each.to(device, non_blocking=True) for each in pinned]
                self._arrived = torch.cuda.current_stream(device).record_event()

    def images(self) -> Sequence[npt.NDArray[np.uint8] | torch.Tensor]:
        """Return the images for work on the current stream, which waits for them; the host does not."""
        if self._arrived is not None:
            for image in self._images:
                assert isinstance(image, torch.Tensor)
                stream = torch.cuda.current_stream(image.device)  # that of a thread's current GPU may be another one's
                stream.wait_event(self._arrived)
                image.record_stream(stream)
        return self._images


def to_host_async(tensor: torch.Tensor) -> torch.Tensor:
    """Copy a tensor to the host; from CUDA without blocking, into pinned memory (see `HostSync`)."""
    if tensor.device.type != "cuda":
        return tensor.cpu()
    stream = _copy_stream(tensor.device, "host")
    stream.wait_stream(torch.cuda.current_stream(tensor.device))
    with torch.cuda.stream(stream):
        arriving = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)
    tensor.record_stream(stream)  # its memory is not used for others before it has been read
    return arriving


class HostSync:
    """Mark the moment at which everything sent to the host so far has arrived.

    Args:
        device: that of the tensors; a GPU with its number, as tensors have it.
    """

    def __init__(self, device: torch.device) -> None:
        self._event: torch.cuda.Event | None = None
        if device.type == "cuda":
            assert device.index is not None, "a GPU without its number is no tensor's device"
            self._event = torch.cuda.Event(blocking=True)  # the waiting thread sleeps and leaves its core to others
            self._event.record(_copy_stream(device, "host"))

    def wait(self) -> None:
        """Wait until it has come."""
        if self._event is not None:
            self._event.synchronize()


def _cropped(rows: np.ndarray, columns: np.ndarray, bits: np.ndarray) -> Mask:
    """Make a mask from its rows and columns with foreground and its (H, ceil(W / 8)) bits; see `PackedMasks`."""
    ys, xs = np.flatnonzero(rows), np.flatnonzero(columns)
    if not len(ys):
        return Mask(0, 0, np.zeros((0, 0), bool))
    top, bottom, left, right = int(ys[0]), int(ys[-1]) + 1, int(xs[0]), int(xs[-1]) + 1
    return PackedMask(left, top, right - left, left % 8, bits[top:bottom, left // 8 : (right + 7) // 8].copy())


@dataclass(frozen=True)
class BoxMasks:
    """Hold the masks that SAM2 returns for the N boxes of a set; they have no class.

    Attributes:
        masks: N masks, in the order of the boxes; one may be empty.
        scores: (N,) float32, SAM2's own estimate of each mask's IoU.
    """

    masks: list[Mask]
    scores: npt.NDArray[np.float32]


class AsyncMasks:
    """Hold the masks of a batch's sets of boxes, which are copied from the device beside other work of the host.

    Args:
        counts: how many boxes each set has.
    """

    def __init__(self, counts: Sequence[int]) -> None:
        self._counts = counts
        self._scores: list[tuple[np.ndarray, torch.Tensor]] = []
        self._masks: list[tuple[np.ndarray, np.ndarray, Callable[[], list[Mask]]]] = []
        self._sync: HostSync | None = None

    def append(
        self,
        logits: torch.Tensor,
        scores: torch.Tensor,
        rows: npt.NDArray[np.int64],
        box_sizes: npt.NDArray[np.int64],
        box_corners: npt.NDArray[np.int64],
    ) -> None:
        """Add N of all boxes.

        Args:
            logits: (N, h, w) float32 on the device; each mask is upsampled to its image or window and cut at 0.
            scores: (N,).
            rows: (N,) which boxes of the flattened list of all sets they are.
            box_sizes: (N, 2) height and width of the image, or of the window of it, that each box is in.
            box_corners: (N, 2) x and y of that window's upper left pixel in the image.
        """
        self._scores.append((rows, to_host_async(scores.float())))
        for size in np.unique(box_sizes, axis=0):
            same = np.flatnonzero((box_sizes == size).all(axis=1))
            chosen = logits[to_device(same, logits.device), None]
            full = upsampled(chosen, tuple(size.tolist()))[:, 0]
            self._masks.append((rows[same], box_corners[same], masks_to_host_async(full)))

    def complete(self, device: torch.device) -> AsyncMasks:
        """Mark that all boxes were added; returns itself."""
        self._sync = HostSync(device)
        return self

    def wait(self) -> list[BoxMasks]:
        """Return the masks of each set when the device is done; scores that are not finite are returned as they are."""
        if self._sync is not None:
            self._sync.wait()
        scores = np.zeros(sum(self._counts), np.float32)
        for rows, part in self._scores:
            scores[rows] = part.numpy()
        masks: dict[int, Mask] = {}
        for rows, corners, arrived in self._masks:
            moved = [mask.moved(*corner) for mask, corner in zip(arrived(), corners.tolist(), strict=True)]
            masks |= zip(rows.tolist(), moved, strict=True)
        stops = np.cumsum(self._counts, dtype=np.int64).tolist()
        bounds = zip([0, *stops], stops)
        return [BoxMasks([masks[i] for i in range(start, stop)], scores[start:stop]) for start, stop in bounds]
