"""What GPUs cannot do: batch limits, free memory, attention that Apple's get wrong, and how to go on without memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, TypeVar

import torch
import torch.nn.functional as F

from utils.distributed import Session
from utils.errors import UserError, first_line
from utils.io.terminal import counted

T = TypeVar("T")

MAX_BATCH = 63
"""Images per batch, at most."""

CUDA_WINDOWS = 65_535
"""How many windows CUDA's attention takes per launch."""

WINDOW = 32
"""Side in pixels of a window in which SAM2's encoder attends; an image of 1024 px has 1,024 of them."""

MPS_BATCH = 4
"""Images per batch on MPS, at most."""

MPS_SCORES = 2**32
"""Bytes that the scores of one attention must stay below on MPS, where they are written out."""

HEADS = 8
"""Heads of the attention among all places of an image in SAM2 large, which are the most."""

CPU_CHUNK = 2**30
"""Bytes for one decode on a CPU, by default; more is no faster."""

CUDA_CHUNK = 2**33
"""Bytes for one decode on CUDA, by default at most; more is no faster.

A decode holds 5 bytes for each pixel of its masks and 8 or more for each feature, so none of its tensors has the 2^31
elements from which on CUDA's kernels are slower, or missing.
"""

OUT_OF_MEMORY = (
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",  # no memory for its handle
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "CUDNN_STATUS_NOT_INITIALIZED",
    "unable to find an engine to execute this computation",  # cuDNN, without memory for a workspace
    "MPS backend out of memory",
    "Invalid buffer size",  # MPS, of a tensor that is larger than all memory
)
"""How CUDA, its libraries and MPS say that they, rather than PyTorch's allocator, found no memory."""


def out_of_memory(error: RuntimeError) -> bool:
    """Return whether a computation failed because the GPU ran out of memory."""
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in OUT_OF_MEMORY)


def largest_batch(device: torch.device, side: int) -> int:
    """Return how many images may be encoded at once, which the model sees as squares of a side in pixels."""
    if device.type == "mps":
        scores = 4 * HEADS * (side // 16) ** 4  # bytes, of the attention among all places of an image
        return max(1, min(MPS_BATCH, (MPS_SCORES - 1) // scores))
    return max(1, min(MAX_BATCH, CUDA_WINDOWS // math.ceil(side / WINDOW) ** 2))


def chunk_bytes(chunk_mb: int | Literal["auto"], device: torch.device) -> int:
    """Return how much memory one decode may take: what the config says, or up to a quarter of what the GPU has free."""
    if chunk_mb != "auto":
        return chunk_mb * 2**20
    if device.type == "cuda":
        return min(torch.cuda.mem_get_info(device)[0] // 4, CUDA_CHUNK)
    if device.type == "mps":
        return (torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()) // 4
    return CPU_CHUNK


def check_attention(device: torch.device) -> None:
    """Compare attention as SAM2's encoder calls it with the same on the CPU: few queries, views in another order.

    MPS has returned wrong values there without an error, before torch 2.12. It happens where queries are pooled, in
    every third or so of the blocks of SAM2 tiny and small.

    Raises:
        UserError: the device gets it wrong.
    """
    joined = torch.randn(2, 64, 3, 2, 48, generator=torch.Generator().manual_seed(0))

    def attended(joined: torch.Tensor) -> torch.Tensor:
        queries, keys, values = joined.unbind(2)
        return F.scaled_dot_product_attention(
            queries[:, ::4].transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2)
        )

    if not torch.allclose(attended(joined.to(device)).cpu(), attended(joined), atol=1e-2):
        fact = f"torch {torch.__version__} computes SAM2's attention wrong on {device.type.upper()}"
        raise UserError(f"{fact}; install torch 2.12 or newer, or choose --device cpu")


PATIENCE = 16
"""Parts after which twice as many images are tried again; twice as many parts after each failure."""


class OomRetry:
    """Do the work of a batch in as few parts as memory allows.

    Parts that were halved stay small for a while, since another process may have needed the memory only then.

    Args:
        use_less: called with the number of images that were too many, and the error's first line; it makes the next
            try smaller, or raises the error that ends the run where even a single image needs too much.
        use_more: called when twice as many images are tried again; it undoes the last `use_less`.
    """

    def __init__(self, use_less: Callable[[int, str], None], use_more: Callable[[], None] = lambda: None) -> None:
        self._use_less, self._use_more = use_less, use_more
        self._most, self._least = 0, 0  # images at a time, now and at the least; 0: all
        self._done, self._patience = 0, PATIENCE

    def __call__(self, count: int, work: Callable[[slice], T]) -> list[T]:
        """Return the results of `work` for all parts, in order.

        Args:
            count: how many images there are.
            work: processes a slice of the images; where it runs out of memory, it is called again for smaller slices.
        """
        done: list[T] = []
        start = 0
        while start < count:
            part = slice(start, min(start + (self._most or count), count))
            try:
                done.append(work(part))
                start = part.stop
                self._grow()
                continue
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
                reason = first_line(error)
                # The memory that the exception refers to is freed only after this block.
            self._make_room(part.stop - part.start, reason)
        return done

    def summary_lines(self, session: Session) -> list[str]:
        """Return a line if any process ran out of memory, else none."""
        halved = [least for least in session.gather([self._least]) if least]
        return [f"GPU out of memory: went on with {counted(min(halved), 'image')} at a time"] if halved else []

    def _make_room(self, images: int, reason: str) -> None:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if torch.backends.mps.is_available():
            torch.mps.empty_cache()
        self._use_less(images, reason)
        self._most = max(1, images // 2)
        self._least = min(self._least or self._most, self._most)
        self._done, self._patience = 0, 2 * self._patience

    def _grow(self) -> None:
        self._done += 1
        if self._most and self._done == self._patience:
            self._most, self._done = 2 * self._most, 0
            self._use_more()
