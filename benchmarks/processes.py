"""A process for each task, which ends in time, and what a pass over images takes in it."""

from __future__ import annotations

import contextlib
import math
import re
import resource
import time
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")


class Process(ProcessPoolExecutor):
    """A process that does one task after the other, spawned since CUDA and thread pools do not survive a fork."""

    def __init__(self) -> None:
        super().__init__(1, get_context("spawn"))

    def __call__(self, deadline: float, task: Callable[..., T], *arguments: Any) -> T:
        """Return what a task returns, or raise what it does; kill the process at a time of `time.monotonic`.

        Raises:
            TimeoutError: it was killed.
        """
        future = self.submit(task, *arguments)
        try:
            return future.result(max(0, deadline - time.monotonic()) if deadline < math.inf else None)
        except futures.TimeoutError:
            for process in [*self._processes.values()]:  # from Python 3.14 on `kill_workers`
                process.kill()
            raise TimeoutError("its time was up") from None


class Pass(NamedTuple):
    """What one pass took; the memory of the process includes model and libraries."""

    images: int
    seconds: float  # until every file is written and the device is done
    cpu_seconds: float  # of all threads of the process
    peak_rss: int  # bytes that the process held at most
    peak_cuda: int  # bytes that tensors held on the GPU at most

    @property
    def rate(self) -> float:
        """Images a second."""
        return self.images / self.seconds


def one_pass(run: Callable[..., int], scope: str, count: int) -> Pass:
    """Measure one pass over the first `count` images."""
    import torch

    cuda = torch.cuda.is_initialized()
    if cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError):  # containers may have no such file, or not let it be written
        Path("/proc/self/clear_refs").write_text("5")  # the kernel measures the peak from here on
    began, cpu_began = time.perf_counter(), time.process_time()
    images = run(scope, count)
    if cuda:
        torch.cuda.synchronize()
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
    return Pass(images, seconds, cpu_seconds, memory_held("VmHWM"), torch.cuda.max_memory_allocated() if cuda else 0)


def memory_held(key: str) -> int:
    """Return the bytes that this process holds (`VmRSS`) or held at most (`VmHWM`, elsewhere than on Linux both)."""
    status = Path("/proc/self/status")
    found = re.search(rf"{key}:\s*(\d+)", status.read_text()) if status.exists() else None
    return 1024 * int(found[1]) if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
