"""Two real processes, started by torchrun, talk over gloo."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from utils.distributed import Session, open_session

Torchrun = Callable[..., subprocess.CompletedProcess[str]]


def test_alone_nothing_changes() -> None:
    with open_session() as session:
        assert session == Session(rank=0, world_size=1, local_rank=0)
        assert session.is_main
        assert session.own_share("abc") == "abc"
        assert session.gather([1, 2]) == [1, 2]
        assert session.sum_counts(Counter(a=2)) == Counter(a=2)
        assert session.sum(np.array([3])).tolist() == [3]
        session.barrier()


def test_shares_are_each_unit_once() -> None:
    units = list(range(7))
    shares = [Session(rank, 3).own_share(units) for rank in range(3)]
    assert sorted(unit for share in shares for unit in share) == units
    assert shares[1] == [1, 4]


@pytest.mark.slow
def test_two_processes_add_up(tmp_path: Path, torchrun: Torchrun) -> None:
    script = tmp_path / "talk.py"
    script.write_text(
        """
import time
from collections import Counter
from datetime import timedelta
import numpy as np
import torch
import torch.distributed
from utils.distributed import open_session

torch.distributed.distributed_c10d.default_pg_timeout = timedelta(seconds=1)
with open_session() as session:
    rank = session.rank
    time.sleep(2 * rank)  # longer than torch waits by default
    assert session.world_size == 2 and session.local_rank == rank
    big = np.array([[2**60 + rank, 1]])  # would be rounded in float64
    assert session.sum(big).tolist() == [[2**61 + 1, 2]], session.sum(big)
    assert big[0, 0] == 2**60 + rank
    assert session.gather(["a", "b"] if rank == 0 else ["c"]) == ["a", "b", "c"]
    assert session.sum_counts(Counter(x=1 + rank, y=0)) == Counter(x=3, y=0)
    parameters = [torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(1))]
    parameters[0].grad = torch.tensor([1.0, 2.0]) if rank == 0 else torch.tensor([5.0, 6.0])
    parameters[1].grad = None if rank == 0 else torch.tensor([4.0])
    assert session.mean_gradients(parameters, weight=3 if rank == 0 else 1) == 4
    assert parameters[0].grad.tolist() == [2.0, 3.0] and parameters[1].grad.tolist() == [1.0]
    assert session.mean_gradients(parameters, weight=0) == 0
    session.barrier()
    print(f"rank {rank} is right")
"""
    )
    done = torchrun(str(script))
    assert done.returncode == 0, done.stderr
    for rank in (0, 1):  # whose lines may be one, since both write at the same time
        assert f"rank {rank} is right" in done.stdout


@pytest.mark.slow
def test_a_process_that_dies_ends_the_run(tmp_path: Path, torchrun: Torchrun) -> None:
    script = tmp_path / "die.py"
    script.write_text(
        """
import os
from utils.distributed import open_session

with open_session() as session:
    session.barrier()
    if session.rank == 1:
        os._exit(9)
    session.barrier()
    print("went on alone")
"""
    )
    done = torchrun(str(script))
    assert done.returncode != 0
    assert "went on alone" not in done.stdout


def test_a_process_that_failed_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    parted: list[str] = []
    monkeypatch.setattr("utils.distributed._join_processes", lambda: None)
    monkeypatch.setattr("torch.distributed.destroy_process_group", lambda: parted.append("together"))
    for name, value in {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(KeyError), open_session():
        raise KeyError
    assert parted == []
    with open_session() as session:
        assert session == Session(rank=1, world_size=2, local_rank=0)
    assert parted == ["together"]


def test_gradients_of_one_process_stay_as_they_are() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    parameter.grad = torch.ones(1)
    assert Session().mean_gradients([parameter], weight=5) == 5
    assert parameter.grad.tolist() == [1.0]
