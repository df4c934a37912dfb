"""How many cores a process may use. Only the standard library is imported here, see `utils/cli/guard.py`."""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path

CONTROL_GROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")


def usable_cores() -> int:
    """Count the cores that this process may use, 1 at least.

    They are those that it may run on, as many as containers grant it time on, shared with the other processes that
    torchrun started on this machine. A scheduler, `taskset` or a container may grant fewer than the machine has.
    """
    granted = math.ceil(min(_cores(), cpu_quota()))
    return max(1, granted // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def cpu_quota() -> float:
    """Return the cores' time that the control groups of this process grant; infinity where none has a limit.

    `docker run --cpus 2` and the CPU limits of Kubernetes set it; the process still sees all cores of the machine.
    """
    quotas = [math.inf]
    with contextlib.suppress(OSError, ValueError):  # elsewhere than on Linux
        for line in OWN_GROUPS.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers or "cpu" in controllers.split(","):  # of cgroups v2, or v1
                root = CONTROL_GROUPS / ("cpu" if controllers else "")
                group = root / path.lstrip("/")
                # Inside a container the path may be that of the machine, where it does not lead anywhere.
                quotas += [_quota(folder) for folder in (group, *group.parents) if folder.is_relative_to(root)]
    return min(quotas)


def limit_threads() -> None:
    """Let the libraries of this process start no more threads than there is a quota for; to be called before imports.

    Threads beyond it wait for each other while none may run, which takes several times as long. Who has set the number
    himself, as torchrun does, keeps it.
    """
    if cpu_quota() < _cores():
        for name in ("OMP_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"):
            os.environ.setdefault(name, str(usable_cores()))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quota(folder: Path) -> float:
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = map(float, (folder / "cpu.max").read_text().split())  # "max" is no number
        return quota / period
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = (float((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
        return quota / period if quota > 0 else math.inf
    return math.inf
