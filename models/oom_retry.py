"""Go on with fewer images at a time when a GPU runs out of memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from models.device_limits import out_of_memory
from utils.distributed import Session
from utils.errors import first_line
from utils.io.terminal import counted

T = TypeVar("T")

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
