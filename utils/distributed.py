"""The processes of one run: one, or as many as torchrun started."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

PATIENCE = timedelta(days=1)
"""How long a process waits for the others. They meet at the end of a run, to which some may come hours after others;
torch waits half an hour by default. A process that ends is noticed at once all the same."""


@dataclass(frozen=True)
class Session:
    """One of the processes of a run. Every process calls the methods below in the same order, each waits for all.

    Attributes:
        rank: this process, from 0; rank 0 is the one that prints and puts shared files together.
        world_size: how many there are.
        local_rank: this process among those on its machine.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0

    @property
    def is_main(self) -> bool:
        """Whether this process prints and puts shared files together."""
        return self.rank == 0

    def shard(self, units: Sequence[T]) -> Sequence[T]:
        """The units of work that are this process's; the shares of all processes make up the whole, each unit once."""
        return units[self.rank :: self.world_size]

    def sum(self, array: np.ndarray) -> np.ndarray:
        """The sum over all processes of an integer array of the same shape in each; exact, so order does not matter."""
        assert np.issubdtype(array.dtype, np.integer), array.dtype
        if self.world_size == 1:
            return array
        import torch
        import torch.distributed

        total = torch.from_numpy(array.copy())
        torch.distributed.all_reduce(total)
        return total.numpy()

    def gather(self, part: Sequence[T]) -> list[T]:
        """What all processes bring, in the order of their ranks."""
        if self.world_size == 1:
            return list(part)
        import torch.distributed

        parts: list[Sequence[T]] = [()] * self.world_size
        torch.distributed.all_gather_object(parts, list(part))
        return [entry for part in parts for entry in part]

    def sum_counts(self, counts: Counter[str]) -> Counter[str]:
        """Counts of all processes added up."""
        return sum(self.gather([counts]), Counter[str]())

    def barrier(self) -> None:
        """Returns when every process has called it."""
        self.gather([])

    def mean_gradients(self, parameters: Sequence[torch.nn.Parameter], weight: int) -> int:
        """Replaces each gradient by its mean over all processes, each counted `weight` times; returns the weights' sum.

        A gradient that is missing counts as zero, one of a process of weight 0 not at all.
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
    """The session of this process: alone, unless torchrun's environment says otherwise.

    A process that failed waits for nobody: it must end, so that torchrun ends the others.
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
    """Meets the other processes; on one machine at a place of its own for each start that torchrun makes.

    After a restart, torchrun's store still holds the addresses of the processes that ended; whoever is early would call
    there. With several machines their counts of restarts may differ, so there the store is used as it is.
    """
    import torch
    from torch.distributed import PrefixStore, init_process_group, is_nccl_available, rendezvous

    # NCCL joins only when a tensor on a GPU is sent, so a CPU run needs no GPU.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and is_nccl_available() else "gloo"
    if os.environ.get("GROUP_WORLD_SIZE", "1") != "1":
        init_process_group(backend, timeout=PATIENCE)
        return
    store, rank, world_size = next(rendezvous("env://"))
    start = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    store = PrefixStore(f"start {start}", store)
    init_process_group(backend, timeout=PATIENCE, store=store, rank=rank, world_size=world_size)
