"""Connect the processes of a run: one, or as many as torchrun started."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

TIMEOUT = timedelta(days=1)
"""How long a process waits for the others at the end of a run, which some may reach hours before others.

torch waits half an hour by default. A process that fails is still noticed at once.
"""


@dataclass(frozen=True)
class Session:
    """Represent one of the processes of a run.

    All processes must call the methods below in the same order; each call waits for all processes.

    Attributes:
        rank: number of this process, from 0; rank 0 prints and writes the files that all processes share.
        world_size: number of processes.
        local_rank: number of this process among those on its machine.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0

    @property
    def is_main(self) -> bool:
        """Return whether this process prints and writes the files that all processes share."""
        return self.rank == 0

    def own_share(self, work: Sequence[T]) -> Sequence[T]:
        """Return what this process does of the work; each entry belongs to exactly one process."""
        return work[self.rank :: self.world_size]

    def sum(self, array: np.ndarray) -> np.ndarray:
        """Sum an integer array, of the same shape in each process, over all processes; exactly, in whatever order."""
        assert np.issubdtype(array.dtype, np.integer), array.dtype
        if self.world_size == 1:
            return array
        import torch
        import torch.distributed

        total = torch.from_numpy(array.copy())
        torch.distributed.all_reduce(total)
        return total.numpy()

    def gather(self, part: Sequence[T]) -> list[T]:
        """Concatenate the sequences of all processes, in the order of their ranks."""
        if self.world_size == 1:
            return list(part)
        import torch.distributed

        parts: list[Sequence[T]] = [()] * self.world_size
        torch.distributed.all_gather_object(parts, list(part))
        return [entry for part in parts for entry in part]

    def from_main(self, make: Callable[[], T]) -> T:
        """Call `make` in the first process only; return its result, or raise its exception, in all processes."""
        if self.world_size == 1:
            return make()
        import torch.distributed

        outcome: list[Any] = [None, None]
        if self.is_main:
            try:
                outcome[0] = make()
            except Exception as error:
                outcome[1] = error
        torch.distributed.broadcast_object_list(outcome)
        if outcome[1] is not None:
            raise outcome[1]
        return cast(T, outcome[0])

    def sum_counts(self, counts: Counter[str]) -> Counter[str]:
        """Add up the counts of all processes."""
        return sum(self.gather([counts]), Counter[str]())

    def barrier(self) -> None:
        """Wait until every process has called this."""
        self.gather([])

    def mean_gradients(self, parameters: Sequence[torch.nn.Parameter], weight: int) -> int:
        """Replace each gradient by its mean over all processes, weighted by `weight`; return the sum of the weights.

        A missing gradient counts as zero; a process of weight 0 does not count.
        """
        if self.world_size == 1:
            return weight
        import torch
        import torch.distributed

        gradients = [torch.zeros_like(each) if each.grad is None else each.grad for each in parameters]
        flat = torch.cat([*(weight * each.flatten() for each in gradients), gradients[0].new_tensor([weight])])
        torch.distributed.all_reduce(flat)
        total = int(flat[-1])
        means = (flat[:-1] / max(total, 1)).split([each.numel() for each in parameters])
        for parameter, mean in zip(parameters, means):
            parameter.grad = mean.view_as(parameter)
        return total


@contextmanager
def open_session() -> Iterator[Session]:
    """Open the session of this process: the only one, unless torchrun's environment names more.

    A process that fails does not wait for the others: it must end, so that torchrun ends them.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        yield Session()
        return
    _join_processes()
    import torch.distributed

    yield Session(int(os.environ["RANK"]), world_size, int(os.environ["LOCAL_RANK"]))
    torch.distributed.destroy_process_group()  # only where all went well: NCCL may wait here for all processes


def _join_processes() -> None:
    """Join the other processes; on one machine, use a part of torchrun's store for each start of its processes.

    After a restart, the store still holds the addresses of the ended processes, which early processes would call.
    Several machines may count restarts differently, so they share the whole store.
    """
    import torch
    from torch.distributed import PrefixStore, init_process_group, is_nccl_available, rendezvous

    # NCCL joins only when a tensor on a GPU is sent, so a CPU run needs no GPU.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and is_nccl_available() else "gloo"
    if os.environ.get("GROUP_WORLD_SIZE", "1") != "1":
        init_process_group(backend, timeout=TIMEOUT)
        return
    store, rank, world_size = next(rendezvous("env://"))
    start = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    store = PrefixStore(f"start {start}", store)
    init_process_group(backend, timeout=TIMEOUT, store=store, rank=rank, world_size=world_size)
