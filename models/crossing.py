"""Pixels on their way to a GPU, masks on their way back: packed to bits, and nobody waits before they are needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from utils.masks import Mask


@dataclass(frozen=True)
class PackedMasks:
    """N masks of one size on the host; to be read when the device has done what it was told before.

    Attributes:
        rows: (N, H) bool, True where a row has foreground.
        columns: (N, W) bool, the same of columns.
        bits: (N, H, ceil(W / 8)) uint8, the leftmost pixel of each eight in the highest bit.
    """

    rows: torch.Tensor
    columns: torch.Tensor
    bits: torch.Tensor

    @classmethod
    def of(cls, full: torch.Tensor) -> PackedMasks:
        """(N, H, W) bool masks on any device, sent off."""
        eights = F.pad(full, (0, -full.shape[2] % 8)).unflatten(2, (-1, 8))
        weights = (1 << torch.arange(7, -1, -1, device=full.device)).to(torch.uint8)
        bits = (eights * weights).sum(-1, dtype=torch.uint8)
        return cls(to_host(full.any(dim=2)), to_host(full.any(dim=1)), to_host(bits))

    def masks(self) -> list[Mask]:
        """The masks."""
        return [
            _unpacked(rows, columns, bits)
            for rows, columns, bits in zip(self.rows.numpy(), self.columns.numpy(), self.bits.numpy())
        ]


def sent(full: torch.Tensor) -> Callable[[], list[Mask]]:
    """Sends (N, H, W) bool masks to the host, from CUDA as bits; they can be called for when they have arrived."""
    if full.device.type == "cuda":
        return PackedMasks.of(full).masks
    masks = [*map(Mask.of, full.cpu().numpy())]
    return lambda: masks


def to_device(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """An array on a device; to CUDA it travels while the host goes on."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def to_host(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor on the host with what the other will hold; from CUDA it fills while the host goes on (see `Arrival`)."""
    if tensor.device.type != "cuda":
        return tensor.cpu()
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)


class Arrival:
    """The moment at which all that was sent to the host so far has arrived."""

    def __init__(self, device: torch.device) -> None:
        self._event = torch.cuda.current_stream(device).record_event() if device.type == "cuda" else None

    def wait(self) -> None:
        """Returns when it has come."""
        if self._event is not None:
            self._event.synchronize()


def _unpacked(rows: np.ndarray, columns: np.ndarray, bits: np.ndarray) -> Mask:
    ys, xs = np.flatnonzero(rows), np.flatnonzero(columns)
    if not len(ys):
        return Mask(0, 0, np.zeros((0, 0), bool))
    top, bottom, left, right = int(ys[0]), int(ys[-1]) + 1, int(xs[0]), int(xs[-1]) + 1
    first = left // 8
    eights = np.unpackbits(bits[top:bottom, first : (right + 7) // 8], axis=1)
    return Mask(left, top, np.ascontiguousarray(eights[:, left - 8 * first : right - 8 * first]).view(bool))
