"""Go on with half as many images at a time when a GPU runs out of memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from utils.distributed import Session

T = TypeVar("T")

OTHER_WORDS = (
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
)
"""How CUDA and its libraries say that they, rather than PyTorch's allocator, found no memory."""


def out_of_memory(error: RuntimeError) -> bool:
    """Return whether a computation failed because the GPU ran out of memory."""
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in OTHER_WORDS)


class OomRetry:
    """Do the work of a batch in as few parts as memory allows; once parts were halved, they stay small.

    Args:
        save: called if a single image needs too much; frees memory for another try, or raises the error that ends the
            run.
    """

    def __init__(self, save: Callable[[], None]) -> None:
        self._save, self._most = save, 0

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
                continue
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
                # The memory that the exception refers to is freed only after this block.
            self._make_room(part.stop - part.start)
        return done

    def summary_lines(self, session: Session) -> list[str]:
        """Return a line if any process ran out of memory, else none."""
        halved = [most for most in session.gather([self._most]) if most]
        return [f"GPU out of memory: went on with {min(halved)} images at a time"] if halved else []

    def _make_room(self, images: int) -> None:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if images == 1:
            self._save()
        self._most = max(1, images // 2)
