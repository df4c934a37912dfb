"""Seconds, processor time and memory of one pass, in the process that runs it."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

_STATUS, _CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_TRANSFERS = ("Memcpy", "Memset")


@dataclass(frozen=True)
class Pass:
    """What one pass over some images took.

    Attributes:
        images: how many went through.
        seconds: wall time, until every file is written and the device is done.
        cpu_seconds: processor time of all threads of the process.
        peak_rss: the most memory that the process held meanwhile, model and libraries included, in bytes.
        peak_cuda: the most memory that tensors held on the GPU, in bytes; 0 without one.
    """

    images: int
    seconds: float
    cpu_seconds: float
    peak_rss: int
    peak_cuda: int

    @property
    def rate(self) -> float:
        """Images a second."""
        return self.images / self.seconds


def measure(run: Callable[[], int], device: str) -> Pass:
    """Measures a function that returns how many images it put through."""
    import torch

    cuda = device.startswith("cuda")
    if cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    _forget_peak()
    began, cpu_began = time.perf_counter(), time.process_time()
    images = run()
    if cuda:
        torch.cuda.synchronize()
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
    return Pass(images, seconds, cpu_seconds, peak_rss(), torch.cuda.max_memory_allocated() if cuda else 0)


def _forget_peak() -> None:
    """Have the kernel measure the peak from here on, where it can; elsewhere it is the process's so far."""
    try:
        _CLEAR_REFS.write_text("5")
    except OSError:
        return


def peak_rss() -> int:
    """The most memory that this process has held, in bytes; since `measure` began where the kernel lets it forget."""
    value = _status("VmHWM")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 if value is None else value


def resident() -> int:
    """The memory that this process holds, in bytes."""
    value = _status("VmRSS")
    return peak_rss() if value is None else value


def _status(key: str) -> int | None:
    """A line of the process's status, in bytes; None where there is none (not Linux)."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:")), None)


def idle_share(run: Callable[[], int]) -> float | None:
    """Share of a pass's wall time in which the GPU computed nothing; None if the profiler sees no kernel.

    The profiler slows the host a little, so the truth is not above this.
    """
    import torch
    from torch.autograd import DeviceType

    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        began = time.perf_counter()
        run()
        torch.cuda.synchronize()
        seconds = time.perf_counter() - began
    kernels = (
        (event.time_range.start, event.time_range.end)
        for event in profile.events()
        if event.device_type == DeviceType.CUDA
        and not event.is_user_annotation  # a stretch of time, as torch.compile marks it, is no kernel
        and not event.name.startswith(_TRANSFERS)
    )
    busy = covered(kernels) / 1e6
    return max(0.0, 1 - busy / seconds) if busy else None


def covered(intervals: Iterable[tuple[float, float]]) -> float:
    """Length of the union of (start, end) intervals, which may overlap."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total
