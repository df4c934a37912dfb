"""Each process works on a GPU of its own."""

from __future__ import annotations

import pytest
import torch

from utils.device import choose_device
from utils.distributed import Session


def test_what_has_no_device_named_goes_to_the_gpu_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    current: list[torch.device] = []
    monkeypatch.setattr(torch, "empty", lambda *shape, device: None)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    assert choose_device("cuda", Session(rank=5, world_size=8, local_rank=1)) == torch.device("cuda:1")
    assert current == [torch.device("cuda:1")]
