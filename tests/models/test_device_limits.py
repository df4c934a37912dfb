"""Budgets of memory, and the check of attention, with the CPU in a GPU's place."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from models.device_limits import CPU_CHUNK, check_attention, chunk_bytes, largest_batch
from utils.errors import UserError

CPU, CUDA, MPS = map(torch.device, ("cpu", "cuda", "mps"))


def test_a_decode_may_take_a_quarter_of_what_a_gpu_has_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (40 * 2**30, 80 * 2**30))
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 12 * 2**30)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 4 * 2**30)
    assert chunk_bytes("auto", CUDA) == 10 * 2**30
    assert chunk_bytes("auto", MPS) == 2 * 2**30
    assert chunk_bytes("auto", CPU) == CPU_CHUNK
    assert all(chunk_bytes(64, device) == 64 * 2**20 for device in (CPU, CUDA, MPS))


def test_scores_of_the_largest_batch_fit_into_a_tensor_of_mps() -> None:
    heads, places = 8, 64 * 64  # of the global blocks of SAM2 large at 1024 px
    assert largest_batch(MPS) * heads * places**2 * 4 < 2**32
    assert largest_batch(CUDA) * 1024 <= 65_535


def test_a_device_that_gets_attention_of_few_queries_wrong_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    check_attention(CPU)
    attend, calls = F.scaled_dot_product_attention, []

    def wrong_at_first(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        calls.append(query.is_contiguous())
        return attend(query, key.flip(2) if len(calls) == 1 else key, value)

    monkeypatch.setattr(F, "scaled_dot_product_attention", wrong_at_first)
    with pytest.raises(UserError, match=r"wrong on CPU; install torch 2\.12 or newer"):
        check_attention(CPU)
    assert calls == [False, False]
