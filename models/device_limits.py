"""What GPUs cannot do, and how they say so: batch limits, free memory, errors, and attention that Apple's get wrong."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F

from utils.errors import UserError

MAX_BATCH = 63
"""Images per batch. CUDA's attention takes at most 65,535 windows per launch; an image of 1024 px has 1,024."""

MPS_BATCH = 4
"""Images per batch on MPS, whose tensors end at 2^32 bytes: scores of attention take up to 537 MB an image."""

MPS_SCORES = 2**32
"""Bytes that the scores of one attention must stay below on MPS, where they are written out."""

CPU_CHUNK = 2**30
"""Bytes for one decode on a CPU, by default; more is no faster."""

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


def largest_batch(device: torch.device) -> int:
    """Return how many images may be encoded at once."""
    return MPS_BATCH if device.type == "mps" else MAX_BATCH


def chunk_bytes(chunk_mb: int | Literal["auto"], device: torch.device) -> int:
    """Return how much memory one decode may take: what the config says, or a quarter of what the GPU has free."""
    if chunk_mb != "auto":
        return chunk_mb * 2**20
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] // 4
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
